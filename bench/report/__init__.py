"""Turns result files into Markdown, CSV and an HTML page."""

"""Compares results with a baseline, with evidence."""

"""Collects an importance matrix on pictures and questions, as a bundle itself answers them."""

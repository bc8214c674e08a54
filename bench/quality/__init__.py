"""Compares a variant's distributions and embeddings with those of a 16-bit reference."""

"""Asks a variant a benchmark's questions on a device, and scores the answers."""

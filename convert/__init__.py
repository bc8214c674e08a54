"""Checkpoint to GGUF: reading, names per architecture, vocabulary, quantization, parity."""

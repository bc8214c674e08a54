"""Benchmarks of the toolchain side by side with stock llama.cpp: export, vision, total."""

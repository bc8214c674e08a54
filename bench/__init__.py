"""Benchmarks of the toolchain itself."""

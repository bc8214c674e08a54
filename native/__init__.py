"""The native runner: C++ sources and the lock of llama.cpp, shipped so that it can be built."""

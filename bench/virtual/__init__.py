"""A phone that is not there: the device side of ADB, with AArch64 programs under qemu-user."""

"""A phone that is not there: the device side of ADB, with AArch64 programs under qemu-user.

`power.py` switches one on, in a process of its own; `server.py` is that process. A phone's programs
see the phone's folder as their root and, of this machine, /proc (with some files of the phone's own
over it) and harmless devices; they run without any capability. They share this machine's processes
and network: honest programs are kept apart from the machine, and others are not locked in. What is
measured on it says nothing about a real phone.
"""

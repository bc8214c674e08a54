"""What the phone's programs may not do on this machine: given up by the server's process before it
starts any, and inherited by all of them.

proot 5.1 translates the paths of the system calls that it knows. Newer ones would reach this
machine's own files, so they are answered with ENOSYS, after which C libraries use the older ones.
Setting the CPU affinity is answered with success and does nothing: the phone has eight processors
and this machine may have fewer.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_SECCOMP_MODE_FILTER = 2
_RET_ALLOW = 0x7FFF0000
_RET_ERRNO = 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_MOST_CAPABILITIES = 64

# System call numbers of the kernel's own tables: renameat2 and sched_setaffinity per machine, the
# others are the same everywhere since 424.
_RENAMEAT2 = {"x86_64": 316, "aarch64": 276}
_STATX = {"x86_64": 332, "aarch64": 291}
_SCHED_SETAFFINITY = {"x86_64": 203, "aarch64": 122}
_IO_URING_SETUP, _OPEN_TREE, _MOVE_MOUNT = 425, 428, 429
_OPENAT2, _FACCESSAT2, _FCHMODAT2 = 437, 439, 452
_SETXATTRAT, _OPEN_TREE_ATTR, _FILE_SETATTR = 463, 467, 469


def confine() -> None:
    """For the whole process; does what the system allows."""
    libc = ctypes.CDLL(None, use_errno=True)
    # What loses its parent becomes ours, so that it can be found and ended.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if os.geteuid() == 0:
        # Programs of the phone are no root: a file without rights cannot be read.
        for capability in range(_MOST_CAPABILITIES):
            libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    machine = platform.machine()
    if machine in _STATX:
        _install(libc, _filter(machine))


def _filter(machine: str) -> list[tuple[int, int, int, int]]:
    missing = [_RENAMEAT2[machine], _STATX[machine]]
    missing += [_IO_URING_SETUP, _OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _FACCESSAT2, _FCHMODAT2]
    program = [(_LOAD, 0, 0, 0)]  # the number of the system call
    program += _answer(_SCHED_SETAFFINITY[machine], 0)
    for number in missing:
        program += _answer(number, errno.ENOSYS)
    program.append((_JUMP_AT_LEAST, 0, 1, _SETXATTRAT))
    program.append((_RETURN, 0, 0, _RET_ERRNO | errno.ENOSYS))
    program.append((_RETURN, 0, 0, _RET_ALLOW))
    return program


def _answer(number: int, code: int) -> list[tuple[int, int, int, int]]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _RET_ERRNO | code)]


def _install(libc: ctypes.CDLL, program: list[tuple[int, int, int, int]]) -> None:
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(buffer))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(head), 0, 0)

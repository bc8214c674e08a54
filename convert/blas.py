"""How many threads numpy's matrix products use.

The export has a thread per core of its own. OpenBLAS's threads beside them wait for each other in
busy loops: on two busy cores the same product took two to ten times the processor time that one
BLAS thread takes (measured), and was never faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Iterator
from typing import Any

# The extension that is linked with the BLAS, in numpy 2 and in numpy 1.
_EXTENSIONS = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")

# The same two functions of OpenBLAS in numpy's wheels (2 and 1) and in distributions.
_NAMES = (
    "scipy_openblas_{}_num_threads64_",
    "openblas_{}_num_threads64_",
    "openblas_{}_num_threads",
)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Products in all threads of the process use one thread each until the end of the block. A
    numpy with another BLAS than OpenBLAS keeps what it has."""
    before = blas_threads()
    _set(before and 1)
    try:
        yield
    finally:
        _set(before)


def blas_threads() -> int | None:
    """None where numpy has another BLAS than OpenBLAS."""
    get = _function("get")
    return None if get is None else int(get())


def _set(count: int | None) -> None:
    function = _function("set")
    if function is not None and count is not None:
        function(ctypes.c_int(count))


def _function(verb: str) -> Any:
    """A symbol of the extension or of a library that it is linked with."""
    for extension in _EXTENSIONS:
        with contextlib.suppress(ImportError):
            library = ctypes.CDLL(str(importlib.import_module(extension).__file__))
            found = (getattr(library, name.format(verb), None) for name in _NAMES)
            return next((function for function in found if function is not None), None)
    return None

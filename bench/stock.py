"""llama.cpp's own programs of the pinned version, for comparisons: their few source files, linked
with the libraries that pip installed. Nothing in either is changed.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from imp_deploy import llama, llama_source, process
from imp_deploy.cache import cache_folder
from imp_deploy.errors import DeviceError
from imp_deploy.files import copy_atomic, sha256_of

# The sources of each program, as its CMakeLists.txt lists them.
SOURCES = {
    "llama-imatrix": ("tools/imatrix/imatrix.cpp",),
    "llama-mtmd-cli": ("tools/mtmd/mtmd-cli.cpp",),
    "llama-quantize": ("tools/quantize/main.cpp", "tools/quantize/quantize.cpp"),
}
_FOLDERS = ("common", "include", "ggml/include", "tools/mtmd", "vendor", "")
_LIBRARIES = ("llama-common", "mtmd", "llama", "ggml", "ggml-cpu", "ggml-base")


def build(name: str, source: Path, folder: Path) -> Path:
    """Compiles the program `name` of `SOURCES` from llama.cpp's source tree into `folder`; about
    half a minute. The kernels are the installed libraries'."""
    libraries = llama.include_folder().parent / "lib"
    program = folder / name
    argv = [
        *("c++", "-O2", "-std=c++17"),
        *(f"-I{source / part}" for part in _FOLDERS),
        *(str(source / part) for part in SOURCES[name]),
        # Named all: the libraries do not find each other.
        *("-o", str(program), f"-L{libraries}", f"-Wl,--no-as-needed,-rpath,{libraries}"),
        *(f"-l{library}" for library in _LIBRARIES),
    ]
    finished = process.run(argv)
    if finished.returncode != 0:
        raise DeviceError(
            f"{name} of the pinned llama.cpp could not be compiled; install a C++17 compiler "
            f"(Debian: `apt-get install g++`) and try again. {finished.evidence()}"
        )
    return program


def program(name: str) -> Path:
    """The program `name`, built once for the installed libraries and kept in the user's cache."""
    libraries = llama.include_folder().parent / "lib"
    key = f"{llama.lock().sha256} {libraries} {sha256_of(libraries / 'libmtmd.so')}"
    place = cache_folder() / f"stock-{hashlib.sha256(key.encode()).hexdigest()[:16]}" / name
    if not place.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            copy_atomic(build(name, llama_source.source_folder(), Path(scratch)), place)
    return place

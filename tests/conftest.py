"""What all tests share: the built runner, the demo bundle, and the pinned llama.cpp's source."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imp_deploy import llama
from imp_deploy.build.host import build_host
from imp_deploy.convert.export import export
from imp_deploy.convert.plan import Options
from imp_deploy.demo.write import write_demo
from imp_deploy.llama_source import source_folder
from tests.quiet import Quiet


@pytest.fixture(scope="session")
def runner_binary() -> Path:
    return build_host()


@pytest.fixture(scope="session")
def demo_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo(tmp_path_factory.mktemp("demo") / "checkpoint", force=False).checkpoint


@pytest.fixture(scope="session")
def demo_bundle(demo_checkpoint: Path) -> Path:
    out = demo_checkpoint.parent / "bundle"
    export(demo_checkpoint, out, Options(name="Imp-Demo"), progress=Quiet())
    return out


@pytest.fixture(scope="session")
def llama_source() -> Path:
    """The pinned llama.cpp's source, from the same distribution that was installed."""
    return source_folder()


@pytest.fixture(scope="session")
def vocabularies(llama_source: Path) -> Path:
    """The folder with the vocabularies of the published models."""
    return llama_source / "models"


@pytest.fixture(scope="session")
def stock_cli(llama_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's own `llama-mtmd-cli`: its one source file, linked with the installed libraries
    of the same version."""
    program = tmp_path_factory.mktemp("stock") / "llama-mtmd-cli"
    folders = ("common", "include", "ggml/include", "tools/mtmd", "vendor", "")
    library = llama.include_folder().parent / "lib"
    subprocess.run(
        [
            *("c++", "-O1", "-std=c++17"),
            *(f"-I{llama_source / folder}" for folder in folders),
            str(llama_source / "tools/mtmd/mtmd-cli.cpp"),
            *("-o", str(program), f"-L{library}", f"-Wl,-rpath,{library}"),
            *("-lllama-common", "-lmtmd", "-lllama", "-lggml", "-lggml-cpu", "-lggml-base"),
        ],
        check=True,
    )
    return program

"""What all tests share: the built runner, the demo bundle, and the pinned llama.cpp's source."""

from __future__ import annotations

from pathlib import Path

import pytest

from imp_deploy.bench import stock
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
    return stock.build("llama-mtmd-cli", llama_source, tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="session")
def stock_quantize(llama_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's own `llama-quantize`, likewise."""
    return stock.build("llama-quantize", llama_source, tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="session")
def stock_imatrix(llama_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """llama.cpp's own `llama-imatrix`, likewise."""
    return stock.build("llama-imatrix", llama_source, tmp_path_factory.mktemp("stock"))

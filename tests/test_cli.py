"""The program as a script sees it: exit codes, standard output, standard error."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from imp_deploy.cli.main import app
from tests.small import SIDE, copied, edit_json, run_export, small_checkpoint

WIDE = {"COLUMNS": "200"}


def program(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "imp_deploy", *map(str, arguments)]
    settings = {**os.environ, **WIDE, **environment}
    return subprocess.run(command, capture_output=True, check=False, env=settings)


def in_process(*arguments: object) -> Any:
    """The same without starting a program; errors that the program would report are raised."""
    runner = CliRunner(env=WIDE)
    return runner.invoke(app, list(map(str, arguments)), catch_exceptions=False)


def error_of(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """The one line that an error is."""
    text = done.stderr.decode()
    assert done.returncode == code, text
    assert done.stdout == b""
    assert text.startswith("Error: ")
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`imp`, a checkpoint, and `bundle`, what was exported from it."""
    folder = tmp_path_factory.mktemp("cli")
    checkpoint = small_checkpoint(folder / "imp")
    run_export(checkpoint, folder / "bundle")
    return folder


def test_export_as_json(made: Path, tmp_path: Path) -> None:
    """A script reads standard output; one word of progress there breaks it."""
    done = program("export", made / "imp", tmp_path / "out", "--bits", "8,4", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    manifest = json.loads((tmp_path / "out" / "bundle.json").read_text("utf-8"))
    assert result["bundle"] == manifest
    written = ["imp-Q8_0.gguf", "imp-Q4_0.gguf", f"mmproj-imp-{SIDE}-Q8_0.gguf"]
    assert (result["written"], result["kept"]) == (written, [])
    again = program("export", made / "imp", tmp_path / "out", "--bits", "8,4", "--json")
    assert json.loads(again.stdout)["kept"] == written


def test_export_for_people(made: Path, tmp_path: Path) -> None:
    """Brackets in names are no markup, and notes do not go where results go."""
    checkpoint = copied(made / "imp", tmp_path / "imp")
    edit_json(checkpoint / "config.json", lambda c: c.update(image_aspect_ratio="pad"))
    out = tmp_path / "out [/x] :smile:"
    done = program("export", checkpoint, out, "--bits", "4", "--name", "a [bold] [red] c")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.decode().split())
    assert "a [bold] [red] c-Q4_0.gguf" in text
    assert "out [/x] :smile: is ready" in text
    assert b"pads pictures" in done.stderr
    assert b"pads pictures" not in done.stdout


def test_bad_checkpoint(made: Path, tmp_path: Path) -> None:
    """Exit 3 and one sentence, also with --json; the traceback only for those who ask."""
    arguments = ("export", tmp_path / "no [where]\nat all", tmp_path / "out")
    message = error_of(program(*arguments), 3)
    assert f"{tmp_path}/no [where]\\nat all is not a folder" in message
    assert message == error_of(program(*arguments, "--json"), 3)
    debug = program("--debug", *arguments)
    assert debug.returncode == 3
    assert b"Traceback (most recent call last)" in debug.stderr
    assert debug.stderr.decode().endswith(message)
    assert not (tmp_path / "out").exists()
    assert made.exists()


def test_bad_values(made: Path, tmp_path: Path) -> None:
    """ggml reports bad values on its own; the user must read one line, and it must be ours."""
    checkpoint = small_checkpoint(tmp_path / "imp", dtype="f32")
    weights = checkpoint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\x00\x00\xc0\x7f")
    assert "NaN or infinite" in error_of(program("export", checkpoint, tmp_path / "out"), 3)
    assert made.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["export", "a"],
        ["export", "a", "b", "--bits", "5"],
        ["export", "a", "b", "--bits", ""],
        ["export", "a", "b", "--bits", "4,,8"],
        ["export", "a", "b", "--bits", "9" * 5000],
        ["export", "a", "b", "--resolution", "-1"],
        ["export", "a", "b", "--resolution", "many"],
        ["export", "a", "b", "--vision-bits", "2"],
        ["export", "a", "b", "--nonsense"],
        ["run", "a", "--image", "b"],
        ["run", "a", "--image", "b", "--prompt", "c", "--max-tokens", "0"],
        ["run", "a", "--image", "b", "--prompt", "c", "--device", "toaster"],
        ["bench", "a", "--device", "tcp:nowhere"],
        ["inspect"],
        ["nonsense"],
    ],
    ids=lambda arguments: " ".join(arguments)[:40],
)
def test_wrong_usage(arguments: list[str]) -> None:
    """Exit 2 tells a script that it is itself wrong, not the checkpoint."""
    done = in_process(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage:" in done.stderr


def test_wrong_usage_of_the_program() -> None:
    """The same through the real program."""
    done = program("export", "a", "b", "--bits", "5")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"not one of 16, 8, 4" in done.stderr


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", ""])
def test_name_with_a_slash(name: str, made: Path, tmp_path: Path) -> None:
    """The name becomes part of file names, and must not lead out of the folder."""
    done = program("export", made / "imp", tmp_path / "out", "--name", name)
    assert "--name" in error_of(done, 3)
    assert not (tmp_path / "out").exists()


def test_inspect_a_bundle(made: Path) -> None:
    """What `inspect` shows is what the manifest says."""
    done = program("inspect", made / "bundle", "--json")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((made / "bundle" / "bundle.json").read_text("utf-8"))
    assert json.loads(done.stdout) == manifest
    table = program("inspect", made / "bundle")
    assert b"mmproj-Imp-56-F16.gguf" in table.stdout
    assert b"[0]" not in table.stderr


def test_inspect_a_file(made: Path) -> None:
    """Long lists are cut, and the document stays one."""
    done = program("inspect", made / "bundle" / "Imp-Q4_0.gguf", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["metadata"]["general.name"] == "Imp"


def gguf(tensors: int, *parts: bytes) -> bytes:
    """A header that claims `tensors` tensors, and one entry `a`."""
    return b"GGUF" + struct.pack("<IQQQ", 3, tensors, 1, 1) + b"a" + b"".join(parts)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GGUF", id="magic"),
        pytest.param(b"GGUF" + b"\xff" * 60, id="ones"),
        pytest.param(b"text" * 20, id="text"),
        pytest.param(gguf(2**62, struct.pack("<II", 4, 1)), id="too many tensors"),
        pytest.param(gguf(0, struct.pack("<IIQ", 9, 4, 2**40)), id="list without end"),
        pytest.param(gguf(0, struct.pack("<IQ", 8, 2**60)), id="text without end"),
        pytest.param(gguf(0, struct.pack("<I", 9), struct.pack("<IQ", 9, 1) * 5000), id="nested"),
    ],
)
def test_inspect_what_is_no_gguf(content: bytes, tmp_path: Path) -> None:
    """A truncated copy is what people inspect."""
    (tmp_path / "a.gguf").write_bytes(content)
    message = error_of(program("inspect", tmp_path / "a.gguf"), 3)
    assert str(tmp_path / "a.gguf") in message


def test_inspect_nothing(tmp_path: Path) -> None:
    """A path that is neither."""
    assert "does not exist" in error_of(program("inspect", tmp_path / "none"), 3)
    assert "bundle.json" in error_of(program("inspect", tmp_path), 3)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--image", "none.png", "--prompt", "What?"], "none.png does not exist"),
        (["--image", ".", "--prompt", "What?"], "is a folder"),
        (["--image", "none.png", "--prompt", "  "], "The prompt is empty"),
        (["--image", "none.png", "--prompt", "<image>?"], "holds <image>"),
        (["--image", "none.png", "--prompt", "What?", "--resolution", "384"], "resolution 384"),
    ],
)
def test_run_with_bad_input(options: list[str], part: str, made: Path) -> None:
    """Everything is checked before the runner is built or the model is loaded."""
    assert part in error_of(program("run", made / "bundle", *options, "--json"), 3)


def test_paths_that_are_no_text(made: Path, tmp_path: Path) -> None:
    """A folder's name may be any bytes: the bundle must be written and the result printed."""
    out = os.fsencode(tmp_path) + b"/out \xff \xc3\xbc"
    command: list[str | bytes] = [sys.executable, "-m", "imp_deploy", "export", str(made / "imp")]
    command += [out, "--bits", "4"]
    for options in list[list[str | bytes]](([], ["--json"])):
        for locale in ("C.UTF-8", "C"):
            settings = {**os.environ, "LC_ALL": locale, "PYTHONIOENCODING": ""}
            done = subprocess.run(
                [*command, *options], capture_output=True, check=False, env=settings
            )
            assert done.returncode == 0, done.stderr
            if options:
                assert json.loads(done.stdout)["bundle"]["name"] == "imp"


def test_old_encodings(made: Path, tmp_path: Path) -> None:
    """JSON stays JSON where standard output cannot hold a name's letters."""
    done = program(
        *("export", made / "imp", tmp_path / "o", "--bits", "4", "--name", "模型ü😀", "--json"),
        PYTHONIOENCODING="latin-1",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.decode("latin-1"))["bundle"]["name"] == "模型ü😀"


def test_closed_output(made: Path) -> None:
    """`| head` is no reason for a traceback."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "imp_deploy", "inspect", str(made / "bundle"), "--json"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert b"Traceback" not in done.stderr
    assert b"Internal error" not in done.stderr

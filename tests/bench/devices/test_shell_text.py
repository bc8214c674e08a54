from __future__ import annotations

import shutil
import subprocess

import pytest

from imp_deploy.bench.shell_text import framed, unframed

# Those that this machine has; mksh is Android's shell.
SHELLS = [
    shell
    for shell in (["sh", "-c"], ["bash", "-c"], ["busybox", "ash", "-c"], ["mksh", "-c"])
    if shutil.which(shell[0])
]


def _run(shell: list[str], line: str) -> bytes:
    done = subprocess.run([*shell, line], capture_output=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
@pytest.mark.parametrize(
    ("command", "status", "text"),
    [
        ("echo one; echo two", 0, "one\ntwo\n"),
        ("printf 'no line end'", 0, "no line end"),
        ("false", 1, ""),
        ("exit 42", 42, ""),
        ("cd /; exit 3", 3, ""),
        ("echo out; echo err >&2", 0, "out\nerr\n"),
        ("sh -c 'kill -9 $$'", 137, None),
        ("cat", 0, ""),
        ("echo it\\'s 'a \"quote\"'", 0, 'it\'s a "quote"\n'),
        ("cat <<E\nhere $((1 + 1))\nE", 0, "here 2\n"),
        ("echo a # a comment", 0, "a\n"),
    ],
)
def test_status_and_text_come_back(
    shell: list[str], command: str, status: int, text: str | None
) -> None:
    frame = framed(command)
    output = unframed(frame, _run(shell, frame.line))
    assert output is not None
    assert output.status == status
    assert output.command == command
    if text is not None:
        assert output.text == text


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_a_command_that_is_no_shell_is_an_error_status_and_no_lost_link(shell: list[str]) -> None:
    frame = framed("echo 'never closed")
    output = unframed(frame, _run(shell, frame.line))
    assert output is not None
    assert output.status != 0


def test_noise_before_and_behind_is_no_output() -> None:
    frame = framed("echo hi")
    clean = _run(["sh", "-c"], frame.line)
    noisy = b"* daemon started successfully\r\nWARNING: linker: /x has text relocations\r\n"
    noisy += clean.replace(b"\n", b"\r\n") + b"\r\nlogout\r\n"
    output = unframed(frame, noisy)
    assert output is not None
    assert (output.status, output.text) == (0, "hi\n")


def test_a_terminal_that_doubles_line_ends() -> None:
    frame = framed("printf 'a\\nb\\n'")
    output = unframed(frame, _run(["sh", "-c"], frame.line).replace(b"\n", b"\r\r\n"))
    assert output is not None
    assert output.text == "a\nb\n"


def test_half_an_answer_is_not_taken_for_a_whole_one() -> None:
    """A link that breaks must not look like a command that printed less."""
    frame = framed("echo hi")
    whole = _run(["sh", "-c"], frame.line)
    end = whole.rindex(b":")
    assert all(unframed(frame, whole[:cut]) is None for cut in range(end))


def test_a_shell_that_repeats_the_line_in_an_error_is_not_believed() -> None:
    frame = framed("echo hi")
    assert unframed(frame, f"sh: cannot run: {frame.line}\n".encode()) is None


def test_bytes_that_are_no_text_do_not_stop_a_measurement() -> None:
    frame = framed("printf '\\377x'")
    output = unframed(frame, _run(["sh", "-c"], frame.line))
    assert output is not None
    assert output.text.endswith("x")

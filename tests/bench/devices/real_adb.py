from __future__ import annotations

from imp_deploy import process


class Adb:
    """The real adb program, with the server that the test's environment names."""

    def __call__(self, *arguments: str) -> str:
        finished = process.run(["adb", *arguments], timeout=30)
        assert finished.returncode == 0, finished.evidence()
        return finished.stdout

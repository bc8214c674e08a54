from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imp_deploy.bench import push_rate


@pytest.mark.usefixtures("virtual")
def test_our_pushes_are_not_much_slower_than_adbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is gigabytes. The aim is 0.8, for 200 MB on a quiet machine (`python -m
    imp_deploy.bench.push_rate`); adb-shell's own loop reached 0.2."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "0")  # both are set anew, and put back after
    rates = push_rate.measure(tmp_path, 60, 3)
    for way in ("through the adb server", "direct"):
        assert rates[way] > 0.5 * rates["adb push"], rates

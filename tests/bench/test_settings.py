"""The protocol that a measurement gets: the paper's, on the right cores, unless told otherwise."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imp_deploy.bench.settings import Settings, protocol_for
from imp_deploy.errors import BadInput
from imp_deploy.results import Core, Protocol
from tests.bench.report import made

SD_888 = replace(
    made.PHONE,
    soc="SM8350",
    cores=tuple(
        Core(cpu=i, max_khz=khz) for i, khz in enumerate([1804800] * 4 + [2419200] * 3 + [2841600])
    ),
)
PC = replace(made.PHONE, kind="host", cores=tuple(Core(cpu=i, max_khz=0) for i in range(4)))


def protocol(settings: Settings, device: object = made.PHONE) -> Protocol:
    return protocol_for(settings, device, "0" * 64)  # type: ignore[arg-type]


def test_the_default_is_the_papers() -> None:
    found = protocol(Settings())
    assert found.name == "paper"
    assert (found.text_tokens, found.generated_tokens) == (41, 64)
    assert (found.warmups, found.repetitions) == (1, 5)
    assert found.cooldown_celsius == 40.0


@pytest.mark.parametrize(
    "settings",
    [
        Settings(generated_tokens=32),
        Settings(text_tokens=40),
        Settings(prompt="What is this?"),
        Settings(warmups=0),
        Settings(repetitions=2),
    ],
)
def test_anything_else_is_not_called_the_papers(settings: Settings) -> None:
    assert protocol(settings).name == "custom"


def test_an_own_prompt_keeps_its_own_length() -> None:
    assert protocol(Settings(prompt="What is this?")).text_tokens is None
    assert protocol(Settings(prompt="What is this?", text_tokens=50)).text_tokens == 50


def test_the_big_cores_are_used() -> None:
    assert (protocol(Settings()).threads, protocol(Settings()).cpu_mask) == (6, "fc")
    found = protocol(Settings(), SD_888)
    assert (found.threads, found.cpu_mask) == (4, "f0")


def test_an_emulated_phone_gets_one_thread() -> None:
    assert protocol(Settings(), made.EMULATED).threads == 1
    assert protocol(Settings(threads=3), made.EMULATED).threads == 3


def test_fewer_threads_stay_on_the_big_cores_and_more_get_all() -> None:
    fewer, more = protocol(Settings(threads=2)), protocol(Settings(threads=8))
    assert (fewer.threads, fewer.cpu_mask) == (2, "fc")
    assert (more.threads, more.cpu_mask) == (8, "")


def test_the_host_is_measured_on_all_cores_without_rest() -> None:
    found = protocol(Settings(), PC)
    assert (found.threads, found.cpu_mask) == (0, "")
    assert (found.cooldown_celsius, found.cooldown_seconds) == (None, 0.0)


@pytest.mark.parametrize("mask", ["0", "100", "xyz", "-1", ""])
def test_a_mask_of_other_cores_is_bad_input(mask: str) -> None:
    with pytest.raises(BadInput, match="CPU mask"):
        protocol(Settings(cpu_mask=mask))


def test_a_mask_is_kept_in_one_form() -> None:
    assert protocol(Settings(cpu_mask="0xF0")).cpu_mask == "f0"

"""The processors that the phone can be: cores, clocks, features, names. Sources:
`facts/phones.md` of the project; Qualcomm's and Arm's public data for parts and clocks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CoreKind:
    """`part`: Arm's number in MIDR_EL1; clocks in kHz."""

    name: str
    part: int
    min_khz: int
    max_khz: int


@dataclass(frozen=True, kw_only=True)
class Soc:
    """`cores` in the order of the processors; `qemu_cpu` as `qemu-aarch64 -cpu` takes it: it has
    the instructions that `features` (as /proc/cpuinfo spells them) names, so that a program built
    for more dies with SIGILL as on the phone."""

    name: str
    board: str
    cores: tuple[CoreKind, ...]
    features: tuple[str, ...]
    qemu_cpu: str


_COMMON = (
    *("fp", "asimd", "evtstrm", "aes", "pmull", "sha1", "sha2", "crc32", "atomics", "fphp"),
    *("asimdhp", "cpuid", "asimdrdm", "lrcpc", "dcpop", "asimddp"),
)
_NEW = ("jscvt", "fcma", "sha3", "sm3", "sm4", "sha512", "asimdfhm", "dit", "uscat", "ilrcpc")

_A520 = CoreKind("Cortex-A520", 0xD80, 364_800, 2_265_600)
_A720 = CoreKind("Cortex-A720", 0xD81, 499_200, 3_148_800)
_A720_LOW = CoreKind("Cortex-A720", 0xD81, 499_200, 2_956_800)
_X4 = CoreKind("Cortex-X4", 0xD82, 480_000, 3_302_400)
_A55 = CoreKind("Cortex-A55", 0xD05, 300_000, 1_804_800)
_A78 = CoreKind("Cortex-A78", 0xD41, 710_400, 2_419_200)
_X1 = CoreKind("Cortex-X1", 0xD44, 844_800, 2_841_600)

SOCS = {
    soc.name: soc
    for soc in (
        Soc(
            name="SM8650",
            board="pineapple",
            cores=(*[_A520] * 2, *[_A720] * 3, *[_A720_LOW] * 2, _X4),
            features=(*_COMMON, *_NEW, "flagm", "ssbs", "sb", "flagm2", "frint", "i8mm", "bf16"),
            qemu_cpu="max,sve=off,sme=off",
        ),
        Soc(
            name="SM8350",
            board="lahaina",
            cores=(*[_A55] * 4, *[_A78] * 3, _X1),
            features=_COMMON,
            # Armv8.2 with half precision and dot products, without i8mm and bf16, as the X1.
            qemu_cpu="neoverse-n1",
        ),
    )
}

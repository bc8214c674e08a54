"""Figures that the paper printed, and the rules by which they stand beside ours.

Source: arXiv 2405.12107v2, every row of its Tables 3 and 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from imp_deploy.results import BundleRecord, Result, VariantRecord

SOURCE: Final = "arXiv 2405.12107v2, Table 4"
LINK: Final = "https://arxiv.org/abs/2405.12107v2"
RULE: Final = (
    "The paper's figures stand beside a row when the result is complete, its device is real and "
    "has the paper's SoC (SM8650 is SD 8Gen3, SM8350 is SD 888), the bundle is of family imp-phi2 "
    "and called Imp-3B (a version as in Imp-v1.5-3B, or a resolution as in Imp-3B-196, may be part "
    "of the name), the vision tower has 16 bits, and the protocol is the paper's."
)

ACCURACY_SOURCE: Final = "arXiv 2405.12107v2, Tables 3 and 4"
ACCURACY_RULE: Final = (
    "The paper's accuracies were computed on an RTX 3090. They stand beside a score when the "
    "bundle is of family imp-phi2 and called Imp-3B (a version as in Imp-v1.5-3B, or a resolution "
    "as in Imp-3B-196, may be part of the name) and the vision tower has 16 bits: SQA-I and MMB of "
    "Table 4 by resolution and bits, the other benchmarks of Table 3 at 384 and 16 bits. Their "
    "split, prompts and scoring may be others than ours."
)

PLACES: Final = 2  # decimals, as its phone rows are printed

_NAME = re.compile(r"imp(-v\d+(\.\d+)*)?-3b(-\d+)?", re.IGNORECASE)
_FAMILY = "imp-phi2"
_VISION_BITS = 16  # not printed; the table's sizes fit only with a vision part of 16 bits
ACCURACY_HARDWARE: Final = "RTX 3090"
_HARDWARE = {"SM8650": "SD 8Gen3", "SM8350": "SD 888"}


@dataclass(frozen=True)
class PaperRow:
    """`size` in GiB, T_VE and T_total in seconds, S_prompt and S_gen in tokens per second; the last
    two are accuracies in percent, where the paper gives them."""

    model: str
    resolution: int
    bits: int
    size: float
    hardware: str
    T_VE: float
    S_prompt: float
    S_gen: float
    T_total: float
    sqa_image: float | None = None
    mmb: float | None = None

    def metrics(self) -> dict[str, float]:
        return {
            "T_VE": self.T_VE,
            "S_prompt": self.S_prompt,
            "S_gen": self.S_gen,
            "T_total": self.T_total,
        }


TABLE4: Final = (
    PaperRow("MobileVLM-3B", 336, 16, 5.6, "RTX 3090", 0.027, 5919.84, 102.57, 0.70, 60.19, 56.70),
    PaperRow("MobileVLM-3B", 336, 8, 3.3, "RTX 3090", 0.027, 3937.64, 137.26, 0.57, 60.19, 56.63),
    PaperRow("MobileVLM-3B", 336, 8, 3.3, "SD 8Gen3", 4.93, 17.19, 13.79, 21.10),
    PaperRow("MobileVLM-3B", 336, 8, 3.3, "SD 888", 9.70, 11.18, 6.85, 37.09),
    PaperRow("MobileVLM-3B", 336, 4, 2.1, "RTX 3090", 0.027, 4006.48, 176.17, 0.47, 58.70, 55.76),
    PaperRow("MobileVLM-3B", 336, 4, 2.1, "SD 8Gen3", 4.93, 15.73, 13.07, 22.23),
    PaperRow("MobileVLM-3B", 336, 4, 2.1, "SD 888", 9.63, 10.73, 8.15, 35.85),
    PaperRow("Imp-3B", 384, 16, 6.0, "RTX 3090", 0.045, 6125.18, 97.91, 0.83, 73.13, 71.05),
    PaperRow("Imp-3B", 384, 8, 3.6, "RTX 3090", 0.043, 4731.30, 138.17, 0.68, 73.03, 71.05),
    PaperRow("Imp-3B", 384, 8, 3.6, "SD 8Gen3", 8.57, 15.73, 11.91, 63.57),
    PaperRow("Imp-3B", 384, 8, 3.6, "SD 888", 17.52, 10.10, 5.82, 105.80),
    PaperRow("Imp-3B", 384, 4, 2.3, "RTX 3090", 0.043, 4814.34, 167.17, 0.59, 72.88, 70.88),
    PaperRow("Imp-3B", 384, 4, 2.3, "SD 8Gen3", 8.88, 14.02, 11.02, 70.12),
    PaperRow("Imp-3B", 384, 4, 2.3, "SD 888", 16.9, 9.89, 6.74, 105.05),
    PaperRow("Imp-3B", 196, 16, 6.0, "RTX 3090", 0.018, 6325.2, 101.71, 0.69, 68.37, 63.40),
    PaperRow("Imp-3B", 196, 8, 3.6, "RTX 3090", 0.017, 3744.14, 137.57, 0.57, 68.42, 63.66),
    PaperRow("Imp-3B", 196, 8, 3.6, "SD 8Gen3", 2.09, 17.12, 13.63, 21.24),
    PaperRow("Imp-3B", 196, 8, 3.6, "SD 888", 4.02, 11.68, 6.86, 34.65),
    PaperRow("Imp-3B", 196, 4, 2.3, "RTX 3090", 0.017, 3930.54, 170.42, 0.48, 68.47, 63.14),
    PaperRow("Imp-3B", 196, 4, 2.3, "SD 8Gen3", 2.10, 15.64, 12.73, 22.72),
    PaperRow("Imp-3B", 196, 4, 2.3, "SD 888", 4.02, 10.84, 8.31, 34.37),
)


TASKS: Final = (
    "vqav2",
    "gqa",
    "vizwiz",
    "scienceqa",
    "textvqa",
    "pope",
    "mme",
    "mmbench",
    "mmbench-cn",
    "mmvet",
)
"""Our names of Table 3's columns, in its order."""

TABLE3: Final[dict[str, tuple[float | None, ...]]] = {
    "Imp-2B": (79.2, 61.9, 39.6, 66.1, 54.5, 86.7, 1304.8, 63.8, 61.3, 33.5),
    "Imp-3B": (81.2, 63.5, 54.1, 72.8, 59.8, 88.0, 1446.4, 72.9, 46.7, 43.3),
    "Imp-4B": (81.5, 63.5, 51.2, 78.3, 60.2, 86.9, 1507.7, 73.3, 61.1, 44.6),
    "LLaVA-1.5-7B": (79.1, 63.0, 50.0, 68.4, 58.2, 86.4, 1476.9, 66.1, 58.9, 30.2),
    "LLaVA-1.5-13B": (80.0, 63.3, 53.6, 71.2, 60.2, 86.7, 1541.7, 68.5, 61.5, 38.3),
    "MobileVLM-3B": (None, 59.0, None, 61.0, 47.5, 84.9, 1288.9, 59.6, None, None),
}
"""Accuracy at 16 bits and, for Imp, 384; columns as `TASKS`, MME-P out of 2000."""


@dataclass(frozen=True)
class Printed:
    """An accuracy with as many `decimals` as the paper prints, and which table has it. `elsewhere`:
    what Table 3 says of the same, where it differs."""

    value: float
    decimals: int
    table: int
    elsewhere: float | None = None


def accuracy(bundle: BundleRecord, variant: VariantRecord, task: str) -> Printed | None:
    """The paper's accuracy of the same model, resolution and bits, by `ACCURACY_RULE`."""
    if not _same_model(bundle, variant) or task not in TASKS:
        return None
    third = TABLE3["Imp-3B"][TASKS.index(task)]
    if (variant.resolution, variant.bits) != (384, 16):
        third = None
    fourth = _table4(variant, task)
    if fourth is not None:
        return Printed(fourth, 2, 4, third if third != fourth else None)
    return None if third is None else Printed(third, 1, 3)


def _table4(variant: VariantRecord, task: str) -> float | None:
    wanted = ("Imp-3B", variant.resolution, variant.bits, ACCURACY_HARDWARE)
    for row in TABLE4:
        if (row.model, row.resolution, row.bits, row.hardware) == wanted:
            return {"scienceqa": row.sqa_image, "mmbench": row.mmb}.get(task)
    return None


def _same_model(bundle: BundleRecord, variant: VariantRecord) -> bool:
    return (
        bundle.family == _FAMILY
        and _NAME.fullmatch(bundle.name) is not None
        and variant.vision_bits == _VISION_BITS
    )


def counterpart(result: Result) -> PaperRow | None:
    """The paper's row for what `result` measured, by `RULE`; None where there is none."""
    hardware = paper_hardware(result.device.soc)
    comparable = (
        not result.device.emulated
        and result.complete
        and _same_model(result.bundle, result.variant)
        and result.protocol.name == "paper"
    )
    if not comparable or hardware is None:
        return None
    variant = ("Imp-3B", result.variant.resolution, result.variant.bits, hardware)
    return next(
        (r for r in TABLE4 if (r.model, r.resolution, r.bits, r.hardware) == variant),
        None,
    )


def paper_hardware(soc: str) -> str | None:
    """What the paper calls a SoC, whatever its vendor puts around the part number."""
    return next((name for part, name in _HARDWARE.items() if part in soc.upper()), None)

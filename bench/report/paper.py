"""Figures that the paper printed, and the rules by which they stand beside ours.

Source: arXiv 2405.12107v2, every row of its Tables 3 and 4.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from imp_deploy.bundle import default_vision_bits
from imp_deploy.results import BundleRecord, Result, VariantRecord

SOURCE: Final = "arXiv 2405.12107v2, Table 4"
LINK: Final = "https://arxiv.org/abs/2405.12107v2"
_MODEL: Final = (
    "the bundle is called like one of the paper's models (as on the hub, or as in the paper: "
    "Imp-v1.5-3B-Phi2 or Imp-3B, Imp-3B-196, MobileVLM-3B, llava-v1.5-7b, ...) and of its family, "
    "the vision tower has 16 bits, as the sizes say that the paper's had, or 8 beside a language "
    "model of 8 or 4 bits, as `export` makes them, and then the row says so"
)
RULE: Final = (
    "The paper's figures stand beside a row when the result is complete, its device is real and "
    f"has the paper's SoC (SM8650 is SD 8Gen3, SM8350 is SD 888), {_MODEL}, and the protocol is "
    "the paper's."
)

ACCURACY_SOURCE: Final = "arXiv 2405.12107v2, Tables 3 and 4"
ACCURACY_RULE: Final = (
    "The paper's accuracies were computed on an RTX 3090. They stand beside a score when "
    f"{_MODEL}: SQA-I and MMB of Table 4 by resolution and bits, the other benchmarks of Table 3 "
    "at 16 bits and the model's full resolution. Their split, prompts and scoring may be others "
    "than ours."
)

PLACES: Final = 2  # decimals, as its phone rows are printed

_VISION_BITS = 16  # not printed; the table's sizes fit only with a vision part of 16 bits
ACCURACY_HARDWARE: Final = "RTX 3090"
_HARDWARE = {"SM8650": "SD 8Gen3", "SM8350": "SD 888"}


@dataclass(frozen=True)
class PaperModel:
    """A model of the paper's tables. `families`: ours; `called`: what a bundle of it may be called,
    whatever the case; `side`: of the pictures of Table 3, in pixels."""

    name: str
    families: tuple[str, ...]
    called: str
    side: int


MODELS: Final = (
    PaperModel("Imp-2B", ("imp-qwen2",), r"imp(-v[\d.]+)?-2b(-qwen1\.5)?", 384),
    PaperModel("Imp-3B", ("imp-phi2",), r"imp(-v[\d.]+)?-3b(-phi2)?(-\d+)?", 384),
    PaperModel("Imp-4B", ("imp-phi3",), r"imp(-v[\d.]+)?-4b(-phi3)?", 384),
    PaperModel("LLaVA-1.5-7B", ("llava", "llava-hf"), r"llava-v?1\.5-7b(-hf)?", 336),
    PaperModel("LLaVA-1.5-13B", ("llava", "llava-hf"), r"llava-v?1\.5-13b(-hf)?", 336),
    PaperModel("MobileVLM-3B", ("mobilevlm",), r"mobilevlm-3b", 336),
)


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
"""Accuracy at 16 bits; columns as `TASKS`, MME-P out of 2000."""


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
    model = _model_of(bundle, variant)
    if model is None or task not in TASKS:
        return None
    third = TABLE3[model.name][TASKS.index(task)]
    if (variant.resolution, variant.bits) != (model.side, 16):
        third = None
    fourth = _table4(model, variant, task)
    if fourth is not None:
        return Printed(fourth, 2, 4, third if third != fourth else None)
    return None if third is None else Printed(third, 1, 3)


def _table4(model: PaperModel, variant: VariantRecord, task: str) -> float | None:
    row = _row(model, variant, ACCURACY_HARDWARE)
    if row is None:
        return None
    return {"scienceqa": row.sqa_image, "mmbench": row.mmb}.get(task)


def _row(model: PaperModel, variant: VariantRecord, hardware: str) -> PaperRow | None:
    wanted = (model.name, variant.resolution, variant.bits, hardware)
    return next((r for r in TABLE4 if (r.model, r.resolution, r.bits, r.hardware) == wanted), None)


def _model_of(bundle: BundleRecord, variant: VariantRecord) -> PaperModel | None:
    """The paper's model that a variant is one of."""
    if variant.vision_bits not in (_VISION_BITS, default_vision_bits(variant.bits)):
        return None
    return next(
        (
            model
            for model in MODELS
            if bundle.family in model.families
            and re.fullmatch(model.called, bundle.name, re.IGNORECASE)
        ),
        None,
    )


def counterpart(result: Result) -> PaperRow | None:
    """The paper's row for what `result` measured, by `RULE`; None where there is none."""
    hardware = paper_hardware(result.device.soc)
    model = _model_of(result.bundle, result.variant)
    comparable = not result.device.emulated and result.complete and result.protocol.name == "paper"
    if not comparable or hardware is None or model is None:
        return None
    return _row(model, result.variant, hardware)


def paper_hardware(soc: str) -> str | None:
    """What the paper calls a SoC, whatever its vendor puts around the part number."""
    return next((name for part, name in _HARDWARE.items() if part in soc.upper()), None)

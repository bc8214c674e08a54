"""Small random checkpoints in every layout that is met in the wild.

The weights depend on family, sizes and seed alone, and every value is exact in F16, BF16 and F32:
two layouts of one seed are the same model, and must give the same result to the last bit.
"""

from tests.checkpoints.lora import make_lora
from tests.checkpoints.make import make_checkpoint, tower_of
from tests.checkpoints.plain import make_plain
from tests.checkpoints.values import Family, Llm, Naming, Random, Sizes

__all__ = [
    "Family",
    "Llm",
    "Naming",
    "Random",
    "Sizes",
    "make_checkpoint",
    "make_lora",
    "make_plain",
    "tower_of",
]

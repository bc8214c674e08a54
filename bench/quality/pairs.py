"""Which variants are compared with which reference, and whether they can be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from imp_deploy import bundle as bundles
from imp_deploy.bundle import Bundle, Variant
from imp_deploy.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a comparison. Each is asked with its own bundle's template and preprocessing."""

    folder: Path
    bundle: Bundle
    variant: Variant

    @property
    def resolution(self) -> int:
        assert self.variant.vision.resolution is not None
        return self.variant.vision.resolution

    @property
    def visual_tokens(self) -> int:
        assert self.variant.vision.visual_tokens is not None
        return self.variant.vision.visual_tokens

    @property
    def files(self) -> tuple[Path, Path]:
        """Language model and vision tower."""
        return self.folder / self.variant.llm.path, self.folder / self.variant.vision.path


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`vocabulary` and `hidden`: the lengths of a row of logits and of a visual embedding, the same
    on both sides."""

    reference: Side
    candidate: Side
    vocabulary: int
    hidden: int


def pairs(
    folder: Path,
    *,
    reference: Path | None = None,
    bits: Sequence[int] | None = None,
    resolutions: Sequence[int] | None = None,
    vision_bits: Sequence[int] | None = None,
) -> tuple[Pair, ...]:
    """The variants asked for of the bundle in `folder`, each with the 16-bit variant of its
    resolution, tower included, in the bundle `reference` (None: the same bundle; then this variant
    itself is only compared where its language model is asked for). `vision_bits` None: the tower
    that goes with the language model, or the nearest. Files that are not as they were exported,
    and sides that have no common vocabulary, are bad input."""
    bundle = bundles.load(folder)
    where = folder if reference is None else reference
    origin = bundle if reference is None else bundles.load(reference)
    found = []
    for variant in _variants(bundle, bits, resolutions, vision_bits):
        is_16 = variant.llm.bits == variant.vision.bits == 16
        if is_16 and reference is None and 16 not in (bits or ()):
            continue
        candidate = Side(folder=folder, bundle=bundle, variant=variant)
        found.append((_reference(where, origin, candidate), candidate))
    if not found:
        raise BadInput(
            f"{folder} has nothing but the 16-bit reference itself to compare; export it with "
            "--bits 8,4 as well, or ask for --bits 16, or for a tower with --vision-bits."
        )
    sides = [side for pair in found for side in pair]
    for place in {side.folder for side in sides}:
        bundles.require_unchanged(place, [s.variant for s in sides if s.folder == place])
    lengths = {path: _lengths(path) for path in dict.fromkeys(side.files[0] for side in sides)}
    return tuple(_pair(*pair, lengths) for pair in found)


def _variants(
    bundle: Bundle,
    bits: Sequence[int] | None,
    resolutions: Sequence[int] | None,
    vision_bits: Sequence[int] | None,
) -> list[Variant]:
    towers = [file for file in bundle.files if file.role == "vision"]
    return [
        bundles.choose(bundle, bits=b, resolution=r, vision_bits=v)
        for r in resolutions or _sorted(file.resolution or 0 for file in towers)
        for v in vision_bits or (None,)
        for b in bits or _sorted(file.bits for file in bundle.files if file.role == "llm")
    ]


def _sorted(values: Iterable[int]) -> list[int]:
    return sorted(set(values), reverse=True)


def _reference(folder: Path, bundle: Bundle, candidate: Side) -> Side:
    """The 16-bit variant of `bundle` at the candidate's resolution."""
    llm = [file for file in bundle.files if file.role == "llm" and file.bits == 16]
    side = candidate.resolution
    towers = [file for file in bundle.files if file.resolution == side and file.bits == 16]
    for files, what in ((llm, "language model"), (towers, f"vision tower at {side} pixels")):
        if not files:
            raise BadInput(
                f"{folder} holds no 16-bit {what}, which is the reference; export it with 16 bits, "
                "or give --reference a bundle that has it."
            )
    return Side(folder=folder, bundle=bundle, variant=Variant(llm=llm[0], vision=towers[0]))


def _pair(reference: Side, candidate: Side, lengths: dict[Path, tuple[int, int]]) -> Pair:
    first, second = (lengths[side.files[0]] for side in (reference, candidate))
    rows = (
        ("a vocabulary of", first[0], second[0], "tokens"),
        ("embeddings of", first[1], second[1], "numbers"),
        ("pictures of", reference.visual_tokens, candidate.visual_tokens, "visual tokens"),
    )
    for what, before, now, unit in rows:
        if before != now:
            raise BadInput(
                f"{candidate.files[0]} has {what} {now} {unit} and the reference "
                f"{reference.files[0]} {before}, so they cannot be compared; give --reference "
                "another release of the same model."
            )
    return Pair(reference=reference, candidate=candidate, vocabulary=first[0], hidden=first[1])


def _lengths(path: Path) -> tuple[int, int]:
    """Vocabulary and hidden size of a language model: the shape of its token embeddings."""
    try:
        tensors = GGUFReader(path).tensors
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise BadInput(f"{path} cannot be read ({error}); export the bundle again.") from None
    shape = next((t.shape for t in tensors if t.name == "token_embd.weight"), None)
    if shape is None:
        raise BadInput(f"{path} holds no token embeddings; export the bundle again.")
    return int(shape[1]), int(shape[0])

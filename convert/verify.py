"""Parity of a bundle with the PyTorch fp32 reference of the checkpoint it was made from."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imp_deploy import bundle as bundles
from imp_deploy import prompt, runner
from imp_deploy.build.host import build_host
from imp_deploy.bundle import Bundle, BundleFile, Variant
from imp_deploy.convert.hub import Located
from imp_deploy.convert.model import read_model, tokenizer_folder
from imp_deploy.convert.tokenizer_files import added_tokens
from imp_deploy.demo import scenes
from imp_deploy.errors import BadInput
from imp_deploy.image import load_rgb, write_ppm

if TYPE_CHECKING:
    from imp_deploy.convert.reference import Reference

Array = np.ndarray[Any, np.dtype[np.float32]]

# 16-bit files must reach this in every patch; measured is 0.9999996.
MIN_COSINE_16 = 0.9999
# Measured on random checkpoints: up to 0.02, from F16 activations and ggml's table of GELU.
MAX_LOGIT_ERROR_16 = 0.05


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image through one variant. `tokens_equal` of `tokens`: greedy tokens up to the first
    difference; `margin`: the reference's lead of its own token there (0 without difference).
    Logits are compared over the equal tokens and the first different one: `logit_error` is the RMS
    of the difference over the standard deviation of the reference's logits."""

    image: str
    size: tuple[int, int]
    bits: int
    resolution: int
    vision_bits: int
    worst_cosine: float
    mean_cosine: float
    max_logit_difference: float
    logit_error: float
    tokens_equal: int
    tokens: int
    margin: float

    @property
    def tokens_agree(self) -> bool:
        """Equal, or parted where two logits lie nearer than both may be off: a tie."""
        return self.margin <= 2 * self.max_logit_difference


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """None: no bound. The cosine's applies to 8 and 4 bits too only where the user gave it."""

    min_cosine: float | None = None
    max_logit_difference: float | None = None


def failures(rows: Sequence[Row], bounds: Bounds) -> list[str]:
    """Why the check fails, one sentence per broken bound; empty when it passes."""
    found = []
    for row in rows:
        what = f"{row.image} at {row.bits} bits, {row.resolution} pixels"
        exact = row.bits == 16 and row.vision_bits == 16
        cosine = bounds.min_cosine
        if cosine is None and row.vision_bits == 16:
            cosine = MIN_COSINE_16
        if cosine is not None and not row.worst_cosine >= cosine:
            found.append(f"{what}: worst cosine {row.worst_cosine:.7f} is below {cosine}.")
        limit = bounds.max_logit_difference
        if limit is not None and not row.max_logit_difference <= limit:
            found.append(
                f"{what}: logits differ by {row.max_logit_difference:.4f}, more than {limit}."
            )
        if exact and not row.logit_error <= MAX_LOGIT_ERROR_16:
            found.append(
                f"{what}: logits are off by {row.logit_error:.1%} of their spread, more than "
                f"{MAX_LOGIT_ERROR_16:.0%}."
            )
        if exact and not row.tokens_agree:
            found.append(
                f"{what}: greedy token {row.tokens_equal + 1} differs, where the reference leads "
                f"by {row.margin:.3f}."
            )
    return found


def verify(
    folder: Path,
    bundle: Bundle,
    reference: Located,
    images: Sequence[Path],
    *,
    question: str,
    max_tokens: int,
    bits: tuple[int, ...] | None = None,
    resolutions: tuple[int, ...] | None = None,
) -> list[Row]:
    """Every language model and every tower of the bundle (or those asked for), in variants that go
    together, on every image; without images, on drawn ones of several shapes."""
    from imp_deploy.convert.reference import load_reference

    pictures = [(str(path), load_rgb(path)) for path in images] or drawn_pictures()
    llms = [f for f in bundle.files if f.role == "llm" and (bits is None or f.bits in bits)]
    visions = [
        f
        for f in bundle.files
        if f.role == "vision" and (resolutions is None or f.resolution in resolutions)
    ]
    if not llms or not visions:
        raise BadInput(f"{folder} has no such variant; `imp-deploy inspect {folder}` lists them.")
    texts = _prompt_ids(bundle, reference, question)
    rows = []
    loaded = load_reference(reference.folder, vision_tower=reference.tower, base=reference.base)
    for resolution in sorted({f.resolution or 0 for f in visions}):
        model = dataclasses.replace(loaded, side=resolution)
        wanted = [_expected(model, picture, texts, max_tokens) for _, picture in pictures]
        for variant in _variants(bundle, llms, [f for f in visions if f.resolution == resolution]):
            rows += _compare(folder, bundle, variant, pictures, wanted, question)
    return rows


def _variants(
    bundle: Bundle, llms: Sequence[BundleFile], towers: Sequence[BundleFile]
) -> list[Variant]:
    """Every language model with the tower that goes with it, and every other tower too."""
    part = dataclasses.replace(bundle, files=(*llms, *towers))
    found = [bundles.choose(part, bits=llm.bits) for llm in llms]
    used = {variant.vision.path for variant in found}
    return found + [Variant(llm=llms[0], vision=t) for t in towers if t.path not in used]


def drawn_pictures() -> list[tuple[str, Image.Image]]:
    """Landscape, portrait, square and tiny, drawn."""
    found: dict[str, Image.Image] = {}
    index = 0
    while len(found) < 3:
        picture = scenes.draw(scenes.scene_at("test", index))
        shape = (picture.width > picture.height) - (picture.width < picture.height)
        found.setdefault(("square", "landscape", "portrait")[shape], picture)
        index += 1
    tiny = found["landscape"].resize((9, 5))
    return [(f"drawn {name}", picture) for name, picture in found.items()] + [("drawn tiny", tiny)]


@dataclass(frozen=True)
class _Texts:
    """Token ids around the image."""

    before: list[int]
    after: list[int]


@dataclass(frozen=True)
class _Expected:
    embeddings: Array
    token_ids: list[int]
    logits: Array


def _expected(model: Reference, picture: Image.Image, texts: _Texts, max_tokens: int) -> _Expected:
    embeddings = model.embed(picture)
    ids, logits = model.greedy(texts.before, embeddings, texts.after, max_tokens, None)
    return _Expected(embeddings, ids, logits)


def _prompt_ids(bundle: Bundle, reference: Located, question: str) -> _Texts:
    """By the checkpoint's own tokenizer, not by the one that was exported."""
    filled = prompt.fill(bundle.prompt, question)
    before, after = filled.split(prompt.IMAGE)
    folder, base = reference.folder, reference.base
    encode = _encoder(folder if base is None else tokenizer_folder(folder, base), filled)
    # By the exporter's reader: old Phi configs give fewer rows than the table has.
    vocabulary = read_model(folder, reference.tower, bundle.name, base).vocabulary
    start = [vocabulary.special["bos_token_id"]] if vocabulary.add_bos else []
    return _Texts(before=start + encode(before), after=encode(after))


def _encoder(checkpoint: Path, text: str) -> Callable[[str], list[int]]:
    """What gives the ids of parts of `text`, as the training code did."""
    try:
        from sentencepiece import SentencePieceProcessor
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError:
        raise BadInput(
            "verify needs PyTorch and transformers; run `pip install 'imp-deploy[torch]'`."
        ) from None
    special = any(added.text in text for added in added_tokens(checkpoint).values())
    if (checkpoint / "tokenizer.model").is_file() and not special:
        # transformers 5 splits runs of spaces in another way than sentencepiece, which LLaMA's
        # tokenizer was trained by.
        model: Any = SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))
        return lambda part: list(model.encode(part))
    if (checkpoint / "tokenizer.json").is_file():
        kind: Any = PreTrainedTokenizerFast
        tokenizer = kind(tokenizer_file=str(checkpoint / "tokenizer.json"))
    else:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    return lambda part: list(tokenizer.encode(part, add_special_tokens=False))


def _compare(
    folder: Path,
    bundle: Bundle,
    variant: Variant,
    pictures: Sequence[tuple[str, Image.Image]],
    wanted: Sequence[_Expected],
    question: str,
) -> list[Row]:
    llm, vision = variant.llm, variant.vision
    assert vision.resolution is not None
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        steps = []
        for i, (_, picture) in enumerate(pictures):
            write_ppm(picture, place / f"{i}.ppm")
            steps.append(
                runner.Step(
                    id=str(i),
                    prompt=prompt.fill(bundle.prompt, question),
                    max_tokens=len(wanted[i].token_ids),
                    image=place / f"{i}.ppm",
                    side=vision.resolution,
                    mode=bundle.preprocess.mode,
                    ignore_eog=True,
                    embeddings=place / f"{i}.embeddings",
                    logits=place / f"{i}.logits",
                )
            )
        job = runner.Job(
            model=folder / llm.path,
            mmproj=folder / vision.path,
            stop=bundle.prompt.stop,
            steps=tuple(steps),
        )
        answers = runner.run_job(build_host(), job, place)
        return [
            _row(name, picture, llm, vision, answer, expected, place / str(i))
            for i, ((name, picture), answer, expected) in enumerate(
                zip(pictures, answers, wanted, strict=True)
            )
        ]


def _row(
    name: str,
    picture: Image.Image,
    llm: BundleFile,
    vision: BundleFile,
    answer: runner.Answer,
    expected: _Expected,
    files: Path,
) -> Row:
    embeddings = np.fromfile(files.with_suffix(".embeddings"), dtype="<f4")
    logits = np.fromfile(files.with_suffix(".logits"), dtype="<f4")
    for what, ours, theirs in (
        ("visual embeddings", embeddings, expected.embeddings),
        ("logits", logits, expected.logits[: len(answer.token_ids)]),
    ):
        if ours.size != theirs.size:
            raise BadInput(
                f"The {what} of {llm.path} with {vision.path} are {ours.size} values and the "
                f"reference's {theirs.size}; give the checkpoint that the bundle was made from."
            )
    cosine = cosines(embeddings.reshape(expected.embeddings.shape), expected.embeddings)
    logits = logits.reshape(len(answer.token_ids), -1)
    equal = _equal_prefix(answer.token_ids, expected.token_ids)
    compared = min(equal + 1, len(expected.token_ids))
    wanted = expected.logits[:compared]
    difference = logits[:compared] - wanted
    margin = 0.0
    if equal < len(expected.token_ids):
        theirs = expected.logits[equal]
        margin = float(theirs.max() - theirs[answer.token_ids[equal]])
    return Row(
        image=name,
        size=picture.size,
        bits=llm.bits,
        resolution=vision.resolution or 0,
        vision_bits=vision.bits,
        worst_cosine=float(cosine.min()),
        mean_cosine=float(cosine.mean()),
        max_logit_difference=float(np.abs(difference).max()),
        logit_error=float(np.sqrt(np.mean(difference**2)) / wanted.std()),
        tokens_equal=equal,
        tokens=len(expected.token_ids),
        margin=margin,
    )


def cosines(a: Array, b: Array) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Per row of [n, width]; a NaN anywhere gives NaN, which no bound accepts."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(a64, axis=1) * np.linalg.norm(b64, axis=1)
    result: np.ndarray[Any, np.dtype[np.float64]] = (a64 * b64).sum(axis=1) / norms
    return result


def _equal_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))

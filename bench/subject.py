"""What is measured: the variants of a bundle, the picture and the prompt."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import bundle as bundles
from imp_deploy import prompt
from imp_deploy.bench.picture import default_picture
from imp_deploy.bench.settings import Settings
from imp_deploy.bundle import Bundle, BundleFile, Variant
from imp_deploy.image import load_rgb
from imp_deploy.results import BundleRecord, FileRecord, VariantRecord


@dataclass(frozen=True, kw_only=True)
class Subject:
    """`picture`: the decoded image as binary PPM, which the runner reads without loss. `filled`:
    the whole prompt in the bundle's template."""

    folder: Path
    bundle: Bundle
    variants: tuple[Variant, ...]
    picture: bytes
    filled: str

    @property
    def picture_sha256(self) -> str:
        return hashlib.sha256(self.picture).hexdigest()

    @property
    def files(self) -> tuple[BundleFile, ...]:
        """Those of all variants, each once."""
        used = {f.path: f for v in self.variants for f in (v.llm, v.vision)}
        return tuple(used.values())


def prepare(folder: Path, settings: Settings) -> Subject:
    """Reads the bundle and the picture. Files that are not as they were exported are bad input."""
    bundle = bundles.load(folder)
    picture = default_picture() if settings.image is None else load_rgb(settings.image)
    buffer = io.BytesIO()
    picture.save(buffer, format="PPM")
    subject = Subject(
        folder=folder,
        bundle=bundle,
        variants=_variants(bundle, settings),
        picture=buffer.getvalue(),
        filled=prompt.fill(bundle.prompt, settings.question),
    )
    bundles.require_unchanged(folder, subject.variants)
    return subject


def _variants(bundle: Bundle, settings: Settings) -> tuple[Variant, ...]:
    bits = settings.bits or _found(bundle, "llm")
    resolutions = settings.resolutions or _found(bundle, "vision")
    return tuple(
        bundles.choose(bundle, bits=b, resolution=r, vision_bits=settings.vision_bits)
        for r in resolutions
        for b in bits
    )


def _found(bundle: Bundle, role: str) -> tuple[int, ...]:
    """The bits of its language models, or the resolutions of its towers; largest first."""
    values = {f.bits if role == "llm" else f.resolution for f in bundle.files if f.role == role}
    return tuple(sorted((v for v in values if v is not None), reverse=True))


def variant_record(variant: Variant) -> VariantRecord:
    vision = variant.vision
    assert vision.resolution is not None
    assert vision.visual_tokens is not None
    return VariantRecord(
        bits=variant.llm.bits,
        resolution=vision.resolution,
        vision_bits=vision.bits,
        visual_tokens=vision.visual_tokens,
    )


def bundle_record(bundle: Bundle, variant: Variant) -> BundleRecord:
    return BundleRecord(
        name=bundle.name,
        family=bundle.source.family,
        weights_sha256=bundle.source.weights_sha256,
        files=tuple(
            FileRecord(
                path=f.path, role=f.role, bits=f.bits, type=f.type, bytes=f.bytes, sha256=f.sha256
            )
            for f in (variant.llm, variant.vision)
        ),
    )

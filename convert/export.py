"""`export`: a checkpoint in, a bundle out; in one pass, resumable, nothing half-written."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from imp_deploy import bundle as bundles
from imp_deploy import llama, prompt
from imp_deploy.bundle import MANIFEST, Bundle, BundleFile, LlamaCpp, Preprocess, Source
from imp_deploy.convert import ggml, identity, notes, partial, recipes
from imp_deploy.convert.layout import OutputFile
from imp_deploy.convert.model import Model, read_model
from imp_deploy.convert.plan import Options, Plan, Target, make_plan
from imp_deploy.convert.stream import combine, hash_weights, in_file_order, stream
from imp_deploy.errors import BadInput, ImpError
from imp_deploy.files import (
    full_disk_is_bad_input,
    locked,
    sha256_of,
    sync_folder,
)
from imp_deploy.progress import Progress

_REPLACED = "replaced.json"


@dataclass(frozen=True)
class Exported:
    """`written` and `kept`: names of files made now, and of those that were there already."""

    bundle: Bundle
    written: tuple[str, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]


def export(
    checkpoint: Path,
    out: Path,
    options: Options,
    *,
    tower: Path | None = None,
    base: Path | None = None,
    source_name: str | None = None,
    force: bool = False,
    progress: Progress,
) -> Exported:
    """Exports `checkpoint`, or the LoRA adapter there on its `base`, into the folder `out`.

    Files of the same checkpoint that `out` already holds are kept and the missing ones are added;
    another checkpoint's bundle is refused without `force`. `source_name` is what the manifest
    calls the checkpoint (a hub id), else its folder.
    """
    model = read_model(checkpoint, tower, options.name, base)
    source = Source(
        model=_text(source_name or str(checkpoint)),
        family=model.family.name,
        weights_sha256="",
        settings_sha256=identity.settings_hash(model),
        stamp=identity.stamp(model),
        base=None if base is None else _text(str(base)),
    )
    with full_disk_is_bad_input(out):
        if out.exists() and not out.is_dir():
            raise BadInput(f"{out} is a file; give a folder for the bundle.")
        out.mkdir(parents=True, exist_ok=True)
    with locked(out), full_disk_is_bad_input(out):
        plan = make_plan(model, options, out)
        found = None if force else _existing(out, plan, source, model, progress)
        existing = None if found is None else _whole_part(out, found, progress)
        if existing is not None:
            recipes.require_same(out, existing, plan.files)
            identity.require_same_form(out, existing, plan.files)
        kept = _kept(plan, existing)
        todo = _without(plan, set(kept))
        said = notes.notes(model, plan)
        if existing is not None and not todo.files:
            existing = dataclasses.replace(
                existing, source=dataclasses.replace(existing.source, stamp=source.stamp)
            )
            if existing != found:
                bundles.save(out, existing)
            partial.remove(out)
            return Exported(existing, (), kept, said)
        files, weights = _write(out, todo, source, progress)
        if existing is not None:
            old = [f for f in existing.files if f.path not in {n.path for n in files}]
            source = dataclasses.replace(existing.source, stamp=source.stamp)
            files = _in_order([*old, *files])
        else:
            source = dataclasses.replace(source, weights_sha256=weights)
        bundle = _bundle(model, source, files)
        _publish(out, todo, bundle, extends=existing is not None)
        return Exported(bundle, tuple(f.about.path for f in todo.files), kept, said)


def _write(
    out: Path, plan: Plan, source: Source, progress: Progress
) -> tuple[list[BundleFile], str]:
    """Fills the unfinished files; returns their manifest entries and the weights' hash."""
    work = in_file_order(plan.work)
    with partial.open_partial(out, plan.files, _key(plan, source), work) as journal:
        progress.start("exporting", sum(w.source.nbytes for w in journal.todo))
        try:
            digests = stream(journal.todo, journal.outputs, journal.done, progress.advance)
        finally:
            journal.commit()
        finished = dict(journal.finished)
    return _verified(out, plan.files, digests, progress), combine(finished, plan.work)


def _key(plan: Plan, source: Source) -> str:
    """What unfinished files must have in common to go on with."""
    files = [(file.about, hashlib.sha256(file.header).hexdigest()) for file in plan.files]
    return hashlib.sha256(repr((source, files)).encode()).hexdigest()


def _verified(
    out: Path, files: Sequence[OutputFile], digests: Sequence[str | None], progress: Progress
) -> list[BundleFile]:
    """Has llama.cpp read every finished file's header; `digests` of the files, None where it is not
    known because an earlier run has finished the file."""
    progress.start("verifying", sum(file.size for file in files))
    entries = []
    for file, digest in zip(files, digests, strict=True):
        path = _place(out, file)
        wanted = {name: (slot.kind.value, slot.offset) for name, slot in file.slots.items()}
        if ggml.tensors_of(path) != wanted or path.stat().st_size != file.size:
            partial.remove(out)
            raise ImpError(
                f"{path} does not read back as it was written; check the disk, then run the same "
                "command again."
            )
        digest = digest or sha256_of(path)
        progress.advance(file.size)
        entries.append(dataclasses.replace(file.about, bytes=file.size, sha256=digest))
    return entries


def _place(out: Path, file: OutputFile) -> Path:
    unfinished = out / partial.FOLDER / file.about.path
    return unfinished if unfinished.exists() else out / file.about.path


def _publish(out: Path, plan: Plan, bundle: Bundle, *, extends: bool) -> None:
    """Gives the files their names when nothing is left to write; the manifest comes last, and only
    then is the bundle there.

    A manifest that is replaced goes first, so that it never describes other files than it did. It
    is kept until its files are gone too.
    """
    unfinished = out / partial.FOLDER
    bundles.save(unfinished, bundle)
    if not extends and (out / MANIFEST).exists():
        (out / MANIFEST).replace(unfinished / _REPLACED)
    listed = _listed(out / MANIFEST) | _listed(unfinished / _REPLACED)
    for name in (file.about.path for file in plan.files):
        if (unfinished / name).exists():
            (unfinished / name).replace(out / name)
    for name in listed - {file.path for file in bundle.files}:
        (out / name).unlink(missing_ok=True)
    sync_folder(out)
    (unfinished / MANIFEST).replace(out / MANIFEST)
    sync_folder(out)
    partial.remove(out)


def _listed(manifest: Path) -> set[str]:
    """The files that a manifest names, as far as it can be read."""
    try:
        return {file.path for file in bundles.read(manifest).files}
    except BadInput:
        return set()


def _existing(
    out: Path, plan: Plan, source: Source, model: Model, progress: Progress
) -> Bundle | None:
    """The bundle in `out` if it is of this checkpoint; None if there is none; else an error."""
    if not (out / MANIFEST).exists():
        unfinished = (out / partial.FOLDER).exists()
        there = [f.about.path for f in plan.files if (out / f.about.path).exists()]
        if there and not unfinished:
            raise BadInput(
                f"{out} already holds {there[0]}, which is part of no bundle; choose another "
                "folder, or overwrite it with --force."
            )
        return None
    found = bundles.read(out / MANIFEST)
    same = (
        found.name == model.name
        and found.source.family == source.family
        and found.source.settings_sha256 == source.settings_sha256
        and found.llama_cpp == _llama_cpp()
    )
    if same and found.source.stamp != source.stamp:
        progress.start("comparing", sum(w.source.nbytes for w in plan.work))
        same = found.source.weights_sha256 == hash_weights(plan.work, progress.advance)
    if not same:
        raise BadInput(
            f"{out} holds an export of another checkpoint ({found.name} from "
            f"{found.source.model}); choose another folder, or overwrite it with --force."
        )
    return found


def _whole_part(out: Path, bundle: Bundle, progress: Progress) -> Bundle:
    """The bundle with those of its files that are there and undamaged."""
    progress.start("checking", sum(file.bytes for file in bundle.files))

    def whole(file: BundleFile) -> bool:
        path = out / file.path
        same = path.is_file() and path.stat().st_size == file.bytes
        same = same and sha256_of(path) == file.sha256
        progress.advance(file.bytes)
        return same

    with ThreadPoolExecutor(2) as pool:
        checked = list(zip(bundle.files, pool.map(whole, bundle.files), strict=True))
    return dataclasses.replace(bundle, files=tuple(file for file, same in checked if same))


def _kept(plan: Plan, existing: Bundle | None) -> tuple[str, ...]:
    """Files of the plan that the bundle has."""
    has = {file.path for file in existing.files} if existing is not None else set()
    return tuple(f.about.path for f in plan.files if f.about.path in has)


def _without(plan: Plan, skip: set[str]) -> Plan:
    """The plan for the files not in `skip`."""
    indices = [i for i, f in enumerate(plan.files) if f.about.path not in skip]
    new = {old: i for i, old in enumerate(indices)}
    work = tuple(
        dataclasses.replace(w, targets=targets)
        for w in plan.work
        if (targets := tuple(_moved(t, new) for t in w.targets if t.file in new))
    )
    return Plan(tuple(plan.files[i] for i in indices), work)


def _moved(target: Target, new: dict[int, int]) -> Target:
    return dataclasses.replace(target, file=new[target.file])


def _in_order(files: Sequence[BundleFile]) -> list[BundleFile]:
    return sorted(files, key=lambda f: (f.role, -(f.resolution or 0), -f.bits))


def _bundle(model: Model, source: Source, files: Sequence[BundleFile]) -> Bundle:
    return Bundle(
        name=model.name,
        source=source,
        llama_cpp=_llama_cpp(),
        prompt=prompt.spec(model.family.chat),
        preprocess=Preprocess(
            mode=model.mode,
            mean=model.tower.kind.mean,
            std=model.tower.kind.std,
            stock_exact=model.mode == "squash" and not model.tower.kind.class_token,
        ),
        files=tuple(files),
    )


def _llama_cpp() -> LlamaCpp:
    lock = llama.lock()
    return LlamaCpp(package=lock.version, commit=lock.commit)


def _text(name: str) -> str:
    """`name` as UTF-8 can hold it: a folder's name may be any bytes."""
    return os.fsencode(name).decode("utf-8", "replace")

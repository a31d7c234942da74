"""`mlmctl export`: a model of a run as a folder that can be published, with a card that says what it is.

The folder holds what stock `transformers` and `mlmctl` itself load, the card (README.md), on request an
ONNX file, and a manifest with the hash of each. It is published as every artifact is, and what it replaces
is only ever another export.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...artifact import open_artifact, publish, recover_target
from ...config import RuntimeConfig
from ...engine import machine, runtime
from ...errors import ArtifactError, UsageError
from ...events import Emit, Note
from ...manifest import MANIFEST, Header, Manifest, read_manifest
from ...pipeline import hash_cache
from ...pipeline.lock import locked
from ...storage import TEMPORARY, HashCache, check_space, sha256_file
from . import card, examples, onnx_file
from .card import Edition
from .subject import Subject

STAGE = "export"
CARD = "README.md"
FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "plan.json", "task.json",
)  # fmt: skip
"""What is taken over of a model's folder, where it is there. Not its log, and not the hashes of the texts
it was trained on, by which it could be asked whether a text was among them."""

_CONTENT = 2
"""In every key: a card that says other things of the same model is another export."""
_VERSIONS = ("mlmctl", "torch", "transformers", "tokenizers")


@dataclass(frozen=True)
class Options:
    """What is to be in the folder beside the model."""

    with_examples: bool = False
    onnx: bool = False
    license: str | None = None


@dataclass(frozen=True)
class Exported:
    """The folder, and what became of it."""

    folder: Path
    status: Literal["ran", "fresh"]
    manifest: Manifest

    def to_json(self) -> dict[str, Any]:
        files = {name: {"size": r.size, "sha256": r.sha256} for name, r in self.manifest.outputs.items()}
        return {
            "output": str(self.folder),
            "export": self.status,
            "fingerprint": self.manifest.fingerprint,
            "files": files,
            **self.manifest.details,
        }


def facts(made: Exported) -> Iterator[tuple[str, str]]:
    """What there is to say of it, as (name, value) rows."""
    found, outputs = made.manifest.details, made.manifest.outputs
    yield "model", f"{found['model']}: {found['class']}, {found['num_parameters']:,} parameters"
    yield "evaluations on the card", ", ".join(found["evaluations"]) or "none"
    if found["onnx"]:
        checked = found["onnx"]
        allowed = f"{checked['tolerance']:g} being allowed"
        yield "onnx", f"differs by {checked['max_difference']:.1e} at most, {allowed}"
    yield "license", found["license"] or "none named"
    yield "files", f"{len(outputs)}, {sum(record.size for record in outputs.values()):,} bytes"
    yield "folder", f"{made.folder} ({'made' if made.status == 'ran' else 'nothing changed'})"


def run(
    folder: Path, name: str, output: Path, options: Options, config: RuntimeConfig, force: bool, emit: Emit
) -> Exported:
    """Export the model `name` (`pretrain`, or a fine-tuned one) of a run folder.

    ArtifactError if it is not there or not whole, if something else is at `output`, or if the ONNX file
    differs from the model; UsageError for a place where nothing can be published, and without the extra.
    """
    if options.onnx:
        onnx_file.check_extra()
    output = Path(os.path.abspath(output))
    _check_place(folder, output)
    cache = hash_cache(folder)
    subject = Subject.open(folder, name, cache)
    header = _header(subject, name, output.name, options)
    with _place(output) as old:
        before = _standing(output)
        if before is not None and not force:
            if before.key == header.key:
                return Exported(output, "fresh", _unchanged(output))
            found = (
                "holds another export (of another model or evaluation, with another name or other options)"
            )
            raise ArtifactError("artifact.exists", found, where=str(output), hint="--force replaces it")
        _tell(subject, name, options, emit)
        check_space(output.parent, _needed(subject, options))
        versions = {name: value for name, value in machine.facts(config).items() if name in _VERSIONS}
        with publish(output, header, environment=versions, old=old if before else None) as draft:
            _copy(subject, draft.path)
            edition = _edition(subject, folder, output.name, draft.path, options, config, cache)
            (draft.path / CARD).write_text(card.render(subject, edition), encoding="utf-8")
            draft.details.update(_details(subject, edition, name))
    return Exported(output, "ran", read_manifest(output))


def _check_place(run: Path, output: Path) -> None:
    """UsageError, or ArtifactError for a link, unless a folder may be published at `output`."""
    if output.is_symlink():
        found = "is a symbolic link; nothing is written through it"
        raise ArtifactError("artifact.link", found, where=str(output))
    if not output.name.isprintable():
        raise UsageError(
            "usage.output", "has a name that cannot be published", where=str(output), hint="--output DIR"
        )
    if output.exists() and not output.is_dir():
        raise UsageError("usage.output", "is a file, not a folder", where=str(output), hint="--output DIR")
    if output.resolve().is_relative_to(run.resolve()):
        hint = "--output takes a folder outside of it"
        raise UsageError(
            "usage.output", "is in the run folder, which is for stages", where=str(output), hint=hint
        )


@contextmanager
def _place(output: Path) -> Iterator[Path]:
    """Hold the place, after putting right what a killed export left there; yields where the replaced one
    may be kept. BusyError if another export is being written there.
    """
    beside = output.parent / f"{TEMPORARY}{output.name}"
    with locked(beside):
        old = beside / "old"
        try:
            recover_target(output, old)
            yield old
        finally:
            if not old.exists():  # otherwise the next export puts it back
                shutil.rmtree(beside, ignore_errors=True)


def _standing(output: Path) -> Manifest | None:
    """The export that is at `output`, if there is one. ArtifactError for anything else."""
    if not output.exists():
        return None
    hint = "--output takes a folder that does not exist"
    if not (output / MANIFEST).is_file():
        raise ArtifactError(
            "artifact.exists", "is a folder that no export made", where=str(output), hint=hint
        )
    manifest = read_manifest(output)
    if manifest.stage != STAGE:
        found = f"is an artifact of {manifest.stage}, not an export"
        raise ArtifactError("artifact.exists", found, where=str(output), hint=hint)
    return manifest


def _unchanged(output: Path) -> Manifest:
    """The export that is there. ArtifactError, with the way out, if someone has changed it."""
    try:
        return open_artifact(output)
    except ArtifactError as error:
        found = f"was changed after it was exported: {error.message}"
        raise ArtifactError(error.code, found, where=error.where, hint="--force exports it anew") from None


def _header(subject: Subject, name: str, folder: str, options: Options) -> Header:
    """`folder` is the name that the card and its code give the model."""
    config = {"model": name, "folder": folder, "content": _CONTENT, **vars(options)}
    inputs = {link.name: link.fingerprint for link in subject.chain.values()}
    evaluations = {path: manifest.fingerprint for path, manifest in subject.evaluations.items()}
    return Header(STAGE, config, {**inputs, **evaluations})


def _tell(subject: Subject, name: str, options: Options, emit: Emit) -> None:
    if not subject.evaluations:
        emit(Note(f"the card has no test metrics: {name} was not evaluated in this run folder"))
    if options.with_examples:
        emit(Note("text of the data goes into the card, as --with-examples asks"))
    if not options.license:
        emit(Note("the card names no license: --license NAME puts it there"))


def _needed(subject: Subject, options: Options) -> int:
    sizes = [record.size for name, record in subject.manifest.outputs.items() if name in FILES]
    return sum(sizes) * (1 + options.onnx)


def _copy(subject: Subject, target: Path) -> None:
    """Copy the model's files. ArtifactError if one is no longer what was verified."""
    for name, record in subject.manifest.outputs.items():
        if name in FILES:
            shutil.copyfile(subject.folder / name, target / name)
            if sha256_file(target / name) != record.sha256:
                raise ArtifactError("artifact.damaged", "has just changed", where=str(subject.folder / name))


def _edition(
    subject: Subject,
    run: Path,
    name: str,
    target: Path,
    options: Options,
    config: RuntimeConfig,
    cache: HashCache,
) -> Edition:
    checked, found = None, []
    if options.onnx or options.with_examples:
        prepared = runtime.prepare(config)
        if options.onnx:
            checked = onnx_file.write(target, subject.head, subject.block_length, prepared.num_threads)
        if options.with_examples:
            found = examples.of_model(subject, run, prepared, cache)
    return Edition(name, subject.language(cache), options.license, checked, found)


def _details(subject: Subject, edition: Edition, name: str) -> dict[str, Any]:
    """What a script may want to know; no path is in it."""
    return {
        "model": name,
        "class": subject.class_name,
        "pipeline": card.PIPELINES[subject.head],
        "num_parameters": subject.num_parameters,
        "language": edition.language,
        "license": edition.license,
        "lineage": [link.to_json() for link in subject.chain.values()],
        "evaluations": {path: manifest.fingerprint for path, manifest in subject.evaluations.items()},
        "onnx": edition.onnx.to_json() if edition.onnx else None,
    }

"""What comes from outside the run folder: the corpus, labelled data, models; each with a fingerprint.

What a command does not name is looked for where the user would expect it: in the recipe, then in what
the run folder was made from (the corpus) or beside the run folder (labelled data), and at last in the
small built-in English set, with a warning. Only a remote name (`scheme://...`) touches the network, once:
what it gave is in the spool from then on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import hub, samples
from ..artifact import open_artifact
from ..config import CorpusConfig
from ..engine import configuration, weights
from ..errors import ArtifactError, UsageError
from ..events import Emit, Note
from ..manifest import MANIFEST, digest, read_manifest
from ..stages.stage import BASE
from ..storage import HashCache, sha256_file
from ..tasks import pairs as minimal_pairs
from ..text import corpus as corpora
from ..text import hub_datasets, remote
from ..text.corpus import Source, fingerprint, resolve
from ..text.spool import Spool

SPOOL = ".spool"
_SPLITS = {"finetune": "train", "evaluate": "test"}
"""Of a data set from a hub, where none is named."""
_TABLES = (".jsonl", ".csv", ".tsv", ".parquet")
_SUFFIXES = {
    "sentiment": _TABLES,
    "classify": _TABLES,
    "tags": (".jsonl", ".parquet", ".conll"),
    "qa": (".json", ".jsonl", ".parquet"),
}


@dataclass(frozen=True)
class Corpus:
    """Text to learn from. `sources` is empty if it is gone and only its recorded fingerprint is known."""

    sources: Sequence[Source]
    fingerprint: str
    paths: Sequence[str]
    built_in: bool = False
    unread: Sequence[str] = ()
    """What has to be read before anything is known of it, where it may not be read now: a plan."""


@dataclass(frozen=True)
class Labelled:
    """A file of labelled data, or a folder of them."""

    path: Path
    fingerprint: str
    built_in: bool = False
    remote: str = ""
    """The name it was asked for by, if it is not a local file."""
    unread: Sequence[str] = ()

    @property
    def stem(self) -> str:
        """What results on it are called by."""
        if self.remote:
            is_dataset = corpora.is_dataset(self.remote)
            name = hub_datasets.short_name(self.remote) if is_dataset else remote.path_of(self.remote)
            return re.sub(r"[^\w-]+", "-", name.rpartition("/")[2].split(".")[0]).strip("-") or "data"
        return self.path.name.split(".")[0]

    @property
    def origin(self) -> dict[str, Any]:
        """Where it was, for the details of a manifest."""
        where = remote.public(self.remote) if self.remote else os.path.abspath(self.path)
        return {"data": where, "built_in_data": self.built_in}


def corpus(run: Path, config: CorpusConfig, cache: HashCache, emit: Emit, may_read: bool = True) -> Corpus:
    """The corpus a command means: the paths it names, else the recorded one, else the built-in one.

    Unless `may_read`, nothing is fetched and standard input is left alone: they are `unread`.
    """
    paths = config.paths
    if paths:
        unread = [] if may_read else corpora.unread(paths, run / SPOOL, config.text_column)
        if unread:
            return Corpus((), "", paths, unread=[_spoken(path) for path in unread])
        sources = resolve(paths, run / SPOOL, emit, config.text_column)
        # Links are kept: what one points to may have no name that says how it is read.
        kept = [os.path.abspath(source.path) for source in sources]
        return Corpus(sources, fingerprint(sources, cache.sha256), kept)
    recorded = _recorded_corpus(run)
    if recorded is not None:
        known_fingerprint, known_paths = recorded[0], [in_spool(run, path) for path in recorded[1]]
        if known_paths and all(Path(path).is_absolute() and Path(path).exists() for path in known_paths):
            return corpus(run, config.model_copy(update={"paths": known_paths}), cache, emit, may_read)
        return Corpus((), known_fingerprint, known_paths)
    emit(Note("no corpus named: using the small built-in English one; name your own text files", "warning"))
    sources = resolve([str(samples.path("corpus.txt"))], run / SPOOL, emit)
    return Corpus(
        sources, fingerprint(sources, cache.sha256), [str(samples.path("corpus.txt"))], built_in=True
    )


def labelled(
    run: Path, stage: str, task: str, named: str, cache: HashCache, emit: Emit, may_read: bool = True
) -> Labelled:
    """Labelled data for `stage` (finetune, evaluate): named, else beside the run folder, else built in.

    Unless `may_read`, nothing is fetched: what is remote and new is `unread`.
    """
    if corpora.is_remote(named):
        return _remote(run, _SPLITS[stage], named, cache, emit, may_read)
    if named:
        path = Path(named)
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise UsageError(
                "usage.no-data", what, where=named, hint=f"--data FILE{'|'.join(_SUFFIXES[task])}"
            )
        return Labelled(path, cache.sha256(path))
    stem = task if stage == "finetune" else f"{task}-test"
    for suffix in _SUFFIXES[task]:
        beside = run.resolve().parent / f"{stem}{suffix}"
        if beside.is_file():
            emit(Note(f"no data named: using {beside.name} beside the run folder"))
            return Labelled(beside, cache.sha256(beside))
    path = samples.path(samples.LABELLED[task][stage])
    emit(Note(f"no data named: using the small built-in {task} set; name your own with --data", "warning"))
    return Labelled(path, sha256_file(path), built_in=True)


def pairs(named: str, cache: HashCache) -> Labelled:
    """A file of minimal pairs or a folder of them: every set counts, by its name and its content."""
    path = Path(named)
    if not named or not path.exists():
        what = "does not exist" if named else "no minimal pairs are named"
        raise UsageError("usage.no-data", what, where=named or None, hint="--data FOLDER, or FILE.jsonl")
    return Labelled(
        path, digest({name: cache.sha256(file) for name, file in minimal_pairs.files(path).items()})
    )


def _remote(run: Path, split: str, named: str, cache: HashCache, emit: Emit, may_read: bool) -> Labelled:
    spool, is_dataset = Spool(run / SPOOL), corpora.is_dataset(named)
    known_as = hub_datasets.key(named, split) if is_dataset else named
    if not may_read and not spool.recall(known_as):
        return Labelled(Path(), "", remote=named, unread=[remote.public(named)])
    if is_dataset:
        kept = hub_datasets.read(named, spool, emit, split)
    else:
        kept = remote.read(named, spool, emit, lambda path: None)
    if len(kept) > 1:
        found = f"is {len(kept):,} files; labelled data is one"
        raise UsageError("usage.no-data", found, where=remote.public(named))
    return Labelled(kept[0].path, cache.sha256(kept[0].path), remote=named)


def model(folder: Path, cache: HashCache) -> str:
    """The fingerprint of a model folder, ours (verified) or a stock one (by the files that are read)."""
    if (folder / MANIFEST).exists():
        return open_artifact(folder, cache).fingerprint
    if not (folder / configuration.CONFIG).is_file():
        hint = "a folder with config.json and model.safetensors"
        raise ArtifactError("artifact.missing", "is no model folder", where=str(folder), hint=hint)
    named = ("tokenizer.json", "plan.json", "task.json")
    files = [folder / configuration.CONFIG, *weights.files(folder), *(folder / name for name in named)]
    return digest({path.name: cache.sha256(path) for path in files if path.is_file()})


def unread_model(named: str, may_read: bool) -> list[str]:
    """The model, if it is one of the hub that has not been fetched and may not be: a plan."""
    return [named] if not may_read and named.startswith(hub.PREFIX) and not hub.is_there(named) else []


def encoder_folder(run: Path, named: str | None, may_read: bool = True) -> Path:
    """An encoder: that of the run folder, or the one named: a fine-tuned one's, a folder, `hf:OWNER/NAME`.

    Unless `may_read`, nothing is fetched: for an `unread_model` it is a folder that does not exist.
    """
    if named and unread_model(named, may_read):
        return Path(hub.short_name(named))
    if not named:
        return _whole(run / "pretrain")
    inside, path = run / "finetune" / named, Path(named)
    if "/" not in named and inside.exists():
        return _whole(inside)
    return _of_run(run, path) or hub.folder(named, may_read)  # what is of this run may come yet


def model_folder(run: Path, named: str, may_read: bool = True) -> Path:
    """A fine-tuned model: a name in the run folder, a folder anywhere, or `hf:OWNER/NAME`."""
    is_inside = "/" not in named and not Path(named).is_dir()
    return _whole(run / "finetune" / named) if is_inside else encoder_folder(run, named, may_read)


def _of_run(run: Path, path: Path) -> Path | None:
    """What lies in the run folder, as seen from it: however it was named, it moves with it."""
    whole, root = Path(os.path.abspath(path)), Path(os.path.abspath(run))
    return run / whole.relative_to(root) if whole.is_relative_to(root) else None


def _whole(folder: Path) -> Path:
    """What a run folder holds under a name of its own has a manifest, or has lost it."""
    if folder.is_dir() and not (folder / MANIFEST).exists():
        raise ArtifactError("artifact.missing", "has no manifest", where=str(folder))
    return folder


def check_positions(encoder: Path, block_length: int) -> None:
    """UsageError, before a text is read, if the blocks are longer than the encoder to continue can take."""
    most = configuration.num_positions(encoder)
    if block_length > most:
        raise UsageError(
            "usage.block-length",
            f"takes {most} tokens at once, the blocks have {block_length}",
            where=str(encoder),
            hint=f"--block-length {most}",
        )


def tokenizer(folder: Path) -> str:
    """The fingerprint of a pinned tokenizer: its content, wherever it lies and whoever made it.

    One of ours is verified first, so that damage is not taken for another tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        hint = "--tokenizer takes a folder with tokenizer.json"
        if (folder / "vocab.txt").is_file() or (folder / "vocab.json").is_file():
            hint = "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers writes one"
        raise UsageError("usage.no-tokenizer", "has no tokenizer.json", where=str(folder), hint=hint)
    artifact = folder.parent if folder.name == BASE else folder
    if (artifact / MANIFEST).exists():
        open_artifact(artifact)
    return sha256_file(path)


def in_spool(run: Path, path: str) -> str:
    """Where a recorded file is now: one in a spool is named by its content, and moves with the run folder."""
    here = run / SPOOL / Path(path).name
    return os.path.abspath(here) if Path(path).parent.name == SPOOL and here.is_file() else path


def read_from(run: Path, content: str) -> Path | None:
    """The file of the spool that held this (a SHA-256) when it was read, if it is still there."""
    return next((path for path in (run / SPOOL).glob("*-*") if content in path.name), None)


def _spoken(path: str) -> str:
    return "standard input" if path == corpora.STDIN else remote.public(path)


def _recorded_corpus(run: Path) -> tuple[str, list[str]] | None:
    damage: ArtifactError | None = None
    for name in ("tokenizer", "mask/blocks"):
        if (run / name / MANIFEST).exists():
            try:
                manifest = read_manifest(run / name)
            except ArtifactError as error:
                damage = error
                continue
            if "corpus" in manifest.inputs:
                return manifest.inputs["corpus"], list(manifest.details.get("corpus", []))
    if damage is not None:  # it may have named one
        raise damage
    return None

"""The pipeline: decides for each node whether it is fresh, stale or begun, runs it, seals the result.

no artifact, no work            -> run
no artifact, work of this key   -> resume
artifact of this key            -> verify, nothing to do
artifact of another key         -> make it again (tokenizer, mask, evaluate), or refuse, naming
                                   the field that changed (pretrain, finetune), unless a field
                                   that may grow has changed and the stage can continue
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..artifact import (
    MANIFEST,
    Header,
    Manifest,
    digest,
    open_artifact,
    publish,
    read_json,
    read_manifest,
    recover,
    refuse_links,
)
from ..config import RuntimeConfig, changed_fields
from ..engine import machine
from ..engine.ranks import ALONE, Ranks
from ..errors import ArtifactError, DataError
from ..events import Emit, Event, Note, StageFinished, StageStarted
from ..stages.stage import Stage
from ..storage import HashCache, json_bytes, make_folder, write_file
from ..text.spool import Spool
from . import follow, inputs
from .lock import locked
from .nodes import Node
from .team import Team

WORK = ".work"
OLD = ".old"
CACHE = ".hashes.json"
_REQUEST = "request.json"
_FORCED = "forced"

Status = Literal["ran", "resumed", "fresh"]


@dataclass(frozen=True)
class StageReport:
    """What became of one node."""

    name: str
    status: Status
    seconds: float
    path: Path
    manifest: Manifest


@dataclass(frozen=True)
class Decision:
    """What is to be done for a node, and why: `action` is `fresh`, `run`, `resume` or `extend`."""

    action: Literal["fresh", "run", "resume", "extend"]
    reason: str
    manifest: Manifest | None = None


def hash_cache(run: Path) -> HashCache:
    """The run folder's memory of the hashes of large files; none before the folder exists."""
    return HashCache(run / CACHE if run.is_dir() else None)


def execute(
    run: Path,
    nodes: Callable[[HashCache], Sequence[Node]],
    *,
    runtime: RuntimeConfig,
    emit: Emit,
    force: Collection[str] = (),
    refresh: bool = False,
    team: Team | None = None,
) -> list[StageReport]:
    """Bring every node up to date, in order. `nodes` is called under the lock: it may spool input.

    `refresh` reads remote input again that was read before. The first rank of a `team` calls this; the
    others help with the stages that are divided.

    Raises what the stages raise, and ArtifactError for what must not be replaced.
    """
    with locked(run):
        for sentence in recover(run):
            emit(Note(sentence))
        if refresh:
            Spool(run / inputs.SPOOL).forget()
        folders = _Folders(run, hash_cache(run))
        return [_bring_up(run, node, folders, runtime, emit, force, team) for node in nodes(folders.cache)]


def preview(
    run: Path,
    nodes: Callable[[HashCache], Sequence[Node]],
    *,
    runtime: RuntimeConfig,
    force: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """What `execute` would do, as (node, action, reason) rows; writes nothing and takes no lock."""
    folders = _Folders(run, HashCache(None))
    remade: dict[Path, str] = {}
    rows: list[tuple[str, str, str]] = []
    for node in nodes(folders.cache):
        before = [remade[folder] for folder in node.reads.values() if folder in remade]
        if before or node.unread:
            after = [*before, *(f"{name} has been read" for name in node.unread)]
            action, reason = "run", f"after {', '.join(after)}"
        else:
            header = header_of(node, folders.open(node))
            decision = decide(run, node, header, force)
            action, reason = decision.action, decision.reason
            if node.outlook and action != "fresh":
                work = None if action == "run" else _work_folder(run, node, header)
                reason += f"; {node.outlook(work, runtime)}"
        if action != "fresh":
            remade[run / node.name] = node.name
        rows.append((node.name, action, reason))
    return rows


def decide(run: Path, node: Node, header: Header, force: Collection[str] = ()) -> Decision:
    """What `execute` would do with a node whose inputs are as the header says; reads manifests only."""
    target, work = run / node.name, _work_folder(run, node, header)
    if node.name in force or node.stage in force:
        return Decision("run", _FORCED)
    if (target / MANIFEST).exists():
        manifest = read_manifest(target)
        if manifest.key == header.key:
            return Decision("fresh", "nothing changed", manifest)
        changes = _changes(manifest.config, manifest.inputs, header)
        if node.replaceable:
            return Decision("run", "stale: " + ("; ".join(changes) or "made by another version of mlmctl"))
        if manifest.inputs == header.inputs and _trunk(node, manifest.config) == node.trunk:
            return Decision("extend", "; ".join(changes))
        raise _refusal(node, "was made with another configuration or input", changes)
    if (work / _REQUEST).exists():
        return Decision("resume", "begun before")
    # What holds no more than the request was refused before it began: the way out may be another flag.
    others = sorted((run / WORK).glob(f"{_flat(node.name)}-*/{_REQUEST}"))
    begun = [request for request in others if len(list(request.parent.iterdir())) > 1]
    if begun and not node.replaceable:
        changes = read_json(begun[0], lambda request: _changes(request["config"], request["inputs"], header))
        raise _refusal(node, "was begun with another configuration or input", changes)
    return Decision("run", "new")


def header_of(node: Node, fingerprints: Mapping[str, str]) -> Header:
    """The header of the artifact that a node makes from folders with these fingerprints."""
    return Header(node.name, node.config, {**node.given, **fingerprints})


def _bring_up(
    run: Path,
    node: Node,
    folders: _Folders,
    runtime: RuntimeConfig,
    emit: Emit,
    force: Collection[str],
    team: Team | None,
) -> StageReport:
    header = header_of(node, folders.open(node))
    decision = decide(run, node, header, force)
    target = run / node.name
    if decision.action == "fresh":
        manifest = open_artifact(target, folders.cache)
        work = _work_folder(run, node, header)
        if not _is_tidy(work):
            _tidy(work, node, header)
        emit(StageFinished(node.name, "fresh", 0.0, manifest.metrics))
        return StageReport(node.name, "fresh", 0.0, target, manifest)
    if node.corpus is not None and not node.corpus.sources:
        raise DataError(
            "data.corpus-gone",
            f"{node.name} has to be made again ({decision.reason}), but its corpus is gone",
            where=str(run),
            hint="name the corpus",
        )
    folders.read_again(node)
    started = time.monotonic()
    emit(StageStarted(node.name, decision.reason))
    previous = partial(_previous, target) if decision.reason != _FORCED else lambda: None
    _make(run, node, header, decision, runtime, emit, previous, started, team)
    seconds = time.monotonic() - started
    manifest = read_manifest(target)
    status: Status = "ran" if decision.action == "run" else "resumed"
    emit(StageFinished(node.name, status, seconds, manifest.metrics))
    return StageReport(node.name, status, seconds, target, manifest)


def _make(
    run: Path,
    node: Node,
    header: Header,
    decision: Decision,
    runtime: RuntimeConfig,
    emit: Emit,
    previous: Callable[[], Path | None],
    started: float,
    team: Team | None,
) -> None:
    work = _work_folder(run, node, header)
    for path in (run / node.name, run / OLD / node.name, work, *work.rglob("*")):
        refuse_links(run, path)
    if decision.action == "run":
        for left in (run / WORK).glob(f"{_flat(node.name)}-*"):
            shutil.rmtree(left)
    make_folder(work)
    _write_request(work, node, header)

    recorder = _Recorder(emit)
    ranks = team.ranks if team and node.tables else ALONE
    facts = _environment(node, runtime, ranks)
    with publish(run / node.name, header, environment=facts, old=run / OLD / node.name) as draft:
        stage = Stage(
            name=node.name,
            inputs=node.reads,
            out=draft.path,
            work=work,
            emit=recorder,
            runtime=runtime,
            ranks=ranks,
            dismiss=team.dismiss if team else lambda: None,
            sources=node.corpus.sources if node.corpus else (),
            data=node.data,
            previous=previous,
            details=draft.details,
            environment=facts,
            started=started,
        )
        if team and node.tables:
            team.begin(node.stage, follow.handed_over(stage, node.tables))
        draft.metrics.update(node.run(stage))
        draft.details.update(node.details)
        draft.details["reads"] = {name: _relative(path, run) for name, path in node.reads.items()}
        if recorder.warnings:
            draft.details["warnings"] = recorder.warnings
    _tidy(work, node, header)


def _tidy(work: Path, node: Node, header: Header) -> None:
    """Remove of the work folder what is not needed once the result is published."""
    node.tidy(work)
    if work.is_dir():
        _write_request(work, node, header, is_tidy=True)


def _is_tidy(work: Path) -> bool:
    """Whether nothing is left of the work that a kill kept from being removed."""
    if not (work / _REQUEST).exists():
        return not work.is_dir()
    return read_json(work / _REQUEST, lambda request: bool(request.get("is_tidy")))


def _write_request(work: Path, node: Node, header: Header, is_tidy: bool = False) -> None:
    """What the work was begun for, by which it is found again."""
    request = {"config": node.trunk, "inputs": dict(header.inputs), "is_tidy": is_tidy}
    write_file(work / _REQUEST, json_bytes(request, sort_keys=True))


def _previous(target: Path) -> Path | None:
    """The artifact that is about to be replaced, if it is whole."""
    try:
        open_artifact(target)
    except ArtifactError:
        return None
    return target


def _environment(node: Node, runtime: RuntimeConfig, ranks: Ranks) -> dict[str, Any]:
    if not node.needs_torch:
        return machine.facts(runtime)
    from ..engine.runtime import environment

    return environment(runtime, ranks)


@dataclass
class _Recorder:
    """Passes events on and keeps the warnings for the manifest."""

    emit: Emit
    warnings: list[str] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note) and event.level == "warning":
            self.warnings.append(event.message)
        self.emit(event)


class _Folders:
    """The folders that nodes read, each verified once a run, and checked against one another."""

    def __init__(self, run: Path, cache: HashCache) -> None:
        self.run = run
        self.cache = cache
        self._opened: dict[Path, tuple[str, Mapping[str, str]]] = {}

    def open(self, node: Node) -> dict[str, str]:
        """The fingerprints of what a node reads; ArtifactError if they were not made for each other."""
        found = {name: self._open(folder) for name, folder in node.reads.items()}
        fingerprints = {name: fingerprint for name, (fingerprint, _) in found.items()}
        for name, (_, made_from) in found.items():
            if not node.reads[name].is_relative_to(self.run):
                continue  # made in another run folder, from what is there
            for other in made_from.keys() & fingerprints.keys():
                if made_from[other] != fingerprints[other]:
                    raise ArtifactError(
                        "artifact.mismatch",
                        f"was made with another {other} than the one in this run folder",
                        where=str(node.reads[name]),
                        hint=f"--force {name.split('/')[0]} makes it again",
                    )
        return fingerprints

    def read_again(self, node: Node) -> None:
        """Verify what a node is about to compute from where the cache of hashes had answered for it."""
        for folder in node.reads.values():
            if (folder / MANIFEST).exists() and self.cache.has_not_read(folder):
                open_artifact(folder)

    def _open(self, folder: Path) -> tuple[str, Mapping[str, str]]:
        if folder not in self._opened:
            if folder.is_relative_to(self.run) and not folder.exists():
                stage = folder.relative_to(self.run).parts[0]
                hint = f"make it first: mlmctl {stage}"
                raise ArtifactError("artifact.missing", "does not exist", where=str(folder), hint=hint)
            made_from = read_manifest(folder).inputs if (folder / MANIFEST).exists() else {}
            self._opened[folder] = (inputs.model(folder, self.cache), made_from)
        return self._opened[folder]


def _work_folder(run: Path, node: Node, header: Header) -> Path:
    key = digest([header.stage, node.trunk, dict(header.inputs)])
    return run / WORK / f"{_flat(node.name)}-{key[:16]}"


def _trunk(node: Node, config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in node.extendable}


def _changes(config: Mapping[str, Any], inputs: Mapping[str, str], header: Header) -> list[str]:
    known = {name: value for name, value in header.config.items() if name in config}
    changes = changed_fields(config, known)
    names = sorted(set(inputs) | set(header.inputs))
    return changes + [
        f"input {name} changed" for name in names if inputs.get(name) != header.inputs.get(name)
    ]


def _refusal(node: Node, found: str, changes: Sequence[str]) -> ArtifactError:
    return ArtifactError(
        "artifact.changed",
        f"{found}: {'; '.join(changes) or 'unknown change'}",
        where=node.name,
        hint=f"--force {node.stage} replaces it; --name or another --run keeps both",
    )


def _flat(name: str) -> str:
    return name.replace("/", "+")


def _relative(path: Path, run: Path) -> str:
    return str(path.relative_to(run)) if path.is_relative_to(run) else str(path)

"""The pipeline: brings the nodes of a run up to date, one after another, and seals what they make."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..artifact import open_artifact, publish, recover, refuse_links
from ..config import RuntimeConfig
from ..engine import machine
from ..engine.ranks import ALONE, Ranks
from ..errors import ArtifactError, DataError, UsageError
from ..events import Emit, Event, Note, StageFinished, StageStarted
from ..manifest import Header, Manifest, read_manifest
from ..stages.stage import Stage
from ..storage import HashCache
from ..text.spool import Spool
from . import follow, inputs
from .decisions import FORCED, Decision, check_after, decide, header_of, holds_another
from .folders import Folders, hash_cache
from .lock import locked
from .nodes import Node
from .team import Team
from .work import begin, is_tidy, tidy, work_folder

OLD = ".old"

Status = Literal["ran", "resumed", "fresh"]


@dataclass(frozen=True)
class StageReport:
    """What became of one node."""

    name: str
    status: Status
    seconds: float
    path: Path
    manifest: Manifest


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
        with Spool(run / inputs.SPOOL).forgotten() if refresh else nullcontext():
            cache = hash_cache(run)
            made = nodes(cache)
        for _ in _planned(run, made, Folders(run, cache), force):
            pass  # what is refused is refused before anything is made again
        folders = Folders(run, cache)
        return [_bring_up(run, node, folders, runtime, emit, force, team) for node in made]


def preview(
    run: Path,
    nodes: Callable[[HashCache], Sequence[Node]],
    *,
    runtime: RuntimeConfig,
    force: Collection[str] = (),
) -> list[tuple[str, str, str]]:
    """What `execute` would do, as (node, action, reason) rows; writes nothing and takes no lock.

    ArtifactError for what it would refuse.
    """
    folders = Folders(run, HashCache(None))
    rows: list[tuple[str, str, str]] = []
    for node, decision, header in _planned(run, nodes(folders.cache), folders, force):
        reason = decision.reason
        if header is not None and node.outlook and decision.action != "fresh":
            work = None if decision.action == "run" else work_folder(run, node, header)
            reason += f"; {node.outlook(work, runtime)}"
        rows.append((node.name, decision.action, reason))
    return rows


def _planned(
    run: Path, nodes: Sequence[Node], folders: Folders, force: Collection[str]
) -> Iterator[tuple[Node, Decision, Header | None]]:
    """Each node with what is to be done for it, and its header where all that it reads is there already."""
    made = {name for node in nodes for name in (node.name, node.stage)}
    for name in sorted(force):
        if name not in made:
            found = f"{name} is not among what is made here: {', '.join(node.name for node in nodes)}"
            hint = f"mlmctl {name.split('/')[0]} --force"
            raise UsageError("usage.force", found, where="--force", hint=hint)
    remade: dict[Path, str] = {}
    changed: set[Path] = set()  # of these, what will be another than it was
    for node in nodes:
        before = [folder for folder in node.reads.values() if folder in remade]
        header = None
        if before or node.unread:
            changing = {name: folder for name, folder in node.reads.items() if folder in changed}
            is_changed = check_after(run, node, changing, force)
            read = [f"{name} has been read" for name in node.unread]
            after = ", ".join([*(remade[folder] for folder in before), *read])
            decision = Decision("run", f"after {after}")
        else:
            header = header_of(node, folders.open(node))
            decision = decide(run, node, header, force)
            is_changed = holds_another(run / node.name, header)
        if decision.action != "fresh":
            remade[run / node.name] = node.name
        if is_changed:
            changed.add(run / node.name)
        yield node, decision, header


def _bring_up(
    run: Path,
    node: Node,
    folders: Folders,
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
        work = work_folder(run, node, header)
        if not is_tidy(work, header):
            tidy(work, node, header)
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
    previous = partial(_previous, target) if decision.reason != FORCED else lambda: None
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
    for path in (run / node.name, run / OLD / node.name):
        refuse_links(run, path)
    work = begin(run, node, header, is_new=decision.action == "run")
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
    tidy(work, node, header)


def _previous(target: Path) -> Path | None:
    """The artifact that is about to be replaced, if it is whole."""
    try:
        open_artifact(target)
    except ArtifactError:
        return None
    return target


def _environment(node: Node, runtime: RuntimeConfig, ranks: Ranks) -> dict[str, Any]:
    """The facts about the machine that the manifest records; prepares this process for the node."""
    if not node.needs_torch:
        machine.bind_tokenizers(machine.num_threads(runtime, ranks.place.local_world_size))
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


def _relative(path: Path, run: Path) -> str:
    """Relative to the run folder for what is of it, so that the folder can be moved; else absolute."""
    return str(path.relative_to(run)) if path.is_relative_to(run) else str(path.resolve())

"""Gives what a power cut may leave to what reads run folders: a valid state must always be found."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mlmctl.artifact import recover
from mlmctl.engine.checkpoint import Checkpoints
from mlmctl.engine.schedule import Schedule
from mlmctl.errors import MlmctlError
from mlmctl.events import silent
from mlmctl.storage import sha256_file

from . import standing
from .power import Disk, State
from .scenarios import RUN
from .seccomp import Call, Watch
from .standing import Tree

_WEIGHTS, _STATE = "model.safetensors", ("model.safetensors", "optimizer.safetensors", "state.json")


@dataclass
class Recording:
    """What a command did to a folder, and from which call on what is promised to survive."""

    disk: Disk
    stage: str
    step_before: int = 0
    """The newest checkpoint that was there already."""
    saved: dict[int, dict[str, str]] = field(default_factory=dict)
    """Step -> SHA-256 of the files of its checkpoint."""
    promised: list[tuple[int, int]] = field(default_factory=list)
    """(call, step): before that call the save of that step had returned."""
    _renamed: int = 0

    def record(self, watch: Watch, call: Call) -> None:
        if self._renamed and call.kind == "write" and call.path.endswith("/metrics.jsonl"):
            self.promised.append((self.disk.num_calls, self._renamed))
            self._renamed = 0
        self.disk.record(watch, call)
        step = standing.published_step(call.target) if call.kind == "rename" else None
        if step is not None:
            self._renamed = step
            folder = f"{os.path.relpath(call.target, self.disk.folder)}/"
            now = self.disk.current()
            self.saved[step] = {name: _sha256(now[folder + name]) for name in _STATE}

    def promised_step(self, at: int) -> int:
        return max((step for call, step in self.promised if call <= at), default=self.step_before)


def sample(
    recording: Recording, share: tuple[int, int], step: int, most: int, generator: random.Random
) -> Iterator[State]:
    """The states at each `step`-th call, at most `most` of each, that differ; share (i, n) of them."""
    seen = set()
    last = recording.disk.num_calls
    for number, at in enumerate([*range(0, last, step), last]):
        if number % share[1] != share[0]:
            continue
        for state in recording.disk.states(at, most, generator):
            needed = (recording.promised_step(at), at == last)
            signature = hash((needed, frozenset(state.files.items())))
            if signature not in seen:
                seen.add(signature)
                yield state


def problems(
    state: State, recording: Recording, folder: Path, before: Tree, after: Tree, discarded: set[str]
) -> list[str]:
    """What the loader makes of a state that is written to `folder`."""
    run = folder / RUN
    shutil.rmtree(folder, ignore_errors=True)
    state.write(folder)
    is_over = state.at == recording.disk.num_calls
    try:
        if run.is_dir():
            recover(run)
        found = standing.tree(run)
        wrong = _of_artifacts(found, before, after, is_over)
        if not standing.is_trained(found, before, after):
            wrong += _of_checkpoints(run, recording, recording.promised_step(state.at), discarded)
    except MlmctlError as error:
        wrong = [f"refused: {error}"]
    return [f"power cut before call {state.at}: {each}" for each in wrong]


def _of_artifacts(found: Tree, before: Tree, after: Tree, is_over: bool) -> list[str]:
    wrong = []
    for name in sorted(standing.artifacts(before) | standing.artifacts(after)):
        here, new = standing.part(found, name), standing.part(after, name)
        allowed = [new] if is_over else [standing.part(before, name), new]
        if here not in allowed:  # what was not there before may be missing: its part is empty
            wrong.append(f"{name}: {standing.difference(here, new)[:4]}" if here else f"{name} is lost")
    return wrong


def _of_checkpoints(run: Path, recording: Recording, promised: int, discarded: set[str]) -> list[str]:
    wrong = []
    for work in run.glob(f".work/{recording.stage}*/checkpoints"):
        if work.parent.relative_to(run).as_posix() in discarded:
            continue
        wrong += _of_work(work.parent, recording, promised)
        promised = 0
    return wrong + ([f"the checkpoint after step {promised} is lost"] if promised else [])


def _of_work(work: Path, recording: Recording, promised: int) -> list[str]:
    checkpoints = Checkpoints(work, "pretrain", silent, schedule=_newest_schedule(work))
    files = sorted(work.glob("checkpoints/step-*/model.safetensors"), reverse=True)
    counters, _ = checkpoints.restore(_AnyModel(files), _Held())  # type: ignore[arg-type]
    if counters.step < promised:
        return [f"the checkpoint after step {promised} is lost: {counters.step} was found"]
    folder = work / "checkpoints" / f"step-{counters.step:08d}"
    wrong = []
    if folder.is_dir() and counters.step in recording.saved:
        hashes = {name: sha256_file(folder / name) for name in _STATE}
        wrong += (
            []
            if hashes == recording.saved[counters.step]
            else [f"step {counters.step} is not what was saved"]
        )
    try:
        lines = [json.loads(line) for line in (work / "metrics.jsonl").read_text().splitlines()]
    except ValueError:
        return [*wrong, "metrics.jsonl is damaged"]
    steps = [line["step"] for line in lines if "lr_factor" in line]
    wrong += [] if steps == list(range(1, counters.step + 1)) else [f"metrics.jsonl has the steps {steps}"]
    return wrong


def _newest_schedule(work: Path) -> Schedule | None:
    """Of the run that saved there: as the command that is run again would have it."""
    found = None
    for path in sorted(work.glob("checkpoints/step-*/manifest.json")):
        try:
            schedule = json.loads(path.read_bytes())["config"]["schedule"]
        except (ValueError, KeyError):
            continue
        found = Schedule.from_json(schedule) if schedule else None  # fine-tuning has none
    return found


class _Held:
    """Stands for an optimizer: whatever it is given fits."""

    def load_state(self, tensors: Mapping[str, torch.Tensor]) -> None:
        pass


class _AnyModel(torch.nn.Module):
    """Has the parameters that the checkpoints have."""

    def __init__(self, files: list[Path]) -> None:
        from safetensors.torch import load_file

        super().__init__()
        for path in files:
            try:
                tensors = load_file(path)
            except Exception:
                continue
            self._shapes = {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}
            break

    def named_parameters(self, *arguments: Any, **named: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return iter(getattr(self, "_shapes", {}).items())


def _sha256(content: bytes | None) -> str:
    return hashlib.sha256(content or b"").hexdigest()

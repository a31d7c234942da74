"""What stands in a run folder: compared without times, checked for what must hold at any moment."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from mlmctl.artifact import open_artifact
from mlmctl.errors import ArtifactError
from mlmctl.manifest import MANIFEST
from mlmctl.storage import TEMPORARY, sha256_file

Tree = dict[str, str]
"""Path below the run folder -> SHA-256 of what is there, or `folder`."""

_MEASURED = {"seconds", "tokens_per_second", "examples_per_second", "peak_memory_bytes"}
"""Metrics that differ between two runs of the same bits."""
_TOLD = {"seconds", "metrics_bytes", "warnings"}
"""Details that do, or that tell of this sitting alone."""
_STEP = re.compile(r"(.*/checkpoints)/step-(\d+)")
_WORKER = re.compile(rb"/[^\"]*/worker\d+/folder")
FOLDER = "folder"
TRAINED = ("pretrain", "finetune/toy")
"""The artifacts that have checkpoints while they are made."""


def tree(run: Path) -> Tree:
    """Everything in a run folder, without times. Not in it: who held it last, and empty folders of `.old`."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if name != ".lock" and not (path.is_dir() and name.split("/")[0] == ".old"):
            found[name] = FOLDER if path.is_dir() else _digest(path)
    return found


def artifacts(of: Tree) -> set[str]:
    """The names of the published artifacts."""
    suffix = f"/{MANIFEST}"
    return {name.removesuffix(suffix) for name in of if name.endswith(suffix) and not name.startswith(".")}


def part(of: Tree, name: str) -> Tree:
    """What a tree has below a folder."""
    return {path.removeprefix(f"{name}/"): what for path, what in of.items() if path.startswith(f"{name}/")}


def checkpoints(run: Path, discarded: Set[str] = frozenset()) -> Iterator[tuple[str, int, bool]]:
    """(work folder and name, step, whether it is whole) of each checkpoint under its final name."""
    for path in sorted(run.glob(".work/*/checkpoints/step-*")):
        match = _STEP.fullmatch(path.as_posix())
        if match is not None and path.parents[1].relative_to(run).as_posix() not in discarded:
            yield path.relative_to(run).as_posix(), int(match[2]), _is_whole(path)


def works(of: Tree) -> set[str]:
    """The work folders."""
    return {name for name in of if name.startswith(".work/") and name.count("/") == 1}


def problems(run: Path, before: Tree, after: Tree, discarded: set[str]) -> list[str]:
    """What is half-written or lost in a folder that a command was working in.

    The work folders in `discarded` are being thrown away: nothing is expected of them.
    """
    now, wrong = tree(run), []
    for name in sorted(artifacts(before) | artifacts(after)):
        here, old, new = part(now, name), part(before, name), part(after, name)
        if name in now and here not in (old, new):
            wrong.append(f"{name} is half-written: {sorted(difference(here, new))[:4]}")
        elif name not in now and name in artifacts(before) and part(now, f".old/{name}") != old:
            wrong.append(f"{name} is lost")
    if not is_trained(now, before, after):
        found = checkpoints(run, discarded)
        wrong += [f"{name} is half-written" for name, _, is_whole in found if not is_whole]
    for path in run.glob(".work/*/*.json"):
        wrong += [] if _is_json(path) else [f"{path.relative_to(run)} is half-written"]
    for path in run.glob(".spool/[!.]*"):
        named = re.fullmatch(r"[a-z]+-([0-9a-f]{64})(\..*)?", path.name)
        if named and sha256_file(path) != named[1]:
            wrong.append(f"{path.relative_to(run)} is half-written")
    return wrong


def is_trained(now: Tree, before: Tree, after: Tree) -> bool:
    """Whether what was to be trained is published: its checkpoints are not needed any more."""
    return any(part(before, name) != part(after, name) == part(now, name) for name in TRAINED)


def newest_step(run: Path, stage: str) -> int:
    """The highest step of a checkpoint of a stage that is whole; 0 without any."""
    found = (
        step for name, step, is_whole in checkpoints(run) if is_whole and name.startswith(f".work/{stage}")
    )
    return max(found, default=0)


def published_step(name: str) -> int | None:
    """The step of the checkpoint that a file of this name is, or is renamed to."""
    match = _STEP.fullmatch(name)
    return int(match[2]) if match else None


def difference(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """`+ path` for what only the first has, `- path` for what it lacks, `! path` for what differs."""
    signs = {name: "!" if name in one and name in other else "-+"[name in one] for name in {*one, *other}}
    return [f"{signs[name]} {name}" for name in sorted(signs) if one.get(name) != other.get(name)]


def leftovers(of: Tree) -> list[str]:
    """Names that nothing has after a command that ended well."""
    return [name for name in of if TEMPORARY in name or name.startswith(".old/")]


def _digest(path: Path) -> str:
    content = path.read_bytes()
    try:
        if path.name == MANIFEST:
            content = _WORKER.sub(b"", json.dumps(_unmeasured(json.loads(content))).encode())
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in content.decode().splitlines()]
            content = json.dumps([{**line, "seconds": None} for line in lines]).encode()
    except ValueError:
        pass  # half-written
    return hashlib.sha256(content).hexdigest()


def _unmeasured(manifest: dict[str, Any]) -> dict[str, Any]:
    """A manifest without times, and without what is computed from them."""
    outputs = {name: each for name, each in manifest["outputs"].items() if name != "metrics.jsonl"}
    dropped = {"checksum", "fingerprint"} if "metrics.jsonl" in manifest["outputs"] else {"checksum"}
    kept = {name: value for name, value in manifest.items() if name not in dropped}
    details = {
        n: v for n, v in manifest["details"].items() if n not in {"seconds", "metrics_bytes", "warnings"}
    }
    metrics = {n: v for n, v in manifest["metrics"].items() if n not in _MEASURED}
    return {**kept, "outputs": outputs, "details": details, "metrics": metrics}


def _is_whole(path: Path) -> bool:
    try:
        open_artifact(path)
    except ArtifactError:
        return False
    return True


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True

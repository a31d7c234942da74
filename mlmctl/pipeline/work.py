"""Work folders: what a stage has begun and not yet published lies in one, named by what it was begun for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..artifact import refuse_links
from ..json_files import json_bytes, read_json
from ..manifest import Header, digest
from ..storage import make_folder, sync, write_file
from .nodes import Node

_WORK = ".work"
_REQUEST = "request.json"
_KEY_LENGTH = 16


def work_folder(run: Path, node: Node, header: Header) -> Path:
    """Where a node works for what the header asks; the fields that may grow make no difference."""
    key = digest([header.stage, node.trunk, dict(header.inputs)])
    return run / _WORK / f"{_flat(node.name)}-{key[:_KEY_LENGTH]}"


def _works(run: Path, node: Node) -> list[Path]:
    """All work folders of a node, and of none whose name only begins alike."""
    wanted = re.compile(rf"{re.escape(_flat(node.name))}-[0-9a-f]{{{_KEY_LENGTH}}}")
    folder = run / _WORK
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in found if wanted.fullmatch(path.name))


def is_begun(work: Path) -> bool:
    """Whether something was begun there."""
    return (work / _REQUEST).exists()


def begun_otherwise(run: Path, node: Node) -> Mapping[str, Any] | None:
    """Configuration and inputs of a request for this node, if more was done for one than to write it.

    What holds no more than the request was refused before it began: the way out may be another flag.
    """
    for work in _works(run, node):
        if is_begun(work) and len(list(work.iterdir())) > 1:
            return read_json(
                work / _REQUEST, lambda found: {name: dict(found[name]) for name in ("config", "inputs")}
            )
    return None


def begin(run: Path, node: Node, header: Header, is_new: bool) -> Path:
    """The node's work folder, with its request; what was begun before is deleted if the work `is_new`.

    ArtifactError if a link would lead out of the run folder.
    """
    work = work_folder(run, node, header)
    for path in (work, *work.rglob("*")):
        refuse_links(run, path)
    if is_new:
        for left in _works(run, node):
            shutil.rmtree(left)
    make_folder(work)
    _write_request(work, node, header)
    return work


def tidy(work: Path, node: Node, header: Header) -> None:
    """Remove of the work folder what is not needed once the result is published."""
    node.tidy(work)
    if work.is_dir():
        for path in work.rglob("*"):
            if path.is_dir():
                sync(path)  # or a power cut brings back what was removed, and the request says otherwise
        _write_request(work, node, header, is_tidy=True)


def is_tidy(work: Path, header: Header) -> bool:
    """Whether nothing is left of the work for this artifact that a kill kept from being removed.

    What was begun since for a longer one is its own: it needs the checkpoints.
    """
    if not is_begun(work):
        return not work.is_dir()
    key = header.key
    return read_json(
        work / _REQUEST, lambda request: bool(request.get("is_tidy")) or request.get("key", key) != key
    )


def _write_request(work: Path, node: Node, header: Header, is_tidy: bool = False) -> None:
    """What the work was begun for, by which it is found again."""
    request = {
        "config": node.trunk,
        "inputs": dict(header.inputs),
        "key": header.key,
        "is_tidy": is_tidy,
    }
    write_file(work / _REQUEST, json_bytes(request, sort_keys=True))


def _flat(name: str) -> str:
    return name.replace("/", "+")

"""Deciding: what is to be done for a node.

no artifact, no work            -> run
no artifact, work of this key   -> resume
artifact of this key            -> verify, nothing to do
artifact of another key         -> make it again (tokenizer, mask, evaluate; resume if that was
                                   begun), or refuse, naming the field that changed (pretrain,
                                   finetune), unless a field that may grow has changed and the
                                   work of the stage is there to be continued
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..config import changed_fields
from ..errors import ArtifactError
from ..manifest import MANIFEST, Header, Manifest, find_manifest, read_manifest
from .nodes import Node
from .work import begun_otherwise, is_begun, work_folder

FORCED = "forced"
"""The reason given where `--force` names the node."""

_OTHER_VERSION = "made by another version of mlmctl"


@dataclass(frozen=True)
class Decision:
    """What is to be done for a node, and why: `action` is `fresh`, `run`, `resume` or `extend`."""

    action: Literal["fresh", "run", "resume", "extend"]
    reason: str
    manifest: Manifest | None = None


def is_forced(node: Node, force: Collection[str]) -> bool:
    """Whether `--force` names the node or its stage."""
    return node.name in force or node.stage in force


def check_after(run: Path, node: Node, changing: Mapping[str, Path], force: Collection[str]) -> bool:
    """Whether what is there of a node was made, or begun, from folders that are about to change.

    `changing`: those folders, by the names under which the node reads them. Of what was made from others
    nothing can be said before they are there. ArtifactError if it is a trained model that must stay.
    """
    recorded = _made_from(run, node)
    there = {name: find_manifest(folder) for name, folder in changing.items()}
    lost = [name for name, found in there.items() if found and recorded.get(name) == found.fingerprint]
    if lost and not node.replaceable and not is_forced(node, force):
        changes = [f"input {name} changes" for name in lost]
        raise _refusal(node, "was made with another configuration or input", changes)
    return bool(lost)


def holds_another(folder: Path, header: Header) -> bool:
    """Whether a folder holds an artifact, and of another key than that of the header."""
    found = find_manifest(folder)
    return found is not None and found.key != header.key


def _made_from(run: Path, node: Node) -> Mapping[str, str]:
    if (run / node.name / MANIFEST).exists():
        found = find_manifest(run / node.name)
        return found.inputs if found else {}  # what is damaged is told when its turn comes
    begun = None if node.replaceable else begun_otherwise(run, node)
    return begun["inputs"] if begun else {}


def decide(run: Path, node: Node, header: Header, force: Collection[str] = ()) -> Decision:
    """What `execute` would do with a node whose inputs are as the header says; reads manifests only."""
    target, work = run / node.name, work_folder(run, node, header)
    if is_forced(node, force):
        return Decision("run", FORCED)
    if (target / MANIFEST).exists():
        manifest = read_manifest(target)
        if manifest.key == header.key:
            return Decision("fresh", "nothing changed", manifest)
        changes = _changes(manifest.config, manifest.inputs, header)
        if node.replaceable:
            stale = "stale: " + ("; ".join(changes) or _OTHER_VERSION)
            return Decision("resume" if is_begun(work) else "run", stale)
        if manifest.inputs == header.inputs and node.trunk_of(manifest.config) == node.trunk:
            if is_begun(work):
                return Decision("extend", "; ".join(changes))
            raise _refusal(node, "cannot be continued without its work folder", changes)
        raise _refusal(node, "was made with another configuration or input", changes)
    if is_begun(work):
        return Decision("resume", "begun before")
    begun = None if node.replaceable else begun_otherwise(run, node)
    if begun:
        changes = _changes(begun["config"], begun["inputs"], header)
        raise _refusal(node, "was begun with another configuration or input", changes)
    return Decision("run", "new")


def header_of(node: Node, fingerprints: Mapping[str, str]) -> Header:
    """The header of the artifact that a node makes from folders with these fingerprints."""
    return Header(node.name, node.config, {**node.given, **fingerprints})


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
        f"{found}: {'; '.join(changes) or _OTHER_VERSION}",
        where=node.name,
        hint=f"--force {node.stage} replaces it; --name or another --run keeps both",
    )

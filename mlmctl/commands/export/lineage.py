"""Where a model comes from: the chain of artifacts from corpus to model, as the manifests record it.

Only manifests are read. A link that is no longer where it was, or is another one now, is known by its
fingerprint alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...manifest import MANIFEST, Manifest, read_manifest

_INIT = "init"


@dataclass(frozen=True)
class Link:
    """An artifact, or something that was read: a corpus, labelled data, a model made elsewhere."""

    name: str
    fingerprint: str
    made_from: Sequence[str] = ()
    """Names of the links it was made from."""
    folder: Path | None = None
    manifest: Manifest | None = None
    """None for what is no artifact, or no longer there."""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "fingerprint": self.fingerprint, "made_from": list(self.made_from)}


Chain = Mapping[str, Link]
"""By name, each link after the ones it was made from; the model is the last."""


def chain(folder: Path, manifest: Manifest) -> Chain:
    """The chain of the artifact in `folder`. ArtifactError for a damaged manifest."""
    links: dict[str, Link] = {}
    _follow(manifest.stage, folder, manifest, "", links)
    return links


def _follow(name: str, folder: Path, manifest: Manifest, prefix: str, links: dict[str, Link]) -> None:
    """Add an artifact and, before it, all that it was made from. What led to an encoder that was continued
    has that as a prefix: it has a tokenizer and a corpus of its own.
    """
    run = folder
    for _ in Path(manifest.stage).parts:
        run = run.parent
    reads, names = manifest.details.get("reads", {}), []
    for role, fingerprint in manifest.inputs.items():
        found = _artifact(run / reads[role], fingerprint) if role in reads else None
        within = f"{prefix}{_INIT}: " if role == _INIT else prefix
        given = prefix + (found.stage if found is not None and role != _INIT else role)
        names.append(given)
        if given in links:
            continue
        if found is None:
            links[given] = Link(given, fingerprint)
        else:
            _follow(given, run / reads[role], found, within, links)
    links[name] = Link(name, manifest.fingerprint, names, folder, manifest)


def _artifact(folder: Path, fingerprint: str) -> Manifest | None:
    """The manifest of the artifact in a folder, if it is there and still the one with this fingerprint."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    return manifest if manifest.fingerprint == fingerprint else None

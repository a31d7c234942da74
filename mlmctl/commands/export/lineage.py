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
_BEGAN_FROM = ("pretrain", _INIT)
"""What an encoder or a fine-tuned model knows the one by that its weights began from."""


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
    began_from: str | None = None
    """Name of the link that the weights of a model began from; None if they began at random."""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "fingerprint": self.fingerprint, "made_from": list(self.made_from)}


Chain = Mapping[str, Link]
"""By name, each link after the ones it was made from; the model is the last."""


def chain(folder: Path, manifest: Manifest) -> Chain:
    """The chain of the artifact in `folder`. ArtifactError for a damaged manifest."""
    links: dict[str, Link] = {}
    _follow(manifest.stage, folder, manifest, "", links, {manifest.stage: manifest.fingerprint})
    return links


def trainings(links: Chain) -> list[Manifest]:
    """The records of all that the model's weights went through, as far back as they are there, in order."""
    found: list[Manifest] = []
    *_, link = links.values()
    while link.manifest is not None:
        found.insert(0, link.manifest)
        if link.began_from is None:
            break
        link = links[link.began_from]
    return found


def _follow(
    name: str,
    folder: Path,
    manifest: Manifest,
    prefix: str,
    links: dict[str, Link],
    named: dict[str, str],
) -> None:
    """Add an artifact and, before it, all that it was made from. What led to an encoder that was continued
    has that as a prefix: it has a tokenizer and a corpus of its own. `named` are the fingerprints by name.
    """
    run = folder
    for _ in Path(manifest.stage).parts:
        run = run.parent
    reads, names, began_from = manifest.details.get("reads", {}), [], None
    for role, fingerprint in manifest.inputs.items():
        found = _artifact(run / reads[role], fingerprint) if role in reads else None
        within = f"{prefix}{_INIT}: " if role == _INIT else prefix
        given = prefix + (found.stage if found is not None and role != _INIT else role)
        while named.get(given, fingerprint) != fingerprint:  # another fine-tuning has data of its own
            given = f"{name}: {given}"
        names.append(given)
        if role in _BEGAN_FROM and not manifest.config.get("from_scratch"):
            began_from = given
        if given in named:
            continue
        named[given] = fingerprint
        if found is None:
            links[given] = Link(given, fingerprint)
        else:
            _follow(given, run / reads[role], found, within, links, named)
    links[name] = Link(name, manifest.fingerprint, names, folder, manifest, began_from)


def _artifact(folder: Path, fingerprint: str) -> Manifest | None:
    """The manifest of the artifact in a folder, if it is there and still the one with this fingerprint."""
    if not (folder / MANIFEST).is_file():
        return None
    manifest = read_manifest(folder)
    return manifest if manifest.fingerprint == fingerprint else None

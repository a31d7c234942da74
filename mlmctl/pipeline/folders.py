"""The folders that nodes read: each verified once a run, and checked against one another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..artifact import open_artifact
from ..errors import ArtifactError
from ..manifest import MANIFEST, read_manifest
from ..storage import HashCache
from . import inputs
from .nodes import Node

_CACHE = ".hashes.json"


def hash_cache(run: Path) -> HashCache:
    """The run folder's memory of the hashes of large files; none before the folder exists."""
    return HashCache(run / _CACHE if run.is_dir() else None)


class Folders:
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
            # A fine-tuned model is read as `pretrain` and was itself made from another one.
            for other in (made_from.keys() & fingerprints.keys()) - {name}:
                if made_from[other] != fingerprints[other]:
                    raise ArtifactError(
                        "artifact.mismatch",
                        f"was made with another {other} than the one in this run folder",
                        where=str(node.reads[name]),
                        hint=f"mlmctl {name.split('/')[0]} --force makes it again",
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

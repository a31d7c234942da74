"""Manifests: what closes an artifact and says what it is.

A manifest holds the `key` (what was asked: stage, configuration, inputs) and the `fingerprint` (what
came out: key and the hashes of the files). Paths, times and worker counts are in neither.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ArtifactError
from .json_files import REMAKE, bounded_bytes, indented, json_bytes

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_MAX_BYTES = 2**28
"""The path of every file of a corpus is in it, of which there may be millions."""
_OBJECTS = ("config", "inputs", "metrics", "details", "environment")


def canonical(value: Any) -> bytes:
    """The one JSON text of a value: sorted keys, no blanks, no NaN. ValueError for NaN or infinity."""
    return json_bytes(value, sort_keys=True, separators=(",", ":"))


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of a value."""
    return hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of one file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Header:
    """What identifies an artifact before it is made; `config` holds only what is in the key."""

    stage: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return digest([SCHEMA_VERSION, self.stage, self.config, self.inputs])


@dataclass(frozen=True)
class Manifest:
    """The contents of `manifest.json`: see the module's docstring for key and fingerprint."""

    stage: str
    key: str
    fingerprint: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, FileRecord]
    metrics: Mapping[str, Any]
    details: Mapping[str, Any]
    environment: Mapping[str, Any]
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        outputs = {name: {"size": r.size, "sha256": r.sha256} for name, r in sorted(self.outputs.items())}
        return {
            "schema_version": self.schema_version,
            "stage": self.stage,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "config": dict(self.config),
            "inputs": dict(self.inputs),
            "outputs": outputs,
            "metrics": dict(self.metrics),
            "details": dict(self.details),
            "environment": dict(self.environment),
        }

    def to_bytes(self) -> bytes:
        """Indented JSON, the last field a checksum over the others, so that any flip is seen."""
        content = self.to_json()
        content["checksum"] = digest(content)
        return indented(content)


def fingerprint_of(key: str, outputs: Mapping[str, FileRecord]) -> str:
    """What came out: the key and the hashes of the files."""
    return digest([key, {name: record.sha256 for name, record in outputs.items()}])


def is_manifest(path: Path) -> bool:
    """Whether a file begins as manifests do: others have a `manifest.json` too."""
    beginning = b'{\n "schema_version"'
    try:
        with path.open("rb") as file:
            return file.read(len(beginning)) == beginning
    except OSError:
        return False


def find_manifest(folder: Path) -> Manifest | None:
    """The manifest of an artifact; None where there is none that can be used."""
    try:
        return read_manifest(folder)
    except ArtifactError:
        return None


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact, checked against itself (schema, checksum, key, fingerprint).

    ArtifactError if the folder or its manifest is missing, damaged, or of a newer schema.
    """
    path = folder / MANIFEST
    try:
        if path.is_symlink():
            raise ArtifactError("artifact.link", "is a symbolic link, not a file", where=str(path))
        content = bounded_bytes(path, _MAX_BYTES)
    except FileNotFoundError:
        what = "has no manifest" if folder.is_dir() else "does not exist"
        raise ArtifactError("artifact.missing", what, where=str(folder)) from None
    except ValueError as error:
        raise ArtifactError("artifact.damaged", str(error), where=str(path), hint=REMAKE) from None
    try:
        parsed = json.loads(content)
        version = parsed["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ArtifactError(
                "artifact.newer-schema",
                f"has schema {version}; this mlmctl reads up to {SCHEMA_VERSION}",
                where=str(path),
                hint="upgrade mlmctl",
            )
        if isinstance(version, int) and version < SCHEMA_VERSION:
            raise ArtifactError(
                "artifact.older-schema",
                f"has schema {version}; this mlmctl reads {SCHEMA_VERSION} only",
                where=str(path),
                hint=REMAKE,
            )
        parsed.pop("checksum")
        outputs = {n: FileRecord(r["size"], r["sha256"]) for n, r in parsed.pop("outputs").items()}
        manifest = Manifest(outputs=outputs, **parsed)
        sound = (
            manifest.to_bytes() == content
            and manifest.key == Header(manifest.stage, manifest.config, manifest.inputs).key
            and manifest.fingerprint == fingerprint_of(manifest.key, outputs)
            and isinstance(manifest.stage, str)
            and all(isinstance(getattr(manifest, name), dict) for name in _OBJECTS)
        )
    except ArtifactError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ArtifactError("artifact.damaged", "the manifest is damaged", where=str(path), hint=REMAKE)
    return manifest

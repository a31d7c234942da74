"""An extended vocabulary: which tokens are new, and what each was made of before.

`extension.json` lies beside a `tokenizer.json` that grew from another one: `base_sha256` (the content of
that one), `num_base` (its ids are below) and `pieces`: for each new id the ids of its pieces.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ArtifactError
from ..json_files import bounded_bytes
from . import imported

FILE = "extension.json"

_TOKENIZER = "tokenizer.json"


def content_hash(folder: Path) -> str:
    """SHA-256 of what the tokenizer in `folder` does: how its file is laid out, cuts or pads is not in it."""
    path = folder / _TOKENIZER
    _, parts = imported.parse(path)
    if not isinstance(parts, dict):
        raise ArtifactError("artifact.tokenizer", "is not a tokenizer", where=str(path))
    rest = {name: part for name, part in parts.items() if name not in ("truncation", "padding")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def between(base: Path, grown: Path) -> Mapping[int, Sequence[int]]:
    """New id -> ids of its pieces: none if the tokenizers in both folders are the same.

    ArtifactError unless the one in `grown` is that in `base` or an extension of it, by content.
    """
    path = grown / FILE
    origin, pieces = content_hash(grown), {}
    if path.exists():
        try:
            found = json.loads(bounded_bytes(path, imported.MAX_BYTES))
            origin, num_base = str(found["base_sha256"]), int(found["num_base"])
            pieces = {int(token): [int(i) for i in ids] for token, ids in found["pieces"].items()}
            sound = all(ids and min(ids) >= 0 and max(ids) < num_base <= new for new, ids in pieces.items())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise ArtifactError("artifact.damaged", "is no record of an extension", where=str(path))
    if origin != content_hash(base):
        raise ArtifactError(
            "artifact.tokenizer-mismatch",
            "is neither the tokenizer of the encoder to continue nor an extension of it",
            where=str(grown),
            hint=f"--tokenizer {base} takes the encoder's own",
        )
    return pieces

"""What an attacker would write: live pickles, artifacts sealed anew, a measure of what a refusal takes."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mlmctl.manifest import MANIFEST, FileRecord, Manifest, digest, fingerprint_of
from mlmctl.storage import sha256_file

MOST_SECONDS = 1.0
MOST_MEMORY = 200 * 2**20


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, exploded: Path) -> None:
        self.exploded = exploded

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.exploded),)


def pickled(exploded: Path, protocol: int = 4) -> bytes:
    return pickle.dumps(Bomb(exploded), protocol)


def object_array(exploded: Path) -> bytes:
    """A `.npy` file of one object: a pickle behind a sound header."""
    content = io.BytesIO()
    np.save(content, np.array([Bomb(exploded)], dtype=object), allow_pickle=True)
    return content.getvalue()


def reseal(folder: Path, **changes: Any) -> None:
    """Make the manifest of an artifact fit whatever its files now hold: nothing is signed."""
    parsed = json.loads((folder / MANIFEST).read_bytes())
    parsed.pop("checksum")
    names = [name for name in parsed.pop("outputs") if (folder / name).is_file()]
    outputs = {name: FileRecord((folder / name).stat().st_size, sha256_file(folder / name)) for name in names}
    manifest = replace(Manifest(outputs=outputs, **parsed), **changes)
    sealed = replace(manifest, fingerprint=fingerprint_of(manifest.key, manifest.outputs))
    (folder / MANIFEST).write_bytes(sealed.to_bytes())


def checksummed(content: dict[str, Any]) -> bytes:
    """Any fields as a manifest whose checksum is right."""
    body = {**content, "checksum": digest(content)}
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


@contextmanager
def cheaply() -> Iterator[None]:
    """What happens inside takes less than a second of CPU and less than 200 MB more memory."""
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    yield
    seconds = time.process_time() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    assert seconds < MOST_SECONDS, f"took {seconds:.2f} s"
    assert more < MOST_MEMORY, f"took {more / 2**20:,.0f} MB"

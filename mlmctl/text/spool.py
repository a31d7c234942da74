"""What is no local file is read once, into a file named by its content, and that file is read ever after.

Standard input, remote files and data sets from a hub all end here (`.spool` in the run folder). What was
read under a remote name is remembered beside it: the same command again needs no network, and a run never
continues on another text than the one it began with.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..artifact import refuse_links
from ..json_files import indented
from ..manifest import digest
from ..storage import TEMPORARY, make_folder, sync, write_file

_RECORD_LENGTH = 32
_RECORD = re.compile(rf"[0-9a-f]{{{_RECORD_LENGTH}}}\.json")


@dataclass(frozen=True)
class Kept:
    """One file of the spool."""

    name: str
    """Where it came from, as shown to people: without what may be secret in a URL."""
    path: Path


@dataclass(frozen=True)
class Spool:
    """A folder of files named by their content; made when the first is written."""

    folder: Path

    def add(self, chunks: Iterable[bytes], kind: str, suffix: str) -> Path:
        """Write the chunks as they come; the file is called `<kind>-<SHA-256><suffix>`."""
        refuse_links(self.folder.parent, self.folder)
        make_folder(self.folder)
        temporary = self.folder / f"{TEMPORARY}{kind}-{secrets.token_hex(4)}"
        content_hash = hashlib.sha256()
        try:
            with temporary.open("xb") as file:
                for chunk in chunks:
                    content_hash.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            path = self.folder / f"{kind}-{content_hash.hexdigest()}{suffix}"
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync(self.folder)
        return path

    def recall(self, name: str) -> list[Kept] | None:
        """The files that were read under this name, in order; None if they were not, or one is gone."""
        try:
            record = json.loads(self._record(name).read_bytes())
            kept = [Kept(str(origin), self.folder / Path(file).name) for origin, file in record["files"]]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return kept if kept and all(one.path.is_file() for one in kept) else None

    @contextmanager
    def forgotten(self) -> Iterator[None]:
        """Let `recall` find none of the names meanwhile, and after it those again that were not read anew.

        What was read under them stays in the spool.
        """
        records = {
            path: path.read_bytes() for path in self.folder.glob("*.json") if _RECORD.fullmatch(path.name)
        }
        for path in records:
            path.unlink()
        try:
            yield
        finally:
            for path, content in records.items():
                if not path.exists():
                    write_file(path, content)

    def remember(self, name: str, kept: Sequence[Kept]) -> None:
        """Let `recall` find these files under a name (of which only a hash is written: it may hold a key)."""
        record = {"files": [[one.name, one.path.name] for one in kept]}
        write_file(self._record(name), indented(record))

    def _record(self, name: str) -> Path:
        return self.folder / f"{digest(name)[:_RECORD_LENGTH]}.json"

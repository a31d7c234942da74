"""The run folder that a report is about: every artifact is verified before anything is said of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...artifact import open_artifact
from ...errors import ArtifactError, UsageError
from ...events import Emit, Progress
from ...manifest import Manifest
from ...storage import HashCache
from .. import status

BEGUN = "begun"
_USUAL = "run"


@dataclass(frozen=True)
class Opened:
    """A verified run folder."""

    folder: Path
    rows: Sequence[status.Row]
    """What `status` says of it."""
    manifests: Mapping[str, Manifest]
    """By artifact, `evaluate/sentiment/test`."""
    has_text: bool
    """Whether text of the data may be shown."""

    @classmethod
    def open(
        cls, folder: Path, rows: Sequence[status.Row], cache: HashCache, has_text: bool, emit: Emit
    ) -> Opened:
        """UsageError if there is nothing in it, ArtifactError for the first artifact that is damaged."""
        if not rows:
            raise UsageError("usage.no-run", "is no run folder: it holds no artifact", where=str(folder))
        made = [row.name for row in rows if row.state != BEGUN]
        manifests = {}
        for number, name in enumerate(made):
            emit(Progress("report", number, len(made), "artifacts", name))
            manifests[name] = open_artifact(folder / name, cache)
        return cls(folder, rows, manifests, has_text)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def of_stage(self, stage: str) -> dict[str, Manifest]:
        """The artifacts below a folder, `finetune` or `evaluate`."""
        return {name: made for name, made in self.manifests.items() if name.startswith(f"{stage}/")}

    def evaluations(self) -> dict[str, Manifest]:
        """Those of what lies here now: what measured a model that was replaced says nothing of this one."""
        made = self.of_stage("evaluate")
        return {name: manifest for name, manifest in made.items() if not self.misfit(name)}

    def is_begun(self, name: str) -> bool:
        return any(row.name == name and row.state == BEGUN for row in self.rows)

    def misfit(self, *names: str) -> str:
        """The first of the artifacts that is not there or was made with another one than lies here; or ""."""
        states = {row.name: row.state for row in self.rows}
        for name in names:
            state = states.get(name, "is not there")
            if name not in self.manifests or state != status.OK:
                return f"{name} {'is not there' if name not in self.manifests else f'was {state}'}"
        return ""

    def command(self, words: str) -> str:
        """A command line for this run folder, seen from the folder it is in."""
        return f"mlmctl {words}" + ("" if self.name == _USUAL else f" --run {shlex.quote(self.name)}")

    def json(self, name: str) -> Any:
        """A JSON file of a verified artifact, or of a command that writes no artifact.

        ArtifactError if it is damaged.
        """
        path = self.folder / name
        try:
            return json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise damaged(path, error) from None


def damaged(path: Path, error: Exception) -> ArtifactError:
    """What is said of a file that does not hold what it should."""
    return ArtifactError("artifact.damaged", f"cannot be read: {error!r}", where=str(path))

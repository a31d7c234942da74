"""Opening the model that a command is to use: an artifact is verified before anything is computed."""

from __future__ import annotations

from pathlib import Path

from ..artifact import open_artifact
from ..config import RuntimeConfig
from ..engine import runtime
from ..manifest import MANIFEST
from ..tasks.pretrained import Pretrained, open_pretrained


def open_encoder(folder: Path, machine: RuntimeConfig | None, *, needs_head: bool = True) -> Pretrained:
    """See `open_pretrained`. ArtifactError also for an artifact whose files are not the ones recorded."""
    check_whole(folder)
    return open_pretrained(folder, runtime.prepare(machine or RuntimeConfig()).device, needs_head=needs_head)


def check_whole(folder: Path) -> None:
    """ArtifactError for an artifact whose files are not the ones recorded; of other folders nothing is."""
    if (folder / MANIFEST).exists():
        open_artifact(folder)

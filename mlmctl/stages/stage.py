"""What a stage is handed: its inputs, a folder to write to, a folder to work in, a voice.

A stage is a function `run(config, stage) -> metrics`. It never opens another stage's work, never
decides whether it has to run, and never publishes: the pipeline does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import RuntimeConfig
from ..engine.ranks import ALONE, Ranks
from ..events import Emit, silent
from ..text.corpus import Source

BASE = "base"
"""Folder inside `tokenizer/` with the tokenizer it was made from, if that is another one."""


@dataclass(frozen=True)
class Stage:
    """The world as one run of one stage sees it."""

    name: str
    """Folder of the artifact below the run folder: `tokenizer`, `mask/blocks`, `finetune/sentiment`."""
    inputs: Mapping[str, Path]
    """Artifacts it reads, verified just now, by stage folder name."""
    out: Path
    """The draft folder: files written here become the artifact."""
    work: Path
    """Scratch that survives a kill and is found again under the same key; removed when published."""
    emit: Emit = silent
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    ranks: Ranks = field(default_factory=lambda: ALONE)
    """The processes that do this stage together; all are handed the same, and the first alone writes."""
    dismiss: Callable[[], None] = lambda: None
    """Called by the first rank when it needs no more help; returns when the others have stopped."""
    is_dismissed: Callable[[], bool] = lambda: False
    """Whether the first rank has called it."""
    sources: Sequence[Source] = ()
    """The corpus, for the stages that read it."""
    data: Path | None = None
    """The labelled data, for the stages that read it."""
    previous: Callable[[], Path | None] = lambda: None
    """The artifact that this one will replace, verified when asked for; None if it is not to be used."""
    details: dict[str, Any] = field(default_factory=dict)
    """Facts for the manifest that are not metrics; never part of key or fingerprint."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)
    """When work on it began, loading of libraries included: from here a budget counts."""

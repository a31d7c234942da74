"""Ask a fine-tuned model: one answer for each line of text, in order, as the lines come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config import RuntimeConfig
from ..engine import runtime
from ..tasks.adapted import open_adapted
from . import stdin
from .encoders import check_whole


def run(
    model: Path, lines: Iterable[str], batch_size: int = 64, machine: RuntimeConfig | None = None
) -> Iterator[dict[str, Any]]:
    """The task's answer to each line, e.g. {label, score, probabilities}; an empty line gets one too.

    Lines are plain text, which only some tasks understand, or JSON objects that hold the columns the task
    asks for (`stdin.rows`). At most `batch_size` of them are read before their answers are given.
    ArtifactError if `model` is not a whole fine-tuned model; DataError names a line that cannot be read.
    """
    check_whole(model)
    adapted = open_adapted(model, runtime.prepare(machine or RuntimeConfig()).device)
    rows = stdin.rows(lines, adapted.task.asks)
    while batch := list(itertools.islice(rows, batch_size)):
        yield from adapted.answer(batch, batch_size)

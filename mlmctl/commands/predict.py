"""Ask a fine-tuned model: one answer for each line of text, in order, as the lines come."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..artifact import open_artifact
from ..config import RuntimeConfig
from ..engine import runtime
from ..errors import DataError
from ..tasks.adapted import open_adapted


def run(
    model: Path, lines: Iterable[str], batch_size: int = 64, machine: RuntimeConfig | None = None
) -> Iterator[dict[str, Any]]:
    """The task's answer to each line, e.g. {label, score, probabilities}; an empty line gets one too.

    If the first line is a JSON object with a string `text`, every line must be one; else lines are
    plain text. At most `batch_size` lines are read before their answers are given. ArtifactError if
    `model` is not a whole fine-tuned model; DataError names the line that is not what it should be.
    """
    open_artifact(model)
    adapted = open_adapted(model, runtime.prepare(machine or RuntimeConfig()).device)
    texts = _texts(lines)
    while batch := list(itertools.islice(texts, batch_size)):
        yield from adapted.answer(batch, batch_size)


def _texts(lines: Iterable[str]) -> Iterator[str]:
    is_json = False
    for number, line in enumerate(lines, start=1):
        line = line.removesuffix("\n").removesuffix("\r")
        text = _json_text(line) if is_json or number == 1 else None
        if number == 1:
            is_json = text is not None
        if is_json and text is None:
            found = "is not a JSON object with a string under 'text', as the first line is"
            raise DataError("data.broken-row", found, where=f"line {number}")
        text = line if text is None else text
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError("data.bad-text", "is not valid Unicode", where=f"line {number}") from None
        yield text


def _json_text(line: str) -> str | None:
    """The `text` of a JSON object, or None for anything else."""
    try:
        value = json.loads(line)["text"] if line.lstrip().startswith("{") else None
    except (ValueError, KeyError, RecursionError):
        return None
    return value if isinstance(value, str) else None

"""Examples for the card: text of the data, and so only where that was asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...artifact import open_artifact
from ...engine import evaluate_mlm, runtime
from ...json_files import read_lines
from ...storage import HashCache
from ...tasks.pretrained import open_pretrained
from .subject import Subject

_NUM = 5
_TRIED = 50
"""Blocks that are looked at for a word to hide."""
_SUREST = "Wrong on {data}, and surest of it"
_WORST = {
    "sentiment": _SUREST,
    "classify": _SUREST,
    "tags": "Most entities missed or wrong on {data}",
    "qa": "Farthest from the right answers on {data}",
    "pairs": "The wrong sentence found likelier on {data}, by most",
}
"""Task -> what the first errors of its evaluations are."""


@dataclass(frozen=True)
class Examples:
    """Some lines under a heading."""

    heading: str
    lines: Sequence[str]


def of_model(subject: Subject, run: Path, machine: runtime.Runtime, cache: HashCache) -> list[Examples]:
    """For an encoder, words it fills in; for a fine-tuned model, its worst mistakes on each test set.

    None where the run has neither. ArtifactError for records that are not whole.
    """
    found = [
        _mistakes(run / name, name.rpartition("/")[2], manifest.config["task"])
        for name, manifest in subject.evaluations.items()
    ]
    if subject.head == "masked_lm":
        found.append(_filled(subject, machine, cache))
    return [each for each in found if each.lines]


def _mistakes(folder: Path, data: str, task: str) -> Examples:
    """From an evaluation that was verified just now."""
    rows = read_lines(folder / "errors.jsonl", _NUM)
    return Examples(_WORST.get(task, "Wrong on {data}").format(data=data), [_spoken(row) for row in rows])


def _spoken(row: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in row.items()
    )


def _filled(subject: Subject, machine: runtime.Runtime, cache: HashCache) -> Examples:
    links = [subject.chain.get(name) for name in ("mask/policy", "mask/blocks")]
    folders = [link.folder for link in links if link is not None and link.folder is not None]
    if len(folders) < len(links):
        return Examples("", [])
    for folder in folders:
        open_artifact(folder, cache)
    masks = evaluate_mlm.FrozenMasks.open(*folders)
    opened = open_pretrained(subject.folder, machine.device)
    tokenizer = Tokenizer.from_file(str(subject.folder / "tokenizer.json"))

    def sentences() -> Iterator[str]:
        for number in range(min(_TRIED, len(masks.labels))):
            yield evaluate_mlm.filled_sentence(opened.model, masks, tokenizer, number, machine.device)

    lines = [line for line in sentences() if line][:_NUM]
    return Examples("What it puts in brackets for a hidden word of held-out text (and what was there)", lines)

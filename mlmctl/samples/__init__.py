"""The small English set that comes with mlmctl, for commands that name no data."""

from __future__ import annotations

from pathlib import Path

_SENTIMENT = {"finetune": "sentiment-train.jsonl", "evaluate": "sentiment-test.jsonl"}
LABELLED = {
    "sentiment": _SENTIMENT,
    "classify": _SENTIMENT,
    "tags": {"finetune": "tags-train.jsonl", "evaluate": "tags-test.jsonl"},
    "qa": {"finetune": "qa.json", "evaluate": "qa-test.json"},
}
"""Task -> stage -> the file of the set."""


def path(name: str) -> Path:
    """A file of the set: `corpus.txt`, or one of those above."""
    return Path(__file__).parent / name

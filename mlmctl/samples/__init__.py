"""The small English set that comes with mlmctl, for commands that name no data."""

from __future__ import annotations

from pathlib import Path

_SENTIMENT = {"finetune": "sentiment-train.jsonl", "evaluate": "sentiment-test.jsonl"}
LABELLED = {"sentiment": _SENTIMENT, "classify": _SENTIMENT}
"""Task -> stage -> the file of the set."""


def path(name: str) -> Path:
    """A file of the set: `corpus.txt`, `sentiment-train.jsonl`, `sentiment-test.jsonl` or `qa.json`."""
    return Path(__file__).parent / name

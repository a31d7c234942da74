"""Calling the command line in this process, and a corpus small enough for every test."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlmctl.cli import main

WORDS = [
    "the", "a", "river", "stone", "green", "quiet", "old", "house", "bird", "sings", "over", "under",
    "light", "dark", "winter", "summer", "walks", "runs",
]  # fmt: skip
SMALL = (
    "--preset", "tiny", "--vocab-size", "120", "--block-length", "32",
    "--set", "pretrain.hidden_size=16", "--set", "pretrain.num_hidden_layers=1",
    "--set", "pretrain.num_attention_heads=2", "--set", "pretrain.intermediate_size=16",
    "--set", "pretrain.tokens_per_step=256",
)  # fmt: skip


def write_corpus(path: Path, num_documents: int = 120) -> Path:
    """Paragraphs of random words, the same ones every time."""
    generator = random.Random(0)
    paragraphs = [
        " ".join(generator.choices(WORDS, k=generator.randint(4, 30))) for _ in range(num_documents)
    ]
    path.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.out)
        return parsed


class Shell:
    """`shell("status", "--json")` runs `mlmctl status --json` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str | Path) -> Outcome:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        captured = self._capsys.readouterr()
        code = caught.value.code
        assert isinstance(code, int)
        return Outcome(code, captured.out, captured.err)

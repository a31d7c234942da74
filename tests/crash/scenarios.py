"""What is tried: a run folder as it is before a command, the command, and the run folder after it.

All of it on a corpus of a few kilobytes and a model of a few thousand parameters.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from commands import WORDS, write_corpus

RUN = "run"
_SHAPE = (
    "--preset", "tiny", "--set", "pretrain.hidden_size=16", "--set", "pretrain.num_hidden_layers=1",
    "--set", "pretrain.num_attention_heads=2", "--set", "pretrain.intermediate_size=16",
    "--set", "pretrain.tokens_per_step=128", "--set", "pretrain.save_interval=1s",
)  # fmt: skip
_TEXT = ("corpus.txt", "--vocab-size", "100")
_COMMON = ("--run", RUN, "--threads", "1")
TOKENIZER = ("tokenizer", *_TEXT, *_COMMON)
MASK = ("mask", *_TEXT, "--block-length", "16", "--set", "mask.valid_fraction=0.2", *_COMMON)
PRETRAIN = ("pretrain", *MASK[1:], *_SHAPE, "--steps", "4")
FINETUNE = (
    "finetune", "--task", "sentiment", "--name", "toy", "--data", "train.jsonl", "--epochs", "1",
    "--set", "finetune.batch_size=4", "--set", "finetune.save_interval=1s", *_COMMON,
)  # fmt: skip
EVALUATE = ("evaluate", "--task", "sentiment", "--model", "toy", "--data", "test.jsonl", *_COMMON)

STAGES = (TOKENIZER, MASK, PRETRAIN, FINETUNE, EVALUATE)


@dataclass(frozen=True)
class Scenario:
    """A command on a folder in which `done` (commands of an unbroken run) have ended well."""

    name: str
    done: Sequence[Sequence[str]]
    command: Sequence[str]
    alter: Callable[[Path], object] = lambda folder: None
    """What the user changed in the folder in between."""
    stdin: str = "/dev/null"
    sample: int = 60
    """How many of its calls are tried on every commit: fewer of those that take long."""
    is_real: bool = False
    """Whether the command is a new process of Python, with its own clock, and not a fork of the zygote."""

    @property
    def starts_again(self) -> bool:
        """Whether the command throws away what was begun before."""
        return "--force" in self.command


def _more_text(folder: Path) -> None:
    with (folder / "corpus.txt").open("a") as file:
        file.write("\n\nwinter light over the quiet green river and the old stone house by the river\n")


def _more_tests(folder: Path) -> None:
    with (folder / "test.jsonl").open("a") as file:
        file.write('{"text": "the old green house", "label": "bright"}\n')


def _force(stage: str) -> tuple[str, ...]:
    return "--set", f"{stage}.seed=1", "--force", stage


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("tokenizer", STAGES[:0], TOKENIZER),
        Scenario("mask", STAGES[:1], MASK),
        Scenario("pretrain", STAGES[:2], PRETRAIN, sample=36),
        Scenario("finetune", STAGES[:3], FINETUNE, sample=36),
        Scenario("evaluate", STAGES[:4], EVALUATE),
        Scenario("standard-input", (), ("tokenizer", "-", *TOKENIZER[2:]), stdin="corpus.txt"),
        Scenario("stale-text", STAGES[:2], MASK, _more_text, sample=36),
        Scenario("stale-tests", STAGES[:5], EVALUATE, _more_tests),
        Scenario("force-pretrain", STAGES[:3], (*PRETRAIN, *_force("pretrain")), sample=16),
        Scenario("longer-pretrain", STAGES[:3], (*PRETRAIN[:-1], "7"), sample=25),
        Scenario("force-finetune", STAGES[:4], (*FINETUNE, *_force("finetune")), sample=16),
        Scenario("real-pretrain", (), PRETRAIN, is_real=True),
    )
}


def write_inputs(folder: Path) -> None:
    """The files that a user would have: a corpus and labelled texts."""
    folder.mkdir(parents=True)
    write_corpus(folder / "corpus.txt", 24)
    _write_labelled(folder / "train.jsonl", 16, 0)
    _write_labelled(folder / "test.jsonl", 8, 1)


def _write_labelled(path: Path, number: int, seed: int) -> None:
    generator = random.Random(seed)
    with path.open("w") as file:
        for n in range(number):
            words = [*generator.choices(WORDS, k=5), ("light", "dark")[n % 2]]
            file.write(json.dumps({"text": " ".join(words), "label": ("bright", "dim")[n % 2]}) + "\n")


def copy(source: Path, target: Path) -> None:
    """Make `target` a copy of the folder `source`, whatever it was."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)

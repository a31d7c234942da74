"""Tiny random encoders, labelled data and runs of the adapting stages, for tests that need a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vocabularies import trained

from mlmctl.artifact import publish
from mlmctl.config import EvaluateConfig, FinetuneConfig, PretrainConfig, RuntimeConfig
from mlmctl.engine import model
from mlmctl.events import Emit, silent
from mlmctl.manifest import Header
from mlmctl.stages import evaluate, finetune
from mlmctl.stages.stage import Stage
from mlmctl.text import vocabulary
from mlmctl.text.vocabulary import Kind

GOOD = ["great", "lovely", "superb", "fine"]
BAD = ["awful", "boring", "poor", "dull"]
OTHER = ["the", "film", "was", "a", "plot", "and", "cast"]
BLOCK_LENGTH = 16


def make_encoder(
    folder: Path,
    seed: int = 0,
    architecture: str = "modernbert",
    kind: Kind = "wordpiece",
    scale: float = 1.0,
) -> Path:
    """An untrained encoder of 32 numbers and two layers as an artifact, like the one pretrain writes.

    With a `scale` of its matrices it has opinions: untouched ones find all words about equally likely.
    """
    tokenizer = trained(200 if kind == "wordpiece" else 340, text=" ".join(GOOD + BAD + OTHER), kind=kind)
    vocab_size = vocabulary.special_ids(tokenizer).vocab_size
    size: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape = model.shape(PretrainConfig(**size, intermediate_size=32))
    with publish(folder, Header("pretrain", {"seed": seed})) as draft:
        ids = {"pad": 0, "cls": 2, "sep": 3}
        network = model.build(architecture, shape, vocab_size, BLOCK_LENGTH, ids, seed)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim == 2:
                    parameter.mul_(scale)
        model.save_model(network, draft.path)
        vocabulary.save(tokenizer.to_str(), draft.path)
        (draft.path / "plan.json").write_text(json.dumps({"block_length": BLOCK_LENGTH}))
    return folder


def make_data(path: Path, num_examples: int = 120, seed: int = 0, lengths: Sequence[int] = (3, 8)) -> Path:
    """Texts with one telling word each; labels `bad` and `good`."""
    draw = np.random.default_rng(seed)
    with path.open("w") as file:
        for number in range(num_examples):
            telling = draw.choice(GOOD if number % 2 else BAD)
            words = [*draw.choice(OTHER, draw.integers(*lengths)), telling, str(draw.choice(OTHER))]
            row = {"text": " ".join(words), "label": "good" if number % 2 else "bad"}
            file.write(json.dumps(row) + "\n")
    return path


def run_finetune(
    folder: Path, encoder: Path, data: Path, *, emit: Emit = silent, work: Path | None = None, **config: Any
) -> dict[str, Any]:
    """Fine-tune and publish as `folder`; the metrics."""
    work = work or folder.with_name(f"{folder.name}.work")
    work.mkdir(exist_ok=True, parents=True)
    asked = FinetuneConfig(**{"epochs": 4.0, "learning_rate": 3e-3, "batch_size": 16, **config})
    with publish(folder, Header(f"finetune/{folder.name}", asked.key_fields())) as draft:
        one_thread = RuntimeConfig(threads=1)
        inputs = {"pretrain": encoder}
        name = f"finetune/{folder.name}"
        return finetune.run(asked, Stage(name, inputs, draft.path, work, emit, one_thread, data=data))


def run_evaluate(
    folder: Path, trained: Path, data: Path, *, emit: Emit = silent, **config: Any
) -> dict[str, Any]:
    """Evaluate into `folder`; the metrics."""
    folder.mkdir()
    stage = Stage("evaluate/x", {"model": trained}, folder, folder, emit, RuntimeConfig(threads=1), data=data)
    return evaluate.run(EvaluateConfig(**config), stage)

"""Evaluations made up from how many answers are right, for tests that compare them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mlmctl.artifact import publish
from mlmctl.commands.evaluations import Evaluation
from mlmctl.manifest import Header, read_manifest
from mlmctl.measure import bootstrap, outcomes


def make_evaluation(
    folder: Path, num_right: int, num_examples: int = 400, seed: int = 0, data: str = "d", **config: Any
) -> Evaluation:
    """An evaluation of a model that is right where a seeded order of the examples has its first ones."""
    order = np.random.default_rng(seed).permutation(num_examples)
    right = np.isin(np.arange(num_examples), order[:num_right])
    rows = [
        {"row": n + 1, "label": "ab"[n % 2], "prediction": "ab"[(n + (not right[n])) % 2]}
        for n in range(num_examples)
    ]
    header = Header("evaluate/m/t", {"task": "sentiment", **config}, {"data": data, "model": folder.name})
    with publish(folder, header) as draft:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (draft.path / "predictions.jsonl").write_text(lines)
        ends = bootstrap.interval(outcomes.ratios("sentiment", rows)["accuracy"]).to_json()
        draft.metrics.update(accuracy=num_right / num_examples, num_examples=num_examples)
        draft.metrics["intervals"] = {"accuracy": ends}
        draft.details.update(data=f"/somewhere/{data}.jsonl")
    return Evaluation.open(folder)


def make_model(run: Path, seed: int, name: str = "sentiment") -> str:
    """A fine-tuned model without files, in place of another if there is one; its fingerprint."""
    header = Header(f"finetune/{name}", {"task": "sentiment", "seed": seed})
    with publish(run / header.stage, header, old=run / ".old" / header.stage):
        pass
    return read_manifest(run / header.stage).fingerprint


def make_evaluated(run: Path) -> None:
    """A fine-tuned model, and an evaluation of it without examples: accuracy 0.8125."""
    header = Header("evaluate/sentiment/test", {"task": "sentiment"}, {"model": make_model(run, seed=0)})
    with publish(run / header.stage, header) as draft:
        draft.metrics.update(accuracy=0.8125, num_examples=64)
        draft.details["reads"] = {"model": "finetune/sentiment"}
        for name in ("predictions.jsonl", "errors.jsonl"):
            (draft.path / name).touch()

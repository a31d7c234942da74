"""From predictions on disk to metrics: for every task what the rows add up to is the metric itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import make_data, make_encoder, run_evaluate, run_finetune

from mlmctl.config import EvaluateConfig, RuntimeConfig
from mlmctl.measure import entities, outcomes
from mlmctl.measure.entities import Span
from mlmctl.stages import evaluate
from mlmctl.stages.stage import Stage


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def check(folder: Path, task: str, names: set[str]) -> None:
    """The rows on disk give the metrics, and each metric has its interval around it."""
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = lines(folder / "predictions.jsonl")
    found = outcomes.ratios(task, rows)
    assert found.keys() == metrics["intervals"].keys() == names
    for name, ratio in found.items():
        assert ratio.value == pytest.approx(metrics[name], rel=1e-4), name
        ends = metrics["intervals"][name]
        assert ends["low"] - 1e-6 <= metrics[name] <= ends["high"] + 1e-6, name
        assert ratio.num_examples == len(rows)
    assert any(ends["low"] < ends["high"] for ends in metrics["intervals"].values())
    for row in rows:
        assert set(outcomes.OF_TASK[task].identity) <= row.keys()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "pretrain", scale=10.0)


def test_classification(encoder: Path, tmp_path: Path) -> None:
    run_finetune(tmp_path / "toy", encoder, make_data(tmp_path / "d.jsonl", 40), epochs=0.5)
    run_evaluate(tmp_path / "out", tmp_path / "toy", make_data(tmp_path / "t.jsonl", 60, seed=1))
    check(tmp_path / "out", "sentiment", {"accuracy", "macro_f1"})
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    rows = lines(tmp_path / "out/predictions.jsonl")
    sure = np.array([max(row["probabilities"].values()) for row in rows])
    right = np.array([row["label"] == row["prediction"] for row in rows])
    bins = [(sure > n / 15) & (sure <= (n + 1) / 15) for n in range(15)]
    gaps = [abs(sure[some].sum() - right[some].sum()) / len(rows) for some in bins]
    assert metrics["ece"] == pytest.approx(sum(gaps), abs=1e-9)
    assert sum(each["num_examples"] for each in metrics["reliability"]) == 60
    by_length = [(each["accuracy"], each["num_examples"]) for each in metrics["lengths"].values()]
    assert sum(a * n for a, n in by_length) / 60 == pytest.approx(metrics["accuracy"])


def test_tags(encoder: Path, tmp_path: Path) -> None:
    rows = [
        {"tokens": ["the", word, "film", "was", other], "tags": ["O", "B-good", "I-good", "O", "B-bad"]}
        for word in ("great", "lovely", "fine")
        for other in ("dull", "poor", "a")
    ] + [{"tokens": ["the", "plot"], "tags": ["O", "O"]}]
    data = tmp_path / "tags.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_finetune(tmp_path / "toy", encoder, data, task="tags", epochs=6.0)
    for row in rows[::3]:  # what the model has learned is not always right
        row["tags"] = ["B-bad", *row["tags"][1:]]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_evaluate(tmp_path / "out", tmp_path / "toy", data, task="tags")
    check(tmp_path / "out", "tags", {"f1", "precision", "recall", "macro_f1", "token_accuracy"})


def test_question_answering(encoder: Path, tmp_path: Path) -> None:
    words = ("great", "dull", "fine")
    golds = [(word, gold) for word in words for gold in (["film"], [f"{word} film"], [])]
    asked = [
        {"id": str(n), "question": f"the {word}", "context": f"the {word} film was a plot", "answers": gold}
        for n, (word, gold) in enumerate(golds)
    ]
    data = tmp_path / "qa.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in asked))
    run_finetune(tmp_path / "toy", encoder, data, task="qa", epochs=20.0)
    run_evaluate(tmp_path / "out", tmp_path / "toy", data, task="qa")
    parts = {f"{part}_{name}" for part in ("HasAns", "NoAns") for name in ("exact", "f1")}
    check(tmp_path / "out", "qa", {"exact_match", "f1", *parts})


def test_minimal_pairs(encoder: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "sets").mkdir()
    for name, count in (("a", 30), ("b", 10)):
        pairs = [
            {
                "sentence_good": " ".join(draw.permutation(["the", "film", "was", "dull"])),
                "sentence_bad": " ".join(draw.permutation(["the", "plot", "was", "a"])),
            }
            for _ in range(count)
        ]
        (tmp_path / f"sets/{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    stage = Stage(
        "evaluate/x", {"pretrain": encoder}, tmp_path, tmp_path, runtime=RuntimeConfig(threads=1),
        data=tmp_path / "sets",
    )  # fmt: skip
    metrics = evaluate.run(EvaluateConfig(task="pairs"), stage)
    check(tmp_path, "pairs", {"accuracy", "micro_accuracy"})
    ends = metrics["intervals"]["accuracy"]
    assert ends["high"] - ends["low"] == pytest.approx(2 * 1.96 * metrics["standard_error"], rel=0.15)


def test_parts_are_those_that_occur_with_either_model() -> None:
    truth = ["a", "a", "b", "b"]
    ours, theirs = (
        [{"label": t, "prediction": p} for t, p in zip(truth, given, strict=True)]
        for given in (["a", "a", "b", "c"], ["a", "d", "b", "b"])
    )
    new, old = (each["macro_f1"] for each in outcomes.both("classify", ours, theirs))
    assert new.above.shape[1] == old.above.shape[1] == 4
    assert new.value == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert old.value == outcomes.ratios("classify", theirs)["macro_f1"].value
    assert outcomes.ratios("classify", []) == {}


def test_sentences_are_drawn_whole() -> None:
    tags = entities.iob2([Span("x", 0, 1), Span("y", 2, 4)], 5)
    rows = [{"tags": tags, "prediction": entities.iob2([Span("x", 0, 1)], 5)}] * 3
    found = outcomes.ratios("tags", rows)
    assert found["f1"].above.tolist() == [[2.0]]
    assert found["f1"].below.tolist() == [[3.0]]  # two there, one found
    assert found["f1"].counts.tolist() == [3]
    assert found["macro_f1"].value == 0.5
    assert found["token_accuracy"].value == 3 / 5

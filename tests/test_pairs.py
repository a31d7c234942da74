"""Minimal pairs: accuracy as counted by hand, a constant model at exactly one half, bad rows named."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import make_encoder
from safetensors.torch import load_file, save_file

from mlmctl.artifact import publish
from mlmctl.commands import score
from mlmctl.config import EvaluateConfig, RuntimeConfig
from mlmctl.errors import DataError, UsageError
from mlmctl.events import Emit, Event, Note, silent
from mlmctl.manifest import Header
from mlmctl.measure import pairs as measures
from mlmctl.pipeline import evaluate_node
from mlmctl.stages import evaluate
from mlmctl.stages.stage import Stage
from mlmctl.storage import HashCache
from mlmctl.tasks import pairs

WORDS = ["great", "lovely", "awful", "the", "film", "was", "a", "plot", "and", "cast"]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def make_pairs(path: Path, num_pairs: int, seed: int = 0, **columns: str) -> Path:
    """Sentences of the same words in two orders."""
    draw = np.random.default_rng(seed)
    rows = []
    while len(rows) < num_pairs:
        good, bad = (" ".join(draw.permutation(WORDS[: 4 + len(rows) % 4])) for _ in range(2))
        if good != bad:
            rows.append({"sentence_good": good, "sentence_bad": bad, **columns})
    return write(path, rows)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "pretrain", scale=10.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "sets"
    make_pairs(folder / "agreement.jsonl", 30, 0, field="syntax", linguistics_term="agreement")
    make_pairs(folder / "binding.jsonl", 10, 1, field="semantics", linguistics_term="binding")
    (folder / "README.md").write_text("not a set")
    return folder


def measure(folder: Path, encoder: Path, data: Path, emit: Emit = silent, **config: Any) -> dict[str, Any]:
    folder.mkdir()
    one_thread = RuntimeConfig(threads=1)
    stage = Stage("evaluate/x", {"pretrain": encoder}, folder, folder, emit, one_thread, data=data)
    return evaluate.run(EvaluateConfig(task="pairs", **config), stage)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_accuracy_is_what_the_predictions_say(encoder: Path, data: Path, tmp_path: Path) -> None:
    metrics = measure(tmp_path / "out", encoder, data)
    rows = lines(tmp_path / "out/predictions.jsonl")
    assert [(row["file"], row["row"]) for row in rows] == [
        *(("agreement", n) for n in range(1, 31)),
        *(("binding", n) for n in range(1, 11)),
    ]
    right = [row["score_good"] > row["score_bad"] for row in rows]
    by_file = [sum(right[:30]) / 30, sum(right[30:]) / 10]
    assert [each["accuracy"] for each in metrics["files"].values()] == pytest.approx(by_file)
    assert metrics["accuracy"] == pytest.approx(sum(by_file) / 2)
    assert metrics["micro_accuracy"] == pytest.approx(sum(right) / 40)
    assert metrics["phenomena"]["binding"] == metrics["files"]["binding"] == metrics["fields"]["semantics"]
    counts = (metrics["num_files"], metrics["num_examples"], metrics["num_ties"])
    assert counts == (2, 40, 0)
    errors = lines(tmp_path / "out/errors.jsonl")
    assert len(errors) == 40 - sum(right)
    leads = [row["score_bad"] - row["score_good"] for row in errors]
    assert leads == sorted(leads, reverse=True)
    scored = list(score.run(encoder, [errors[0]["sentence_good"]], "within-word-l2r"))
    assert scored[0]["score"] == pytest.approx(errors[0]["score_good"], abs=2e-4)


def constant(encoder: Path, folder: Path) -> Path:
    """A model that gives every token the same probability."""
    shutil.copytree(encoder, folder, ignore=shutil.ignore_patterns("manifest.json"))
    tensors = load_file(folder / "model.safetensors")
    decoder = {name: torch.zeros_like(tensor) for name, tensor in tensors.items() if "tok_embeddings" in name}
    assert decoder  # tied to the output
    save_file({**tensors, **decoder}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_constant_model_is_right_in_exactly_half_of_the_pairs(
    encoder: Path, data: Path, tmp_path: Path
) -> None:
    metrics = measure(tmp_path / "out", constant(encoder, tmp_path / "constant"), data)
    assert (metrics["accuracy"], metrics["micro_accuracy"], metrics["standard_error"]) == (0.5, 0.5, 0.0)
    assert metrics["num_ties"] == metrics["num_examples"] == 40
    assert lines(tmp_path / "out/errors.jsonl") == []


def test_a_pair_of_the_same_sentence_twice_is_a_tie_and_told(encoder: Path, tmp_path: Path) -> None:
    same = {"sentence_good": "a great film", "sentence_bad": "a great film"}
    path = write(tmp_path / "same.jsonl", [same, {**same, "sentence_bad": "film a great"}])
    events: list[Event] = []
    metrics = measure(tmp_path / "out", encoder, path, emit=events.append)
    assert metrics["num_ties"] == 1
    assert any(isinstance(event, Note) and "1 pairs are the same" in event.message for event in events)


def test_sets_may_be_called_by_what_is_no_text(encoder: Path, tmp_path: Path) -> None:
    make_pairs(tmp_path / "sets" / os.fsdecode(b"caf\xe9.jsonl"), 3)
    measure(tmp_path / "result", encoder, tmp_path / "sets")
    rows = lines(tmp_path / "result" / "predictions.jsonl")
    assert {row["file"] for row in rows} == {os.fsdecode(b"caf\xe9")}


def test_shares_and_their_errors() -> None:
    results = measures.outcomes(np.array([-1.0, -2.0, -3.0, -3.0]), np.array([-2.0, -1.0, -3.0, -9.0]))
    assert results.tolist() == [1, 0, 0.5, 1]
    share = measures.share(results)
    assert (share.accuracy, share.num_ties, share.num_examples) == (0.625, 1, 4)
    assert share.standard_error == pytest.approx(math.sqrt(results.var() / 4))
    certain = measures.share(np.array([1.0, 0.0, 1.0, 1.0]))
    assert certain.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))  # the binomial one
    accuracy, error = measures.macro([share, certain])
    assert accuracy == (0.625 + 0.75) / 2
    assert error == pytest.approx(math.hypot(share.standard_error, certain.standard_error) / 2)
    with pytest.raises(ValueError):
        measures.share(np.zeros(0))


def test_the_standard_error_is_that_of_repeated_draws() -> None:
    draw = np.random.default_rng(0)
    sets = [draw.choice([0.0, 0.5, 1.0], (4000, n), p=[0.2, 0.1, 0.7]) for n in (40, 100)]
    means = np.mean([each.mean(axis=1) for each in sets], axis=0)
    told = [measures.macro([measures.share(each[n]) for each in sets])[1] for n in range(100)]
    assert np.mean(told) == pytest.approx(means.std(), rel=0.05)


def test_the_same_pairs_give_identical_bytes(encoder: Path, data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        measure(tmp_path / name, encoder, data)
    for name in ("metrics.json", "predictions.jsonl", "errors.jsonl"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_max_examples_takes_a_seeded_sample_of_each_file(encoder: Path, data: Path, tmp_path: Path) -> None:
    metrics = measure(tmp_path / "out", encoder, data, max_examples=12)
    assert [each["num_examples"] for each in metrics["files"].values()] == [12, 10]
    all_pairs = pairs.read(data / "agreement.jsonl")
    small, large = pairs.sample(all_pairs, 5, 0), pairs.sample(all_pairs, 12, 0)
    assert {pair.row for pair in small} < {pair.row for pair in large}
    assert [pair.row for pair in large] == sorted(pair.row for pair in large)
    assert {pair.row for pair in large} != {pair.row for pair in pairs.sample(all_pairs, 12, 1)}


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"sentence_good": "a film"}, "no column 'sentence_bad'; the columns found are: sentence_good"),
        ({"sentence_good": "a film", "sentence_bad": 7}, "sentence_bad is not a string"),
        ({"sentence_good": " ", "sentence_bad": "film a"}, "sentence_good is empty"),
        ({"sentence_good": "a \ud800", "sentence_bad": "film a"}, "half a surrogate pair"),
        ({"sentence_good": "a", "sentence_bad": "b", "field": 3}, "'field' is not a string"),
    ],
)
def test_fault_36_what_is_no_pair_is_refused_with_file_and_row(
    tmp_path: Path, row: dict[str, Any], found: str
) -> None:
    path = write(tmp_path / "sets" / "x.jsonl", [{"sentence_good": "a film", "sentence_bad": "film a"}, row])
    with pytest.raises(DataError, match="row 2: ") as error:
        pairs.read(path)
    assert found in error.value.message
    assert str(error.value.where).endswith("x.jsonl:2")


def test_a_group_that_is_null_is_none(tmp_path: Path) -> None:
    row = {"sentence_good": "a", "sentence_bad": "b", "field": None, "linguistics_term": "binding"}
    [pair] = pairs.read(write(tmp_path / "set.jsonl", [row]))
    assert pair.groups == {"phenomena": "binding"}


def test_sets_are_found_in_a_stable_order_and_named_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.tsv", "deep/c.jsonl.gz", ".hidden.jsonl", "notes.txt"):
        (tmp_path / "sets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sets" / name).write_bytes(b"")
    assert list(pairs.files(tmp_path / "sets")) == ["a", "b", "deep/c"]
    assert pairs.files(tmp_path / "sets" / "b.jsonl") == {"b": tmp_path / "sets" / "b.jsonl"}
    (tmp_path / "sets" / "b.csv").write_bytes(b"")
    with pytest.raises(DataError, match="second set named b"):
        pairs.files(tmp_path / "sets")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no set of pairs"):
        pairs.files(tmp_path / "empty")
    with pytest.raises(DataError, match="no pairs"):
        pairs.read(tmp_path / "sets" / "a.tsv")


def test_the_node_is_keyed_by_every_set_and_by_the_method(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with publish(run / "pretrain", Header("pretrain", {})):
        pass
    copy = tmp_path / "elsewhere" / "sets"
    shutil.copytree(data, copy)

    def node(folder: Path, **config: Any) -> Any:
        config = {"task": "pairs", "data": str(folder), **config}
        return evaluate_node(run, EvaluateConfig(**config), HashCache(None), silent)

    first = node(data)
    assert first.name == "evaluate/pretrain/sets"
    assert first.given == node(copy).given
    assert node(data, text_column="x").config == first.config
    assert node(data, method="original").config != first.config
    (copy / "README.md").write_text("changed, and no set")
    assert first.given == node(copy).given
    (copy / "binding.jsonl").rename(copy / "other.jsonl")
    assert first.given != node(copy).given
    with pytest.raises(UsageError, match="no minimal pairs are named"):
        node(Path(""), data="")
    with pytest.raises(UsageError, match="does not exist"):
        node(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("here/pretrain", "pretrain"),
        ("here/finetune/sentiment", "sentiment"),
        ("there/pretrain", "there"),
        ("there/finetune/sentiment", "there--sentiment"),
        ("sentiment/pretrain", "elsewhere--sentiment"),
        ("exports/sentiment", "elsewhere--sentiment"),
        ("exports/reviews", "reviews"),
    ],
)
def test_results_of_a_model_from_elsewhere_are_called_as_none_of_this_run(
    tmp_path: Path, model: str, name: str
) -> None:
    for each in ("here/pretrain", "here/finetune/sentiment", model):
        if not (tmp_path / each).exists():
            with publish(tmp_path / each, Header("pretrain", {})):
                pass
    (tmp_path / "sets.jsonl").write_text("{}\n")
    config = EvaluateConfig(task="pairs", model=str(tmp_path / model), data=str(tmp_path / "sets.jsonl"))
    node = evaluate_node(tmp_path / "here", config, HashCache(None), silent)
    assert node.name == f"evaluate/{name}/sets"

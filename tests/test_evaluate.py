"""Evaluation of a fine-tuned model, and `predict`: honest counts, the same bytes every time."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from encoders import make_data, make_encoder, run_evaluate, run_finetune
from pretrain_world import VOCAB_SIZE, make_inputs
from stock import make_stock
from tokenizers import Tokenizer

from mlmctl.artifact import publish
from mlmctl.commands import predict
from mlmctl.config import EvaluateConfig, RuntimeConfig
from mlmctl.engine.architectures import ARCHITECTURES
from mlmctl.errors import ArtifactError, DataError, UsageError
from mlmctl.events import Event, Note
from mlmctl.manifest import Header
from mlmctl.measure import masked_lm, outcomes, reference
from mlmctl.stages import evaluate
from mlmctl.stages.evaluate import masks
from mlmctl.stages.stage import Stage


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    encoder = make_encoder(folder / "pretrain")
    run_finetune(folder / "toy", encoder, make_data(folder / "train.jsonl"), epochs=8.0)
    return folder / "toy"


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_predictions_and_errors_agree(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 100, seed=1)
    wrong = [{"text": "great film", "label": "bad"}, {"text": "dull plot", "label": "good"}]
    with data.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in wrong)
    metrics = run_evaluate(tmp_path / "out", model, data)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == metrics
    predictions = rows(tmp_path / "out" / "predictions.jsonl")
    assert [row["row"] for row in predictions] == list(range(1, 103))
    hits = sum(row["label"] == row["prediction"] for row in predictions)
    assert metrics["accuracy"] == pytest.approx(hits / 102)
    assert metrics["accuracy"] > 0.9
    assert metrics["num_examples"] == 102
    assert metrics["majority_accuracy"] == 0.5
    assert sum(map(sum, metrics["confusion"])) == 102
    assert set(metrics["labels"]) == {"bad", "good"}
    errors = rows(tmp_path / "out" / "errors.jsonl")
    assert len(errors) == 102 - hits
    assert {row["text"] for row in errors} >= {"great film", "dull plot"}
    sure = [max(row["probabilities"].values()) for row in errors]  # type: ignore[attr-defined]
    assert sure == sorted(sure, reverse=True)


def test_the_same_model_evaluated_twice_gives_identical_bytes(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 60, seed=1)
    (tmp_path / "elsewhere").mkdir()
    moved = tmp_path / "elsewhere" / "same.jsonl"
    moved.write_bytes(data.read_bytes())
    run_evaluate(tmp_path / "first", model, data)
    run_evaluate(tmp_path / "second", model, moved)
    for name in ("metrics.json", "predictions.jsonl", "errors.jsonl"):
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "second" / name).read_bytes()
        assert str(tmp_path).encode() not in content


def test_fault_37_a_label_unseen_in_training_is_refused(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 10)
    with data.open("a") as file:
        file.write('{"text": "so so", "label": "neutral"}\n')
    with pytest.raises(DataError, match="row 11: the label 'neutral' was not in the training data"):
        run_evaluate(tmp_path / "out", model, data)


def test_fault_38_test_texts_that_were_trained_on_are_counted_and_warned_of(
    model: Path, tmp_path: Path
) -> None:
    known = (model.parent / "train.jsonl").read_text().splitlines()[:3]
    fresh = '{"text": "great film indeed", "label": "good"}'
    texts = [json.loads(line)["text"] for line in known]
    lines = [json.dumps({"text": f"  {text.upper()}", "label": "good"}) for text in texts]
    (tmp_path / "test.jsonl").write_text("\n".join([*lines, fresh, '{"text": "", "label": "bad"}']) + "\n")
    events: list[Event] = []
    metrics = run_evaluate(tmp_path / "out", model, tmp_path / "test.jsonl", emit=events.append)
    assert metrics["num_trained_on"] == 3
    assert metrics["num_empty"] == 1
    assert metrics["num_examples"] == 5
    warnings = [e.message for e in events if isinstance(e, Note) and e.level == "warning"]
    assert any("3 of 5 test texts were in the training data" in message for message in warnings)


def test_fault_39_the_share_of_long_test_texts_is_a_metric(model: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"text": "film " * n, "label": "good"}) for n in (1, 2, 3, 40)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines) + "\n")
    assert run_evaluate(tmp_path / "out", model, tmp_path / "test.jsonl")["share_windowed"] == 0.25


def test_max_examples_samples_the_test_set(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 60, seed=1)
    assert run_evaluate(tmp_path / "out", model, data, max_examples=20)["num_examples"] == 20


def test_what_is_no_fine_tuned_model_is_refused(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 10)
    with pytest.raises(ArtifactError, match=r"task\.json"):
        run_evaluate(tmp_path / "out", model.parent / "pretrain", data)
    with pytest.raises(UsageError, match="no test data"):
        run_evaluate(tmp_path / "none", model, None)  # type: ignore[arg-type]


@pytest.fixture
def masked_world(tmp_path: Path) -> dict[str, Path]:
    """Inputs of the task `mlm`: masks, and a stock encoder whose tokenizer cuts and pads."""
    made = make_inputs(tmp_path / "made")
    make_stock(tmp_path / "bert", vocab_size=VOCAB_SIZE)
    tokenizer = Tokenizer.from_file(str(made["tokenizer"] / "tokenizer.json"))
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding()
    tokenizer.save(str(tmp_path / "bert/tokenizer.json"))
    return {"pretrain": tmp_path / "bert", **{name: made[name] for name in ("mask/blocks", "mask/policy")}}


def evaluate_on_masks(inputs: dict[str, Path], out: Path) -> dict[str, Any]:
    out.mkdir()
    stage = Stage("evaluate/x", inputs, out, out, runtime=RuntimeConfig(threads=1))
    return evaluate.run(EvaluateConfig(task="mlm"), stage)


def test_an_encoder_is_evaluated_on_the_frozen_masks(masked_world: dict[str, Path], tmp_path: Path) -> None:
    results = [evaluate_on_masks(masked_world, tmp_path / name) for name in ("first", "second")]
    assert results[0] == results[1]
    assert results[0]["uniform_loss"] == pytest.approx(np.log(VOCAB_SIZE))
    assert results[0]["valid_loss"] == pytest.approx(np.log(VOCAB_SIZE), abs=1.0)  # it has learned nothing
    metrics = json.loads((tmp_path / "first" / "metrics.json").read_text())
    assert metrics == results[0]
    blocks = rows(tmp_path / "first" / "predictions.jsonl")
    assert rows(tmp_path / "second" / "predictions.jsonl") == blocks
    facts = json.loads((masked_world["mask/blocks"] / "blocks.json").read_text())
    assert len(blocks) == len({row["masks"] for row in blocks}) == facts["num_valid_blocks"]
    assert sum(row["num_masked"] for row in blocks) == metrics["num_masked"]
    for name, ratio in outcomes.ratios("mlm", blocks).items():
        assert ratio.value == pytest.approx(metrics[name], rel=1e-3)
        assert metrics["intervals"][name]["low"] <= metrics[name] <= metrics["intervals"][name]["high"]
    assert metrics["intervals"]["valid_loss"]["low"] < metrics["valid_loss"]
    bits = metrics["valid_loss"] / np.log(2) * facts["num_valid_tokens"] / facts["valid_bytes"]
    assert metrics["bits_per_byte"] == pytest.approx(bits)
    assert metrics["mask_rate"] == 0.15
    bands = metrics["frequency_bands"].values()
    assert sum(band["num_tokens"] for band in bands) == metrics["num_masked"]
    for name, whole in (("loss", "valid_loss"), ("accuracy", "valid_accuracy"), ("unigram_loss",) * 2):
        parts = sum(band[name] * band["num_tokens"] for band in bands) / metrics["num_masked"]
        assert parts == pytest.approx(metrics[whole], abs=1e-6)


def test_reference_runs_are_read_between_and_not_before() -> None:
    for preset, runs in reference.RUNS.items():
        assert runs == tuple(sorted(runs))
        for tokens, gain in runs:
            assert reference.reference_loss(preset, tokens, 7.0) == pytest.approx(7.0 - gain)
        (few, low), (many, high) = runs[0], runs[1]
        between = reference.reference_loss(preset, round(math.sqrt(few * many)), 7.0)
        assert between == pytest.approx(7.0 - (low + high) / 2, abs=1e-4)
        assert reference.reference_loss(preset, few - 1, 7.0) is None
        assert reference.reference_loss(preset, 2 * runs[-1][0], 7.0) == pytest.approx(7.0 - runs[-1][1])
    assert reference.reference_loss("base", 10_000_000, 7.0) is None


@pytest.mark.parametrize(
    ("changes", "inputs", "has_reference"),
    [({}, {}, True), ({"hidden_size": 300}, {}, False), ({}, {"init": "0" * 64}, False)],
)
def test_an_encoder_is_held_against_what_its_preset_did_elsewhere(
    tmp_path: Path, changes: dict[str, int], inputs: dict[str, str], has_reference: bool
) -> None:
    shape = asdict(ARCHITECTURES["modernbert"].presets["mini"]) | changes
    config = {"model_type": "modernbert", "vocab_size": 500, "max_position_embeddings": 512, **shape}
    tokens, gain = reference.RUNS["mini"][1]
    with publish(tmp_path / "pretrain", Header("pretrain", {}, inputs)) as draft:
        (draft.path / "config.json").write_text(json.dumps(config))
        draft.metrics["num_train_tokens"] = tokens
    expected = {"reference_loss": pytest.approx(6.0 - gain)} if has_reference else {}
    assert masks._reference(tmp_path / "pretrain", 6.0) == expected


def test_tokens_are_in_the_band_of_their_frequency() -> None:
    counts = np.array([0, 5, 50, 500, 999_445, 0])
    labels = np.array([1, 2, 3, 4, 5, 4])
    nll = np.array([1, 2, 3, 4, 5, 6], np.float32)
    found = masked_lm.by_frequency(labels, nll, nll > 3, counts)
    assert {name: band["loss"] for name, band in found.items()} == {
        "over_1000": 5.0,
        "100_to_1000": 3.0,
        "10_to_100": 2.0,
        "under_10": 3.0,
    }
    assert found["under_10"]["unigram_loss"] > found["over_1000"]["unigram_loss"]
    assert found["over_1000"]["accuracy"] == 1.0
    assert list(masked_lm.by_frequency(labels[:1], nll[:1], nll[:1] > 3, counts)) == ["under_10"]


def test_fault_22_masks_of_another_tokenizer_of_the_same_size_are_refused(
    masked_world: dict[str, Path], tmp_path: Path
) -> None:
    path = masked_world["pretrain"] / "tokenizer.json"
    parts = json.loads(path.read_text())
    vocab = parts["model"]["vocab"]
    vocab["wordbb"], vocab["wordba"] = vocab["wordba"], vocab["wordbb"]
    path.write_text(json.dumps(parts))
    with pytest.raises(ArtifactError, match="another tokenizer") as error:
        evaluate_on_masks(masked_world, tmp_path / "out")
    assert error.value.exit_code == 5


def test_predict_answers_every_line_in_order_in_small_batches(model: Path) -> None:
    read = []

    def lines() -> Iterator[str]:
        for n in range(10):
            read.append(n)
            yield f"{'great ' if n % 3 else 'awful '}" * (n + 1) + "film\n"

    answers = predict.run(model, lines(), batch_size=4)
    first = next(answers)
    assert len(read) == 4  # no more is read than is answered
    labels = [first["label"], *(answer["label"] for answer in answers)]
    assert labels == ["good" if n % 3 else "bad" for n in range(10)]
    assert first["score"] == max(first["probabilities"].values())
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_predict_gives_one_answer_whatever_the_batch(model: Path) -> None:
    lines = ["great film", "", "dull " * 30, "the plot"]
    together = list(predict.run(model, lines))
    alone = [answer for line in lines for answer in predict.run(model, [line])]
    for one, other in zip(together, alone, strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=2e-4)


def test_predict_reads_json_lines_if_the_first_is_one(model: Path) -> None:
    plain = list(predict.run(model, ["great film", '{"text": "awful"}']))
    rows = ['{"text": "great film", "id": 7}', '{"text": "awful"}']
    assert next(predict.run(model, rows)) == plain[0]
    with pytest.raises(DataError) as error:
        list(predict.run(model, [*rows, "great film"]))
    assert error.value.where == "line 3"
    with pytest.raises(DataError, match="Unicode"):
        list(predict.run(model, ["caf\udce9"]))


def test_predict_needs_no_manifest_of_a_model_that_was_published(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "task.json"):
        shutil.copy(model / name, copy)
    assert list(predict.run(copy, ["great film"])) == list(predict.run(model, ["great film"]))


def test_fault_20_predict_refuses_a_damaged_model(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactError) as error:
        list(predict.run(copy, ["great"]))
    assert str(error.value.where).endswith("model.safetensors")


def test_sentiment_and_classify_are_one_task_under_two_names(model: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "test.jsonl", 20)
    assert run_evaluate(tmp_path / "same", model, data, task="classify")["num_examples"] == 20


def test_predict_keeps_to_the_form_of_its_first_line(model: Path) -> None:
    with pytest.raises(DataError, match="'text'"):
        list(predict.run(model, ['{"text": "great"}', '{"text": 7}']))
    with pytest.raises(DataError, match=r"line 1.*'text'"):  # and not taken for a text with braces
        list(predict.run(model, ['{"other": "great"}', "plain"]))
    assert len(list(predict.run(model, ["plain", '{"other": "great"}']))) == 2

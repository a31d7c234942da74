"""Fine-tuning: what comes out, what is loaded, what is refused, and that a stopped run ends the same."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import make_data, make_encoder, run_finetune
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from mlmctl.config import FinetuneConfig
from mlmctl.errors import ArtifactError, DataError, InterruptedRun
from mlmctl.events import Evaluated, Event, Note, Progress
from mlmctl.signals import stop
from mlmctl.stages.finetune import _choose, _network
from mlmctl.storage import sha256_file
from mlmctl.tasks.adapted import TASKS, open_adapted
from mlmctl.tasks.labelled import Labelled


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "pretrain")


@pytest.fixture(scope="module")
def trained(encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("trained")
    metrics = run_finetune(folder / "toy", encoder, make_data(folder / "d.jsonl"))
    return folder / "toy", metrics


def told(events: list[Event], level: str = "info") -> str:
    return "\n".join(e.message for e in events if isinstance(e, Note) and e.level == level)


def test_the_artifact_has_its_layout_and_the_names_of_the_data(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = trained
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "load_report.json",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "special_tokens_map.json",
        "task.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "train_hashes.npy",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "good"}
    assert config["label2id"] == {"bad": 0, "good": 1}
    task = json.loads((folder / "task.json").read_text())
    assert task == {"task": "sentiment", "block_length": 16, "settings": {"labels": ["bad", "good"]}}
    assert metrics["num_examples"] == 120
    assert metrics["num_labels"] == 2
    assert metrics["num_steps"] == 32
    assert metrics["train_accuracy"] > 0.9
    assert metrics["share_windowed"] == 0.0


def test_stock_transformers_give_the_same_answers(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = trained
    texts = ["great film", "the plot was awful and the cast was a dull", "", "film " * 40 + "superb"]
    ours = open_adapted(folder, torch.device("cpu"))
    answers = ours.answer([{"text": text} for text in texts[:3]], 8)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stock = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    padded = tokenizer(texts[:3], padding=True, return_tensors="pt")
    assert not padded["attention_mask"].all()
    with torch.no_grad():
        logits = stock(**padded).logits
    features = ours.features(ours.task.unlabelled([{"text": text} for text in texts[:3]]))
    predicted = torch.from_numpy(ours.predict(features, 8))
    torch.testing.assert_close(predicted, logits.softmax(-1).double(), atol=1e-5, rtol=0)
    pipe = pipeline("text-classification", model=stock, tokenizer=tokenizer)
    for text, answer in zip(texts[:3], answers, strict=True):
        (stocks,) = pipe([text])
        assert stocks["label"] == answer["label"]
        assert stocks["score"] == pytest.approx(answer["score"], abs=1e-4)


def test_a_bert_is_adapted_with_its_dropout_and_stock_transformers_give_the_same_logits(
    tmp_path: Path,
) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture="bert")
    events: list[Event] = []
    data = make_data(tmp_path / "d.jsonl", 40)
    run_finetune(tmp_path / "toy", encoder, data, emit=events.append, epochs=1.0, dropout=0.2)
    assert "new: bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias" in told(events)
    config = json.loads((tmp_path / "toy" / "config.json").read_text())
    assert (config["hidden_dropout_prob"], config["classifier_dropout"]) == (0.2, 0.2)
    ours = open_adapted(tmp_path / "toy", torch.device("cpu"))
    texts = ["great film", "the plot was awful and the cast was a dull"]
    padded = AutoTokenizer.from_pretrained(tmp_path / "toy")(texts, padding=True, return_tensors="pt")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "toy", attn_implementation="eager")
    with torch.no_grad():
        logits = stock.eval()(**padded).logits
    predicted = ours.predict(ours.features(ours.task.unlabelled([{"text": text} for text in texts])), 8)
    torch.testing.assert_close(torch.from_numpy(predicted), logits.softmax(-1).double(), atol=1e-5, rtol=0)


def test_the_logits_of_a_long_text_are_the_mean_over_its_windows(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    ours = open_adapted(trained[0], torch.device("cpu"))
    words = ["film"] * 20 + ["superb"] * 8
    whole = ours.predict(ours.features(ours.task.unlabelled([{"text": " ".join(words)}])), 8)
    halves = [" ".join(words[:14]), " ".join(words[14:])]
    parts = ours.predict(ours.features(ours.task.unlabelled([{"text": half} for half in halves])), 8)
    expected = torch.from_numpy(parts).log().mean(0).softmax(-1)
    torch.testing.assert_close(torch.from_numpy(whole[0]), expected, atol=1e-5, rtol=0)


def test_fault_26_the_load_report_says_what_was_loaded_and_what_is_new(
    trained: tuple[Path, dict[str, Any]], encoder: Path, tmp_path: Path
) -> None:
    folder, metrics = trained
    report = json.loads((folder / "load_report.json").read_text())
    in_encoder = [n for n in load_file(encoder / "model.safetensors") if n.startswith("model.")]
    assert report["num_loaded"] == metrics["num_loaded_tensors"] == len(in_encoder)
    assert report["new"] == ["classifier.bias", "classifier.weight"]
    assert metrics["num_new_tensors"] == 2
    events: list[Event] = []
    run_finetune(tmp_path / "x", encoder, make_data(tmp_path / "d.jsonl", 20), emit=events.append)
    assert f"loaded {len(in_encoder)} encoder tensors; new: classifier.bias" in told(events)


def test_fault_26_a_missing_encoder_tensor_is_refused(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    tensors = load_file(encoder / "model.safetensors")
    del tensors["model.layers.1.mlp.Wo.weight"]
    save_file(tensors, encoder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"model\.layers\.1\.mlp\.Wo\.weight"):
        run_finetune(tmp_path / "x", encoder, make_data(tmp_path / "d.jsonl"))
    assert not (tmp_path / "x").exists()


def test_from_scratch_uses_nothing_of_the_pretrained_weights(tmp_path: Path) -> None:
    data = make_data(tmp_path / "d.jsonl", 32)
    for seed in (0, 1):
        encoder = make_encoder(tmp_path / f"pretrain-{seed}", seed)
        metrics = run_finetune(tmp_path / f"scratch-{seed}", encoder, data, from_scratch=True)
        run_finetune(tmp_path / f"loaded-{seed}", encoder, data)
        assert metrics["num_loaded_tensors"] == 0
    weights = {path.parent.name: sha256_file(path) for path in tmp_path.glob("*/model.safetensors")}
    assert weights["scratch-0"] == weights["scratch-1"]
    assert weights["loaded-0"] != weights["loaded-1"]
    assert len({weights["scratch-0"], weights["loaded-0"], weights["loaded-1"]}) == 3


@pytest.mark.parametrize("from_scratch", [False, True])
def test_a_new_output_layer_begins_at_zero_and_one_that_was_trained_does_not(
    encoder: Path, trained: tuple[Path, dict[str, Any]], from_scratch: bool
) -> None:
    config = FinetuneConfig(task="sentiment", from_scratch=from_scratch)
    settings = {"labels": ["bad", "good"]}

    def output(folder: Path) -> dict[str, torch.Tensor]:
        network, _ = _network(TASKS["sentiment"], folder, config, settings, 100, torch.device("cpu"))
        return {name: tensor for name, tensor in network.state_dict().items() if "classifier" in name}

    assert all(not tensor.any() for tensor in output(encoder).values())
    before = load_file(trained[0] / "model.safetensors")
    for name, tensor in output(trained[0]).items():
        assert not tensor.any() if from_scratch else torch.equal(tensor, before[name])


def lines_without_times(path: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("cycles", [1, 4])
def test_fault_05_a_stopped_fine_tune_continues_to_the_same_bits(
    encoder: Path, tmp_path: Path, cycles: int
) -> None:
    data = make_data(tmp_path / "d.jsonl")
    run_finetune(tmp_path / "unbroken", encoder, data, cycles=cycles)

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done in (5, 13):
            stop.signal_number = signal.SIGTERM

    for _ in range(2):
        with pytest.raises(InterruptedRun):
            run_finetune(tmp_path / "x", encoder, data, emit=interrupt, cycles=cycles)
        stop.signal_number = None
        assert not (tmp_path / "x").exists()
    run_finetune(tmp_path / "x", encoder, data, cycles=cycles)
    for name in ("model.safetensors", "train_hashes.npy", "task.json", "load_report.json", "config.json"):
        assert sha256_file(tmp_path / "x" / name) == sha256_file(tmp_path / "unbroken" / name), name
    broken, unbroken = (lines_without_times(tmp_path / n / "metrics.jsonl") for n in ("x", "unbroken"))
    assert broken == unbroken


def test_fault_38_what_a_model_learned_from_before_it_was_tuned_again_is_known(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    first, other = trained[0], make_data(tmp_path / "d.jsonl", 40, seed=7)
    known = np.load(first / "train_hashes.npy")
    run_finetune(tmp_path / "again", first, other, epochs=0.2)
    both = np.load(tmp_path / "again/train_hashes.npy")
    assert set(known) < set(both)
    run_finetune(tmp_path / "scratch", first, other, epochs=0.2, from_scratch=True)
    alone = set(np.load(tmp_path / "scratch/train_hashes.npy"))
    assert alone | set(known) == set(both) > alone
    shutil.copytree(first, tmp_path / "export", ignore=shutil.ignore_patterns("train_hashes.npy"))
    run_finetune(tmp_path / "of-export", tmp_path / "export", other, epochs=0.2)
    assert not (tmp_path / "of-export/train_hashes.npy").exists()  # evaluation says that it is not known


@pytest.mark.parametrize("cycles", [1, 4])
def test_fault_12_a_disk_that_is_too_small_for_the_checkpoints_is_told_before(
    encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cycles: int
) -> None:
    needed: list[int] = []
    monkeypatch.setattr("mlmctl.stages.finetune.check_space", lambda folder, need, held: needed.append(need))
    run_finetune(tmp_path / "x", encoder, make_data(tmp_path / "d.jsonl"), cycles=cycles)
    kept = [*(tmp_path / "x.work/checkpoints").iterdir()]
    largest = max(sum(file.stat().st_size for file in each.iterdir()) for each in kept)
    assert 3 * largest < needed[0] + 3 * 50_000
    assert needed[0] < 5 * largest


def test_fault_39_the_share_of_long_texts_is_told(encoder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "d.jsonl", 40)
    with data.open("a") as file:
        for label in ("good", "bad") * 5:
            file.write(json.dumps({"text": "film " * 40, "label": label}) + "\n")
    events: list[Event] = []
    metrics = run_finetune(tmp_path / "x", encoder, data, emit=events.append)
    assert metrics["share_windowed"] == 0.2
    assert "20.0% of the texts are longer than 16 tokens" in told(events)


def test_fault_38_empty_texts_are_told_and_not_learned_from(encoder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "d.jsonl", 40)
    with data.open("a") as file:
        file.write('{"text": " ", "label": "good"}\n' * 3)
    events: list[Event] = []
    metrics = run_finetune(tmp_path / "x", encoder, data, emit=events.append)
    assert metrics["num_examples"] == 40
    assert "3 texts are empty" in told(events, "warning")


def test_max_examples_is_stratified_and_too_few_are_refused(encoder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "d.jsonl")
    assert run_finetune(tmp_path / "x", encoder, data, max_examples=10)["num_examples"] == 10
    with pytest.raises(DataError, match="1 examples cannot hold 2 labels"):
        run_finetune(tmp_path / "y", encoder, data, max_examples=1)


def test_enough_examples_are_watched_on_a_held_out_part(encoder: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    data = make_data(tmp_path / "d.jsonl", 2000)
    metrics = run_finetune(tmp_path / "x", encoder, data, emit=events.append, epochs=0.3, batch_size=64)
    assert metrics["num_held_out"] == 100
    assert 0.5 < metrics["held_out_accuracy"] <= 1.0
    signs = [event for event in events if isinstance(event, Evaluated)]
    assert len(signs) >= 4
    assert all("held_out_accuracy" in event.metrics for event in signs)


def labelled_by(labels: list[int]) -> Labelled:
    numbers = np.array(labels, dtype=np.int64)
    names = tuple(str(n) for n in range(max(labels) + 1))
    rows = np.arange(1, len(labels) + 1)
    return Labelled([f"text {n}" for n in rows], numbers, rows, rows.astype(np.uint64), names)


def test_the_only_example_of_a_rare_label_is_never_held_out() -> None:
    labels = [0] * 1000 + [1] * 850 + list(range(2, 152))  # 150 labels with one example each
    chosen = _choose(TASKS["sentiment"], labelled_by(labels), FinetuneConfig())
    assert chosen.is_held_out
    assert set(chosen.learned.labels) == set(range(152))
    assert len(chosen.watched) == 100
    assert not set(chosen.learned.rows) & set(chosen.watched.rows)
    assert len(chosen.learned) + len(chosen.watched) == len(labels)


def test_many_labels_and_few_examples_can_be_watched() -> None:
    chosen = _choose(TASKS["sentiment"], labelled_by(list(range(700)) * 2), FinetuneConfig())
    assert len(chosen.learned) == 1400
    assert 400 < len(chosen.watched) <= 500


def test_fault_38_only_empty_texts_are_refused(encoder: Path, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\n ,good\n,bad\n")
    with pytest.raises(DataError, match="every text is empty"):
        run_finetune(tmp_path / "x", encoder, tmp_path / "d.csv")


def test_default_epochs_fall_with_the_number_of_examples() -> None:
    counts = [1, 100, 1000, 10_000, 60_000, 10**7]
    epochs = [TASKS["sentiment"].epochs(count) for count in counts]
    assert epochs == sorted(epochs, reverse=True)
    assert epochs[-1] >= 1


def test_fewer_words_are_hidden_the_more_examples_there_are() -> None:
    rates = [TASKS["sentiment"].mask_rate(n) for n in (1, 2_000, 20_000, 200_000)]
    assert rates == pytest.approx([0.3, 0.3, 0.03, 0.003])


def test_the_share_that_is_asked_for_is_hidden(encoder: Path, tmp_path: Path) -> None:
    data = make_data(tmp_path / "d.jsonl", 32)
    found = {
        rate: run_finetune(tmp_path / f"{rate}", encoder, data, mask_rate=rate) for rate in (0.0, 0.3, None)
    }
    assert [metrics["mask_rate"] for metrics in found.values()] == [0.0, 0.3, 0.3]
    weights = [sha256_file(tmp_path / f"{rate}" / "model.safetensors") for rate in found]
    assert weights[0] != weights[1] == weights[2]

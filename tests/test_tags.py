"""Tagging words from data to answers: what is learned, scored and predicted, and that stock classes agree."""

from __future__ import annotations

import io
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Shell
from encoders import BAD, GOOD, OTHER, make_encoder, run_evaluate, run_finetune
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from mlmctl.commands import predict
from mlmctl.config import FinetuneConfig
from mlmctl.errors import ArtifactError, DataError, InterruptedRun
from mlmctl.events import Event, Note, Progress
from mlmctl.measure.entities import Span
from mlmctl.signals import stop
from mlmctl.stages.finetune import _choose
from mlmctl.storage import sha256_file
from mlmctl.tasks.adapted import TASKS, open_adapted
from mlmctl.tasks.features import batch
from mlmctl.tasks.tagged import Tagged
from mlmctl.text.masking import IGNORED

LONG = ["the", "great", "film", *["was"] * 30, "awful", "poor", "and", "lovely"]
LONG_TAGS = ["O", "B-GOOD", *["O"] * 31, "B-BAD", "I-BAD", "O", "B-GOOD"]


def make_tagged(path: Path, num_sentences: int = 120, seed: int = 0) -> Path:
    """Sentences whose entities are one or two words of praise (GOOD) or of blame (BAD)."""
    draw = np.random.default_rng(seed)
    with path.open("w") as file:
        for number in range(num_sentences):
            tokens = draw.choice(OTHER, draw.integers(1, 4)).tolist()
            tags = ["O"] * len(tokens)
            for kind, pool in (("GOOD", GOOD), ("BAD", BAD))[number % 2 :]:
                length = draw.integers(1, 3)
                tokens += [*draw.choice(pool, length).tolist(), str(draw.choice(OTHER))]
                tags += [f"B-{kind}", *[f"I-{kind}"] * (length - 1), "O"]
            file.write(json.dumps({"tokens": tokens, "tags": tags}) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("tags")
    encoder = make_encoder(folder / "pretrain")
    data = make_tagged(folder / "train.jsonl")
    return folder / "tags", run_finetune(folder / "tags", encoder, data, task="tags", epochs=12.0)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_model_learns_and_knows_its_tags(trained: tuple[Path, dict[str, Any]]) -> None:
    folder, metrics = trained
    assert metrics["train_f1"] > 0.95
    assert metrics["num_types"] == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["ModernBertForTokenClassification"]
    assert list(config["id2label"].values()) == ["O", "B-BAD", "I-BAD", "B-GOOD", "I-GOOD"]
    assert json.loads((folder / "task.json").read_text())["settings"] == {"types": ["BAD", "GOOD"]}


def test_metrics_are_those_of_seqeval_on_the_predictions(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    reference = pytest.importorskip("seqeval.metrics")
    scheme = pytest.importorskip("seqeval.scheme").IOB2
    data = make_tagged(tmp_path / "test.jsonl", 80, seed=1)
    with data.open("a") as file:
        file.write('{"tokens": ["great", "film", "poor"], "tags": ["B-BAD", "I-GOOD", "O"]}\n')
        file.write('{"tokens": [], "tags": []}\n')
    metrics = run_evaluate(tmp_path / "out", trained[0], data, task="tags")
    rows = lines(tmp_path / "out" / "predictions.jsonl")
    assert [row["row"] for row in rows] == list(range(1, 83))
    truth, predicted = [row["tags"] for row in rows], [row["prediction"] for row in rows]
    assert 0.9 < metrics["f1"] < 1.0
    for name in ("f1", "precision", "recall"):
        score = getattr(reference, f"{name}_score")
        assert metrics[name] == pytest.approx(score(truth, predicted))
        assert metrics[name] == pytest.approx(score(truth, predicted, mode="strict", scheme=scheme))
    assert metrics["macro_f1"] == pytest.approx(reference.f1_score(truth, predicted, average="macro"))
    assert metrics["token_accuracy"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert set(metrics["types"]) == {"BAD", "GOOD"}
    assert metrics["num_entities"] == sum(t["num_entities"] for t in metrics["types"].values())
    assert metrics["num_examples"] == 82
    assert (metrics["num_empty"], metrics["num_unbegun"]) == (1, 1)
    assert metrics["outside_accuracy"] < metrics["token_accuracy"]
    worst = lines(tmp_path / "out" / "errors.jsonl")[0]
    assert worst["text"] == "great film poor"
    assert worst["missed"][0] == {"type": "BAD", "text": "great", "start": 0, "end": 1}


def test_the_same_model_evaluated_twice_gives_identical_bytes(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    data = make_tagged(tmp_path / "test.jsonl", 30, seed=1)
    for name in ("first", "second"):
        run_evaluate(tmp_path / name, trained[0], data, task="tags")
    for name in ("metrics.json", "predictions.jsonl", "errors.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_stock_transformers_give_the_same_probabilities_and_tags(
    trained: tuple[Path, dict[str, Any]],
) -> None:
    folder, _ = trained
    texts = ["great film", "the plot was awful poor and the cast was a lovely", "film"]
    ours = open_adapted(folder, torch.device("cpu"))
    data = ours.task.unlabelled([{"text": text} for text in texts])
    predicted = ours.predict(ours.features(data), 8)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    stock = AutoModelForTokenClassification.from_pretrained(folder, attn_implementation="eager").eval()
    padded = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        probabilities = stock(**padded).logits.softmax(-1)
    for example, text in enumerate(texts):
        expected = probabilities[example, 1 : 1 + len(text.split())]  # a word is a piece here
        of_example = torch.from_numpy(predicted.probabilities[predicted.examples == example])
        torch.testing.assert_close(of_example, expected, atol=1e-5, rtol=0)
    tag = pipeline("token-classification", model=stock, tokenizer=tokenizer, ignore_labels=[])
    for text, answer in zip(texts, ours.answer([{"text": text} for text in texts], 8), strict=True):
        assert [piece["entity"] for piece in tag(text)] == answer["tags"]


def test_predict_tags_every_word_of_long_and_of_empty_lines(trained: tuple[Path, dict[str, Any]]) -> None:
    text = " ".join(LONG)
    answers = list(predict.run(trained[0], [text, "", "  great\u00a0film\t", '{"text": "dull"}']))
    assert answers[0]["words"] == LONG
    assert answers[0]["tags"] == LONG_TAGS
    assert [(e["type"], e["text"], e["start"], e["end"]) for e in answers[0]["entities"]] == [
        ("GOOD", "great", 1, 2),
        ("BAD", "awful poor", 33, 35),
        ("GOOD", "lovely", 36, 37),
    ]
    assert all(0.5 < entity["score"] <= 1.0 for entity in answers[0]["entities"])
    assert answers[1] == {"words": [], "tags": [], "entities": []}
    assert answers[2]["words"] == ["great", "film"]
    assert len(answers[3]["words"]) == 2  # the first line was plain, so this is two odd words


def test_words_without_pieces_are_outside_and_counted(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    row = {"tokens": ["\u200b", "great", "\u00ad", "film", "\u200b"], "tags": ["O", "B-GOOD", "O", "O", "O"]}
    rows = [row, {"tokens": ["\u200b"], "tags": ["B-BAD"]}]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    metrics = run_evaluate(tmp_path / "out", trained[0], tmp_path / "test.jsonl", task="tags")
    assert metrics["num_unread_words"] == 4
    assert metrics["num_words"] == 6
    predictions = [row["prediction"] for row in lines(tmp_path / "out" / "predictions.jsonl")]
    assert predictions == [["O", "B-GOOD", "O", "O", "O"], ["O"]]
    assert metrics["recall"] == 0.5


def test_fault_39_long_sentences_are_read_in_windows_and_told(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "test.jsonl").write_text(json.dumps({"tokens": LONG, "tags": LONG_TAGS}) + "\n")
    metrics = run_evaluate(tmp_path / "out", trained[0], tmp_path / "test.jsonl", task="tags")
    assert metrics["share_windowed"] == 1.0
    assert metrics["f1"] == 1.0


def test_fault_37_a_type_unseen_in_training_is_refused(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "test.conll").write_text("the O\nfilm B-FILM\n")
    with pytest.raises(DataError, match="the type 'FILM' was not in the training data"):
        run_evaluate(tmp_path / "out", trained[0], tmp_path / "test.conll", task="tags")


def test_fault_38_test_sentences_that_were_trained_on_are_counted_and_warned_of(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    known = json.loads((trained[0].parent / "train.jsonl").read_text().splitlines()[0])
    content = "\n".join(f"{word.upper()}\t{tag}" for word, tag in zip(*known.values(), strict=True))
    (tmp_path / "test.conll").write_text(f"{content}\n\nindeed\tO\n")
    events: list[Event] = []
    metrics = run_evaluate(
        tmp_path / "out", trained[0], tmp_path / "test.conll", emit=events.append, task="tags"
    )
    assert metrics["num_trained_on"] == 1
    assert any(
        "1 of 2 test texts were in the training data" in e.message for e in events if isinstance(e, Note)
    )


def test_every_word_counts_the_same_in_the_loss(trained: tuple[Path, dict[str, Any]]) -> None:
    ours = open_adapted(trained[0], torch.device("cpu"))
    words = [tuple(LONG), ("film",), ("\u200b",)]
    rows = np.arange(1, 4)
    spans = [[Span("GOOD", 1, 2), Span("BAD", 33, 35), Span("GOOD", 36, 37)], [], []]
    data = Tagged(words, spans, rows, rows.astype(np.uint64), rows * 0, ("BAD", "GOOD"))
    features = ours.features(data)
    assert features.weights.sum() == len(LONG) + 1
    tags = features.token_targets["tags"]
    names = ["O", "B-BAD", "I-BAD", "B-GOOD", "I-GOOD"]
    assert [names[n] for n in tags[tags != IGNORED]] == [*LONG_TAGS, "O"]
    predicted = ours.predict(features, 8)
    logits = torch.from_numpy(predicted.probabilities).log()
    labels = torch.from_numpy(tags[tags != IGNORED])
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
    everything = batch(features, np.arange(len(features.weights)))
    loss = ours.task.loss(ours.model, everything)
    torch.testing.assert_close(loss, expected, atol=1e-4, rtol=1e-4)


def test_the_only_sentence_of_a_rare_type_is_never_held_out() -> None:
    num = 2400
    spans = [[Span("a", 0, 1)] if n % 2 else [] for n in range(num)]
    for n in range(60):
        spans[40 * n] = [Span(f"rare {n}", 0, 1)]
    rows = np.arange(1, num + 1)
    types = tuple(sorted({span.type for some in spans for span in some}))
    data = Tagged([("w",)] * num, spans, rows, rows.astype(np.uint64), rows * 0, types)
    chosen = _choose(TASKS["tags"], data, FinetuneConfig(task="tags"))
    assert chosen.is_held_out
    assert {span.type for some in chosen.learned.entities for span in some} == set(types)  # type: ignore[attr-defined]
    assert len(chosen.watched) == 120


def test_fault_05_a_stopped_fine_tune_continues_to_the_same_bits(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    data = make_tagged(tmp_path / "d.jsonl", 40)
    run_finetune(tmp_path / "unbroken", encoder, data, task="tags")

    def interrupt(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 5:
            stop.signal_number = signal.SIGTERM

    with pytest.raises(InterruptedRun):
        run_finetune(tmp_path / "x", encoder, data, emit=interrupt, task="tags")
    stop.signal_number = None
    assert not (tmp_path / "x").exists()
    run_finetune(tmp_path / "x", encoder, data, task="tags")
    for name in ("model.safetensors", "train_hashes.npy", "task.json", "config.json"):
        assert sha256_file(tmp_path / "x" / name) == sha256_file(tmp_path / "unbroken" / name), name


def test_fault_22_a_tokenizer_of_another_model_is_refused(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path / "copy")
    path = tmp_path / "copy" / "tokenizer.json"
    path.write_text(path.read_text().replace("great", "grate"))  # as many pieces, another meaning
    with pytest.raises(ArtifactError) as error:
        list(predict.run(tmp_path / "copy", ["great"]))
    assert error.value.exit_code == 5
    assert str(error.value.where).endswith("tokenizer.json")


def test_max_examples_too_few_for_the_types_are_refused(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    data = tmp_path / "d.conll"
    data.write_text("a B-X\n\nb B-Y\n\nc B-Z\n")
    with pytest.raises(DataError, match="2 sentences cannot hold 3 types"):
        run_finetune(tmp_path / "x", encoder, data, task="tags", max_examples=2)


def test_the_commands_run_on_the_built_in_set_and_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell, run = Shell(capsys), tmp_path / "run"
    make_encoder(run / "pretrain")
    made = shell("finetune", "--task", "tags", "--epochs", "2", "--run", run, "--threads", "1", "--json")
    assert made.code == 0
    assert made.json["metrics"]["num_types"] == 3
    assert made.json["metrics"]["learning_rate"] == 1e-3
    measured = shell("evaluate", "--task", "tags", "--run", run, "--threads", "1", "--fail-under", "f1=0.99")
    assert measured.code == 3
    assert "types\tf1\tprecision\trecall" in measured.out
    text = io.TextIOWrapper(io.BytesIO(b"the great film\n\nplot\n"), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", text)
    answered = shell("predict", "--model", "tags", "--run", run, "--threads", "1")
    assert answered.code == 0
    rows = answered.out.split("\n")
    assert [row.split("\t")[0] for row in rows] == ["the great film", "", "plot", ""]
    assert all(len(row.split("\t")) == 2 for row in rows if row)

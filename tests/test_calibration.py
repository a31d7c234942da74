"""Calibration: the error against a plain implementation, the temperature against a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from encoders import make_data, make_encoder, run_finetune
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from mlmctl.measure import calibration, classification
from mlmctl.tasks.adapted import open_adapted

confidences = st.lists(st.tuples(st.integers(0, 300).map(lambda n: n / 300), st.booleans()), min_size=1)
logits = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 12), st.integers(2, 5)), elements=st.floats(-9, 9)
)


def softmax(values: np.ndarray) -> np.ndarray:
    odds = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


@given(confidences)
def test_the_error_is_that_of_a_plain_implementation(drawn: list[tuple[float, bool]]) -> None:
    confidence, is_right = (np.array(column) for column in zip(*drawn, strict=True))
    expected = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        chosen = [(c, r) for c, r in drawn if (low < c <= high) or (number == 0 and c == 0)]
        if chosen:
            gap = abs(sum(c for c, _ in chosen) - sum(r for _, r in chosen)) / len(chosen)
            expected += len(chosen) / len(drawn) * gap
    for adaptive in (False, True):
        bins = calibration.reliability(confidence, is_right, adaptive=adaptive)
        assert sum(each.num_examples for each in bins) == len(drawn)
        assert all(each.low <= each.confidence <= each.high + 1e-12 for each in bins)
        error = calibration.calibration_error(bins)
        assert 0 <= error <= 1
        if not adaptive:
            assert error == pytest.approx(expected, abs=1e-12)


def test_bins_of_equal_numbers() -> None:
    confidence = np.linspace(0.5, 1.0, 301)[1:]
    bins = calibration.reliability(confidence, confidence > 0.7, adaptive=True)
    assert [each.num_examples for each in bins] == [20] * 15
    assert calibration.calibration_error(calibration.reliability(np.ones(4), np.ones(4, bool))) == 0.0
    assert calibration.calibration_error([]) == 0.0


@settings(max_examples=50)
@given(logits, st.floats(0.05, 20.0))
def test_no_temperature_changes_an_answer(values: np.ndarray, temperature: float) -> None:
    given_ = softmax(values)
    tempered = calibration.tempered(given_, temperature)
    assert tempered == pytest.approx(softmax(values / temperature), abs=1e-9)
    # In every row no other answer has become more probable than the one that was given.
    rows = np.arange(len(values))
    assert (tempered[rows, given_.argmax(axis=1)] == tempered.max(axis=1)).all()


@pytest.mark.parametrize("true", [0.4, 1.0, 2.5])
def test_the_temperature_is_the_one_that_the_labels_were_drawn_with(true: float) -> None:
    draw = np.random.default_rng(0)
    values = draw.normal(0, 1.5, (4000, 3))
    labels = np.array([draw.choice(3, p=row) for row in softmax(values / true)])
    found = calibration.fitted_temperature(softmax(values), labels)
    assert found == pytest.approx(true, rel=0.06)
    rows = np.arange(len(labels))
    searched = min(np.geomspace(0.2, 5, 400), key=lambda t: -np.log(softmax(values / t)[rows, labels]).mean())
    assert found == pytest.approx(searched, rel=0.02)


def test_a_temperature_is_finite_where_all_or_none_are_right() -> None:
    values = np.tile([[2.0, 0.0]], (50, 1))
    sure = calibration.fitted_temperature(softmax(values), np.zeros(50, np.int64))
    assert softmax(values / sure)[0, 0] == pytest.approx(1 - 0.5 / 51, abs=1e-3)  # 50 and a half of 51
    assert calibration.fitted_temperature(softmax(values), np.ones(50, np.int64)) == pytest.approx(20.0)
    assert calibration.fitted_temperature(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0
    zero = np.array([[1.0, 0.0]] * 4)  # a probability too small for a float
    assert np.isfinite(calibration.fitted_temperature(zero, np.array([0, 0, 1, 0])))


def test_accuracy_by_length() -> None:
    lengths = np.array([1, 1, 1, 2, 3, 4, 9, 9])
    found = classification.by_length(lengths, np.array([1, 0, 1, 1, 0, 0, 1, 1], bool))
    assert {name: (each["num_examples"], each["max_characters"]) for name, each in found.items()} == {
        "quarter_1": (3, 1),
        "quarter_2": (1, 2),
        "quarter_3": (2, 4),
        "quarter_4": (2, 9),
    }
    assert [each["accuracy"] for each in found.values()] == [2 / 3, 1.0, 0.0, 1.0]
    assert list(classification.by_length(np.full(5, 7), np.ones(5, bool))) == ["quarter_1"]
    assert classification.by_length(np.zeros(0, np.int64), np.zeros(0, bool)) == {}


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_the_temperature_is_in_the_weights_that_stock_transformers_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str
) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture=architecture)
    data = make_data(tmp_path / "d.jsonl", 2000)
    fitted = calibration.fitted_temperature
    told = {}
    for name in ("plain", "calibrated"):
        temper = (lambda *_: 1.0) if name == "plain" else fitted
        monkeypatch.setattr(calibration, "fitted_temperature", temper)
        told[name] = run_finetune(tmp_path / name, encoder, data, epochs=0.4, batch_size=64, seed=1)
    temperature = told["calibrated"]["temperature"]
    assert temperature != pytest.approx(1.0, abs=0.02)
    assert told["calibrated"]["held_out_accuracy"] == told["plain"]["held_out_accuracy"]
    assert told["calibrated"]["held_out_ece_before"] == pytest.approx(told["plain"]["held_out_ece"])
    assert told["calibrated"]["held_out_ece"] < told["calibrated"]["held_out_ece_before"]

    texts = ["great film", "the plot was awful and the cast was a dull", "the plot", ""]
    stock, ours = {}, {}
    for name in told:
        padded = AutoTokenizer.from_pretrained(tmp_path / name)(texts, padding=True, return_tensors="pt")
        network = AutoModelForSequenceClassification.from_pretrained(tmp_path / name)
        with torch.no_grad():
            stock[name] = network.eval()(**padded).logits.double().numpy()
        opened = open_adapted(tmp_path / name, torch.device("cpu"))
        unlabelled = opened.task.unlabelled([{"text": text} for text in texts])
        ours[name] = opened.predict(opened.features(unlabelled), 8)
        assert ours[name] == pytest.approx(softmax(stock[name]), abs=1e-5)
    assert stock["calibrated"] == pytest.approx(stock["plain"] / temperature, abs=1e-4)
    assert (ours["calibrated"].argmax(axis=1) == ours["plain"].argmax(axis=1)).all()


def test_without_a_held_out_part_nothing_is_calibrated(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    metrics = run_finetune(tmp_path / "x", encoder, make_data(tmp_path / "d.jsonl", 40))
    assert not {"temperature", "held_out_ece"} & metrics.keys()

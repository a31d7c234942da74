"""The metrics of classification, against scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmctl.errors import UsageError
from mlmctl.measure import classification, gates

pairs = st.integers(2, 6).flatmap(
    lambda n: st.tuples(
        st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=60)
    )
)


@settings(deadline=None)
@given(pairs)
def test_agrees_with_scikit_learn(drawn: tuple[int, list[tuple[int, int]]]) -> None:
    reference = pytest.importorskip("sklearn.metrics")
    num_labels, rows = drawn
    labels, predictions = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    confusion = classification.confusion_matrix(labels, predictions, num_labels)
    names = list(range(num_labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's words about labels that do not occur
        assert (confusion == reference.confusion_matrix(labels, predictions, labels=names)).all()
        assert classification.accuracy(confusion) == reference.accuracy_score(labels, predictions)
        f1 = reference.f1_score(labels, predictions, average="macro", zero_division=0)
        assert classification.macro_f1(confusion) == pytest.approx(f1, abs=1e-12)
        scores = classification.label_scores(confusion)
        expected = reference.precision_recall_fscore_support(
            labels, predictions, labels=names, zero_division=0
        )
    for ours, theirs in zip(
        (scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True
    ):
        assert ours == pytest.approx(theirs, abs=1e-12)
    most = np.bincount(labels).max() / len(labels)
    assert classification.majority_accuracy(confusion) == pytest.approx(most)


def test_no_examples_score_zero() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    confusion = classification.confusion_matrix(nothing, nothing, 3)
    assert classification.accuracy(confusion) == 0.0
    assert classification.macro_f1(confusion) == 0.0
    assert classification.majority_accuracy(confusion) == 0.0


def test_label_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        classification.confusion_matrix(np.array([0, 2]), np.array([0, 1]), 2)


def test_gates_name_every_metric_below_its_limit() -> None:
    metrics = {"accuracy": 0.79, "macro_f1": 0.9, "recall": float("nan"), "labels": {"0": {}}, "leaky": True}
    assert gates.check(metrics, {"macro_f1": 0.9}) == []
    assert gates.check(metrics, {"accuracy": 0.8, "macro_f1": 0.8}) == ["accuracy is 0.7900, below 0.8"]
    assert len(gates.check(metrics, {"recall": 0.0})) == 1


@pytest.mark.parametrize(
    ("value", "limit", "found"),
    [
        (0.79999, 0.8, "0.79999, below 0.8"),
        (0.79996, 0.79998, "0.79996, below 0.79998"),
        (0.8, 0.80000001, "0.8000, below 0.80000001"),
        (0.7999999999999999, 0.8, "0.7999999999999999, below 0.8"),
    ],
)
def test_a_metric_just_below_its_limit_is_told_from_it(value: float, limit: float, found: str) -> None:
    assert gates.check({"accuracy": value}, {"accuracy": limit}) == [f"accuracy is {found}"]


@pytest.mark.parametrize("name", ["valid_loss", "bits_per_byte", "ece"])
def test_a_gate_the_wrong_way_round_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="the better the lower"):
        gates.check_limits([name])


@pytest.mark.parametrize("name", ["acuracy", "labels", "leaky"])
def test_a_gate_on_an_unknown_metric_is_a_usage_error_that_lists_the_names(name: str) -> None:
    with pytest.raises(UsageError) as error:
        gates.check({"accuracy": 0.79, "labels": {}, "leaky": True}, {name: 0.5})
    assert "accuracy" in str(error.value)

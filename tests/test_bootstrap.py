"""Intervals and paired differences: against scipy, against what is known, and their coverage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlmctl.measure import bootstrap, gates
from mlmctl.measure.bootstrap import Difference
from mlmctl.measure.ratios import Ratio

shares = arrays.arrays(np.float64, st.integers(1, 60), elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


def mean(values: np.ndarray) -> Ratio:
    return Ratio.of(values)


@given(shares, st.integers(1, 3))
def test_a_ratio_is_a_quotient_of_sums_and_a_mean_over_parts(values: np.ndarray, num_parts: int) -> None:
    assert mean(values).value == pytest.approx(values.mean())
    below = np.random.default_rng(0).integers(0, 3, (len(values), num_parts)).astype(float)
    above = below * values[:, None]
    occurs = below.sum(axis=0) > 0
    parts = above.sum(axis=0)[occurs] / below.sum(axis=0)[occurs]
    ratio = Ratio.of(above, below, scale=100.0)
    assert ratio.value == pytest.approx(100 * parts.mean() if occurs.any() else 0.0)
    assert ratio.counts.sum() == ratio.num_examples == len(values)


@settings(max_examples=30)
@given(shares)
def test_an_interval_holds_its_metric_and_is_the_same_every_time(values: np.ndarray) -> None:
    found = bootstrap.interval(mean(values))
    assert values.min() - 1e-6 <= found.low <= values.mean() + 1e-6
    assert values.mean() - 1e-6 <= found.high <= values.max() + 1e-6
    assert found == bootstrap.interval(mean(values))
    if values.min() == values.max():  # of a constant it is a point
        assert found.low == found.high == pytest.approx(values[0])


def counted(share: float) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    below = draw.integers(1, 6, 200).astype(float)
    return draw.binomial(below.astype(int), share).astype(float), below


SKEWED = np.ones(40), np.random.default_rng(0).lognormal(0, 1.2, 40)
"""A quotient that is too large on average, where percentiles alone are far off."""


@pytest.mark.parametrize(
    ("above", "below"), [counted(0.5), counted(0.97), SKEWED], ids=["even", "high", "skewed"]
)
def test_an_interval_agrees_with_scipy(above: np.ndarray, below: np.ndarray) -> None:
    stats = pytest.importorskip("scipy.stats")
    ours = bootstrap.interval(Ratio.of(above, below))
    theirs = stats.bootstrap(
        (above, below),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        n_resamples=5000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


@pytest.mark.parametrize(("share", "num_examples"), [(0.8, 200), (0.95, 200), (0.6, 60)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(share: float, num_examples: int) -> None:
    draw = np.random.default_rng(0)
    found = [bootstrap.interval(mean(draw.binomial(1, share, num_examples) * 1.0)) for _ in range(150)]
    covered = np.mean([each.low <= share <= each.high for each in found])
    assert 0.90 <= covered <= 0.99
    missed_low = sum(each.low > share for each in found)
    assert missed_low < 12  # about 2.5 % on either side
    assert sum(each.high < share for each in found) < 12


def test_resampling_examples_in_groups_is_resampling_examples() -> None:
    draw = np.random.default_rng(3)
    values = draw.choice([0.0, 0.5, 1.0], 150)
    found = bootstrap.interval(mean(values))
    drawn = values[draw.integers(0, 150, (20_000, 150))].mean(axis=1)
    assert [found.low, found.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.01)


def test_many_groups_are_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    whole = bootstrap.interval(mean(values))
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 50 * 7)
    assert bootstrap.interval(mean(values)) == whole


@settings(max_examples=20)
@given(shares)
def test_the_same_answers_differ_by_nothing_with_a_p_value_of_one(values: np.ndarray) -> None:
    found = bootstrap.paired(mean(values), mean(values))
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def paired(num_better: int, num_worse: int, num_same: int) -> Difference:
    ours = np.array([1.0] * num_better + [0.0] * num_worse + [1.0] * num_same)
    theirs = np.array([0.0] * num_better + [1.0] * num_worse + [1.0] * num_same)
    return bootstrap.paired(mean(ours), mean(theirs))


def test_the_p_value_is_that_of_the_sign_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for better, worse in ((8, 2), (20, 10), (5, 5), (30, 8)):
        found = paired(better, worse, 60)
        exact = stats.binomtest(better, better + worse, 0.5).pvalue
        assert found.p_value == pytest.approx(exact, abs=0.03)
        assert found.difference == pytest.approx((better - worse) / (better + worse + 60))
        assert found.low <= found.difference <= found.high
        swapped = paired(worse, better, 60)
        assert swapped.difference == -found.difference
        assert swapped.p_value == pytest.approx(found.p_value, abs=0.03)


def test_pairing_makes_small_differences_certain() -> None:
    draw = np.random.default_rng(0)
    theirs = draw.binomial(1, 0.7, 1000) * 1.0
    ours = theirs.copy()
    ours[np.flatnonzero(theirs == 0)[:15]] = 1.0
    found = bootstrap.paired(mean(ours), mean(theirs))
    assert found.p_value < 0.001
    assert found.low > 0
    unrelated = bootstrap.paired(mean(draw.permutation(ours)), mean(theirs))
    assert unrelated.difference == pytest.approx(found.difference)
    assert unrelated.p_value > 0.2


def test_equal_models_are_told_apart_about_as_often_as_chance_has_it() -> None:
    draw = np.random.default_rng(0)
    found = [
        bootstrap.paired(mean(draw.binomial(1, 0.8, 150) * 1.0), mean(draw.binomial(1, 0.8, 150) * 1.0))
        for _ in range(100)
    ]
    assert np.mean([each.p_value <= 0.05 for each in found]) < 0.10
    failed = [gates.check_drops({"accuracy": each}, {"accuracy": 0.0})[0] for each in found]
    assert np.mean([bool(each) for each in failed]) < 0.06


def test_models_with_other_examples_are_not_compared() -> None:
    with pytest.raises(ValueError, match="against"):
        bootstrap.paired(mean(np.ones(3)), mean(np.ones(4)))


def change(difference: float, low: float, high: float, lower_is_better: bool = False) -> Difference:
    return Difference(0.5 + difference, 0.5, difference, low, high, 0.5, lower_is_better)


def test_a_gate_fails_for_a_drop_beyond_doubt_and_passes_for_noise() -> None:
    most = {"f1": 0.01}
    for found, (num_failures, num_doubts) in {
        change(-0.05, -0.07, -0.03): (1, 0),  # all of the interval is worse than allowed
        change(-0.05, -0.12, 0.02): (0, 1),  # worse, but perhaps by nothing
        change(-0.05, -0.09, -0.005): (0, 1),  # certainly worse, not certainly by more than allowed
        change(-0.005, -0.009, -0.001): (0, 0),
        change(0.05, 0.03, 0.07): (0, 0),
    }.items():
        failures, doubts = gates.check_drops({"f1": found}, most)
        assert (len(failures), len(doubts)) == (num_failures, num_doubts)
    for low, high, perhaps in ((-0.12, 0.02, "no worse at all"), (-0.09, -0.005, "worse by 0.0050 only")):
        _, (doubt,) = gates.check_drops({"f1": change(-0.05, low, high)}, most)
        assert f"which may be noise (it is perhaps {perhaps}): it passes" in doubt
    loss = change(0.05, 0.03, 0.07, lower_is_better=True)
    (failure,), _ = gates.check_drops({"f1": loss}, most)
    assert failure == "f1 is worse by 0.0500, more than 0.01; by 0.0300 at least, with a confidence of 95 %"
    (failure,), _ = gates.check_drops({"f1": change(-0.01002, -0.02, -0.010003)}, most)
    assert failure.startswith("f1 is worse by 0.01002, more than 0.01; by 0.010003 at least")
    assert gates.check_drops({"f1": change(-0.05, -0.07, -0.03, lower_is_better=True)}, most) == ([], [])

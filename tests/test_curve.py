"""Label-efficiency curves: what is read off them, and that they are measured, kept and continued."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import Shell
from encoders import make_data, make_encoder
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.commands import curve
from mlmctl.commands.curve import points, tfidf
from mlmctl.config import FinetuneConfig, RuntimeConfig
from mlmctl.errors import InterruptedRun, UsageError
from mlmctl.events import silent
from mlmctl.manifest import read_manifest
from mlmctl.measure import efficiency
from mlmctl.measure.efficiency import Worth, equivalent, worth
from mlmctl.tasks.adapted import TASKS
from mlmctl.tasks.labelled import Labelled

COUNTS = [8, 32, 128, 512]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_numbers_of_labels_too_small_for_every_label_are_left_out() -> None:
    names = [f"label-{n}" for n in range(20)]
    labels = np.arange(200) % 20
    hashes = np.zeros(200, dtype=np.uint64)
    data = Labelled(["text"] * 200, labels, np.arange(1, 201), hashes, tuple(names))
    can = [curve._can_be_drawn(TASKS["classify"], data, count, 2) for count in (8, 19, 20, 200)]
    assert can == [False, False, True, True]


# what is read off a curve


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4, unique=True), st.integers(0, 3))
def test_a_measured_score_is_worth_its_own_number_of_labels(scores: list[float], index: int) -> None:
    rising = sorted(scores)
    assert equivalent(COUNTS, rising, rising[index]) == pytest.approx(COUNTS[index])


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0, 1), st.floats(0, 1))
def test_a_better_score_is_never_worth_less(scores: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert equivalent(COUNTS, scores, low) <= equivalent(COUNTS, scores, high) * (1 + 1e-9)


def test_between_two_numbers_the_logarithm_counts() -> None:
    assert equivalent(COUNTS, [0.5, 0.6, 0.7, 0.8], 0.65) == pytest.approx(64)
    assert equivalent(COUNTS, [0.5, 0.6, 0.55, 0.8], 0.6) == pytest.approx(32)  # a dip is noise
    assert equivalent(COUNTS, [0.5, 0.6, 0.7, 0.8], 0.81) == math.inf
    assert equivalent(COUNTS, [0.5, 0.6, 0.7, 0.8], 0.4) == 0


def test_the_interval_holds_the_spread_of_the_seeds() -> None:
    others = [[0.5], [0.6], [0.7], [0.8]]
    alone = worth(COUNTS, [[0.6]] * 4, others, 1)
    assert (alone.low, alone.equivalent, alone.high) == pytest.approx((32, 32, 32))
    spread = worth(COUNTS, [[0.6]] * 3 + [[0.59, 0.61]], others, 3)
    assert spread.equivalent == pytest.approx(32)
    assert spread.low < equivalent(COUNTS, [0.5, 0.6, 0.7, 0.8], 0.59)
    assert spread.high > equivalent(COUNTS, [0.5, 0.6, 0.7, 0.8], 0.61)
    beside = worth(COUNTS, [[0.6]] * 3 + [[0.59, 0.61]], others, 2)
    assert beside.low < 32 < beside.high  # one seed spreads as those of the number next to it do


def test_the_interval_covers_the_truth_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "_NUM_DRAWS", 400)
    truth, draw = [0.5, 0.6, 0.7, 0.8], np.random.default_rng(0)

    def measured(means: list[float]) -> list[list[float]]:
        return [list(draw.normal(mean, 0.02, count)) for mean, count in zip(means, (5, 5, 3, 1), strict=True)]

    found = [worth(COUNTS, measured([0.55, 0.65, 0.75, 0.85]), measured(truth), 1) for _ in range(200)]
    covered = np.mean([each.low <= 64 <= each.high for each in found])
    assert 0.92 <= covered <= 0.99
    assert np.median([each.high / each.low for each in found]) < 5


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Worth(512, 1024, 700, 2000), "worth about 510 labels"),
        (Worth(512, 1024, 300, 2000), "cannot be ruled out"),
        (Worth(512, math.inf, 2000, math.inf), "more than all 5,000"),
        (Worth(512, 200, 100, 300), "worth nothing at 512 labels"),
        (Worth(512, 0, 0, 300), "takes fewer than 8 labels (95 %: fewer than 8 to 300)"),
    ],
)
def test_the_verdict_says_what_was_found(found: Worth, words: str) -> None:
    last = Worth(900, math.inf, math.inf, math.inf)
    worths = [Worth(8, 8, 8, 8), found, last]
    sentence = curve.verdict(worths, "reviews.txt", 5000, is_all=True)
    assert words in sentence
    assert "reviews.txt" in sentence
    assert "all 5,000" not in curve.verdict(worths, "reviews.txt", 5000, is_all=False)


# which points there are


@given(st.integers(2, 200_000), st.booleans())
def test_numbers_of_labels_grow_to_all_there_are(num_examples: int, quick: bool) -> None:
    counts = points.label_counts(num_examples, quick)
    assert counts == sorted(set(counts))
    assert counts[-1] == (min(num_examples, 2048) if quick else num_examples)
    assert all(count >= 2 for count in counts)
    assert len(counts) <= 9


def test_few_labels_have_more_seeds() -> None:
    assert [points.num_seeds(count) for count in (8, 1000, 1001, 10_000, 10_001)] == [5, 5, 3, 3, 1]
    assert points.num_seeds(8, quick=True) == 2


# measured, kept and continued


def measured(folder: Path, encoder: Path, data: Path, test: Path) -> dict[str, object]:
    config = FinetuneConfig(data=str(data), epochs=1.0, batch_size=8)
    runtime = RuntimeConfig(threads=1)
    return curve.run(folder, encoder, config, points.judging(config, test), [], True, runtime, silent)


def test_test_data_is_read_by_its_own_columns_where_they_are_named(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data, test = make_data(tmp_path / "train.jsonl", 40), tmp_path / "test.jsonl"
    rows = [json.loads(line) for line in make_data(tmp_path / "t.jsonl", 40, seed=1).read_text().splitlines()]
    test.write_text("".join(json.dumps({"review": r["text"], "label": r["label"]}) + "\n" for r in rows))
    config = FinetuneConfig(data=str(data))
    judged = points.judging(config, test, {"text_column": "review", "task": "qa", "seed": 1})
    assert (judged.task, judged.text_column, judged.label_column) == ("sentiment", "review", "label")
    assert tfidf.accuracy(config, judged) > 0.5
    starts = [points.Start("TF-IDF", None, False)]
    measurers = [
        points.Measurer.open(tmp_path, starts, config, each, RuntimeConfig())
        for each in (points.judging(config, test), judged)
    ]
    one, other = (each._path(points.Point(starts[0], 8, 0)) for each in measurers)
    assert one != other


def test_a_curve_is_measured_once_and_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    data, test = make_data(tmp_path / "train.jsonl", 60), make_data(tmp_path / "test.jsonl", 40, seed=1)
    monkeypatch.setattr(points, "_QUICK_SEEDS", 1)
    by_stages, calls = points.Measurer._by_stages, []

    def interrupted(self: points.Measurer, point: points.Point) -> float:
        calls.append(point)
        if len(calls) == 3:
            raise InterruptedRun(15)
        return by_stages(self, point)

    monkeypatch.setattr(points.Measurer, "_by_stages", interrupted)
    with pytest.raises(InterruptedRun):
        measured(tmp_path / "curve", encoder, data, test)
    first = measured(tmp_path / "curve", encoder, data, test)
    assert len(calls) == 5  # four points of the two starts that are trained, one of them begun twice
    assert measured(tmp_path / "curve", encoder, data, test) == first
    assert len(calls) == 5
    assert set(first["table"]) == {"pretrained", "from scratch", "TF-IDF"}
    assert first["fingerprints"]["pretrained"] == read_manifest(encoder).fingerprint
    assert [row["labels"] for row in first["table"]["TF-IDF"]] == [8, 60]
    assert first["table"]["TF-IDF"][-1]["mean"] > 0.85  # one telling word each
    rows = list(csv.DictReader((tmp_path / "curve/curve.csv").read_text().splitlines()))
    assert len(rows) == 6
    assert json.loads((tmp_path / "curve/curve.json").read_text()) == first
    assert (tmp_path / "curve/curve.svg").read_text().lstrip().startswith("<?xml")
    assert not (tmp_path / "curve/scratch").exists()
    make_data(data, 60, seed=5)  # other labels: nothing of before counts
    measured(tmp_path / "curve", encoder, data, test)
    assert len(calls) == 9


def test_the_command_prints_a_table_and_a_sentence(tmp_path: Path, shell: Shell) -> None:
    run = tmp_path / "run"
    make_encoder(run / "pretrain")
    data, test = make_data(tmp_path / "train.jsonl", 20), make_data(tmp_path / "test.jsonl", 20, seed=1)
    given = ("curve", "--run", run, "--data", data, "--test", test, "--quick", "--threads", "1", "-q")
    short = ("--set", "finetune.epochs=1")
    outcome = shell(*given, *short)
    assert outcome.code == 0, outcome.err
    assert "from scratch" in outcome.out
    assert "pretraining on" in outcome.out
    assert shell(*given, *short, "--json").json["table"].keys() == {"pretrained", "from scratch", "TF-IDF"}
    outcome = shell(*given, "--against", tmp_path / "none")
    assert outcome.code == 2


@pytest.mark.parametrize("name", ["test", "from scratch", "other"])
def test_what_is_compared_with_has_a_name_of_its_own(tmp_path: Path, name: str) -> None:
    encoder = make_encoder(tmp_path / "run/pretrain")
    others = [tmp_path / "a" / name, tmp_path / "b" / name]
    with pytest.raises(UsageError, match=f"something else is called {name}"):
        curve._starts(encoder, others, "sentiment")
    if name == "other":
        assert [start.name for start in curve._starts(encoder, others[:1], "qa")][-1] == name


def test_fault_38_test_texts_that_are_trained_on_are_warned_of(tmp_path: Path, shell: Shell) -> None:
    make_encoder(tmp_path / "run/pretrain")
    data = make_data(tmp_path / "train.jsonl", 12)
    given = ("curve", "--run", tmp_path / "run", "--data", data, "--test", data, "--quick", "--threads", "1")
    outcome = shell(*given, "--set", "finetune.epochs=0.1", "--json")
    assert outcome.json["num_trained_on"] == 12
    assert any("12 of 12 test texts were in the training data" in each for each in outcome.json["warnings"])


def test_a_bag_of_characters_where_no_blanks_stand_between_words(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data, draw = tmp_path / "d.jsonl", np.random.default_rng(0)
    signs = [chr(0x4E00 + n) for n in range(200)]
    texts = ["".join(draw.choice(signs, 9)) for _ in range(100)]
    rows = [{"text": text + "好坏"[n % 2] + text[::-1], "label": n % 2} for n, text in enumerate(texts)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    test = tmp_path / "t.jsonl"
    test.write_text("".join(json.dumps(row | {"text": row["text"][5:]}) + "\n" for row in rows))
    config = FinetuneConfig(data=str(data))
    assert tfidf.accuracy(config, points.judging(config, test)) == 1.0
    assert tfidf._words(["a text of words", "and café"]) == {"token_pattern": tfidf._WORDS}


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5))
def test_a_mean_is_never_outside_of_what_it_is_the_mean_of(scores: list[float]) -> None:
    (row,) = curve._rows([{"labels": 8, "score": score} for score in [*scores, scores[0], scores[0]]])
    assert row["low"] <= row["mean"] <= row["high"]  # or it cannot be drawn


def test_one_seed_with_many_digits_can_be_drawn(tmp_path: Path) -> None:
    rows = curve._rows([{"labels": 8, "score": 0.7981651376146789}])
    curve.plot.draw({"pretrained": rows}, "accuracy", tmp_path / "curve.svg")
    assert (tmp_path / "curve.svg").stat().st_size > 0


def test_a_bag_of_signs_where_there_are_no_words(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    data = tmp_path / "d.jsonl"
    rows = [{"text": f"{sign} {n % 7}", "label": sign} for n in range(20) for sign in "ab"]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = FinetuneConfig(task="classify", data=str(data))
    assert tfidf.accuracy(config, points.judging(config, data)) == 1.0

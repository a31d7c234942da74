"""SQuAD's scores: known cases, and an implementation written from the definition alone."""

from __future__ import annotations

import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlmctl.measure import squad


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Eiffel\tTower", "eiffel tower"),
        ("a an the", ""),
        ("Theatre and an anthem", "theatre and anthem"),
        ("U.S.A.", "usa"),
        ("the-end", "theend"),
        ("the – end", "– end"),  # a dash that is not ASCII stays, and ends the article's word
        ("'A'", ""),
        ("I", "i"),
        ("l'a", "la"),
        ("\xa0a\u2003b\n", "b"),
        ("", ""),
    ],
)
def test_normalization(text: str, plain: str) -> None:
    assert squad.normalize(text) == plain


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("the cat", ["cat"], 1, 1),
        ("black cat", ["cat", "black dog"], 0, 2 / 3),
        ("cat cat", ["cat"], 0, 2 / 3),
        ("dog", ["cat"], 0, 0),
        ("", ["cat"], 0, 0),
        ("the", ["a"], 1, 0),  # version 1: nothing equals nothing, but no word is shared
        ("the", ["cat"], 0, 0),
    ],
)
def test_version_1_by_hand(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    scores = squad.judge({"q": golds}, {"q": prediction})
    assert scores.exact.tolist() == [exact]
    assert scores.f1.tolist() == pytest.approx([f1])


@pytest.mark.parametrize(
    ("prediction", "golds", "score"),
    [("", [], 1), ("the", [], 1), ("cat", [], 0), ("", ["cat"], 0), ("the", ["a"], 1), ("", ["a", "cat"], 0)],
)
def test_version_2_by_hand(prediction: str, golds: list[str], score: float) -> None:
    scores = squad.judge({"q": golds, "none": []}, {"q": prediction, "none": ""})
    assert (scores.exact[0], scores.f1[0]) == (score, score)


def test_missing_ids_are_wrong_and_extra_ids_are_not_looked_at() -> None:
    golds = {"a": ["x"], "b": [], "c": [], "d": ["x"]}
    found = squad.summary(squad.judge(golds, {"a": "x", "c": "", "extra": "x"}))
    assert found == {
        "exact_match": 50.0, "f1": 50.0, "num_examples": 4,
        "HasAns_exact": 50.0, "HasAns_f1": 50.0, "HasAns_total": 2,
        "NoAns_exact": 50.0, "NoAns_f1": 50.0, "NoAns_total": 2,
    }  # fmt: skip


def test_parts_are_only_told_where_questions_lack_answers() -> None:
    assert set(squad.summary(squad.judge({"a": ["x"]}, {}))) == {"exact_match", "f1", "num_examples"}
    assert "HasAns_f1" not in squad.summary(squad.judge({"a": []}, {"a": ""}))
    assert squad.summary(squad.judge({}, {})) == {"exact_match": 0.0, "f1": 0.0, "num_examples": 0}


def test_kinds_by_the_first_word() -> None:
    questions = ["What is it?", "  WHOSE hat?", "what's up", "In which year?", "", "Whichever?", "How?"]
    kinds = ["what", "who", "what", "other", "other", "other", "how"]
    assert [squad.kind(question) for question in questions] == kinds
    golds = {str(n): ["x"] for n in range(len(questions))}
    table = squad.by_kind(squad.judge(golds, {"0": "x", "6": "x y"}), questions)
    assert list(table) == ["what", "who", "how", "other"]
    assert table["what"] == {"exact_match": 50.0, "f1": 50.0, "num_examples": 2}
    assert table["how"]["f1"] == pytest.approx(200 / 3)


def test_a_threshold_that_refuses_everything_is_zero() -> None:
    scores = squad.judge({"a": [], "b": []}, {"a": "x", "b": "y"})
    assert squad.best_threshold(scores, scores.f1, np.array([0.2, 0.9])) == (100.0, 0.0)
    right = squad.judge({"a": [], "b": ["x"]}, {"a": "", "b": "x"})  # nothing said is nothing to refuse
    assert squad.best_threshold(right, right.f1, np.array([0.1, 0.2])) == (100.0, 0.2)
    none = squad.judge({}, {})
    assert squad.best_threshold(none, none.f1, np.zeros(0)) == (0.0, 0.0)


# The definition again, as plainly as it can be said and sharing nothing with the code above.


def plainly(text: str) -> list[str]:
    kept = "".join(character for character in text.lower() if character not in string.punctuation)
    words, word = [], ""
    for character in [*kept, " "]:
        if character == "_" or character.isalnum():  # `\w`, whose edges are `\b`
            word += character
            continue
        words.append(" " if word in ("a", "an", "the") else word)
        words.append(character)
        word = ""
    return "".join(words).split()


def overlap(prediction: list[str], gold: list[str]) -> float:
    left, same = Counter(gold), 0
    for word in prediction:
        if left[word] > 0:
            left[word] -= 1
            same += 1
    return 2 * same / (len(prediction) + len(gold)) if same else 0.0


def plain_scores(golds: dict[str, list[str]], predictions: dict[str, str]) -> dict[str, tuple[float, float]]:
    version_2 = any(not texts for texts in golds.values())
    found = {}
    for name, texts in golds.items():
        if name not in predictions:
            found[name] = (0.0, 0.0)
            continue
        said = plainly(predictions[name])
        wanted = [plainly(text) for text in texts]
        if version_2:
            wanted = [words for words in wanted if words] or [[]]
        exact = max(1.0 if words == said else 0.0 for words in wanted)
        if version_2 and (not said or wanted == [[]]):
            found[name] = (exact, exact)
        else:
            found[name] = (exact, max(overlap(said, words) for words in wanted))
    return found


pieces = st.sampled_from(
    ["a", "an", "the", "The", "A", "cat", "Cat", "cat's", "the-cat", "U.S.", "5,000", "$", "_a_", "é",
     "e\u0301", "ß", "İ", "猫", "ا", "²", "–", "“a”",
     "\xa0", "\u2003", "\n", "\x1c", "a\u0301", "the.", "", " "]
)  # fmt: skip
texts = st.one_of(st.lists(pieces, max_size=5).map(" ".join), st.lists(pieces, max_size=4).map("".join))
words_only = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = st.one_of(texts, words_only)
ids = st.sampled_from([str(n) for n in range(8)])
gold_sets = st.dictionaries(ids, st.lists(texts, max_size=3), min_size=1, max_size=8)
answered = gold_sets.map(lambda golds: {name: found or ["cat"] for name, found in golds.items()})


@given(st.one_of(gold_sets, answered), st.dictionaries(ids, texts, max_size=8))
@example({"0": ["the"], "1": ["cat"]}, {"0": "a", "1": "", "7": "extra"})
@example({"0": ["the"], "1": []}, {"0": "a", "1": "an"})
def test_scores_are_those_of_the_definition(golds: dict[str, list[str]], predictions: dict[str, str]) -> None:
    scores = squad.judge(golds, predictions)
    expected = plain_scores(golds, predictions)
    assert scores.exact.tolist() == [exact for exact, _ in expected.values()]
    assert scores.f1.tolist() == pytest.approx([f1 for _, f1 in expected.values()])
    total = squad.summary(scores)
    assert total["f1"] == pytest.approx(100 * sum(f1 for _, f1 in expected.values()) / len(golds))
    for name, wanted in (("HasAns", True), ("NoAns", False)):
        part = [expected[n][0] for n, found in golds.items() if bool(found) is wanted]
        if part and not all(golds.values()):
            assert total[f"{name}_exact"] == pytest.approx(100 * sum(part) / len(part))
            assert total[f"{name}_total"] == len(part)


def thresholded(
    golds: dict[str, list[str]], predictions: dict[str, str], odds: dict[str, float], threshold: float
) -> float:
    """F1 if nothing is answered above the threshold."""
    said = {n: "" if odds[n] > threshold else text for n, text in predictions.items()}
    return 100 * sum(f1 for _, f1 in plain_scores(golds, said).values()) / len(golds)


@given(gold_sets.map(lambda golds: {**golds, "none": []}), st.data())
def test_the_best_threshold_is_the_best_of_all(golds: dict[str, list[str]], data: st.DataObject) -> None:
    predictions = data.draw(st.fixed_dictionaries(dict.fromkeys(golds, texts)))
    distinct = st.lists(st.integers(1, 99), min_size=len(golds), max_size=len(golds), unique=True)
    odds = {name: value / 100 for name, value in zip(golds, data.draw(distinct), strict=True)}
    scores = squad.judge(golds, predictions)
    best, threshold = squad.best_threshold(scores, scores.f1, np.array(list(odds.values())))
    tried = [thresholded(golds, predictions, odds, value) for value in [0.0, *odds.values()]]
    # The official script takes "the" for an answer when it looks for a threshold.
    answers = [text for found in golds.values() for text in found]
    if all(map(plainly, answers)) and all(plainly(text) or not text for text in predictions.values()):
        assert best == pytest.approx(max(tried))
        assert thresholded(golds, predictions, odds, threshold) == pytest.approx(best)


@given(st.one_of(gold_sets, answered), st.data())
def test_scores_are_those_of_transformers(golds: dict[str, list[str]], data: st.DataObject) -> None:
    stock = pytest.importorskip(
        "transformers.data.metrics.squad_metrics", reason="transformers 5 has it no more"
    )

    class Example:
        def __init__(self, name: str, found: list[str]) -> None:
            self.qas_id, self.answers = name, [{"text": text} for text in found]

    golds = {**golds, "none": []}  # it knows version 2 only
    predictions = data.draw(st.fixed_dictionaries(dict.fromkeys(golds, texts)))
    odds = {name: data.draw(st.sampled_from([0.1, 0.2, 0.5, 0.9])) for name in golds}
    examples = [Example(name, found) for name, found in golds.items()]
    expected = stock.squad_evaluate(examples, predictions, odds, no_answer_probability_threshold=1.0)
    scores = squad.judge(golds, predictions)
    found = squad.summary(scores)
    assert found["exact_match"] == pytest.approx(expected["exact"])
    for name in found.keys() & expected.keys():
        assert found[name] == pytest.approx(expected[name])
    for name, values in (("exact", scores.exact), ("f1", scores.f1)):
        best, threshold = squad.best_threshold(scores, values, np.array(list(odds.values())))
        assert best == pytest.approx(expected[f"best_{name}"])
        assert threshold == expected[f"best_{name}_thresh"]

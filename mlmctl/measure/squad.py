"""How SQuAD is scored: exact match and F1 of answer texts, by the definitions of its two official scripts.

Texts are compared after `normalize`, and the best of several gold answers counts. Version 2 knows
questions without an answer, for which the right prediction is the empty text; it also reads gold answers
that normalize to nothing differently. Which version holds is a property of the data, not of the model.
Sources: Rajpurkar et al. 2016 (arXiv 1606.05250) and 2018 (1806.03822), evaluate-v1.1.py and -v2.0.py.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

KINDS = ("what", "who", "when", "where", "how", "why", "which", "other")
"""The kinds of questions, by their first word."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_FIRST_WORD = re.compile(r"[a-z]*")
_SPELLINGS = {"whom": "who", "whose": "who"}


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation, without the articles a, an, the; single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def kind(question: str) -> str:
    """The kind of a question, one of `KINDS`."""
    found = _FIRST_WORD.match(question.strip().lower())
    word = found.group() if found else ""
    word = _SPELLINGS.get(word, word)
    return word if word in KINDS else "other"


@dataclass(frozen=True)
class Scores:
    """Every question judged, in the order of the gold answers; arrays are [num_questions]."""

    exact: Floats
    """1 where the prediction equals a gold answer, else 0."""
    f1: Floats
    """Harmonic mean of the precision and recall of its words, 0 to 1."""
    has_answer: Bools
    """Whether the question has a gold answer."""
    is_answered: Bools
    """Whether something was predicted that is not the empty text."""
    is_missing: Bools
    """Whether there is no prediction at all, which is wrong even where there is no answer."""


def judge(golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> Scores:
    """Score predictions by id against gold answers by id; ids that no question has are not looked at.

    Version 2 holds if any question has no gold answer. A question without a prediction is wrong, as in
    version 1 (the script of version 2 leaves it out of the sum and then fails on the parts).
    """
    is_version_2 = has_unanswerable(golds)
    rows = []
    for number, texts in golds.items():
        prediction = predictions.get(number)
        if prediction is None:
            rows.append((0.0, 0.0, bool(texts), False, True))
            continue
        if is_version_2:
            texts = [text for text in texts if normalize(text)] or [""]
        words = normalize(prediction).split()
        golden = [normalize(text).split() for text in texts]
        exact = float(words in golden)
        f1 = max(_f1(words, gold, is_version_2) for gold in golden)
        rows.append((exact, f1, bool(golds[number]), prediction != "", False))
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    exact_column, f1_column, *flags = columns
    return Scores(
        np.array(exact_column, dtype=np.float64),
        np.array(f1_column, dtype=np.float64),
        *(np.array(flag, dtype=np.bool_) for flag in flags),
    )


def has_unanswerable(golds: Mapping[str, Sequence[str]]) -> bool:
    """Whether some question has no gold answer, so that the rules of version 2 hold."""
    return not all(golds.values())


def _f1(words: Sequence[str], gold: Sequence[str], is_version_2: bool) -> float:
    if is_version_2 and not (words and gold):
        return float(words == gold)
    num_same = (Counter(words) & Counter(gold)).total()
    if not num_same:
        return 0.0
    precision, recall = num_same / len(words), num_same / len(gold)
    return 2 * precision * recall / (precision + recall)


def summary(scores: Scores) -> dict[str, float | int]:
    """`exact_match` and `f1` (0 to 100); with unanswerable questions also of the two parts, under the
    names of the official script.
    """
    has_answer = scores.has_answer
    found: dict[str, float | int] = {
        "exact_match": percent(scores.exact),
        "f1": percent(scores.f1),
        "num_examples": len(has_answer),
    }
    if not has_answer.all():
        for name, part in (("HasAns", has_answer), ("NoAns", ~has_answer)):
            if part.any():
                found[f"{name}_exact"] = percent(scores.exact[part])
                found[f"{name}_f1"] = percent(scores.f1[part])
                found[f"{name}_total"] = int(part.sum())
    return found


def by_kind(scores: Scores, questions: Sequence[str]) -> dict[str, dict[str, float | int]]:
    """Exact match and F1 for each kind of question that occurs; `questions` [num_questions]."""
    kinds = np.array([kind(question) for question in questions], dtype=np.str_)
    return {
        name: {
            "exact_match": percent(scores.exact[kinds == name]),
            "f1": percent(scores.f1[kinds == name]),
            "num_examples": int((kinds == name).sum()),
        }
        for name in KINDS
        if (kinds == name).any()
    }


def best_threshold(scores: Scores, values: Floats, no_answer: Floats) -> tuple[float, float]:
    """The best mean (0 to 100) that a threshold gives, and the threshold: above it nothing is answered.

    `values` [num_questions] is `scores.exact` or `scores.f1`, `no_answer` [num_questions] a probability (0
    to 1) that there is no answer. As in the official script every question is a place to cut, in the
    order of `no_answer`, the first of equally good ones wins, and answering nothing is threshold 0.
    """
    if not len(values):
        return 0.0, 0.0
    order = np.argsort(no_answer, kind="stable")
    unanswered = ~scores.has_answer & ~scores.is_missing
    gain = np.where(scores.has_answer, values, np.where(scores.is_answered, -1.0, 0.0))[order]
    sums = np.cumsum(np.concatenate([[float(unanswered.sum())], gain]))
    best = int(np.argmax(sums))
    return float(100 * sums[best] / len(values)), float(no_answer[order[best - 1]]) if best else 0.0


def percent(values: Floats) -> float:
    """The mean of numbers from 0 to 1 in percent; 0 for none."""
    return float(100 * values.mean()) if values.size else 0.0

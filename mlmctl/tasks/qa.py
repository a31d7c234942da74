"""Extractive question answering: the answer is a span of the passage, or that there is none.

A model trained on data in which every question has an answer always answers. One trained on data with
unanswerable questions compares its best span with no answer, at a threshold tuned on held-out examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from ..config import EvaluateConfig, FinetuneConfig
from ..engine.architectures import Head
from ..events import Emit, Note
from ..measure import squad as scoring
from ..text.specials import Specials
from . import labelled, passages, squad
from .features import Features
from .spans import Candidate, candidates, log_probabilities
from .squad import Questions
from .task import USUAL_SHRINK_TO, Report, Settings, Tuned, num_held_out

_NUM_ERRORS = 50
_DECIMALS = 4  # of probabilities: what threads and padding cannot change
_DECIMALS_NO_ANSWER = 6
_HELD_OUT_FROM = 200  # where a threshold has to be tuned; otherwise as for every task

Predictions = Sequence[Sequence[Candidate]]


class QuestionAnswering:
    """The `Task` of answering questions from a passage."""

    name = "qa"
    model_head: Head = "question_answering"
    asks: tuple[str, ...] = ("question", "context")
    learning_rate = 1e-3
    batch_size = 8
    zero_output = False

    def epochs(self, num_examples: int) -> float:
        """Three of up to 1,000 questions, one of 3,000 and more: then answers are learned by heart."""
        return float(np.clip(3000 / max(num_examples, 1), 1, 3))

    def read(
        self,
        path: Path,
        config: FinetuneConfig | EvaluateConfig,
        emit: Emit,
        settings: Settings | None = None,
    ) -> Questions:
        """See `squad.read`. A model that always answers is measured on any data, with a warning."""
        data = squad.read(path, config, emit)
        if settings and not settings["has_no_answer"] and data.facts["num_unanswerable"]:
            count = f"{data.facts['num_unanswerable']:,} questions"
            emit(Note(f"{count} have no answer, but the model was trained to give one always", "warning"))
        return data

    def trainable(self, data: Questions) -> NDArray[np.int64]:
        return np.arange(len(data))

    def sample(self, data: Questions, num_examples: int, seed: int) -> NDArray[np.int64]:
        """Answerable and unanswerable questions keep their shares."""
        kinds = data.is_answerable.astype(np.int64)
        return labelled.sample(kinds, num_examples, seed, "kinds of questions, with and without an answer")

    def mask_rate(self, num_examples: int) -> float:
        return 0.0

    def shrink_to(self, num_examples: int) -> float:
        return USUAL_SHRINK_TO

    def cycles(self, num_examples: int, num_epochs: float) -> int:
        return 1

    def hold_out(self, data: Questions, seed: int) -> NDArray[np.int64]:
        """All questions about some passages: no passage is on both sides.

        Where the first has more questions than are wanted, the one with the fewest, unless those are most.
        """
        count = num_held_out(len(data), *(() if data.is_answerable.all() else (_HELD_OUT_FROM, 0.1)))
        if not count or len(data.contexts) < 2:
            return np.zeros(0, dtype=np.int64)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(data.contexts))
        num_questions = np.bincount(data.context_of, minlength=len(order))
        chosen = order[: int(np.searchsorted(np.cumsum(num_questions[order]), count, side="right"))]
        if not len(chosen) and num_questions.min() <= len(data) / 2:
            chosen = np.array([num_questions.argmin()])
        return np.flatnonzero(np.isin(data.context_of, chosen))

    def unlabelled(self, rows: Sequence[Mapping[str, str]]) -> Questions:
        contexts = {context: n for n, context in enumerate(dict.fromkeys(row["context"] for row in rows))}
        return Questions(
            ids=[row.get("id", "") for row in rows],
            questions=[row["question"] for row in rows],
            contexts=list(contexts),
            context_of=np.array([contexts[row["context"]] for row in rows], dtype=np.int64),
            answers=[()] * len(rows),
        )

    def settings(self, data: Questions, config: FinetuneConfig) -> dict[str, Any]:
        """`no_answer_threshold` is of the probability that there is no answer, until `tune` finds better."""
        return {
            "has_no_answer": not bool(data.is_answerable.all()),
            "no_answer_threshold": 0.5,
            "doc_stride": config.doc_stride,
            "num_best": config.num_best,
            "max_answer_length": config.max_answer_length,
        }

    def head(self, settings: Settings) -> dict[str, Any]:
        # Names too: an encoder that was fine-tuned before brings those of its labels, which count for more.
        names = ("LABEL_0", "LABEL_1")
        return {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {name: number for number, name in enumerate(names)},
        }

    def features(
        self,
        data: Questions,
        tokenizer: Tokenizer,
        specials: Specials,
        block_length: int,
        settings: Settings,
    ) -> Features:
        """See `passages.windows`."""
        return passages.windows(data, tokenizer, specials, block_length, settings["doc_stride"])

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean of the cross-entropies of first and last position, times the window's weight, summed."""
        starts, ends = log_probabilities(model, batch)  # [B, L]
        spans = batch["spans"]
        found = starts.gather(1, spans[:, :1]) + ends.gather(1, spans[:, 1:])
        return -(found.squeeze(1) / 2 * batch["weights"]).sum()

    def predict(
        self, model: nn.Module, features: Features, settings: Settings, batch_size: int
    ) -> Predictions:
        """See `spans.candidates`."""
        return candidates(model, features, settings["num_best"], settings["max_answer_length"], batch_size)

    def tune(self, model: nn.Module, data: Questions, predictions: Predictions, settings: Settings) -> Tuned:
        """The threshold with the best F1, if the model may answer nothing."""
        if not settings["has_no_answer"]:
            return Tuned(dict(settings))
        always = {**settings, "has_no_answer": False}
        scores = scoring.judge(_golds(data), _texts(data, predictions, always))
        _, threshold = scoring.best_threshold(scores, scores.f1, _no_answer(predictions))
        return Tuned({**settings, "no_answer_threshold": threshold})

    def answers(self, data: Questions, predictions: Predictions, settings: Settings) -> list[dict[str, Any]]:
        """{id (if there is one), answer, score, start, end, no_answer (if it may), alternatives}

        `score` is the probability of the answer, "" being none; `start` and `end` are characters.
        """
        rows = []
        for example, (best, no_answer) in enumerate(zip(predictions, _no_answer(predictions), strict=True)):
            context = data.contexts[data.context_of[example]]
            spans = [_span(context, candidate) for candidate in best]
            row: dict[str, Any] = {"id": data.ids[example]} if data.ids[example] else {}
            answered = spans and not _is_refused(no_answer, settings)
            row |= spans[0] if answered else {**_NOTHING, "score": round(float(no_answer), _DECIMALS)}
            if settings["has_no_answer"]:
                row["no_answer"] = float(no_answer)
            rows.append({**row, "alternatives": spans[1 if answered else 0 :]})
        return rows

    def score(self, data: Questions, predictions: Predictions, settings: Settings) -> Report:
        """SQuAD's scores, in parts and by kind of question; `predictions.json` in its own format."""
        golds = _golds(data)
        texts = _texts(data, predictions, settings)
        scores = scoring.judge(golds, texts)
        no_answer = _no_answer(predictions)
        metrics: dict[str, Any] = dict(scoring.summary(scores))
        files: dict[str, Any] = {"predictions.json": texts}
        if settings["has_no_answer"]:
            metrics |= _at_best_threshold(data, predictions, settings)
            files["null_odds.json"] = dict(zip(data.ids, no_answer.tolist(), strict=True))
        metrics["kinds"] = scoring.by_kind(scores, data.questions)
        rows = [
            {
                "id": data.ids[n],
                "question": data.questions[n],
                "answers": list(golds[data.ids[n]]),
                "prediction": answer["answer"],
                "exact": scores.exact[n],
                "f1": float(scores.f1[n]),
                **{name: answer[name] for name in ("score", "no_answer") if name in answer},
            }
            for n, answer in enumerate(self.answers(data, predictions, settings))
        ]
        wrong = [n for n in np.argsort(scores.f1, kind="stable").tolist() if not scores.exact[n]]
        worst = sorted(wrong, key=lambda n: (rows[n]["f1"], -rows[n]["score"]))[:_NUM_ERRORS]
        errors = [{**rows[n], "context": data.contexts[data.context_of[n]]} for n in worst]
        return Report(metrics, headline="f1", predictions=rows, errors=errors, files=files)


_NOTHING = {"answer": "", "score": 0.0, "start": 0, "end": 0}


def _span(context: str, candidate: Candidate) -> dict[str, Any]:
    return {
        "answer": context[candidate.start : candidate.end],
        "score": round(math.exp(candidate.score), _DECIMALS),
        "start": candidate.start,
        "end": candidate.end,
    }


def _is_refused(no_answer: float, settings: Settings) -> bool:
    return bool(settings["has_no_answer"] and no_answer > settings["no_answer_threshold"])


def _no_answer(predictions: Predictions) -> NDArray[np.float64]:
    """How probable it is that there is no answer rather than the best one, [num_examples].

    That of the window in which the best answer leads by most; 1 where no answer is possible.
    """
    lead = np.array([max((c.surplus for c in best), default=-np.inf) for best in predictions])
    with np.errstate(over="ignore"):
        return np.asarray((1 / (1 + np.exp(lead))).round(_DECIMALS_NO_ANSWER))


def _golds(data: Questions) -> dict[str, list[str]]:
    answers = ([answer.text for answer in some] for some in data.answers)
    return dict(zip(data.ids, answers, strict=True))


def _texts(data: Questions, predictions: Predictions, settings: Settings) -> dict[str, str]:
    """The predicted text of each question by id, "" for no answer: SQuAD's own format."""
    texts = {}
    for example, (best, no_answer) in enumerate(zip(predictions, _no_answer(predictions), strict=True)):
        context = data.contexts[data.context_of[example]]
        answered = best and not _is_refused(no_answer, settings)
        texts[data.ids[example]] = context[best[0].start : best[0].end] if answered else ""
    return texts


def _at_best_threshold(data: Questions, predictions: Predictions, settings: Settings) -> dict[str, float]:
    """What the threshold that is best for this very data would have given, under the official names."""
    scores = scoring.judge(_golds(data), _texts(data, predictions, {**settings, "has_no_answer": False}))
    no_answer = _no_answer(predictions)
    found: dict[str, float] = {"no_answer_threshold": settings["no_answer_threshold"]}
    for name, values in (("exact", scores.exact), ("f1", scores.f1)):
        found[f"best_{name}"], found[f"best_{name}_thresh"] = scoring.best_threshold(
            scores, values, no_answer
        )
    return found

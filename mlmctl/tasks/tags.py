"""Tagging words: the named entities of a sentence, as tags in IOB2.

IOB2, whatever the data has, because it is the scheme that the stock `token-classification` pipeline
understands. A word's tag is read off its first piece, in training and after; its others are ignored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from ..config import EvaluateConfig, FinetuneConfig
from ..engine.architectures import Head
from ..events import Emit
from ..measure import entities
from ..measure.entities import OUTSIDE, Counts, Span
from ..text.masking import IGNORED
from ..text.specials import Specials
from . import tagged
from .features import Features
from .inference import over_tokens
from .tagged import Tagged
from .task import USUAL_SHRINK_TO, Report, Settings, Tuned, hold_out_rest, usual_epochs
from .word_windows import word_windows

_LEARNING_RATE = 1e-3
"""F1 on 700 sentences held out of the training part of WNUT-2017, five epochs, one seed: 0.182 at 3e-4, 0.236
at 1e-3, 0.204 at 2e-3."""
_NUM_ERRORS = 50
_DECIMALS = 4  # of probabilities: what threads and padding cannot change


@dataclass(frozen=True)
class WordTags:
    """What the model says of all words that the tokenizer has a piece for, end to end."""

    examples: NDArray[np.int64]
    """Number of the sentence of each [num_words], ascending."""
    words: NDArray[np.int64]
    """Number of the word in its sentence [num_words]."""
    probabilities: NDArray[np.float32]
    """Of each tag [num_words, num_tags]."""


class Tagging:
    """The `Task` of tagging words."""

    name = "tags"
    model_head: Head = "token_classification"
    asks: tuple[str, ...] = ("text",)
    learning_rate = _LEARNING_RATE
    batch_size = 32
    zero_output = False

    def read(
        self,
        path: Path,
        config: FinetuneConfig | EvaluateConfig,
        emit: Emit,
        settings: Settings | None = None,
    ) -> Tagged:
        """See `tagged.read`: at evaluation a type that the model does not have is a DataError."""
        return tagged.read(path, config, emit, known=settings["types"] if settings else ())

    def trainable(self, data: Tagged) -> NDArray[np.int64]:
        return np.flatnonzero(~data.is_empty)

    def sample(self, data: Tagged, num_examples: int, seed: int) -> NDArray[np.int64]:
        return tagged.sample(data, num_examples, seed)

    def epochs(self, num_examples: int) -> float:
        return usual_epochs(num_examples)

    def mask_rate(self, num_examples: int) -> float:
        return 0.0

    def shrink_to(self, num_examples: int) -> float:
        return USUAL_SHRINK_TO

    def cycles(self, num_examples: int, num_epochs: float) -> int:
        return 1

    def hold_out(self, data: Tagged, seed: int) -> NDArray[np.int64]:
        return hold_out_rest(self, data, seed)

    def unlabelled(self, rows: Sequence[Mapping[str, str]]) -> Tagged:
        return tagged.unlabelled([row["text"] for row in rows])

    def settings(self, data: Tagged, config: FinetuneConfig) -> dict[str, Any]:
        return {"types": list(data.types)}

    def head(self, settings: Settings) -> dict[str, Any]:
        labels = _labels(settings)
        return {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
        }

    def features(
        self,
        data: Tagged,
        tokenizer: Tokenizer,
        specials: Specials,
        block_length: int,
        settings: Settings,
    ) -> Features:
        """Windows of `word_windows` with the token target `tags` [num_tokens] at each first piece.

        A window weighs as much as it has words, so every word counts the same in the loss, as every
        entity does in the score.
        """
        windows = word_windows(data.words, tokenizer, specials, block_length)
        number_of = {label: number for number, label in enumerate(_labels(settings))}
        tags = np.array([number_of[tag] for sentence in data.tags for tag in sentence], dtype=np.int64)
        first_word = np.cumsum([0, *map(len, data.words)])[np.repeat(windows.examples, windows.lengths)]
        words = windows.token_targets["words"]
        targets = np.full(len(words), IGNORED, dtype=np.int64)
        has_word = words != IGNORED
        targets[has_word] = tags[(first_word + words)[has_word]]
        return replace(windows, token_targets={**windows.token_targets, "tags": targets})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each word's tag, summed."""
        logits = _logits(model, batch).flatten(0, 1)  # [B * L, num_labels]
        return functional.cross_entropy(
            logits, batch["tags"].flatten(), ignore_index=IGNORED, reduction="sum"
        )

    def predict(self, model: nn.Module, features: Features, settings: Settings, batch_size: int) -> WordTags:
        """The probabilities of each word's tags."""
        probabilities = over_tokens(model, _probabilities, features, batch_size)
        words = features.token_targets["words"]
        places = np.flatnonzero(words != IGNORED)
        examples = np.repeat(features.examples, features.lengths)
        return WordTags(examples[places], words[places], probabilities[places])

    def tune(self, model: nn.Module, data: Tagged, predictions: WordTags, settings: Settings) -> Tuned:
        return Tuned(dict(settings))

    def answers(self, data: Tagged, predictions: WordTags, settings: Settings) -> list[dict[str, Any]]:
        """{words, tags, entities: [{type, text, start, end, score}]}: words `start` to `end` (exclusive).

        `tags` are valid IOB2; a word that the tokenizer has no piece for is outside.
        """
        labels = _labels(settings)
        best = predictions.probabilities.argmax(axis=1)
        surest = predictions.probabilities.max(axis=1)
        bounds = np.searchsorted(predictions.examples, np.arange(len(data) + 1))
        answers = []
        for words, start, end in zip(data.words, bounds[:-1], bounds[1:], strict=True):
            tags, scores = [OUTSIDE] * len(words), np.ones(len(words))
            for place in range(start, end):
                word = predictions.words[place]
                tags[word], scores[word] = labels[best[place]], surest[place]
            spans = entities.spans(tags)
            found = [
                {
                    **_shown(span, words),
                    "score": round(float(scores[span.start : span.end].mean()), _DECIMALS),
                }
                for span in spans
            ]
            answers.append(
                {"words": list(words), "tags": entities.iob2(spans, len(words)), "entities": found}
            )
        return answers

    def score(self, data: Tagged, predictions: WordTags, settings: Settings) -> Report:
        """Entity F1 by the definitions of `measure.entities`, together and by type."""
        answers = self.answers(data, predictions, settings)
        truth = data.tags
        guessed = [entities.spans(answer["tags"]) for answer in answers]
        by_type = entities.count(data.entities, guessed)
        together = entities.micro(by_type.values())
        num_words = sum(map(len, data.words))
        num_right = sum(
            tag == guess
            for tags, answer in zip(truth, answers, strict=True)
            for tag, guess in zip(tags, answer["tags"], strict=True)
        )
        num_outside = sum(tags.count(OUTSIDE) for tags in truth)
        metrics = {
            **_scores(together),
            "macro_f1": entities.macro_f1(by_type.values()),
            "token_accuracy": num_right / max(num_words, 1),
            "outside_accuracy": num_outside / max(num_words, 1),
            "num_words": num_words,
            "num_unread_words": num_words - len(predictions.words),
            "num_types": len(settings["types"]),
            **tagged.facts(data),
            "types": {kind: _scores(counts) for kind, counts in by_type.items()},
        }
        rows = [
            {"row": row, "words": answer["words"], "tags": tags, "prediction": answer["tags"]}
            for row, tags, answer in zip(data.rows.tolist(), truth, answers, strict=True)
        ]
        return Report(metrics, headline="f1", predictions=rows, errors=_errors(data, guessed))


def _probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return _logits(model, batch).softmax(dim=-1)


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits [B, L, num_tags] in float32."""
    output = model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"))
    logits: Tensor = output.logits
    return logits.to(torch.float32)


def _labels(settings: Settings) -> list[str]:
    """The tags of IOB2 by their number."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in settings["types"] for prefix in "BI")]


def _scores(counts: Counts) -> dict[str, float | int]:
    return {
        "f1": counts.f1,
        "precision": counts.precision,
        "recall": counts.recall,
        "num_entities": counts.num_entities,
        "num_predicted": counts.num_predicted,
        "num_correct": counts.num_correct,
    }


def _shown(span: Span, words: Sequence[str]) -> dict[str, Any]:
    text = " ".join(words[span.start : span.end])
    return {"type": span.type, "text": text, "start": span.start, "end": span.end}


def _errors(data: Tagged, guessed: Sequence[Sequence[Span]]) -> list[dict[str, Any]]:
    """The sentences with the most entities that were missed or are wrong."""
    errors = []
    for row, words, spans, guesses in zip(
        data.rows.tolist(), data.words, data.entities, guessed, strict=True
    ):
        missed = [_shown(span, words) for span in spans if span not in guesses]
        wrong = [_shown(span, words) for span in guesses if span not in spans]
        if missed or wrong:
            errors.append({"row": row, "missed": missed, "wrong": wrong, "text": " ".join(words)})
    errors.sort(key=lambda error: -len(error["missed"]) - len(error["wrong"]))
    return errors[:_NUM_ERRORS]

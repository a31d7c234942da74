"""Text classification: one of any number of labels for each text, sentiment being the usual case.

The labels of the data are the labels of the model (`id2label`), so the stock `text-classification`
pipeline answers with the same names. A text of several windows gets the mean of their logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from ..config import EvaluateConfig, FinetuneConfig
from ..engine.adapting import output_layer
from ..engine.architectures import Head
from ..events import Emit
from ..measure import calibration, classification
from ..text.specials import Specials
from . import labelled
from .features import Features, windows
from .inference import over_windows
from .labelled import Labelled
from .task import USUAL_SHRINK_TO, Report, Settings, Tuned, hold_out_rest, usual_epochs

_NUM_ERRORS = 50
_DECIMALS = 4  # of probabilities: what threads and padding cannot change
_UNKNOWN = -1
_MANY_EXAMPLES = 12_500


class Classification:
    """The `Task` of classifying texts, under whichever name it is asked for."""

    model_head: Head = "sequence_classification"
    asks: tuple[str, ...] = ("text",)
    learning_rate = 3e-4
    batch_size = 32
    zero_output = True

    def __init__(self, name: str) -> None:
        self.name = name

    def read(
        self,
        path: Path,
        config: FinetuneConfig | EvaluateConfig,
        emit: Emit,
        settings: Settings | None = None,
    ) -> Labelled:
        """See `labelled.read`: at evaluation a label that the model does not have is a DataError."""
        return labelled.read(path, config, emit, known=settings["labels"] if settings else ())

    def trainable(self, data: Labelled) -> NDArray[np.int64]:
        return np.flatnonzero(~data.is_empty)

    def sample(self, data: Labelled, num_examples: int, seed: int) -> NDArray[np.int64]:
        return labelled.sample(data.labels, num_examples, seed)

    def epochs(self, num_examples: int) -> float:
        return usual_epochs(num_examples)

    def mask_rate(self, num_examples: int) -> float:
        """0.3 up to 2,000 examples, then less and less: few are learned by heart, many are not."""
        return 0.3 * min(1.0, 2000 / max(num_examples, 1))

    def shrink_to(self, num_examples: int) -> float:
        """2 up to 12,500 examples, 4 for 50,000: many can make use of more of what the layers know."""
        return USUAL_SHRINK_TO * math.sqrt(max(1.0, num_examples / _MANY_EXAMPLES))

    def cycles(self, num_examples: int, num_epochs: float) -> int:
        """One an epoch where there are many examples (decision 0037)."""
        return max(1, round(num_epochs)) if num_examples > _MANY_EXAMPLES else 1

    def hold_out(self, data: Labelled, seed: int) -> NDArray[np.int64]:
        return hold_out_rest(self, data, seed)

    def unlabelled(self, rows: Sequence[Mapping[str, str]]) -> Labelled:
        texts = [row["text"] for row in rows]
        unknown = np.full(len(texts), _UNKNOWN, dtype=np.int64)
        hashes = np.zeros(len(texts), dtype=np.uint64)
        return Labelled(texts, unknown, np.arange(1, len(texts) + 1), hashes, names=())

    def settings(self, data: Labelled, config: FinetuneConfig) -> dict[str, Any]:
        return {"labels": list(data.names)}

    def head(self, settings: Settings) -> dict[str, Any]:
        labels = settings["labels"]
        return {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
            "problem_type": "single_label_classification",
        }

    def features(
        self,
        data: Labelled,
        tokenizer: Tokenizer,
        specials: Specials,
        block_length: int,
        settings: Settings,
    ) -> Features:
        """Windows with the target `labels` [num_windows]."""
        cut = windows(data.texts, tokenizer, specials, block_length)
        return replace(cut, targets={"labels": data.labels[cut.examples]})

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy of each window times its weight, summed."""
        losses = functional.cross_entropy(_logits(model, batch), batch["labels"], reduction="none")  # [B]
        return (losses * batch["weights"]).sum()

    def predict(
        self, model: nn.Module, features: Features, settings: Settings, batch_size: int
    ) -> NDArray[np.float64]:
        """Probabilities [num_examples, num_labels] of the mean logits of each example's windows."""
        logits = over_windows(model, _logits, features, batch_size).astype(np.float64)
        num_examples = int(features.examples[-1]) + 1 if len(features.examples) else 0
        means = np.zeros((num_examples, logits.shape[1]))
        np.add.at(means, features.examples, logits * features.weights[:, None].astype(np.float64))
        odds = np.exp(means - means.max(axis=1, keepdims=True, initial=-np.inf))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def tune(
        self, model: nn.Module, data: Labelled, predictions: NDArray[np.float64], settings: Settings
    ) -> Tuned:
        """All logits are divided by the temperature that fits `data` best, once and for all: in the weights
        of the head, so that whoever loads the model is told as much certainty as there is.
        """
        temperature = calibration.fitted_temperature(predictions, data.labels)
        _divide_logits(model, temperature)
        metrics = {
            "temperature": temperature,
            "held_out_ece_before": _ece(predictions, data.labels),
            "held_out_ece": _ece(calibration.tempered(predictions, temperature), data.labels),
        }
        return Tuned(dict(settings), metrics)

    def answers(
        self, data: Labelled, predictions: NDArray[np.float64], settings: Settings
    ) -> list[dict[str, Any]]:
        """{label, score, probabilities: {label: probability}}"""
        labels = settings["labels"]
        rounded = predictions.round(_DECIMALS).tolist()
        return [
            {"label": labels[best], "score": row[best], "probabilities": dict(zip(labels, row, strict=True))}
            for best, row in zip(predictions.argmax(axis=1).tolist(), rounded, strict=True)
        ]

    def score(self, data: Labelled, predictions: NDArray[np.float64], settings: Settings) -> Report:
        """Accuracy, macro F1 and what they are made of, all from the confusion matrix; accuracy by length;
        calibration.
        """
        labels = settings["labels"]
        best = predictions.argmax(axis=1)
        is_right, confidence = best == data.labels, predictions.max(axis=1, initial=0.0).round(_DECIMALS)
        bins = calibration.reliability(confidence, is_right)
        adaptive = calibration.reliability(confidence, is_right, adaptive=True)
        confusion = classification.confusion_matrix(data.labels, best, len(labels))
        scores = classification.label_scores(confusion)
        metrics = {
            "accuracy": classification.accuracy(confusion),
            "macro_f1": classification.macro_f1(confusion),
            "majority_accuracy": classification.majority_accuracy(confusion),
            "ece": calibration.calibration_error(bins),
            "adaptive_ece": calibration.calibration_error(adaptive),
            "num_labels": len(labels),
            **labelled.facts(data),
            "confusion": confusion.tolist(),
            "labels": {
                name: {
                    "precision": float(scores.precision[n]),
                    "recall": float(scores.recall[n]),
                    "f1": float(scores.f1[n]),
                    "num_examples": int(scores.support[n]),
                }
                for n, name in enumerate(labels)
            },
            "lengths": classification.by_length(np.array([*map(len, data.texts)], np.int64), is_right),
            "reliability": [each.to_json() for each in bins],
        }
        rows = [
            {
                "row": row,
                "label": labels[label],
                "prediction": answer["label"],
                "probabilities": answer["probabilities"],
            }
            for row, label, answer in zip(
                data.rows.tolist(),
                data.labels.tolist(),
                self.answers(data, predictions, settings),
                strict=True,
            )
        ]
        wrong = np.flatnonzero(~is_right)
        surest = wrong[np.argsort(-predictions[wrong, best[wrong]].round(_DECIMALS), kind="stable")]
        errors = [{**rows[n], "text": data.texts[n]} for n in surest[:_NUM_ERRORS]]
        return Report(metrics, headline="accuracy", predictions=rows, errors=errors)


def _ece(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    is_right = probabilities.argmax(axis=1) == labels
    return calibration.calibration_error(calibration.reliability(probabilities.max(axis=1), is_right))


def _divide_logits(model: nn.Module, temperature: float) -> None:
    """In place."""
    with torch.no_grad():
        for parameter in output_layer(model).parameters():
            parameter.div_(temperature)


def _logits(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Logits [B, num_labels] in float32."""
    output = model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"))
    logits: Tensor = output.logits
    return logits.to(torch.float32)

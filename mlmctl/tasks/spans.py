"""From logits to answers: the best spans of every window, then of every question.

A window's logits are read as probabilities over the places an answer can be: the tokens of the passage,
and `[CLS]` for none. All spans up to the longest allowed are looked at, and only the best few of each
window are kept, so memory does not grow with the vocabulary or the passage, but with the questions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .features import Features
from .inference import over_windows

_NEVER = float("-inf")


@dataclass(frozen=True)
class Candidate:
    """A span of a passage that may be the answer."""

    start: int
    """First character."""
    end: int
    score: float
    """Logarithm of the probability that this is the answer, in the window that gives it the most."""
    surplus: float
    """By how much the logit of the span is above that of no answer."""


def log_probabilities(model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Of every position to be the first, and the last token of the answer: two float32 [B, L].

    Minus infinity for what is neither `[CLS]` nor of the passage.
    """
    output = model(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"))
    places = torch.arange(batch["input_ids"].shape[1], device=batch["input_ids"].device)
    first, end = batch["passage"][:, :1], batch["passage"][:, 1:]
    is_place = ((places >= first) & (places < end)) | (places == 0)
    return (
        torch.log_softmax(output.start_logits.float().masked_fill(~is_place, _NEVER), dim=1),
        torch.log_softmax(output.end_logits.float().masked_fill(~is_place, _NEVER), dim=1),
    )


def best_spans(num_best: int, longest: int) -> Callable[[nn.Module, Mapping[str, Tensor]], Tensor]:
    """A function of (model, batch) to [B, 1 + 3 * num_best]: the score of no answer, then of the best spans
    of at most `longest` tokens the scores, the first and the last positions; minus infinity for no span.
    """

    def forward(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        starts, ends = log_probabilities(model, batch)  # [B, L]
        nothing = starts[:, 0] + ends[:, 0]
        starts[:, 0] = _NEVER
        padded = nn.functional.pad(ends, (0, longest - 1), value=_NEVER)
        spans = starts[:, :, None] + padded.unfold(1, longest, 1)  # [B, L, longest]
        flat = spans.flatten(1)
        scores, places = flat.topk(min(num_best, flat.shape[1]), dim=1)
        scores = nn.functional.pad(scores, (0, num_best - scores.shape[1]), value=_NEVER)
        places = nn.functional.pad(places, (0, num_best - places.shape[1]))
        first = places // longest
        # Positions are small whole numbers: exact in float32.
        return torch.cat([nothing[:, None], scores, first.float(), (first + places % longest).float()], dim=1)

    return forward


def candidates(
    model: nn.Module, features: Features, num_best: int, longest: int, batch_size: int
) -> list[list[Candidate]]:
    """The best spans of each question over all its windows [num_examples], the best first.

    The same characters in two windows are one candidate. A question whose passage has no token has none.
    """
    assert features.offsets is not None
    found = over_windows(model, best_spans(num_best, longest), features, batch_size).astype(np.float64)
    num_examples = int(features.examples[-1]) + 1 if len(features.examples) else 0
    of_examples: list[dict[tuple[int, int], Candidate]] = [{} for _ in range(num_examples)]
    for window, row in enumerate(found):
        scores, firsts, lasts = row[1:].reshape(3, num_best)
        offsets = features.offsets[features.starts[window] : features.starts[window + 1]]
        best = of_examples[features.examples[window]]
        for score, first, last in zip(scores, firsts.astype(int), lasts.astype(int), strict=True):
            if score == _NEVER:
                break
            place = int(offsets[first, 0]), int(offsets[last, 1])
            if place not in best or best[place].score < score:
                best[place] = Candidate(*place, float(score), float(score - row[0]))
    return [sorted(best.values(), key=_rank)[:num_best] for best in of_examples]


def _rank(candidate: Candidate) -> tuple[float, int, int]:
    return -candidate.score, candidate.start, candidate.end

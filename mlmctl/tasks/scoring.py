"""How likely a text is to an encoder: the pseudo-log-likelihood of its tokens.

Every token costs a masked copy of the text, so many copies of many texts go through the model together.
Copies of one length go together: nothing is padded, and what a text scores does not depend on the others.
The arithmetic is float32: scores are compared with each other, and close ones are the rule.

A text longer than the encoder can read is cut into windows, and a token sees only its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..engine.masked_lm import losses
from ..signals import stop
from ..text.copies import Method, hidden
from ..text.encoding import Encoder
from .features import cuts
from .pretrained import Pretrained

DECIMALS = 4
"""Of a score: what threads and batches cannot change."""

_BATCH_TOKENS = 2048  # activations that stay in the cache, as in training

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """The tokens of a text, without special ones, and the natural logarithm of each one's probability."""

    token_ids: Ints
    """[num_tokens]"""
    log_probabilities: NDArray[np.float64]
    """[num_tokens]"""
    num_windows: int

    @property
    def total(self) -> float:
        """Nats, rounded; 0 for a text without tokens."""
        return round(float(self.log_probabilities.sum()), DECIMALS)


@dataclass(frozen=True)
class _Window:
    """Tokens that are scored in sight of each other; equal windows are scored once."""

    token_ids: Ints
    is_start: NDArray[np.bool_]

    @property
    def key(self) -> tuple[bytes, bytes]:
        return self.token_ids.tobytes(), self.is_start.tobytes()


class Scorer:
    """Scores texts with one encoder and one method."""

    def __init__(self, opened: Pretrained, method: Method) -> None:
        self._opened = opened
        self._method = method
        self._encoder = Encoder(opened.tokenizer)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """The score of each text, in order. InterruptedRun, between two batches, if a signal came."""
        of_texts = self._windows(texts)
        distinct = {window.key: window for windows in of_texts for window in windows}
        by_length: dict[int, list[_Window]] = {}
        for window in distinct.values():
            by_length.setdefault(len(window.token_ids), []).append(window)
        found: dict[tuple[bytes, bytes], NDArray[np.float64]] = {}
        for windows in by_length.values():
            rows = self._of_one_length(windows)
            found.update((window.key, row) for window, row in zip(windows, rows, strict=True))
        return [
            Score(
                np.concatenate([window.token_ids for window in windows]),
                np.concatenate([found[window.key] for window in windows]),
                len(windows),
            )
            for windows in of_texts
        ]

    def _windows(self, texts: Sequence[str]) -> list[list[_Window]]:
        encoded = self._encoder.encode(texts)
        ends = np.cumsum(encoded.lengths)
        room = self._opened.block_length - 2  # for [CLS] and [SEP]
        return [
            [
                _Window(
                    encoded.ids[start + cut.start : start + cut.stop],
                    encoded.is_start[start + cut.start : start + cut.stop],
                )
                for cut in cuts(length, room)
            ]
            for start, length in zip((ends - encoded.lengths).tolist(), encoded.lengths.tolist(), strict=True)
        ]

    def _of_one_length(self, windows: Sequence[_Window]) -> NDArray[np.float64]:
        """Log-probabilities [num_windows, num_tokens]."""
        token_ids = np.stack([window.token_ids for window in windows])
        is_start = np.stack([window.is_start for window in windows])
        numbers, places = np.divmod(np.arange(token_ids.size), max(1, token_ids.shape[1]))
        at_once = max(1, _BATCH_TOKENS // (token_ids.shape[1] + 2))
        pieces = [np.zeros(0)]
        for first in range(0, token_ids.size, at_once):
            stop.raise_if_requested()
            number, place = numbers[first : first + at_once], places[first : first + at_once]
            pieces.append(self._forward(token_ids[number], is_start[number], place))
        return np.concatenate(pieces).reshape(token_ids.shape)

    @torch.inference_mode()
    def _forward(self, token_ids: Ints, is_start: NDArray[np.bool_], places: Ints) -> NDArray[np.float64]:
        """Log-probabilities [num_copies] of the tokens at `places` of the copies [num_copies, num_tokens]."""
        specials = self._opened.specials
        masked = np.where(hidden(is_start, places, self._method), specials.mask, token_ids)
        ids = np.pad(masked, ((0, 0), (1, 1)))
        ids[:, 0], ids[:, -1] = specials.cls, specials.sep
        copies = np.arange(len(ids))
        batch = {
            "input_ids": torch.from_numpy(ids),
            "positions": torch.from_numpy(copies * ids.shape[1] + places + 1),
        }
        device = self._opened.model.device
        wanted = torch.from_numpy(token_ids[copies, places]).to(device)
        nll, _ = losses(self._opened.model, {name: t.to(device) for name, t in batch.items()}, wanted)
        return -nll.cpu().numpy().astype(np.float64)

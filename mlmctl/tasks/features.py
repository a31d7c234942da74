"""Tokenized examples, whatever the task: windows of token ids with what is to be learned from each.

A text that fits the model is one window, `[CLS] text [SEP]`. A longer one is cut into as few windows
as it needs, of nearly equal length and without overlap: nothing of it is lost, and no window is a
stump. The weights of the windows of a text sum to 1, so a long text counts no more than a short one.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from ..text.masking import IGNORED
from ..text.specials import Specials

SHAPE_STEP = 8
"""Batches are padded to a multiple of this, so that few shapes occur and memory is used again."""

TEXTS_AT_ONCE = 4096
"""How many texts are handed to the tokenizer together."""


@dataclass(frozen=True)
class Features:
    """All windows of a data set, their ids end to end."""

    input_ids: NDArray[np.int32]
    """Token ids [num_tokens]; window w is `input_ids[starts[w]:starts[w + 1]]`."""
    starts: NDArray[np.int64]
    """[num_windows + 1]"""
    examples: NDArray[np.int64]
    """Number of the example each window was cut from [num_windows], ascending."""
    weights: NDArray[np.float32]
    """How much each window counts in the loss [num_windows]: 1 / number of windows of its example, unless the
    task says otherwise."""
    targets: Mapping[str, NDArray[np.int64]]
    """What the task learns from each window, by name, each [num_windows, ...]."""
    pad_id: int
    token_targets: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """What the task learns from each token, by name, each [num_tokens]; `IGNORED` where nothing."""
    offsets: NDArray[np.int32] | None = None
    """Where each token stands in its example's text [num_tokens, 2]: first character, end; for the tasks
    that answer with places."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What reading and cutting have done to the examples, by the name of the metric."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each window [num_windows], special tokens included."""
        return np.diff(self.starts)

    @property
    def share_windowed(self) -> float:
        """Share of examples that needed more than one window; 0 for no examples."""
        counts = np.bincount(self.examples)
        return float((counts > 1).mean()) if counts.size else 0.0


def windows(texts: Sequence[str], tokenizer: Tokenizer, specials: Specials, block_length: int) -> Features:
    """Cut texts into windows of at most `block_length` tokens; no targets yet.

    Special tokens written in a text are ordinary text.
    """
    room = block_length - 2  # for [CLS] and [SEP]
    ids: list[int] = []
    starts, examples, weights = [0], [], []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        batch = list(texts[first : first + TEXTS_AT_ONCE])
        for example, encoding in enumerate(
            tokenizer.encode_batch_fast(batch, add_special_tokens=False), start=first
        ):
            tokens = encoding.ids
            places = cuts(len(tokens), room)
            for place in places:
                ids += [specials.cls, *tokens[place], specials.sep]
                starts.append(len(ids))
                examples.append(example)
                weights.append(1 / len(places))
    return Features(
        input_ids=np.array(ids, dtype=np.int32),
        starts=np.array(starts, dtype=np.int64),
        examples=np.array(examples, dtype=np.int64),
        weights=np.array(weights, dtype=np.float32),
        targets={},
        pad_id=specials.pad,
    )


def cuts(num_tokens: int, room: int) -> list[slice]:
    """Where a text is cut: as few windows of at most `room` tokens as hold it, at least one, nearly equal."""
    num_windows = max(1, -(-num_tokens // room))
    bounds = [num_tokens * window // num_windows for window in range(num_windows + 1)]
    return [slice(start, end) for start, end in itertools.pairwise(bounds)]


def batch(features: Features, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
    """The windows of these numbers as tensors: input_ids [B, L], attention_mask [B, L] if one is padded,
    weights [B], the targets [B, ...] and the token targets [B, L]. L is the longest window, rounded up to
    `SHAPE_STEP`.
    """
    lengths = features.lengths[numbers]
    longest = -(-int(lengths.max()) // SHAPE_STEP) * SHAPE_STEP
    is_token = np.arange(longest) < lengths[:, None]  # [B, L]
    ids = np.full(is_token.shape, features.pad_id, dtype=np.int64)
    places = features.starts[numbers][:, None] + np.arange(longest)
    ids[is_token] = features.input_ids[places[is_token]]
    tensors = {"input_ids": torch.from_numpy(ids), "weights": torch.from_numpy(features.weights[numbers])}
    if not is_token.all():
        tensors["attention_mask"] = torch.from_numpy(is_token)
    for name, target in features.targets.items():
        tensors[name] = torch.from_numpy(target[numbers])
    for name, token_target in features.token_targets.items():
        padded = np.full(is_token.shape, IGNORED, dtype=np.int64)
        padded[is_token] = token_target[places[is_token]]
        tensors[name] = torch.from_numpy(padded)
    return tensors

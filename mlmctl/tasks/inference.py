"""Running a model over all windows of a data set, fast and in any order, results in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..signals import stop
from .features import SHAPE_STEP, Features, batch

_BATCH_TOKENS = 2048
"""Tokens a batch, padding included: activations that stay in the cache, as in training."""

Forward = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
"""(model, batch) -> what is wanted of each window [B, ...] or of each token [B, L, ...]."""


def over_windows(
    model: nn.Module, forward: Forward, features: Features, batch_size: int
) -> NDArray[np.float32]:
    """`forward(model, batch)` [B, ...] of every window, stacked [num_windows, ...].

    No windows give [0, 0]. InterruptedRun, between two batches, if a signal came.
    """
    out = np.zeros((0, 0), dtype=np.float32)
    for numbers, results in _in_batches(model, forward, features, batch_size):
        if not len(out):
            out = np.empty((len(features.lengths), *results.shape[1:]), dtype=np.float32)
        out[numbers] = results
    return out


def over_tokens(
    model: nn.Module, forward: Forward, features: Features, batch_size: int
) -> NDArray[np.float32]:
    """`forward(model, batch)` [B, L, ...] of every token, end to end as `input_ids` is [num_tokens, ...].

    No tokens give [0, 0]. InterruptedRun, between two batches, if a signal came.
    """
    out = np.zeros((0, 0), dtype=np.float32)
    for numbers, results in _in_batches(model, forward, features, batch_size):
        if not len(out):
            out = np.empty((len(features.input_ids), *results.shape[2:]), dtype=np.float32)
        for number, of_window in zip(numbers, results, strict=True):
            start, end = features.starts[number : number + 2]
            out[start:end] = of_window[: end - start]
    return out


def _in_batches(
    model: nn.Module, forward: Forward, features: Features, batch_size: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The results with the numbers of their windows, taken as `by_length` has them: little is padded."""
    device = next(model.parameters()).device
    for numbers in by_length(features.lengths, batch_size):
        stop.raise_if_requested()  # where signals are deferred, as in training
        moved = {name: tensor.to(device) for name, tensor in batch(features, numbers).items()}
        with torch.inference_mode():
            results = forward(model, moved).float().cpu().numpy()
        yield numbers, results


def by_length(lengths: NDArray[np.int64], batch_size: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of all windows, the shortest first, in batches of at most `batch_size`.

    Padded as `features.batch` does, a batch has at most 2,048 tokens, unless it is one long window.
    """
    order = np.argsort(lengths, kind="stable")
    padded = -(-lengths[order] // SHAPE_STEP) * SHAPE_STEP
    start = 0
    while start < len(order):
        candidates = padded[start : start + batch_size]  # ascending: the last one decides the padding
        sizes = candidates * np.arange(1, len(candidates) + 1)
        count = max(1, int(np.searchsorted(sizes, _BATCH_TOKENS, side="right")))
        yield order[start : start + count]
        start += count

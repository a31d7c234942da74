"""Running a model over all windows of a data set, fast and in any order, results in the order of the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..signals import stop
from .features import Features, batch


def over_windows(
    model: nn.Module,
    forward: Callable[[nn.Module, Mapping[str, Tensor]], Tensor],
    features: Features,
    batch_size: int,
) -> NDArray[np.float32]:
    """`forward(model, batch)` [B, ...] of every window, stacked [num_windows, ...].

    Windows are taken in the order of their length, so that little is padded. No windows give [0, 0].
    InterruptedRun, between two batches, if a signal came.
    """
    device = next(model.parameters()).device
    order = np.argsort(features.lengths, kind="stable")
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            stop.raise_if_requested()  # where signals are deferred, as in training
            tensors = batch(features, order[start : start + batch_size])
            moved = {name: tensor.to(device) for name, tensor in tensors.items()}
            pieces.append(forward(model, moved).float().cpu().numpy())
    if not pieces:
        return np.zeros((0, 0), dtype=np.float32)
    results = np.concatenate(pieces)
    out = np.empty_like(results)
    out[order] = results
    return out

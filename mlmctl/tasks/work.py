"""The work of fine-tuning: which windows make the batch of each step, as a function of seed and step.

Windows of similar length go together, since every batch is padded to its longest: all windows are
shuffled, sorted by length within large pools, cut into batches, and the batches shuffled.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from .features import SHAPE_STEP, Features, batch
from .hiding import Hiding

_BATCHES_IN_A_POOL = 50
_MICRO_BATCH_TOKENS = 2048  # activations that stay in the cache; see the same figure in pretraining
_LANE_TOKENS = 256  # of a micro-batch that was cut off to be computed beside another: fewer are not worth it

Loss = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
"""(model, micro-batch) -> the weighted sum of its losses, a scalar."""


def length_batches(
    lengths: NDArray[np.int64], batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Every window number once, in ceil(n / batch_size) batches whose sizes differ by one at most."""
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    shuffled = generator.permutation(len(lengths))
    num_batches = -(-len(lengths) // batch_size)
    num_pools = -(-num_batches // _BATCHES_IN_A_POOL)
    bounds = np.linspace(0, len(lengths), num_batches + 1).astype(np.int64)
    pool_bounds = bounds[np.linspace(0, num_batches, num_pools + 1).astype(np.int64)]
    for start, end in itertools.pairwise(pool_bounds):
        pool = shuffled[start:end]
        shuffled[start:end] = pool[np.argsort(lengths[pool], kind="stable")]
    order = generator.permutation(num_batches)
    return [shuffled[bounds[n] : bounds[n + 1]] for n in order]


class WindowWork:
    """`engine.loop.Work` over the windows of a data set."""

    def __init__(
        self,
        features: Features,
        loss: Loss,
        batch_size: int,
        seed: int,
        num_lanes: int = 1,
        hiding: Hiding | None = None,
    ) -> None:
        """`num_lanes`: how many micro-batches can be computed side by side (see `engine.lanes`)."""
        self._features = features
        self._loss = loss
        self._batch_size = batch_size
        self._seed = seed
        self._num_lanes = num_lanes
        self._hiding = hiding
        self._lengths = features.lengths
        self._epoch = -1
        self._batches: list[NDArray[np.int64]] = []

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self._lengths) // self._batch_size)

    def num_micro_batches(self, step: int) -> int:
        return len(self._micro_bounds(step)) - 1

    def total_weight(self, step: int) -> float:
        return float(self._features.weights[self._numbers(step)].sum(dtype=np.float64))

    def micro_batch(self, step: int, number: int) -> dict[str, Tensor]:
        bounds = self._micro_bounds(step)
        found = batch(self._features, self._numbers(step)[bounds[number] : bounds[number + 1]])
        if self._hiding:
            found["input_ids"] = self._hiding.hide(found["input_ids"], self._seed, step, number)
        return found

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return self._loss(model, batch)

    def _numbers(self, step: int) -> NDArray[np.int64]:
        """The window numbers of a step, shortest first; the epoch in hand is kept."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._batches = length_batches(self._lengths, self._batch_size, self._seed, epoch)
            self._epoch = epoch
        return self._batches[place]

    def _micro_bounds(self, step: int) -> NDArray[np.int64]:
        """Where the batch of a step is cut: no micro-batch has more than the tokens above, and there is one
        for each lane as far as the tokens go.
        """
        numbers = self._numbers(step)
        longest = -(-int(self._lengths[numbers].max()) // SHAPE_STEP) * SHAPE_STEP
        num_tokens = len(numbers) * longest
        for_lanes = min(self._num_lanes, num_tokens // _LANE_TOKENS)
        num_pieces = max(-(-num_tokens // _MICRO_BATCH_TOKENS), for_lanes)
        return np.linspace(0, len(numbers), min(num_pieces, len(numbers)) + 1).astype(np.int64)

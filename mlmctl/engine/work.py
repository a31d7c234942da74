"""What the training loop is given: the work, which is batches and their loss, and the settings of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from .ranks import ALONE, Ranks


class Work(Protocol):
    """What is learned from: the batches of each step, cut into micro-batches, and their loss.

    Everything is a pure function of its arguments (no loader state), so that any rank can draw any
    micro-batch at any time.
    """

    def num_micro_batches(self, step: int) -> int:
        """Micro-batches of the whole (global) step; rank r of n takes numbers r, r + n, r + 2n, ..."""
        ...

    def total_weight(self, step: int) -> float:
        """Sum of the loss weights over all micro-batches of the step: what the summed loss is divided by."""
        ...

    def micro_batch(self, step: int, number: int) -> dict[str, Tensor]:
        """The tensors of one micro-batch on the CPU; `input_ids` [B, L] must be among them."""
        ...

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """The weighted SUM of the losses of a micro-batch: a scalar in float32 that requires grad."""
        ...


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know beside the work. `step` counts finished steps, from 1."""

    stage: str
    """Name of the stage in events."""
    num_steps: int
    """Of the whole run."""
    seed: int
    """Of dropout; batches and masks have their seed in the work."""
    max_grad_norm: float
    save_interval: float
    """Seconds of training between checkpoints."""
    evaluate_at: Callable[[int], bool] = field(default=lambda step: False)
    """Whether to evaluate when `step` steps are finished."""
    average_at: Callable[[int], bool] = field(default=lambda step: False)
    """Whether the weights after `step` steps are added to the optimizer's average."""
    save_at: int | None = None
    """Finished steps at which a checkpoint is written whatever the time (the last before the decay)."""
    dtype: torch.dtype = torch.float32
    """bfloat16 runs forward under autocast; weights and optimizer stay in float32."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    until: int | None = None
    """Finished steps at which this sitting ends, if it is not to be the last."""
    goes_on: bool = False
    """This sitting follows another of the same process: nothing was interrupted, and nothing is told."""
    ranks: Ranks = field(default_factory=lambda: ALONE)
    num_threads: int = 1
    """CPU threads that are ours: micro-batches are computed side by side where that is possible (`lanes`)."""

    @property
    def reads_ahead(self) -> bool:
        """Whether a step is begun before it is known what the last one found: a GPU never waits then."""
        return self.device.type == "cuda" and self.ranks.is_alone

"""The sides of a comparison: our loop, and the Hugging Face Trainer loop in four configurations.

All learn from the same blocks with the same tokens a step and the same share of tokens masked, in models
of the same size. Our ModernBERT has three matrices in its MLP, BERT two that are half as wide again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ...engine.architectures import Shape
from ...text.policy import VALID_RATE

MASK_RATE = VALID_RATE
"""Share of tokens masked, on every side: what the frozen validation masks have."""


@dataclass(frozen=True)
class Side:
    """One loop: which model, how it computes. What is not said is the default of `transformers`."""

    title: str
    architecture: Literal["modernbert", "bert"] = "modernbert"
    is_stock: bool = True
    """Whether the loop is the Trainer's."""
    bf16: bool = True
    everything: bool = False
    """Sparse prediction, eager attention, small batches accumulated, compiled: all that stock offers."""


SIDES: Mapping[str, Side] = {
    "ours": Side("mlmctl", is_stock=False),
    "a": Side("Trainer, BERT, fp32", "bert", bf16=False),
    "b": Side("Trainer, BERT, bf16", "bert"),
    "c": Side("Trainer, ModernBERT, bf16"),
    "d": Side("Trainer, ModernBERT, bf16, everything on", everything=True),
}


@dataclass(frozen=True)
class World:
    """What all sides are given; small enough to be sent to another process."""

    tokenizer: str
    """The tokenizer's folder."""
    blocks: str
    """The artifact `mask/blocks`."""
    policy: str
    """The artifact `mask/policy`."""
    rows: str
    """The training blocks as a file that `datasets` maps into memory."""
    shape: Mapping[str, int]
    """Of our encoder; see `Shape`."""
    special_ids: Mapping[str, int]
    vocab_size: int
    block_length: int
    tokens_per_step: int
    """A multiple of the block length."""
    num_threads: int
    pretrain: Mapping[str, Any]
    """The recipe's table, for our own side."""

    @property
    def blocks_per_step(self) -> int:
        return self.tokens_per_step // self.block_length

    def shape_of(self, architecture: str) -> Shape:
        """The size of a side's encoder: as many parameters in every family."""
        ours = Shape(**self.shape)
        if architecture == "modernbert":
            return ours
        return Shape(**{**asdict(ours), "intermediate_size": ours.intermediate_size * 3 // 2})


@dataclass(frozen=True)
class Job:
    """What one child process is told to do."""

    kind: Literal["ours", "stock", "limit", "race"]
    side: str
    world: World
    folder: str
    """Scratch that nobody else writes to."""
    learning_rate: float = 5e-5
    """The Trainer's own default."""
    seconds: float = 0.0
    """Of a race: how long it may take."""
    step_seconds: float = 0.0
    """Of a race: what a step takes, as measured."""
    warm_up_seconds: float = 0.0
    """Of a race: by how much the first steps take longer."""
    started: float = 0.0
    """Of a race: the monotonic clock when it began."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Job:
        return cls(**{**values, "world": World(**values["world"])})

    @property
    def scratch(self) -> Path:
        return Path(self.folder)

"""What was measured of each side, as numbers for the JSON object and as rows of the table: pure functions."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...text import masking
from ...text.blocks import Blocks
from . import arithmetic
from .arithmetic import Dimensions
from .sides import MASK_RATE, SIDES, World

COLUMNS = (
    "side", "loop", "tokens/s", "min-max", "ours/side", "useful", "executed", "memory", "compile",
)  # fmt: skip


@dataclass
class Measured:
    """One side: what it said of itself, and its bursts."""

    name: str
    facts: Mapping[str, Any]
    warm_up_seconds: float
    """By how much its first steps took longer than later ones: compilation, allocation."""
    step_seconds: float
    """Of the steps after the first, before the bursts."""
    tokens_per_second: list[float] = field(default_factory=list)
    """One of each burst."""
    num_steps: int = 0
    """Of each burst."""
    peak_memory_bytes: int = 0

    def seconds_a_step(self, tokens_per_step: int) -> float:
        """By the median of the bursts."""
        return tokens_per_step / statistics.median(self.tokens_per_second)


@dataclass(frozen=True)
class Shares:
    """How many of the tokens are masked, and how many places are predicted."""

    masked: float
    room: float
    """With the places of a block that stay empty, which our loop computes too."""

    @classmethod
    def of(cls, blocks: Blocks) -> Shares:
        length = blocks.block_length
        masked = masking.num_masked(np.asarray(blocks.maskable, np.int64), MASK_RATE)
        return cls(float(masked.mean()) / length, masking.capacity(length, MASK_RATE) / length)


def to_json(
    side: Measured, ours: Measured | None, world: World, shares: Shares, limit: float
) -> dict[str, Any]:
    """The numbers of one side; `limit` is what the machine can do, in operations a second."""
    about = SIDES[side.name]
    model = Dimensions(
        about.architecture, world.shape_of(about.architecture), world.vocab_size, world.block_length
    )
    useful = arithmetic.useful(model, shares.masked)
    executed = _executed(side, model, world, shares)
    speed = statistics.median(side.tokens_per_second)
    return {
        "side": side.name,
        "title": about.title,
        "dtype": side.facts["dtype"],
        "num_parameters": side.facts["num_parameters"],
        "tokens_per_second": {
            "median": round(speed, 1),
            "min": round(min(side.tokens_per_second), 1),
            "max": round(max(side.tokens_per_second), 1),
            "bursts": [round(value, 1) for value in side.tokens_per_second],
        },
        "steps_per_burst": side.num_steps,
        "ours_over_this": ours and _ratio(ours.tokens_per_second, side.tokens_per_second),
        "useful_operations_per_token": round(useful),
        "executed_operations_per_token": round(executed),
        "useful_share": round(useful * speed / limit, 4),
        "executed_share": round(executed * speed / limit, 4),
        "peak_memory_bytes": side.peak_memory_bytes,
        "warm_up_seconds": round(side.warm_up_seconds, 2),
        "notes": side.facts["notes"],
    }


def _executed(side: Measured, model: Dimensions, world: World, shares: Shares) -> float:
    about = SIDES[side.name]
    if not about.is_stock:
        return arithmetic.executed_by_ours(
            model,
            predicted=shares.room,
            cuts_last_layer=side.facts["cuts_last_layer"],
            tokens_per_step=world.tokens_per_step,
        )
    predicted = shares.masked if side.facts["is_sparse"] else 1.0
    return arithmetic.executed_by_stock(
        model, predicted=predicted, fused_attention=side.facts["has_fused_attention"]
    )


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Of the medians, with the least and the greatest ratio of two bursts of one round."""
    pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ours) / statistics.median(theirs)
    return {"median": round(ratio, 3), "min": round(min(pairs), 3), "max": round(max(pairs), 3)}


def rows(sides: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The table, from what `to_json` gave; see `COLUMNS`."""
    return [
        (
            side["side"],
            side["title"],
            f"{side['tokens_per_second']['median']:,.0f}",
            f"{side['tokens_per_second']['min']:,.0f}-{side['tokens_per_second']['max']:,.0f}",
            f"{side['ours_over_this']['median']:.2f}" if side["ours_over_this"] else "",
            f"{side['useful_share']:.1%}",
            f"{side['executed_share']:.1%}",
            f"{side['peak_memory_bytes'] / 1e9:.2f} GB",
            f"{side['warm_up_seconds']:.1f} s",
        )
        for side in sides
    ]

"""Hiding tokens: pure functions from blocks of ids to masked blocks, positions and labels.

Of the tokens of a block that are not special, exactly round(rate x number), at least one, are chosen.
Of the chosen 80 % become `[MASK]`, 10 % a random ordinary token and 10 % stay as they are (Devlin et
al. 2019). The mask of a block is a function of (seed, epoch, block number, rate) and of nothing else:
not of the batch it is in, nor of the rank or run that asks. All arrays have fixed shapes, since a
changing number of positions makes compilers and allocators start again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import draws
from .specials import Specials

SHARES = {"mask": 0.8, "random": 0.1, "keep": 0.1}
"""What becomes of a chosen token, in the order of `Masked.kinds`."""

IGNORED = -100
"""The label of a token that is not predicted, in dense labels: what torch's cross-entropy ignores."""


@dataclass(frozen=True)
class Masked:
    """A masked batch of B blocks of L tokens with room for C chosen tokens a block."""

    input_ids: NDArray[np.int64]
    """[B, L]"""
    positions: NDArray[np.int64]
    """[B, C] places of the chosen tokens in their block, ascending; 0 beyond their number."""
    labels: NDArray[np.int64]
    """[B, C] the tokens that were there; 0 beyond their number."""
    weights: NDArray[np.float32]
    """[B, C] 1 for a chosen token, 0 beyond their number: the loss is the weighted sum."""
    kinds: NDArray[np.uint8]
    """[B, C] index into `SHARES`; 0 beyond their number."""

    def dense_labels(self) -> NDArray[np.int64]:
        """[B, L] labels in place, `IGNORED` elsewhere."""
        labels = np.full(self.input_ids.shape, IGNORED, np.int64)
        rows, columns = np.nonzero(self.weights)
        labels[rows, self.positions[rows, columns]] = self.labels[rows, columns]
        return labels


def num_masked(num_maskable: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """How many tokens are chosen of so many: round(rate x number), at least one where there is any."""
    count = np.rint(rate * num_maskable).astype(np.int64)
    limited: NDArray[np.int64] = np.minimum(np.maximum(count, 1), num_maskable)
    return limited


def capacity(block_length: int, rate: float) -> int:
    """The most tokens that can be chosen in a block at this rate (a block has two special tokens)."""
    return int(num_masked(np.array([block_length - 2], np.int64), rate)[0])


def block_keys(seed: int, epochs: NDArray[np.int64], numbers: NDArray[np.int64]) -> draws.U64:
    """uint64 [B]: the key of each block's mask, from seed, epoch and block number."""
    return draws.keys(seed, epochs, numbers)


def mask_tokens(
    input_ids: NDArray[np.int64],
    keys: draws.U64,
    rate: float,
    specials: Specials,
    room: int,
) -> Masked:
    """Mask a batch.

    Args:
        input_ids: int64 [B, L], padded with the padding token; not changed.
        keys: uint64 [B] as `block_keys` gives them.
        rate: share of the ordinary tokens of each block that is chosen.
        specials: which tokens are special; these are never chosen and never drawn.
        room: C, places for chosen tokens a block; see `capacity`.

    Raises:
        ValueError: a block has more chosen tokens than there is room for.
    """
    length = input_ids.shape[1]
    maskable = specials.is_ordinary[input_ids]  # [B, L]
    counts = num_masked(maskable.sum(axis=1), rate)  # [B]
    if counts.size and counts.max() > room:
        raise ValueError(f"{counts.max()} tokens are chosen, there is room for {room}")
    place_bits = np.uint64(max(1, (length - 1).bit_length()))
    places = np.arange(length, dtype=np.uint64)
    drawn = draws.mix(keys[:, None] ^ draws.mix(places)[None, :])  # [B, L]
    # The place is in the low bits: no two keys of a block are equal, and the sort gives the places back.
    ranked = (drawn >> (place_bits + np.uint64(1)) << place_bits) | places
    ranked = np.sort(np.where(maskable, ranked, ~np.uint64(0)), axis=1)
    chosen = (ranked[:, :room] & ((np.uint64(1) << place_bits) - np.uint64(1))).astype(np.int64)
    is_used = np.arange(chosen.shape[1])[None, :] < counts[:, None]  # [B, C]
    chosen = np.sort(np.where(is_used, chosen, length), axis=1)
    if chosen.shape[1] < room:
        missing = ((0, 0), (0, room - chosen.shape[1]))
        chosen = np.pad(chosen, missing, constant_values=length)
        is_used = np.pad(is_used, missing)
    positions = np.where(is_used, chosen, 0)
    labels = np.where(is_used, np.take_along_axis(input_ids, positions, axis=1), 0)

    again = draws.mix(draws.mix(keys)[:, None] ^ positions.astype(np.uint64))  # [B, C]
    fate = draws.fraction(again)
    kinds = np.where(fate < SHARES["mask"], 0, np.where(fate < SHARES["mask"] + SHARES["random"], 1, 2))
    random_ids = specials.ordinary[draws.below(draws.mix(again), len(specials.ordinary))]
    replaced = np.where(kinds == 0, specials.mask, np.where(kinds == 1, random_ids, labels))
    masked_ids = input_ids.copy()
    rows, columns = np.nonzero(is_used)
    masked_ids[rows, positions[rows, columns]] = replaced[rows, columns]
    return Masked(
        input_ids=masked_ids,
        positions=positions,
        labels=labels,
        weights=is_used.astype(np.float32),
        kinds=np.where(is_used, kinds, 0).astype(np.uint8),
    )

"""Hiding tokens: pure functions from blocks of ids to masked blocks, positions and labels.

A block's budget is round(rate x number of its tokens that are not special), at least one. Units (tokens
or whole words, see `units`) are taken in random order, each one that still fits, as BERT's whole-word
masking does: tokens fill the budget exactly, words at most. Where no unit fits, the first one is taken
all the same, so that no block with text goes without. Of spans, too, words are taken: those of one span
one after another, so that the last span is cut where the budget ends (as SpanBERT cuts it).

Of what is chosen 80 % becomes `[MASK]`, 10 % random ordinary tokens and 10 % stays as it is (Devlin et
al. 2019). That is decided for each token, also within a word (as BERT does), but once for a whole span
(as SpanBERT does: a span of which every tenth token stays would give the rest away).

The mask of a block is a function of (seed, epoch, block number, rate, units) and of nothing else: not of
the batch it is in, nor of the rank or run that asks. Arrays keep their shapes from batch to batch, since
a changing number of positions makes compilers and allocators start again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import draws
from .specials import Specials
from .units import TOKENS, Units

SHARES = {"mask": 0.8, "random": 0.1, "keep": 0.1}
"""What becomes of a chosen token, in the order of `Masked.kinds`."""

IGNORED = -100
"""The label of a token that is not predicted, in dense labels: what torch's cross-entropy ignores."""


@dataclass(frozen=True)
class Masked:
    """A masked batch of B blocks of L tokens with room for C chosen tokens a block; see `capacity`."""

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
    opens: NDArray[np.bool_]
    """[B, C] True for the first token of each token, word or span that is hidden as a whole."""

    def dense_labels(self) -> NDArray[np.int64]:
        """[B, L] labels in place, `IGNORED` elsewhere."""
        return self._dense(self.labels, IGNORED)

    def dense_opens(self) -> NDArray[np.bool_]:
        """[B, L] `opens` in place, False elsewhere."""
        return self._dense(self.opens.astype(np.int64), 0) > 0

    def _dense(self, values: NDArray[np.int64], elsewhere: int) -> NDArray[np.int64]:
        dense = np.full(self.input_ids.shape, elsewhere, np.int64)
        rows, columns = np.nonzero(self.weights)
        dense[rows, self.positions[rows, columns]] = values[rows, columns]
        return dense


def num_masked(num_maskable: NDArray[np.int64], rate: float) -> NDArray[np.int64]:
    """The budget of blocks with so many maskable tokens: round(rate x number), at least one if any."""
    count = np.rint(rate * num_maskable).astype(np.int64)
    limited: NDArray[np.int64] = np.minimum(np.maximum(count, 1), num_maskable)
    return limited


def capacity(block_length: int, rate: float) -> int:
    """C: the largest budget of a block at this rate (a block has two special tokens).

    More is needed only by a unit that exceeds the budget of a whole block. Room for that in every batch
    would multiply the work of the head; such a batch alone gets twice the room, four times, and so on.
    """
    return int(num_masked(np.array([block_length - 2], np.int64), rate)[0])


def block_keys(seed: int, epochs: NDArray[np.int64], numbers: NDArray[np.int64]) -> draws.U64:
    """uint64 [B]: the key of each block's mask, from seed, epoch and block number."""
    return draws.keys(seed, epochs, numbers)


def choose(
    is_ordinary: NDArray[np.bool_],
    word_starts: NDArray[np.bool_],
    keys: draws.U64,
    rate: float,
    units: Units = TOKENS,
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which tokens are chosen, bool [B, L], and where the run of each token starts, int64 [B, L].

    Arguments as of `mask_blocks`; `is_ordinary` [B, L] are the tokens that may be chosen. The second
    result means nothing at special tokens.
    """
    length = is_ordinary.shape[1]
    places = np.arange(length)
    starts, run_starts = units.starts(is_ordinary, word_starts, keys)
    start_of = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    run_of = np.maximum.accumulate(np.where(run_starts, places, 0), axis=1)
    ends = np.where(starts | ~is_ordinary, places, length)  # of the unit before
    next_end = np.full_like(ends, length)
    next_end[:, :-1] = np.minimum.accumulate(ends[:, :0:-1], axis=1)[:, ::-1]

    order, is_unit = _shuffled(starts, run_of, keys)
    sizes = np.where(is_unit, np.take_along_axis(next_end - places, order, axis=1), 0)
    is_taken = take_fitting(sizes, num_masked(is_ordinary.sum(axis=1), rate))
    is_chosen = np.zeros(starts.shape, bool)
    rows, ranks = np.nonzero(is_taken)
    is_chosen[rows, order[rows, ranks]] = True
    return is_ordinary & np.take_along_axis(is_chosen, start_of, axis=1), run_of


def take_fitting(sizes: NDArray[np.int64], budgets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Go through the units of each block in order and take every one that still fits; bool [B, U].

    `sizes` [B, U] are numbers of tokens, 0 beyond the last unit; `budgets` [B]. Where none fits the
    first is taken. Each round takes all units up to the first that does not fit, which never will again:
    as many rounds as there are sizes, and not as there are units.
    """
    is_taken = np.zeros(sizes.shape, bool)
    left = budgets[:, None]
    while True:
        fits_alone = ~is_taken & (sizes > 0) & (sizes <= left)
        if not fits_alone.any():
            break
        together = np.cumsum(np.where(fits_alone, sizes, 0), axis=1)
        fitting = fits_alone & (together <= left)
        is_taken |= fitting
        left = left - np.where(fitting, sizes, 0).sum(axis=1, keepdims=True)
    if sizes.shape[1]:
        is_taken[:, 0] |= (sizes[:, 0] > 0) & ~is_taken.any(axis=1)
    return is_taken


def mask_blocks(
    input_ids: NDArray[np.int64],
    word_starts: NDArray[np.bool_],
    keys: draws.U64,
    rate: float,
    specials: Specials,
    units: Units = TOKENS,
) -> Masked:
    """Mask a batch.

    Args:
        input_ids: int64 [B, L], padded with the padding token; not changed.
        word_starts: bool [B, L] where words start, as `Blocks.word_starts` gives them.
        keys: uint64 [B] as `block_keys` gives them.
        rate: share of the ordinary tokens of each block that is chosen.
        specials: which tokens are special; these are never chosen and never drawn.
        units: what is hidden as a whole.
    """
    is_chosen, run_of = choose(specials.is_ordinary[input_ids], word_starts, keys, rate, units)
    counts = is_chosen.sum(axis=1)  # [B]
    room = capacity(input_ids.shape[1], rate)
    while room < counts.max(initial=0):
        room = min(2 * room, input_ids.shape[1])
    is_used = np.arange(room) < counts[:, None]  # [B, C]
    rows, columns = np.nonzero(is_used)
    positions = np.zeros(is_used.shape, np.int64)
    positions[rows, columns] = np.nonzero(is_chosen)[1]
    labels = np.where(is_used, np.take_along_axis(input_ids, positions, axis=1), 0)

    first = np.take_along_axis(run_of, positions, axis=1)
    goes_on = np.zeros(is_used.shape, bool)
    goes_on[:, 1:] = (np.diff(positions, axis=1) == 1) & (np.diff(first, axis=1) == 0)
    salt = draws.mix(keys)[:, None]
    own = draws.mix(salt ^ positions.astype(np.uint64))
    fate = draws.fraction(draws.mix(salt ^ first.astype(np.uint64)) if units.kind == "span" else own)
    kinds = np.where(fate < SHARES["mask"], 0, np.where(fate < SHARES["mask"] + SHARES["random"], 1, 2))
    random_ids = specials.ordinary[draws.below(draws.mix(own), len(specials.ordinary))]
    replaced = np.where(kinds == 0, specials.mask, np.where(kinds == 1, random_ids, labels))
    masked_ids = input_ids.copy()
    masked_ids[rows, positions[rows, columns]] = replaced[rows, columns]
    return Masked(
        input_ids=masked_ids,
        positions=positions,
        labels=labels,
        weights=is_used.astype(np.float32),
        kinds=np.where(is_used, kinds, 0).astype(np.uint8),
        opens=is_used & ~goes_on,
    )


def _shuffled(
    starts: NDArray[np.bool_], run_of: NDArray[np.int64], keys: draws.U64
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The places where units start, int64 [B, L], runs in random order; and which of these are units.

    The units of a run stay together, in half of the blocks from its end to its start: the last run is cut,
    and would else be cut at its end always, to the profit of the words with which texts begin.
    """
    length = starts.shape[1]
    place_bits = np.uint64(max(1, (length - 1).bit_length()))
    low_bits = (np.uint64(1) << place_bits) - np.uint64(1)
    places = np.arange(length, dtype=np.uint64)
    drawn = np.take_along_axis(draws.mix(keys[:, None] ^ draws.mix(places)[None, :]), run_of, axis=1)
    backwards = ((keys & np.uint64(1)) * low_bits)[:, None]
    # The place is in the low bits: no two keys of a block are equal, and the sort gives the places back.
    ranked = (drawn >> (place_bits + np.uint64(1)) << place_bits) | (places ^ backwards)
    ranked = np.sort(np.where(starts, ranked, ~np.uint64(0)), axis=1)
    is_unit = np.arange(length) < starts.sum(axis=1)[:, None]
    order = ((ranked & low_bits) ^ backwards).astype(np.int64)
    return np.where(is_unit, order, 0), is_unit

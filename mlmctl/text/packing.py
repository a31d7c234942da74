"""Packing documents into blocks of equal length, so that no arithmetic is spent on padding.

    [CLS] document [SEP] document [SEP] beginning of a document [SEP]
    [CLS] its rest [SEP] document [SEP] ...

Every block starts with `[CLS]` and ends with `[SEP]`; a document that does not fit goes on in the next
block, and nothing is dropped. A document that would leave a single place free (too few for a token and its
`[SEP]`) gets a `[SEP]` before its last token too, which fills it; if it has no more than that token, the
place is padded. But for that only the last block is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .specials import Specials

Ids = NDArray[np.int64]


@dataclass
class Packer:
    """Takes documents in order, gives whole blocks; holds at most one batch of documents."""

    block_length: int
    specials: Specials
    dtype: np.dtype[np.unsignedinteger]
    _block: NDArray[np.unsignedinteger] = field(init=False)
    _starts: NDArray[np.bool_] = field(init=False)
    _used: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._block = np.zeros(0, self.dtype)
        self._starts = np.zeros(0, bool)

    @property
    def used(self) -> int:
        """Places of the block being filled that are taken."""
        return self._used

    def add(
        self, ids: Ids, lengths: Ids, is_start: NDArray[np.bool_]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pack documents: flat ids [n], their lengths (all positive), whether a token starts a word [n].

        Returns the blocks that are now full: ids [num_blocks, block_length] and word starts (bool).
        """
        pieces, used = plan(lengths, self.block_length, self._used)
        num_places = int(pieces.targets[-1] + pieces.lengths[-1] + 1) if len(pieces.lengths) else 0
        num_blocks = max(-(-num_places // self.block_length), 1 if self._used else 0)
        blocks = np.full((num_blocks, self.block_length), self.specials.pad, self.dtype)
        starts = np.zeros((num_blocks, self.block_length), bool)
        blocks[:, 0] = self.specials.cls
        if self._used:
            blocks[0, : self._used] = self._block
            starts[0, : self._used] = self._starts
        flat, flat_starts = blocks.reshape(-1), starts.reshape(-1)
        shift = pieces.targets - pieces.sources
        targets = np.arange(len(ids)) + np.repeat(shift, pieces.lengths)
        flat[targets] = ids
        flat_starts[targets] = is_start
        flat[pieces.targets + pieces.lengths] = self.specials.sep
        num_full = num_blocks - 1 if used else num_blocks
        if used:
            self._block, self._starts = blocks[-1, :used].copy(), starts[-1, :used].copy()
        self._used = used
        return blocks[:num_full], starts[:num_full]

    def finish(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """The last block, padded: [1, block_length], or [0, block_length] if nothing is left."""
        num_blocks = 1 if self._used else 0
        blocks = np.full((num_blocks, self.block_length), self.specials.pad, self.dtype)
        starts = np.zeros((num_blocks, self.block_length), bool)
        if self._used:
            blocks[0, : self._used] = self._block
            starts[0, : self._used] = self._starts
        self._used = 0
        return blocks, starts


@dataclass(frozen=True)
class Pieces:
    """Which tokens go where: int64 [num_pieces] each; a `[SEP]` follows every piece."""

    sources: Ids
    """First token of the piece in the flat ids."""
    targets: Ids
    """Its place, counted from the start of the block that `used` belongs to."""
    lengths: Ids


def plan(lengths: Ids, block_length: int, used: int) -> tuple[Pieces, int]:
    """Cut documents of these lengths into pieces, the first block being filled up to `used` (0: empty).

    Returns the pieces and how far the last block is filled (0: it is full).
    """
    cuts: list[tuple[int, int, int]] = []
    source, place = 0, used or 1
    end = block_length
    for remaining in lengths.tolist():
        while remaining:
            size = min(remaining, end - place - 1)
            leftover = end - place - size - 1
            if leftover == 1 and size > 1:
                cuts.append((source, place, size - 1))
                cuts.append((source + size - 1, place + size, 1))
                place = end
            else:
                cuts.append((source, place, size))
                place = end if leftover <= 1 else place + size + 1
            source += size
            remaining -= size
            if place == end:
                place, end = end + 1, end + block_length
    table = np.array(cuts, np.int64).reshape(-1, 3)
    filled = place - (end - block_length)
    return Pieces(table[:, 0], table[:, 1], table[:, 2]), 0 if filled == 1 else filled

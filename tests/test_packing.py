"""Packing keeps every token once and in order, and every block is well-formed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unpacked import unpack

from mlmctl.text.packing import Packer
from mlmctl.text.specials import Specials

SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, vocab_size=60_000)
LENGTHS = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 90)), min_size=1, max_size=40)


def pack(lengths: list[int], block_length: int, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(blocks, word starts, the flat ids that went in): token n has id 5 + n and starts a word if even."""
    packer = Packer(block_length, SPECIALS, np.dtype(np.uint16))
    ids = np.arange(sum(lengths)) + 5
    blocks, starts, done = [], [], 0
    for first in range(0, len(lengths), batch):
        some = lengths[first : first + batch]
        flat = ids[done : done + sum(some)]
        done += sum(some)
        full = packer.add(flat, np.array(some), flat % 2 == 0)
        blocks.append(full[0])
        starts.append(full[1])
    full = packer.finish()
    return np.concatenate([*blocks, full[0]]), np.concatenate([*starts, full[1]]), ids


@given(LENGTHS, st.integers(8, 40), st.integers(1, 7))
def test_nothing_is_lost_and_blocks_are_well_formed(lengths: list[int], size: int, batch: int) -> None:
    blocks, starts, ids = pack(lengths, size, batch)
    assert np.array_equal(np.concatenate(list(unpack(blocks, SPECIALS))), ids)
    inner = blocks > 4
    assert np.array_equal(starts[inner], blocks[inner] % 2 == 0)
    assert not starts[~inner].any()
    assert (blocks[:, 0] == 2).all()
    assert not (blocks[:, 1:] == 2).any()
    # A `[SEP]` follows only a token, so there is no empty piece.
    assert inner[:, :-1][blocks[:, 1:] == 3].all()
    for number, block in enumerate(blocks):
        padding = np.flatnonzero(block == 0)
        first = padding[0] if len(padding) else size
        assert (block[first:] == 0).all()
        assert block[first - 1] == 3
        if number < len(blocks) - 1:
            assert len(padding) <= (1 in lengths)


@given(LENGTHS, st.integers(8, 40))
def test_batches_make_no_difference(lengths: list[int], block_length: int) -> None:
    assert np.array_equal(pack(lengths, block_length, 1)[0], pack(lengths, block_length, 100)[0])


@given(LENGTHS, st.integers(8, 40))
def test_a_separator_ends_every_document(lengths: list[int], block_length: int) -> None:
    blocks, _, _ = pack(lengths, block_length, 100)
    flat = blocks.reshape(-1)
    for last in (np.cumsum(lengths) + 4).tolist():
        assert flat[np.flatnonzero(flat == last)[0] + 1] == 3


def test_by_hand() -> None:
    blocks, _, _ = pack([3, 5, 1], 8, 9)
    assert blocks.tolist() == [[2, 5, 6, 7, 3, 8, 9, 3], [2, 10, 11, 12, 3, 13, 3, 0]]


def test_a_single_free_place_is_filled_by_a_separator_before_the_last_token() -> None:
    blocks, _, _ = pack([5, 2], 8, 9)
    assert blocks.tolist() == [[2, 5, 6, 7, 8, 3, 9, 3], [2, 10, 11, 3, 0, 0, 0, 0]]

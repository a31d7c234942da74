"""What an earlier `mask/blocks` knows: the ids of its documents, so that they are not tokenized again.

Nothing but small records is kept for this: `documents.npy`, `parts.npy` and `parts.keys.npy` say which
documents went where, and their ids are read out of the packed blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .blocks import SPLITS, Blocks, read_facts
from .encoding import Encoded
from .npy import Appender, open_array

DROPPED, TRAIN, VALID = 0, 1, 2
"""Where a document is: in no split, in `train`, in `valid`."""

_OF_SPLIT = {"train": TRAIN, "valid": VALID}
_DOCUMENTS, _PARTS, _KEYS = "documents.npy", "parts.npy", "parts.keys.npy"


class Record:
    """Writes beside the blocks of which parts they were made."""

    def __init__(self, folder: Path) -> None:
        self._documents = Appender(folder / _DOCUMENTS, np.dtype(np.uint32))
        self._parts = Appender(folder / _PARTS, np.dtype(np.int64), (5,))
        self._keys = Appender(folder / _KEYS, np.dtype(np.uint8), (16,))

    def add(self, key: str, lengths: NDArray[np.int64], fates: NDArray[np.uint8], at: Sequence[int]) -> None:
        """A part: its key, the lengths [n] and the fates [n] of its documents, and where it begins:

        block and place in `train`, block and place in `valid`.
        """
        self._keys.append(np.frombuffer(bytes.fromhex(key), np.uint8)[None])
        self._parts.append(np.array([[self._documents.num_rows, *at]]))
        self._documents.append(lengths << 2 | fates * (fates <= VALID))

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *error: Any) -> None:
        for file in (self._documents, self._parts, self._keys):
            file.__exit__(*error)


@dataclass(frozen=True)
class Found:
    """A part of earlier blocks; where `is_missing` [num_documents] is True the ids are not there."""

    encoded: Encoded
    is_missing: NDArray[np.bool_]


class Earlier:
    """The parts of a `mask/blocks` artifact, which its opener has verified."""

    @classmethod
    def open(cls, folder: Path, tokenizer_hash: str) -> Earlier | None:
        """None if it was made with another tokenizer, or keeps no record of its parts."""
        if read_facts(folder).get("tokenizer_sha256") != tokenizer_hash or not (folder / _KEYS).exists():
            return None
        return cls(folder)

    def __init__(self, folder: Path) -> None:
        self._blocks = {split: Blocks.open(folder, split) for split in SPLITS}
        self._documents = open_array(folder / _DOCUMENTS, np.dtype(np.uint32))
        self._parts = open_array(folder / _PARTS, np.dtype(np.int64))
        keys = open_array(folder / _KEYS, np.dtype(np.uint8))
        # Of a part that came twice, the first: the other's documents were all dropped.
        self._number = {keys[n].tobytes().hex(): n for n in reversed(range(len(keys)))}

    def find(self, key: str) -> Found | None:
        n = self._number.get(key)
        if n is None:
            return None
        is_last = n + 1 == len(self._parts)
        start, end = self._parts[n, 0], None if is_last else self._parts[n + 1, 0]
        documents = np.array(self._documents[start:end], np.int64)
        lengths, fates = documents >> 2, documents & 3
        of_token = np.repeat(fates, lengths)
        ids, is_start = np.zeros(len(of_token), np.int64), np.zeros(len(of_token), bool)
        for i, split in enumerate(SPLITS):
            at = of_token == _OF_SPLIT[split]
            first, place = self._parts[n, 1 + 2 * i : 3 + 2 * i].tolist()
            last = None if is_last else int(self._parts[n + 1, 1 + 2 * i]) + 1
            here = _tokens(self._blocks[split], slice(first, last), place, int(at.sum()))
            if here is None:
                return None
            ids[at], is_start[at] = here
        return Found(Encoded(ids, lengths, is_start), (fates != TRAIN) & (fates != VALID) & (lengths > 0))


def _tokens(
    blocks: Blocks, rows: slice, place: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
    """So many tokens of documents from a place in the first of some blocks on; None if there are fewer."""
    specials = blocks.specials
    ids = np.asarray(blocks.ids[rows], np.int64).reshape(-1)[place:]
    starts = np.unpackbits(blocks.words[rows], axis=1, count=blocks.block_length).astype(bool)
    is_text = np.isin(ids, [specials.cls, specials.sep, specials.pad], invert=True)
    chosen = np.flatnonzero(is_text)[:count]
    return (ids[chosen], starts.reshape(-1)[place:][chosen]) if len(chosen) == count else None

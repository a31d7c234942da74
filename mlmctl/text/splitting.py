"""Which documents are kept, and in which split: duplicates out, the rest by a hash of their content.

The hashes are sorted on disk, a bucket at a time, so that memory stays flat as the corpus grows: with a
set in memory a billion documents would take a hundred gigabytes. A document is in `valid` because of
what it says, so it stays there when the corpus grows or changes its order, unless it was put there only
because no other was.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import draws, near_duplicates, sorting
from .earlier import DROPPED, TRAIN, VALID
from .parts import Part

__all__ = ["DROPPED", "TRAIN", "VALID", "Fates", "decide"]


@dataclass
class Fates:
    """Where each document goes."""

    of: NDArray[np.uint8]
    """[num_documents] DROPPED, TRAIN or VALID, memory-mapped from a scratch file."""
    num_duplicates: int = 0
    num_near_duplicates: int = 0
    num_without_tokens: int = 0
    num_train: int = 0
    num_valid: int = 0


def decide(parts: list[Part], valid_fraction: float, scratch: Path, similarity: float = 0.0) -> Fates:
    """Drop what was there before and what has no tokens; split the rest.

    With a `similarity` from 0.5 to 1, what is to that degree like an earlier document is dropped as well
    (see `text.near_duplicates`); the parts must then have signatures.

    If no document would be in `valid`, the one with the smallest hash is, but never the longest; if none
    would be in `train`, the longest is. With a single document it is in `train`: cutting it is up to the
    caller.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    num_documents = sum(part.num_documents for part in parts)
    is_first = first_occurrences((part.hashes() for part in parts), num_documents, scratch)
    is_unlike: NDArray[np.bool_] = np.broadcast_to(True, num_documents)
    if similarity:
        signatures = [part.signatures for part in parts]
        is_unlike = near_duplicates.first_of_similar(signatures, similarity, scratch)
    fates = Fates(np.memmap(scratch / "fates", np.uint8, "w+", shape=(max(1, num_documents),)))
    smallest: tuple[float, int] | None = None
    second: tuple[float, int] | None = None
    longest = (-1, -1)
    start = 0
    for part in parts:
        here = slice(start, start + part.num_documents)
        lengths, order = part.lengths(), draws.fraction(part.hashes()[:, 1])
        is_new = is_first[here] & is_unlike[here]
        is_kept = is_new & (lengths > 0)
        fate = np.where(order < valid_fraction, VALID, TRAIN) * is_kept
        fates.of[here] = fate
        fates.num_duplicates += int((~is_first[here]).sum())
        fates.num_near_duplicates += int((is_first[here] & ~is_unlike[here]).sum())
        fates.num_without_tokens += int((is_new & (lengths == 0)).sum())
        fates.num_train += int((fate == TRAIN).sum())
        fates.num_valid += int((fate == VALID).sum())
        kept = np.flatnonzero(is_kept)
        if len(kept):
            best = kept[np.lexsort((kept, order[kept]))[:2]]
            ranked = sorted([*filter(None, (smallest, second)), *((order[i], start + int(i)) for i in best)])
            smallest, second = ranked[0], ranked[1] if len(ranked) > 1 else None
            most = kept[np.argmax(lengths[kept])]
            longest = max(longest, (int(lengths[most]), -(start + int(most))))
        start += part.num_documents
    if smallest is not None:
        _fill_empty_split(fates, smallest[1], second[1] if second else None, -longest[1])
    return fates


def _fill_empty_split(fates: Fates, smallest: int, second: int | None, longest: int) -> None:
    if not fates.num_train:
        fates.of[longest] = TRAIN
        fates.num_train, fates.num_valid = 1, fates.num_valid - 1
    if not fates.num_valid and second is not None:
        fates.of[second if smallest == longest else smallest] = VALID
        fates.num_train, fates.num_valid = fates.num_train - 1, 1


def first_occurrences(
    hashes: Iterable[NDArray[np.uint64]], num_documents: int, scratch: Path, bucket: int = sorting.BUCKET
) -> NDArray[np.bool_]:
    """bool [num_documents], memory-mapped: False for a document whose hash [n, 2] was there before."""
    is_first = np.memmap(scratch / "is_first", np.bool_, "w+", shape=(max(1, num_documents),))
    is_first[:] = True
    for rows in sorting.buckets(_numbered(hashes), num_documents, scratch, bucket):
        is_repeated = (rows[1:, :2] == rows[:-1, :2]).all(axis=1)
        is_first[rows[1:, 2][is_repeated].astype(np.int64)] = False
    return is_first


def _numbered(hashes: Iterable[NDArray[np.uint64]]) -> Iterator[NDArray[np.uint64]]:
    """The hash and the number of each document, [n, 3]."""
    start = 0
    for some in hashes:
        yield np.column_stack([some, np.arange(start, start + len(some), dtype=np.uint64)])
        start += len(some)

"""Which documents are kept, and in which split: duplicates out, the rest by a hash of their content.

The hashes are sorted on disk, a bucket at a time, so that memory stays flat as the corpus grows: with a
set in memory a billion documents would take a hundred gigabytes. A document is in `valid` because of
what it says, so it stays there when the corpus grows or changes its order.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import draws
from .earlier import DROPPED, TRAIN, VALID
from .parts import Part

__all__ = ["DROPPED", "TRAIN", "VALID", "Fates", "decide", "first_occurrences"]

_BUCKET = 2**20


@dataclass
class Fates:
    """Where each document goes."""

    of: NDArray[np.uint8]
    """[num_documents] DROPPED, TRAIN or VALID, memory-mapped from a scratch file."""
    num_duplicates: int = 0
    num_without_tokens: int = 0
    num_train: int = 0
    num_valid: int = 0


def decide(parts: list[Part], valid_fraction: float, scratch: Path) -> Fates:
    """Drop what was there before and what has no tokens; split the rest.

    If no document would be in `valid`, the one with the smallest hash is, but never the longest; if none
    would be in `train`, the longest is. With a single document it is in `train`: cutting it is up to the
    caller.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    num_documents = sum(part.num_documents for part in parts)
    is_first = first_occurrences((part.hashes() for part in parts), num_documents, scratch)
    fates = Fates(np.memmap(scratch / "fates", np.uint8, "w+", shape=(max(1, num_documents),)))
    smallest: tuple[float, int] | None = None
    second: tuple[float, int] | None = None
    longest = (-1, -1)
    start = 0
    for part in parts:
        here = slice(start, start + part.num_documents)
        lengths, order = part.lengths(), draws.fraction(part.hashes()[:, 1])
        is_kept = is_first[here] & (lengths > 0)
        fate = np.where(order < valid_fraction, VALID, TRAIN) * is_kept
        fates.of[here] = fate
        fates.num_duplicates += int((~is_first[here]).sum())
        fates.num_without_tokens += int((is_first[here] & (lengths == 0)).sum())
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
    hashes: Iterable[NDArray[np.uint64]], num_documents: int, scratch: Path, bucket: int = _BUCKET
) -> NDArray[np.bool_]:
    """bool [num_documents], memory-mapped: False for a document whose hash was there before.

    The 16-byte hashes [n, 2] go to files by their first bits, each small enough (`bucket` rows of 24
    bytes on average) to be sorted in memory: a distribution sort on disk (Knuth, TAOCP 3, 5.4.7).
    """
    is_first = np.memmap(scratch / "is_first", np.bool_, "w+", shape=(max(1, num_documents),))
    is_first[:] = True
    bits = max(0, num_documents - 1).bit_length() - (bucket - 1).bit_length()
    files: Callable[[int], Path] = lambda number: scratch / f"bucket-{number}"  # noqa: E731
    start = 0
    for some in hashes:
        rows = np.empty((len(some), 3), np.uint64)
        rows[:, :2] = some
        rows[:, 2] = np.arange(start, start + len(some))
        start += len(some)
        numbers = rows[:, 0] >> np.uint64(64 - bits) if bits > 0 else np.zeros(len(rows), np.uint64)
        order = np.argsort(numbers, kind="stable")
        present, firsts = np.unique(numbers[order], return_index=True)
        for number, group in zip(present.tolist(), np.split(rows[order], firsts[1:]), strict=False):
            with files(number).open("ab") as file:
                file.write(group.tobytes())
    for number in range(2 ** max(bits, 0)):
        if files(number).exists():
            rows = np.fromfile(files(number), np.uint64).reshape(-1, 3)
            rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
            is_repeated = (rows[1:, :2] == rows[:-1, :2]).all(axis=1)
            is_first[rows[1:, 2][is_repeated].astype(np.int64)] = False
            files(number).unlink()
    return is_first

"""Sorting more rows than fit in memory: a distribution sort on disk (Knuth, TAOCP 3, 5.2.5 and 5.4.7).

Rows go to files by the first bits of their first number, each file small enough to be sorted in memory.
What is sorted here are hashes, so the files are about equally large.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUCKET = 2**20
"""Rows sorted at once, on average."""


def buckets(
    batches: Iterable[NDArray[np.uint64]], num_rows: int, scratch: Path, bucket: int = BUCKET
) -> Iterator[NDArray[np.uint64]]:
    """All rows in ascending order, the first number deciding first, some at a time.

    Rows with the same first number are in the same array, so that hash should be a good one.

    Args:
        batches: the rows [n, k], in any order.
        num_rows: how many there are in all.
        scratch: a folder for files, which are deleted as they are read.
        bucket: rows an array on average.
    """
    bits = max(0, (num_rows - 1).bit_length() - (bucket - 1).bit_length())
    width = 1
    for rows in batches:
        width = rows.shape[1]
        numbers = rows[:, 0] >> np.uint64(64 - bits) if bits else np.zeros(len(rows), np.uint64)
        order = np.argsort(numbers, kind="stable")
        present, firsts = np.unique(numbers[order], return_index=True)
        for number, group in zip(present.tolist(), np.split(rows[order], firsts[1:]), strict=False):
            with _file(scratch, number).open("ab") as file:
                file.write(group.tobytes())
    for number in range(2**bits):
        file_path = _file(scratch, number)
        if file_path.exists():
            rows = np.fromfile(file_path, np.uint64).reshape(-1, width)
            file_path.unlink()
            yield rows[np.lexsort(rows.T[::-1])]


def _file(scratch: Path, number: int) -> Path:
    return scratch / f"bucket-{number}"

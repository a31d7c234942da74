"""Minimal pairs: two sentences that differ in one thing, of which one is right (as in BLiMP's files).

A set is a file whose rows have `sentence_good` and `sentence_bad`; several sets are a folder of such
files. BLiMP's `field` and `linguistics_term`, where a row has them, group the pairs of all sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..text.corpus import shown
from . import tables

GROUPS = {"fields": "field", "phenomena": "linguistics_term"}
"""Name in the metrics -> column."""

_SENTENCES = ("sentence_good", "sentence_bad")


@dataclass(frozen=True)
class Pair:
    """One pair: its row in the file, from 1, its sentences, its groups by name where it has them."""

    row: int
    good: str
    bad: str
    groups: dict[str, str]


def files(path: Path) -> dict[str, Path]:
    """The sets by name: the file, or all files of a known kind below the folder, in the order of the names.

    The name is the path in the folder without suffixes. Hidden files are passed over. DataError if there
    is none, or if two have one name.
    """
    if path.is_file():
        return {_name(path, path.parent): path}
    found: dict[str, Path] = {}
    for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).as_posix()):
        hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if hidden or not file.is_file() or tables.suffix(file) not in tables.FORMATS:
            continue
        name = _name(file, path)
        if name in found:
            raise DataError("data.same-name", f"is the second set named {name}", where=shown(str(file)))
        found[name] = file
    if not found:
        known = " ".join(tables.FORMATS)
        raise DataError("data.empty", f"holds no set of pairs ({known})", where=shown(str(path)))
    return found


def read(path: Path) -> list[Pair]:
    """The pairs of a file; DataError names the row of whatever is no pair, or an empty file."""
    pairs = []
    for row in tables.read(path):
        good, bad = (_sentence(row, column) for column in _SENTENCES)
        values = {name: row.values.get(column) for name, column in GROUPS.items()}
        groups = {name: value for name, value in values.items() if value is not None}
        for name, group in groups.items():
            if not isinstance(group, str):
                row.fail("data.bad-text", f"the value of {GROUPS[name]!r} is not a string")
        pairs.append(Pair(row.number, good, bad, groups))
    if not pairs:
        raise DataError("data.empty", "holds no pairs", where=shown(str(path)))
    return pairs


def sample(pairs: Sequence[Pair], num_pairs: int, seed: int) -> list[Pair]:
    """A seeded sample in the order of the file; a larger one holds the smaller one."""
    chosen: NDArray[np.int64] = np.random.Generator(np.random.PCG64(seed)).permutation(len(pairs))[:num_pairs]
    return [pairs[number] for number in np.sort(chosen)]


def _name(file: Path, folder: Path) -> str:
    relative = file.relative_to(folder)
    return relative.with_name(relative.name.split(".")[0]).as_posix()


def _sentence(row: tables.Row, column: str) -> str:
    sentence = row.value(column)
    if not isinstance(sentence, str) or not sentence.strip():
        what = "is empty" if isinstance(sentence, str) else "is not a string"
        row.fail("data.bad-text", f"{column} {what}")
    try:
        sentence.encode()
    except UnicodeEncodeError:
        row.fail("data.bad-text", f"{column} holds half a surrogate pair")
    return sentence

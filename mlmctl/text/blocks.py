"""Blocks on disk: packed ids that are memory-mapped, so that a corpus larger than memory trains.

A split (`train`, `valid`) is three arrays: `<split>.npy` the ids (uint16 where the vocabulary allows,
else uint32) [num_blocks, block_length]; `<split>.words.npy` one bit a token that is set where a word
starts, uint8 [num_blocks, ceil(block_length / 8)]; `<split>.maskable.npy` the number of tokens that may
be masked, uint16 [num_blocks]. `blocks.json` holds the facts, `unigrams.npy` how often each token that may be
masked occurs in `train`, int64 [vocab_size].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtifactError
from ..json_files import read_json
from .npy import Appender, open_array
from .packing import Packer
from .specials import Specials

Split = Literal["train", "valid"]
SPLITS: tuple[Split, ...] = ("train", "valid")

UNIGRAMS = "unigrams.npy"
_MOST_TOKENS = 2**24
"""In a vocabulary: far above every one there is."""


def id_dtype(vocab_size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds every id."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


@dataclass(frozen=True)
class Blocks:
    """One split of a `mask/blocks` artifact, read-only."""

    ids: NDArray[Any]
    """uint16 or uint32 [num_blocks, block_length], memory-mapped."""
    words: NDArray[np.uint8]
    """[num_blocks, ceil(block_length / 8)] packed bits, memory-mapped."""
    maskable: NDArray[np.uint16]
    """[num_blocks], memory-mapped."""
    specials: Specials
    facts: Mapping[str, Any]
    """The contents of `blocks.json`."""

    @classmethod
    def open(cls, folder: Path, split: Split) -> Blocks:
        """ArtifactError if the arrays are not the ones that `blocks.json` describes."""
        facts = read_facts(folder)
        specials = Specials.from_json(facts["special_ids"], facts["vocab_size"])
        ids = open_array(folder / f"{split}.npy", id_dtype(specials.vocab_size))
        words = open_array(folder / f"{split}.words.npy", np.dtype(np.uint8))
        maskable = open_array(folder / f"{split}.maskable.npy", np.dtype(np.uint16))
        num_blocks, length = facts[f"num_{split}_blocks"], facts["block_length"]
        expected = [(num_blocks, length), (num_blocks, -(-length // 8)), (num_blocks,)]
        if [ids.shape, words.shape, maskable.shape] != expected:
            raise ArtifactError(
                "artifact.shape", f"the arrays of {split} do not fit blocks.json", where=str(folder)
            )
        return cls(ids, words, maskable, specials, facts)

    @classmethod
    def packed(
        cls,
        ids: NDArray[np.int64],
        lengths: NDArray[np.int64],
        is_start: NDArray[np.bool_],
        block_length: int,
        specials: Specials,
    ) -> Blocks:
        """A few documents packed in memory; arguments as for `BlockWriter.add`. No facts."""
        packer = Packer(block_length, specials, id_dtype(specials.vocab_size))
        parts = (packer.add(ids, lengths, is_start), packer.finish())
        blocks, starts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        maskable = specials.is_ordinary[blocks].sum(axis=1).astype(np.uint16)
        return cls(blocks, np.packbits(starts, axis=1), maskable, specials, {})

    @property
    def num_blocks(self) -> int:
        return int(self.ids.shape[0])

    @property
    def block_length(self) -> int:
        return int(self.ids.shape[1])

    def rows(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of these blocks, int64 [B, L]."""
        return np.asarray(self.ids[numbers], np.int64)

    def word_starts(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Where words start in these blocks, bool [B, L]."""
        return np.unpackbits(self.words[numbers], axis=1, count=self.block_length).astype(bool)

    def unigrams(self, folder: Path) -> NDArray[np.int64]:
        """How often each maskable token occurs in `train`, int64 [vocab_size]."""
        return open_array(folder / UNIGRAMS, np.dtype(np.int64), memory_mapped=False)


def read_facts(folder: Path) -> dict[str, Any]:
    """The contents of `blocks.json`. ArtifactError if it is not what blocks have."""

    def checked(facts: dict[str, Any]) -> dict[str, Any]:
        sizes = [facts[name] for name in ("vocab_size", "block_length", *(f"num_{s}_blocks" for s in SPLITS))]
        if not all(type(size) is int and size >= 0 for size in sizes) or sizes[0] > _MOST_TOKENS:
            raise ValueError("its sizes are not what sizes can be")
        Specials.from_json(facts["special_ids"], facts["vocab_size"])
        return facts

    return read_json(folder / "blocks.json", checked)


class BlockWriter:
    """Packs the documents of one split and appends the blocks to its three files."""

    def __init__(self, folder: Path, split: Split, block_length: int, specials: Specials) -> None:
        dtype = id_dtype(specials.vocab_size)
        self._specials = specials
        self._packer = Packer(block_length, specials, dtype)
        self._ids = Appender(folder / f"{split}.npy", dtype, (block_length,))
        self._words = Appender(folder / f"{split}.words.npy", np.dtype(np.uint8), (-(-block_length // 8),))
        self._maskable = Appender(folder / f"{split}.maskable.npy", np.dtype(np.uint16))
        self.num_tokens = 0
        self.counts = np.zeros(specials.vocab_size, np.int64)

    @property
    def num_blocks(self) -> int:
        return self._ids.num_rows

    @property
    def place(self) -> tuple[int, int]:
        """(block, place in it) behind which the next document is written."""
        return self.num_blocks, self._packer.used

    def add(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], is_start: NDArray[np.bool_]) -> None:
        """Documents in order: flat ids [n], their lengths, whether a token starts a word [n]."""
        self.num_tokens += len(ids)
        self.counts += np.bincount(ids, minlength=self._specials.vocab_size)
        self._append(*self._packer.add(ids, lengths, is_start))

    def _append(self, blocks: NDArray[Any], starts: NDArray[np.bool_]) -> None:
        self._ids.append(blocks)
        self._words.append(np.packbits(starts, axis=1))
        self._maskable.append(self._specials.is_ordinary[blocks].sum(axis=1))

    def __enter__(self) -> BlockWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._append(*self._packer.finish())
        for file in (self._ids, self._words, self._maskable):
            file.__exit__(kind, error, trace)

"""Near-duplicates: which documents say almost what an earlier one says.

Two documents are alike to the share of runs of five words they have in common (the Jaccard similarity
of their shingles; Broder 1997, "On the resemblance and containment of documents"). MinHash estimates it
from signatures of a fixed size: two signatures agree in each place with that probability, so that the
standard error is at most 0.044. Pairs worth comparing are found by bands: documents whose signatures are
equal in one band of places (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4).

Signatures lie on disk, bands are sorted there, and what shares a band is compared by the signatures.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import extras
from ..storage import check_space
from . import draws, sorting
from .plain_words import WORDS_VERSION, plain_words

Signatures = NDArray[np.uint16]
"""[num_documents, NUM_PLACES]: the last 16 bits of the least hashes (Li and König 2010, "b-bit minwise
hashing"); different ones look equal once in 65,536 times."""

NUM_PLACES = 128
SHINGLE = 5
"""Words, as in Lee et al. 2022, "Deduplicating training data makes language models better"."""
LEAST_THRESHOLD = 0.5
"""Below, most pairs would have to be compared."""

_RECALL = 0.95
_MOST_COMPARED = 100
_AT_ONCE = 2**16
_BASE = np.uint64(0x9E3779B97F4A7C15)
_NO_WORD = b""


class _Hashes(dict[bytes, int]):
    """64 bits for each word, made when it is first asked for."""

    def __missing__(self, word: bytes) -> int:
        value = self[word] = int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
        return value


def method() -> str:
    """What signatures depend on beside the text; those of another method cannot be compared."""
    return f"rensa {_library().ALGORITHM_VERSION}, words {WORDS_VERSION}"


def signatures(documents: Sequence[str]) -> Signatures:
    """[num_documents, NUM_PLACES], of each document by itself; some megabytes of text at a time.

    A document of fewer than five words is one shingle, one without any word is like its own text only.
    UsageError where the library is not installed.
    """
    words = [plain_words(document) or [document.encode()] for document in documents]
    for short in words:
        short += [_NO_WORD] * (SHINGLE - len(short))
    num_words = np.array([len(some) for some in words], np.int64)
    hash_of = _Hashes().__getitem__
    hashes = np.fromiter(
        map(hash_of, itertools.chain.from_iterable(words)), np.uint64, count=int(num_words.sum())
    )
    num_shingles = len(hashes) - SHINGLE + 1
    shingles = hashes[:num_shingles].copy()
    for place in range(1, SHINGLE):
        shingles = shingles * _BASE + hashes[place : place + num_shingles]
    is_inside = np.ones(num_shingles, bool)  # and not of two documents
    for back in range(1, SHINGLE):
        is_inside[np.cumsum(num_words)[:-1] - back] = False
    offsets = np.concatenate([[0], np.cumsum(num_words - SHINGLE + 1)]).astype(np.uint64)
    rows = _library().digest_matrix_from_flat_token_hashes(
        shingles[is_inside], offsets, num_perm=NUM_PLACES, seed=0
    )
    flat = itertools.chain.from_iterable(rows.to_rows())
    values = np.fromiter(flat, np.uint32, count=len(documents) * NUM_PLACES)
    return values.reshape(-1, NUM_PLACES).astype(np.uint16)


def similarity(left: Signatures, right: Signatures) -> NDArray[np.float64]:
    """[n] between 0 and 1, estimated for each pair of rows."""
    estimates: NDArray[np.float64] = (left == right).mean(axis=1)
    return estimates


def bands(threshold: float) -> tuple[int, int]:
    """(number of bands, places a band): the most places with which a pair at the threshold is not missed.

    A pair of similarity s shares one of b bands of r places with probability 1 - (1 - s^r)^b (Leskovec et
    al., 3.4.2). Longer bands leave less to be compared; at the threshold it must still be 0.95.
    """
    for length in range(NUM_PLACES, 1, -1):
        number = NUM_PLACES // length
        if 1 - (1 - threshold**length) ** number >= _RECALL:
            return number, length
    return NUM_PLACES, 1


def first_of_similar(
    parts: Sequence[Callable[[], Signatures]], threshold: float, scratch: Path, bucket: int = sorting.BUCKET
) -> NDArray[np.bool_]:
    """bool [num_documents], memory-mapped: False for a document that is like an earlier one.

    Like means: the estimated similarity is at least `threshold`, whether or not the earlier one is itself
    like another (as with exact duplicates, nothing depends on what became of others). Of documents that share
    a band, each is compared with at most the first hundred that are unlike each other, so that the time
    stays linear. How documents are divided into parts changes nothing.

    Args:
        parts: what opens the signatures of each part, memory-mapped or not; asked for more than once.
        threshold: from `LEAST_THRESHOLD` to 1.
        scratch: a folder for files; those of the sort need 16 bytes a document and band.
        bucket: rows sorted at once.

    Raises:
        ResourceError: the disk has no room for them.
    """
    starts = np.cumsum([0, *(len(part()) for part in parts)])
    num_documents = int(starts[-1])
    is_first = np.memmap(scratch / "is_unlike", np.bool_, "w+", shape=(max(1, num_documents),))
    is_first[:] = True
    num_rows = num_documents * bands(threshold)[0]
    check_space(scratch, 16 * num_rows)
    for rows in sorting.buckets(_band_rows(parts, starts, threshold), num_rows, scratch, bucket):
        is_shared = np.zeros(len(rows), bool)
        is_equal = rows[1:, 0] == rows[:-1, 0]
        is_shared[1:] |= is_equal
        is_shared[:-1] |= is_equal
        for numbers in _alike(rows[is_shared], parts, starts, threshold):
            is_first[numbers] = False
    return is_first


def _band_rows(
    parts: Sequence[Callable[[], Signatures]], starts: NDArray[np.int64], threshold: float
) -> Iterator[NDArray[np.uint64]]:
    """(hash of a band, number of the document), a part at a time."""
    number, length = bands(threshold)
    for start, part in zip(starts.tolist(), parts, strict=False):
        places = np.array(part()).T.astype(np.int64)
        rows = np.empty((number, places.shape[1], 2), np.uint64)
        for band in range(number):
            rows[band, :, 0] = draws.keys(band, *places[band * length : (band + 1) * length])
        rows[:, :, 1] = np.arange(start, start + places.shape[1])
        yield rows.reshape(-1, 2)


def _alike(
    rows: NDArray[np.uint64],
    parts: Sequence[Callable[[], Signatures]],
    starts: NDArray[np.int64],
    threshold: float,
) -> Iterator[NDArray[np.int64]]:
    """Numbers of documents that are like an earlier one in the same band; `rows` are sorted.

    All of a band are compared with its first; those that are unlike it are compared with the first of them.
    """
    hashes, numbers = rows[:, 0], rows[:, 1].astype(np.int64)
    for _ in range(_MOST_COMPARED):
        is_new = np.ones(len(hashes), bool)
        is_new[1:] = hashes[1:] != hashes[:-1]
        if is_new.all():
            return
        first = numbers[np.maximum.accumulate(np.where(is_new, np.arange(len(numbers)), 0))]
        is_like = is_new.copy()  # the first of each has been compared with
        others = np.flatnonzero(~is_new)
        for some in np.split(others, range(_AT_ONCE, len(others), _AT_ONCE)):
            left, right = (_gather(parts, starts, of[some]) for of in (first, numbers))
            is_like[some] = similarity(left, right) >= threshold
        yield numbers[is_like & ~is_new]
        hashes, numbers = hashes[~is_like], numbers[~is_like]


def _gather(
    parts: Sequence[Callable[[], Signatures]], starts: NDArray[np.int64], numbers: NDArray[np.int64]
) -> Signatures:
    """The signatures of some documents [n], from the parts that have them."""
    found = np.empty((len(numbers), NUM_PLACES), np.uint16)
    number_of_part = np.searchsorted(starts, numbers, side="right") - 1
    for part in np.unique(number_of_part).tolist():
        here = number_of_part == part
        found[here] = parts[part]()[numbers[here] - starts[part]]
    return found


def _library() -> Any:
    """Its class; decision 0020 says why it is this one."""
    return extras.load("rensa", "near", "near-duplicates").RMinHash

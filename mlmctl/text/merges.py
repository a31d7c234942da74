"""Byte-pair merging over word counts: the one algorithm behind every vocabulary that is learned here.

The most frequent pair of neighbouring pieces becomes a piece, until there are enough (Sennrich, Haddow
and Birch 2016). Ties go to the pieces that came first, left one before right one: no hash, no thread and
no order of the input can show in the result. The trainer of the `tokenizers` library breaks ties in the
same way; tests hold the two to the same merges.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

MIN_COUNT = 2
"""A pair that occurs less often is not merged: what occurs once is no pattern."""


@dataclass(frozen=True)
class Merged:
    """The pieces, those given first, and the pairs that were merged, in order.

    Two pairs may give the same piece (`ab` + `c`, `a` + `bc`), so there may be more merges than new pieces.
    """

    pieces: list[str]
    merges: list[tuple[int, int]]
    """Numbers of the left and the right piece."""


def merge(
    words: list[list[int]], counts: Sequence[int], pieces: Sequence[str], num_pieces: int, prefix: str = ""
) -> Merged:
    """Merge the most frequent pair of neighbours until there are `num_pieces` pieces or no pair is left.

    Each pair knows the words it occurred in, so a merge visits only those; the heap is corrected lazily:
    an entry that no longer tells the truth is replaced when it comes up.

    Args:
        words: each word as numbers of `pieces`; consumed.
        counts: how often each word occurs.
        pieces: what there is before the first merge.
        prefix: what marks a piece that continues a word, dropped from the right one of a pair.
    """
    pieces = list(pieces)
    merges: list[tuple[int, int]] = []
    number = {piece: i for i, piece in enumerate(pieces)}
    totals: dict[tuple[int, int], int] = {}
    places: dict[tuple[int, int], list[int]] = {}
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            totals[pair] = totals.get(pair, 0) + counts[i]
            places.setdefault(pair, []).append(i)
    heap = [(-total, pair) for pair, total in totals.items() if total >= MIN_COUNT]
    heapq.heapify(heap)
    while heap and len(pieces) < num_pieces:
        recorded, pair = heapq.heappop(heap)
        total = totals.get(pair, 0)
        if total != -recorded:
            if MIN_COUNT <= total < -recorded:
                heapq.heappush(heap, (-total, pair))
            continue
        left, right = pair
        piece = pieces[left] + pieces[right].removeprefix(prefix)
        merged = number.setdefault(piece, len(pieces))
        if merged == len(pieces):
            pieces.append(piece)
        merges.append(pair)
        grown: set[tuple[int, int]] = set()
        for i in places.pop(pair):
            word, count = words[i], counts[i]
            at = 0
            while at < len(word) - 1:
                if word[at] != left or word[at + 1] != right:
                    at += 1
                    continue
                if at > 0:
                    totals[word[at - 1], left] -= count
                    _grow(totals, places, grown, (word[at - 1], merged), count, i)
                if at + 2 < len(word):
                    totals[right, word[at + 2]] -= count
                    _grow(totals, places, grown, (merged, word[at + 2]), count, i)
                word[at : at + 2] = [merged]
                at += 1
        del totals[pair]
        for changed in grown:
            if totals.get(changed, 0) >= MIN_COUNT:
                heapq.heappush(heap, (-totals[changed], changed))
    return Merged(pieces, merges)


def _grow(
    totals: dict[tuple[int, int], int],
    places: dict[tuple[int, int], list[int]],
    grown: set[tuple[int, int]],
    pair: tuple[int, int],
    count: int,
    word: int,
) -> None:
    totals[pair] = totals.get(pair, 0) + count
    places.setdefault(pair, []).append(word)
    grown.add(pair)

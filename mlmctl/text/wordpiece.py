"""Learning a WordPiece vocabulary from word counts, the same bytes every time.

The trainer of the `tokenizers` library numbers prefixed pieces in the order of a hash table, so the same
text gives a different vocabulary at every call. This one is byte-pair encoding (Sennrich, Haddow and
Birch 2016): the most frequent pair of neighbouring pieces becomes a piece, until there are enough. Ties
go to the pieces that came first, and the first ones are sorted characters: no hash, no thread and no
order of the input can show in the result. WordPiece needs only the pieces; it splits a word by the
longest piece first.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping

from ..errors import UsageError

PREFIX = "##"
"""Marks a piece that continues a word."""

_MIN_COUNT = 2
_ENOUGH = 0.99999
_LEAST = 0.99


def learn(counts: Mapping[str, int], num_pieces: int) -> list[str]:
    """The pieces of a vocabulary: characters, sorted, then merged pieces, most frequent first.

    Args:
        counts: how often each (normalised, non-empty) word occurs.
        num_pieces: how many pieces are wanted; fewer come back if the words have no more to give.

    Raises:
        UsageError `usage.vocab-size`: the characters alone need more.
    """
    ordered = sorted(counts)
    words = [_characters(word) for word in ordered]
    alphabet = _alphabet(words, [counts[word] for word in ordered], num_pieces)
    number = {piece: i for i, piece in enumerate(alphabet)}
    known = [i for i, word in enumerate(words) if all(piece in number for piece in word)]
    numbered = [[number[piece] for piece in words[i]] for i in known]
    return _merge(numbered, [counts[ordered[i]] for i in known], alphabet, num_pieces)


def _characters(word: str) -> list[str]:
    return [word[0], *(PREFIX + character for character in word[1:])]


def _alphabet(words: list[list[str]], counts: list[int], num_pieces: int) -> list[str]:
    """The characters that get a place, sorted: the rarest may not eat the vocabulary.

    Taken are the most frequent ones until they cover 99.999 % of the text, at most half the places, but
    always 99 % of the text, and all letters and digits of ASCII that occur.
    """
    total: Counter[str] = Counter()
    for word, count in zip(words, counts, strict=True):
        for piece in word:
            total[piece] += count
    ranked = sorted(total, key=lambda piece: (-total[piece], piece))
    taken = {piece for piece in ranked if piece[-1].isascii() and piece[-1].isalnum()}
    num_all = sum(total.values())
    covered = 0
    for rank, piece in enumerate(ranked):
        if covered >= _ENOUGH * num_all or (rank >= num_pieces // 2 and covered >= _LEAST * num_all):
            break
        taken.add(piece)
        covered += total[piece]
    if len(taken) > num_pieces:
        raise UsageError(
            "usage.vocab-size",
            f"{num_pieces:,} places beside the special tokens are too few for the {len(taken):,} characters "
            "(at the start of words and inside) that the text needs",
            where="tokenizer.vocab_size",
            hint="ask for a larger vocabulary with --vocab-size",
        )
    return sorted(taken)


def _merge(words: list[list[int]], counts: list[int], pieces: list[str], num_pieces: int) -> list[str]:
    """Merge the most frequent pair of neighbours until there are enough pieces; `words` is consumed.

    Each pair knows the words it occurred in, so a merge visits only those; the heap is corrected lazily:
    an entry that no longer tells the truth is replaced when it comes up.
    """
    pieces = list(pieces)
    number = {piece: i for i, piece in enumerate(pieces)}
    totals: dict[tuple[int, int], int] = {}
    places: dict[tuple[int, int], list[int]] = {}
    for i, word in enumerate(words):
        for pair in itertools.pairwise(word):
            totals[pair] = totals.get(pair, 0) + counts[i]
            places.setdefault(pair, []).append(i)
    heap = [(-total, pair) for pair, total in totals.items() if total >= _MIN_COUNT]
    heapq.heapify(heap)
    while heap and len(pieces) < num_pieces:
        recorded, pair = heapq.heappop(heap)
        total = totals.get(pair, 0)
        if total != -recorded:
            if _MIN_COUNT <= total < -recorded:
                heapq.heappush(heap, (-total, pair))
            continue
        left, right = pair
        piece = pieces[left] + pieces[right].removeprefix(PREFIX)
        merged = number.setdefault(piece, len(pieces))
        if merged == len(pieces):
            pieces.append(piece)
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
            if totals.get(changed, 0) >= _MIN_COUNT:
                heapq.heappush(heap, (-totals[changed], changed))
    return pieces


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

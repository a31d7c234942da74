"""Learning a WordPiece vocabulary from word counts, the same bytes every time.

The trainer of the `tokenizers` library numbers prefixed pieces in the order of a hash table, so the same
text gives a different vocabulary at every call. This one merges pairs (`text.merges`) over sorted
characters, each in a form that starts a word and one that continues it. WordPiece needs only the pieces;
it splits a word by the longest piece first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from ..errors import UsageError
from .merges import merge

PREFIX = "##"
"""Marks a piece that continues a word."""

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
    return merge(numbered, [counts[ordered[i]] for i in known], alphabet, num_pieces, PREFIX).pieces


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

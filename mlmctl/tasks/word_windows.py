"""Sentences given as words, as windows of pieces: which piece begins which word, and where a window ends.

The words of a sentence are encoded together, with blanks between them, as the tokenizer would see them in
a text; byte-level tokenizers need the blank before a word to know it. A window ends between two words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..text.masking import IGNORED
from ..text.specials import Specials
from .features import TEXTS_AT_ONCE, Features


def word_windows(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer, specials: Specials, block_length: int
) -> Features:
    """Windows of at most `block_length` tokens with the token target `words` [num_tokens].

    That is the number of a word in its sentence at the word's first piece, and `IGNORED` everywhere else.
    A word of which the tokenizer leaves nothing is in no window. The weight of a window is the number of
    its words. Special tokens written in a word are ordinary text.
    """
    ids: list[int] = []
    words: list[int] = []
    starts, examples = [0], []
    for example, (pieces, word_of) in enumerate(_encoded(sentences, tokenizer)):
        is_first = np.diff(word_of, prepend=-1) > 0
        numbers = np.where(is_first, word_of, IGNORED)
        for start, end in itertools.pairwise(cuts(is_first, block_length - 2)):
            ids += [specials.cls, *pieces[start:end], specials.sep]
            words += [IGNORED, *numbers[start:end].tolist(), IGNORED]
            starts.append(len(ids))
            examples.append(example)
    targets = np.array(words, dtype=np.int64)
    num_words = np.concatenate([[0], np.cumsum(targets != IGNORED)])
    return Features(
        input_ids=np.array(ids, dtype=np.int32),
        starts=np.array(starts, dtype=np.int64),
        examples=np.array(examples, dtype=np.int64),
        weights=np.diff(num_words[starts]).astype(np.float32),
        targets={},
        token_targets={"words": targets},
        pad_id=specials.pad,
    )


def cuts(is_first: NDArray[np.bool_], room: int) -> list[int]:
    """Where to cut a sentence of pieces into windows of at most `room`: borders, from 0 to its end.

    `is_first` [num_pieces] says which pieces begin a word. Windows are few and even as far as cuts between
    words allow; only a word that is longer than a window is cut itself.
    """
    borders = [0]
    while (num_left := len(is_first) - borders[-1]) > room:
        start = borders[-1]
        even = start + -(-num_left // -(-num_left // room))
        between = start + 1 + np.flatnonzero(is_first[start + 1 : start + room + 1])
        early, late = between[between <= even], between[between > even]
        borders.append(int(early[-1] if len(early) else late[0] if len(late) else start + room))
    return [*borders, len(is_first)]


def owners(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The number of the word each piece belongs to [num_pieces], ascending.

    `offsets` are the pieces' places (first character, end) in the words joined by blanks. A piece belongs
    to the first word that ends behind its first character, so a blank goes with the word after it.
    """
    ends = np.cumsum([len(word) + 1 for word in words], dtype=np.int64) - 1
    starts = np.array([start for start, _ in offsets], dtype=np.int64)
    found = np.searchsorted(ends, np.maximum.accumulate(starts), side="right")
    return found.clip(max=len(words) - 1)


def _encoded(
    sentences: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> Iterator[tuple[list[int], NDArray[np.int64]]]:
    """The pieces of each sentence and the words they belong to; nothing for a sentence without words."""
    for first in range(0, len(sentences), TEXTS_AT_ONCE):
        some = sentences[first : first + TEXTS_AT_ONCE]
        joined = [" ".join(words) for words in some]
        for words, encoding in zip(
            some, tokenizer.encode_batch(joined, add_special_tokens=False), strict=True
        ):
            if words:
                yield encoding.ids, owners(words, encoding.offsets)
            else:
                yield [], np.zeros(0, dtype=np.int64)

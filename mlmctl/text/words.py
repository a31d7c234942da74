"""How text is cut before it is tokenized: into units that do not see each other, and into words.

Where nothing in a tokenizer reaches across white space, words are counted, and encoded, once for each
distinct unit of text and not once for each time it occurs. Which tokenizers are so is decided here,
by what they are made of.
"""

from __future__ import annotations

import re
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models

from . import bytelevel, workers
from .pieces import described, kinds

MAX_WORD = 100
"""Characters: for WordPiece a longer word is `[UNK]`."""

_MAX_WORDS = 2**19
_MAX_CHARACTERS = 2**25
_BATCH = 2**22
"""Characters that are counted at once; what is forgotten follows from it, and never from who counted."""

_WHITE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space as the library's expressions know it; Python's own `\\s` has four characters more."""

_MARKS = r"!-/:-@\[-`{-~"
_is_plain = re.compile(r"[ -~\t\n\r]*").fullmatch
"""Whether a text is printable ASCII and the usual white space: then it is cut without the library."""


@dataclass(frozen=True)
class Cut:
    """How the text of one kind of tokenizer may be cut."""

    stretches: Callable[[str], list[str]]
    """A document in stretches, some perhaps empty, that are tokenized as if each were alone; neighbours
    that are plain may come as one."""
    plain_words: Callable[[str], list[str]] | None = None
    """The words of a plain stretch, ten times faster than a call of the library."""
    space: str = " "
    """How the vocabulary writes a space."""
    max_word: int = MAX_WORD
    """Characters, as the vocabulary writes them: a longer word is nothing to learn from."""
    lowers: bool = False
    """Whether upper case is made lower case before words are cut (`DON'T`, `don't`)."""

    def units(self, document: str) -> list[str]:
        """A document in pieces that are tokenized as if each were alone: words where it is plain.

        The time is linear in the length, whatever it holds: no expression reads anything twice.
        """
        if self.plain_words is None:
            return [document]
        if _is_plain(document):
            return self.plain_words(document.lower() if self.lowers else document)
        units: list[str] = []
        for stretch in self.stretches(document):
            if _is_plain(stretch):
                units += self.plain_words(stretch.lower() if self.lowers else stretch)
            else:
                units.append(stretch)
        return units

    def is_word(self, unit: str) -> bool:
        """Whether a unit is a word as it stands; of any other the library knows the words."""
        return self.plain_words is not None and unit.isascii() and unit.isprintable()


BLANKS = Cut(
    re.compile(r"(?:[!-~]*+[ \t\n\r])++|[^ \t\n\r]++").findall,
    re.compile(rf"[A-Za-z0-9]+|[{_MARKS}]").findall,
)
"""BERT's: white space separates and is lost, a punctuation mark is a word."""

BYTE_LEVEL = Cut(
    re.compile(
        rf"(?:[ \t\n\r]*+[!-~]++(?![^{_WHITE}]))++| ?[^{_WHITE}]+|[{_WHITE}]+(?![^{_WHITE}])|[{_WHITE}]"
    ).findall,
    re.compile(
        rf"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[{_MARKS}]+|[ \t\n\r]+(?![!-~])|[ \t\n\r]"
    ).findall,
    space=bytelevel.SPACE,
    max_word=4 * MAX_WORD,
)
"""GPT-2's: a space goes with the word after it, further white space is a word."""

WHOLE = Cut(lambda document: [document])
"""Nothing is known: a document is one unit."""

_LOCAL = {
    BLANKS: {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase", "StripAccents"},
    BYTE_LEVEL: {"Sequence", "NFC", "NFD", "Lowercase"},
}
"""The normalizers that do not see beyond a stretch, and make and take away no border of one."""


def cut_of(tokenizer: Tokenizer) -> Cut:
    """How text for this tokenizer, with special tokens in it taken as ordinary text, may be cut."""
    cut = _cut(described(tokenizer.pre_tokenizer) or {})
    added = tokenizer.get_added_tokens_decoder().values()
    is_local = cut in _LOCAL and set(kinds(described(tokenizer.normalizer))) <= _LOCAL[cut]
    if not (is_local and all(token.special for token in added)):
        return WHOLE
    # What these normalizers do to printable ASCII, they do letter by letter.
    capitals, small = string.ascii_uppercase, string.ascii_lowercase
    is_lower = tokenizer.normalizer is not None and tokenizer.normalizer.normalize_str(capitals) == small
    return replace(cut, lowers=is_lower)


def _cut(pre_tokenizer: dict[str, Any]) -> Cut:
    if pre_tokenizer.get("type") == "BertPreTokenizer":
        return BLANKS
    is_gpt2 = pre_tokenizer.get("type") == "ByteLevel" and pre_tokenizer.get("use_regex", True)
    if bytelevel.is_ours(pre_tokenizer) or (is_gpt2 and not pre_tokenizer["add_prefix_space"]):
        return BYTE_LEVEL
    return WHOLE


class WordCounter:
    """Counts the words a tokenizer would see, as its vocabulary writes them, in bounded memory.

    When there are too many, the rarest are forgotten; among equals a hash of the word decides, so that
    what is left of them is a fair sample, the same one every time, however many processes count.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.words: Counter[str] = Counter()
        self.num_words = 0
        self.num_long = 0
        """Occurrences of words that are too long to be learned from."""
        self.num_forgotten = 0
        """Occurrences of words that were dropped to bound the memory."""
        self._tokenizer = tokenizer

    def count(self, documents: Iterable[str], num_workers: int = 1) -> None:
        setup = partial(_Batch, self._tokenizer)
        with closing(workers.in_order(setup, batches(documents, _BATCH), num_workers)) as counted:
            for words, num_long in counted:
                self.words.update(words)
                self.num_words += words.total() + num_long
                self.num_long += num_long
                if len(self.words) > _MAX_WORDS or _size(self.words) > _MAX_CHARACTERS:
                    self._forget()

    def measure(self, model: models.Model, unk: int) -> tuple[float, float]:
        """(tokens a word, share of tokens that are `unk`) of the words that were not forgotten."""
        num_words = num_tokens = num_unknown = 0
        for word, count in self.words.items():
            ids = [token.id for token in model.tokenize(word)]
            num_words += count
            num_tokens += count * len(ids)
            num_unknown += count * ids.count(unk)
        if isinstance(model, models.WordPiece):  # to which a long word is unknown; BPE cuts it up
            num_words += self.num_long
            num_tokens += self.num_long
            num_unknown += self.num_long
        return round(num_tokens / max(1, num_words), 4), round(num_unknown / max(1, num_tokens), 6)

    def _forget(self) -> None:
        """Keep the most frequent words, as many as fill half the room."""
        words = list(self.words)
        counts = np.fromiter(self.words.values(), np.int64, len(words))
        sizes = np.fromiter(map(len, words), np.int64, len(words))
        hashes = np.fromiter((zlib.crc32(word.encode()) for word in words), np.int64, len(words))
        # Words of the same count and hash stay in the order in which they came, which is that of the text.
        order = np.lexsort((hashes, -counts))
        is_kept = np.cumsum(sizes[order]) <= _MAX_CHARACTERS // 2
        is_kept[_MAX_WORDS // 2 :] = False
        self.num_forgotten += int(counts[order[~is_kept]].sum())
        for i in order[~is_kept].tolist():
            del self.words[words[i]]


class _Batch:
    """Counts the words of one batch of documents: (how often each occurs, how many are too long)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._cut = cut_of(tokenizer)
        normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self._normalize: Callable[[str], str] = normalizer.normalize_str if normalizer else str
        self._split = splitter.pre_tokenize_str if splitter else lambda text: [(text, None)]

    def __call__(self, documents: list[str]) -> tuple[Counter[str], int]:
        units: Counter[str] = Counter()
        for document in documents:
            units.update(self._cut.units(document))
        words: Counter[str] = Counter()
        num_long = 0
        for unit, count in units.items():
            for word in self._words(unit):
                if len(word) <= self._cut.max_word:
                    words[word] += count
                else:
                    num_long += count
        return words, num_long

    def _words(self, unit: str) -> list[str]:
        if self._cut.is_word(unit):
            return [unit.replace(" ", self._cut.space)]
        return [word for word, _ in self._split(self._normalize(unit))]


def batches(documents: Iterable[str], num_characters: int) -> Iterator[list[str]]:
    """The documents in batches of about so many characters."""
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= num_characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(texts: Iterable[str]) -> int:
    return sum(map(len, texts))

"""How text is cut before it is tokenized: into stretches that do not see each other, and into words.

Where nothing in a tokenizer reaches across white space, words are counted, and encoded, once for each
distinct stretch of text and not once for each time it occurs. Which tokenizers are so is decided here,
by what they are made of.
"""

from __future__ import annotations

import re
import string
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer, models

from . import bytelevel
from .pieces import described, kinds

MAX_WORD = 100
"""Characters: for WordPiece a longer word is `[UNK]`."""

_MAX_STRETCHES = 2**18
_MAX_CHARACTERS = 2**25
_MAX_WORDS = 2**19
_BATCH = 2**22
_WHITE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space as the library's expressions know it; Python's own `\\s` has four characters more."""


@dataclass(frozen=True)
class Cut:
    """How the text of one kind of tokenizer may be cut."""

    stretches: Callable[[str], list[str]]
    """A document in stretches that are tokenized as if each were alone; some may be empty."""
    ascii_words: Callable[[str], list[str]] | None = None
    """The words of a stretch of printable ASCII, ten times faster than a call of the library."""
    space: str = " "
    """How the vocabulary writes a space."""
    max_word: int = MAX_WORD
    """Characters, as the vocabulary writes them: a longer word is nothing to learn from."""
    lowers: bool = False
    """Whether upper case is made lower case before words are cut (`DON'T`, `don't`)."""

    def words(self, stretch: str) -> list[str] | None:
        """The normalised words of a stretch of printable ASCII, None for any other."""
        if self.ascii_words is None or not (stretch.isascii() and stretch.isprintable()):
            return None
        return self.ascii_words(stretch.lower() if self.lowers else stretch)


def _between_blanks(document: str) -> list[str]:
    return document.replace("\n", " ").replace("\t", " ").split(" ")


BLANKS = Cut(_between_blanks, re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]").findall)
"""BERT's: white space separates and is lost, a punctuation mark is a word."""

BYTE_LEVEL = Cut(
    re.compile(rf" ?[^{_WHITE}]+|[{_WHITE}]+(?![^{_WHITE}])|[{_WHITE}]").findall,
    re.compile(r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[!-/:-@\[-`{-~]+| +").findall,
    space=bytelevel.SPACE,
    max_word=4 * MAX_WORD,
)
"""GPT-2's: a space goes with the word after it, further white space is a word."""

WHOLE = Cut(lambda document: [document])
"""Nothing is known: a document is one stretch."""

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
    what is left of them is a fair sample, the same one every time.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.words: Counter[str] = Counter()
        self.num_words = 0
        self.num_long = 0
        """Occurrences of words that are too long to be learned from."""
        self.num_forgotten = 0
        """Occurrences of words that were dropped to bound the memory."""
        self._cut = cut_of(tokenizer)
        normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
        self._normalize: Callable[[str], str] = normalizer.normalize_str if normalizer else str
        self._split = splitter.pre_tokenize_str if splitter else lambda text: [(text, None)]
        self._stretches: Counter[str] = Counter()

    def count(self, documents: Iterable[str]) -> None:
        size = 0
        for document in documents:
            self._stretches.update(self._cut.stretches(document))
            size += len(document)
            if size >= _BATCH:
                size = 0
                if len(self._stretches) > _MAX_STRETCHES or _size(self._stretches) > _MAX_CHARACTERS:
                    self._flush()
        self._flush()

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

    def _flush(self) -> None:
        for stretch, count in self._stretches.items():
            words = self._words(stretch)
            self.num_words += count * len(words)
            for word in words:
                if len(word) <= self._cut.max_word:
                    self.words[word] += count
                else:
                    self.num_long += count
        self._stretches.clear()
        if len(self.words) > _MAX_WORDS or _size(self.words) > _MAX_CHARACTERS:
            self._forget()

    def _words(self, stretch: str) -> list[str]:
        words = self._cut.words(stretch)
        if words is None:
            return [word for word, _ in self._split(self._normalize(stretch))]
        return [word.replace(" ", self._cut.space) for word in words]

    def _forget(self) -> None:
        """Keep the most frequent words, as many as fill half the room."""
        ranked = sorted(self.words, key=lambda word: (-self.words[word], zlib.crc32(word.encode()), word))
        size = 0
        for rank, word in enumerate(ranked):
            size += len(word)
            if rank >= _MAX_WORDS // 2 or size > _MAX_CHARACTERS // 2:
                self.num_forgotten += self.words.pop(word)


def _size(texts: Iterable[str]) -> int:
    return sum(map(len, texts))

"""Words as people count them, whatever the tokenizer: for filters, and to see which texts are alike."""

from __future__ import annotations

import re
import string
import unicodedata
from functools import cache

WORDS_VERSION = 2
"""Another number for another rule: what was counted by an earlier one cannot be compared."""
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    r"\U00020000-\U0003ffff"
)
"""Thai, Lao, Burmese, Khmer, kana and Chinese characters: no blanks stand between the words."""
_FIRST_MARK, _LAST_MARK = 0x300, 0x1FFFF
"""Between them are all combining marks but variation selectors for rare characters."""
_ASCII_WORD = frozenset((string.ascii_letters + string.digits + "_").encode())
_FOLD = bytes(byte if byte in _ASCII_WORD else 32 for byte in range(256)).lower()


def plain_words(text: str) -> list[bytes]:
    """The words of a text in UTF-8, lower-cased and in NFC: runs of letters with their marks, digits and `_`.

    Where a script puts no blanks between words, each character is one.
    """
    if text.isascii():  # the same, in half the time
        return text.encode().translate(_FOLD).split()
    return [word.encode() for word in words_of(unicodedata.normalize("NFC", text.lower()))]


def words_of(text: str) -> list[str]:
    """The same words as they stand in the text."""
    return _pattern().findall(text)


def num_special(text: str) -> int:
    """How many characters are marks, or in scripts without blanks between words: what `\\w` does not fit."""
    return 0 if text.isascii() else len(_special().findall(text))


@cache
def _pattern() -> re.Pattern[str]:
    """A vowel sign of Devanagari or a point of Hebrew is no `\\w`, but belongs to its word."""
    spaced = rf"(?![{_UNSPACED}])"
    return re.compile(rf"[{_UNSPACED}]|{spaced}\w(?:{spaced}[\w{_marks()}])*")


@cache
def _special() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}{_marks()}]")


@cache
def _marks() -> str:
    codes = range(_FIRST_MARK, _LAST_MARK + 1)
    return "".join(chr(code) for code in codes if unicodedata.category(chr(code)).startswith("M"))

"""Which scripts a text is written in, from the names that Unicode gives its letters."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

_RENAMED = {"cjk": "han"}
_FORMS = ("fullwidth", "halfwidth")
"""Words before the name of the script."""
_NONE = ("modifier", "mathematical", "double-struck", "feminine", "masculine", "micro", "black-letter")
"""What names of letters that belong to no script begin with."""


@lru_cache(maxsize=2**16)
def script(character: str) -> str:
    """`latin`, `cyrillic`, `han` ...: the first word of a letter's Unicode name; "" for what is no letter
    or belongs to no script.
    """
    if not unicodedata.category(character).startswith("L"):
        return ""
    words = unicodedata.name(character, "").lower().split()
    if words and words[0] in _FORMS:
        words = words[1:]
    if not words or words[0] in _NONE:
        return ""
    return _RENAMED.get(words[0], words[0])


def count(texts: Iterable[str]) -> Counter[str]:
    """How many letters of each script the texts have, most frequent first."""
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    found: Counter[str] = Counter()
    for character, number in characters.items():
        found[script(character)] += number
    del found[""]
    return Counter(dict(found.most_common()))

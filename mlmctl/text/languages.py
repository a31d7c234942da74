"""Which language a text is in: by its script, and where many languages share one, by its commonest words.

A small heuristic and not a trained model: it knows the languages below and says `unknown` for any other,
for a text too short to tell, and where two are nearly as likely. Names are those of ISO 639-1.
"""

from __future__ import annotations

import re
from collections import Counter

from . import scripts
from .common_words import COMMON_WORDS

UNKNOWN = "unknown"

_WORDS = re.compile(r"[^\s\d_.,;:!?()\[\]{}<>=*+\"“”„«»…–—/\\|।،؛؟-]+")
"""Not by `\\w`, to which a vowel sign of Devanagari is the end of a word."""
_MAX_WORDS = 2000
_LEAST_WORDS = 5
_LEAST_SHARE = 0.12
"""Of the words that must be common ones; running text has a quarter to a half."""
_LEAST_DISTINCT = 3
"""Of the common words that must be there: one alone may be the name of a variable."""
_MARGIN = 1.25
"""How much likelier than the next language it must be."""
_KANA_SHARE = 0.05
_LEAST_TOLD = 0.001
"""Of a corpus: less is as likely to be a mistake."""

_OF_SCRIPT = {
    "hangul": "ko", "thai": "th", "greek": "el", "hebrew": "he", "georgian": "ka", "armenian": "hy",
    "tamil": "ta", "telugu": "te", "bengali": "bn", "gujarati": "gu", "gurmukhi": "pa", "kannada": "kn",
    "malayalam": "ml", "sinhala": "si", "khmer": "km", "lao": "lo", "myanmar": "my", "tibetan": "bo",
}  # fmt: skip
"""Scripts that serve one language almost alone."""


def language(text: str) -> str:
    """The language of a text, or `unknown`."""
    letters = scripts.count([text])
    if not letters:
        return UNKNOWN
    kana = letters["hiragana"] + letters["katakana"]
    if kana + letters["han"] > letters.total() / 2:
        return "ja" if kana > _KANA_SHARE * (kana + letters["han"]) else "zh"
    script = max(letters, key=lambda name: letters[name])
    if script in _OF_SCRIPT:
        return _OF_SCRIPT[script]
    words = [match[0].replace("’", "'").strip("'") for match in _WORDS.finditer(text.lower())][:_MAX_WORDS]
    if script not in COMMON_WORDS or len(words) < _LEAST_WORDS:
        return UNKNOWN
    counts = Counter(words)
    scores = {
        name: sum(counts[word] for word in counts.keys() & common) / len(words)
        for name, common in COMMON_WORDS[script].items()
    }
    ranked = sorted(scores, key=lambda name: (-scores[name], name))
    best, second = scores[ranked[0]], scores[ranked[1]]
    num_distinct = len(counts.keys() & COMMON_WORDS[script][ranked[0]])
    is_clear = best >= _LEAST_SHARE and best >= _MARGIN * second and num_distinct >= _LEAST_DISTINCT
    return ranked[0] if is_clear else UNKNOWN


def shares(texts: list[str]) -> dict[str, float]:
    """The share of each language, by characters, the largest first; less than one in 1,000 is `unknown`."""
    found: Counter[str] = Counter()
    for text in texts:
        found[language(text)] += len(text)
    total = found.total()
    told: Counter[str] = Counter()
    for name, count in found.items():
        told[name if count >= _LEAST_TOLD * total else UNKNOWN] += count
    return {name: round(count / total, 4) for name, count in told.most_common() if count}

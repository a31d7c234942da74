"""Filters: which documents are left out because of what they are made of; all are off unless asked for.

They are three of those of Rae et al. 2021 (Gopher, arXiv 2112.11446, appendix A1), where the limits were
50 words, 0.8 (of words with a letter) and 0.2.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping

from ..config import CorpusConfig
from .plain_words import plain_words


def failed(text: str, config: CorpusConfig) -> str | None:
    """The first filter that a document does not pass, by its name in the configuration."""
    if config.min_words and len(plain_words(text)) < config.min_words:
        return "min_words"
    if config.min_letters and letter_share(text) < config.min_letters:
        return "min_letters"
    if config.max_repetition < 1 and repeated_share(text) > config.max_repetition:
        return "max_repetition"
    return None


def told(num_filtered: Mapping[str, int], config: CorpusConfig) -> str:
    """What was dropped and why, in words: `1,200 shorter than 5 words, 34 ...`."""
    reasons = {
        "min_words": f"shorter than {config.min_words:,} words",
        "min_letters": f"with less than {config.min_letters:.0%} letters",
        "max_repetition": f"with more than {config.max_repetition:.0%} in repeated lines",
    }
    return ", ".join(
        f"{num_filtered[name]:,} {reason}" for name, reason in reasons.items() if name in num_filtered
    )


def letter_share(text: str) -> float:
    """Letters and their marks among the characters that are not white space; 0 where there are none."""
    num_letters = num_visible = 0
    for character, count in Counter(text).items():
        if not character.isspace():
            num_visible += count
            num_letters += count * (unicodedata.category(character)[0] in "LM")
    return num_letters / max(1, num_visible)


def repeated_share(text: str) -> float:
    """Of the characters, white space around lines aside, those in lines that were there before."""
    lines = Counter(filter(None, map(str.strip, text.split("\n"))))
    size = sum(len(line) * count for line, count in lines.items())
    return sum(len(line) * (count - 1) for line, count in lines.items()) / max(1, size)

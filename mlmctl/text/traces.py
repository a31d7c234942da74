"""What text still has of the places it came through: markup, a wrong decoding, control characters."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_MARKUP = re.compile(
    r"</?(?:a|b|i|p|br|div|em|li|ul|ol|span|strong|table|td|tr|script|style|font|img|h[1-6])(?:\s[^<>]*)?/?>"
    r"|&(?:amp|lt|gt|quot|nbsp|apos|#\d{2,5}|#x[0-9a-f]{2,4});",
    re.IGNORECASE,
)
_MOJIBAKE = re.compile(r"[ÂÃ][\x80-\xbf]|â[\x80€][\x80-\xbf“”˜™œž¢¦]|ï»¿|ðŸ")
"""What UTF-8 becomes when it is read as Latin-1 or Windows-1252."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


class Traces:
    """Counts the documents that have each kind of trace, and keeps the place of the first."""

    def __init__(self) -> None:
        self.num_documents: Counter[str] = Counter()
        self.first: dict[str, tuple[str, str]] = {}
        """Kind -> where, and what was found."""

    def add(self, document: str, place: str) -> None:
        for kind, found in _of(document):
            self.num_documents[kind] += 1
            self.first.setdefault(kind, (place, found))


def _of(document: str) -> list[tuple[str, str]]:
    found = []
    if ("<" in document or "&" in document) and (match := _MARKUP.search(document)):
        found.append(("markup", match[0]))
    if not document.isascii():
        if match := _MOJIBAKE.search(document):
            found.append(("mojibake", match[0]))
        if "\ufffd" in document:
            found.append(("replacement", "U+FFFD"))
    if not document.isprintable() and (match := _CONTROL.search(document)):
        found.append(("control", f"U+{ord(match[0]):04X} ({unicodedata.category(match[0])})"))
    return found

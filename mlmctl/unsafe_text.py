"""Text from data and file names may hold characters that command whoever shows it: here they lose that power.

Escape sequences begin with a control character; overrides of the direction of writing make text read as
something that it is not; half a surrogate pair, as in the name of an undecodable file, is no text at all.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_DELETE, _PICTURES = 0x7F, 0x2400


def clean(text: str) -> str:
    """The text with a space for each such character: for a terminal."""
    return _UNSAFE.sub(" ", text)


def visible(text: str) -> str:
    """The text with each such character shown: `␛` for an escape, `␊` for a line feed, `‹U+202E›`."""
    return _UNSAFE.sub(lambda found: _picture(ord(found[0])), text)


def _picture(code: int) -> str:
    if code < ord(" "):
        return chr(_PICTURES + code)
    return "\u2421" if code == _DELETE else f"‹U+{code:04X}›"

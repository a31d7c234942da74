"""Byte-level byte-pair encoding: a vocabulary that starts from the 256 bytes, so nothing is ever unknown.

Vocabularies and merges are written in GPT-2's alphabet, which has a visible character for each byte: `Ġ`
is a space. Words are cut as GPT-2 cuts them (Radford et al. 2019), a space going with the word after it,
with one difference: combining marks stay with the letter or digit before them, where GPT-2 tears words of
Thai, Hindi or pointed Arabic apart at every mark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError
from .merges import Merged, merge

SPACE = "Ġ"
PATTERN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}[\p{L}\p{M}]*| ?\p{N}[\p{N}\p{M}]*| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)
"""How text is cut into words, in the library's syntax."""


def _alphabet() -> dict[str, int]:
    """Character -> byte: printable bytes of Latin-1 are themselves, the others follow from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    pairs = {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
    return dict(sorted(pairs.items()))


ALPHABET: Mapping[str, int] = _alphabet()
"""Character -> byte, sorted by character, as the library's trainer numbers them."""


def learn(counts: Mapping[str, int], num_pieces: int) -> Merged:
    """The 256 bytes and what is merged from them.

    Args:
        counts: how often each word occurs, in the alphabet above.
        num_pieces: how many pieces are wanted; fewer come back if the words have no more to give.

    Raises:
        UsageError `usage.vocab-size`: the bytes alone need more.
    """
    pieces = list(ALPHABET)
    if len(pieces) > num_pieces:
        raise UsageError(
            "usage.vocab-size",
            f"{num_pieces:,} places beside the special tokens are too few for the 256 bytes",
            where="tokenizer.vocab_size",
            hint="ask for a larger vocabulary with --vocab-size",
        )
    number = {piece: i for i, piece in enumerate(pieces)}
    ordered = sorted(counts)
    words = [[number[character] for character in word] for word in ordered]
    return merge(words, [counts[word] for word in ordered], pieces, num_pieces)


def to_bytes(piece: str) -> bytes | None:
    """The bytes a piece stands for; None if it is not written in the alphabet."""
    try:
        return bytes(ALPHABET[character] for character in piece)
    except KeyError:
        return None


def is_ours(pre_tokenizer: Mapping[str, Any]) -> bool:
    """Whether this part of a `tokenizer.json` cuts words by `PATTERN`."""
    split, level = (*pre_tokenizer.get("pretokenizers", ()), {}, {})[:2]
    return split.get("pattern") == {"Regex": PATTERN} and level.get("use_regex") is False

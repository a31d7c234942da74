"""The pieces of a vocabulary as people read them: their text, and whether they begin a word.

WordPiece marks what continues a word (`##`), byte-level BPE and SentencePiece mark a space (`Ġ`, `▁`).
Han, kana, Thai, Lao, Khmer and Myanmar letters are written without spaces: there every piece that begins
with a letter begins a word, since a whole clause is none.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models

from . import bytelevel
from .wordpiece import PREFIX

_METASPACE = "▁"
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # kana
    (0x31F0, 0x31FF),
    (0x3400, 0x9FFF),  # Han
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x20000, 0x3FFFF),
)
"""Code points, first to last."""


@dataclass(frozen=True)
class Pieces:
    """All pieces of a tokenizer by id; ids that nothing has are empty texts."""

    texts: list[str]
    """[vocab_size] As in running text: no `##`, a space for `Ġ`, `\\xe3` for a byte that is no letter."""
    begins_word: NDArray[np.bool_]
    """[vocab_size] True where the piece begins a word wherever it stands."""

    def shown(self, number: int) -> str:
        """The text without spaces at its ends; white space alone in a form that can be seen."""
        text = self.texts[number]
        return text.strip() or repr(text)[1:-1].replace(" ", "␣")


def of(tokenizer: Tokenizer) -> Pieces:
    """The pieces of a tokenizer, added tokens among them."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    markers = (tokenizer.pre_tokenizer, tokenizer.normalizer)
    is_byte_level = "ByteLevel" in {kind for part in markers for kind in kinds(described(part))}
    is_wordpiece = isinstance(tokenizer.model, models.WordPiece)
    texts = [""] * (max(vocabulary.values(), default=-1) + 1)
    begins_word = np.zeros(len(texts), bool)
    for piece, i in vocabulary.items():
        raw = bytelevel.to_bytes(piece) if is_byte_level else None
        if raw is not None:
            texts[i] = raw.decode(errors="backslashreplace")
            begins_word[i] = raw.startswith(b" ") or _is_unspaced(raw)
        elif is_wordpiece:
            continues = piece.startswith(PREFIX) and piece != PREFIX
            texts[i] = piece.removeprefix(PREFIX) if continues else piece
            begins_word[i] = not continues or _is_unspaced(texts[i].encode())
        else:
            texts[i] = piece.replace(_METASPACE, " ")
            begins_word[i] = texts[i].startswith(" ") or _is_unspaced(texts[i].encode())
    return Pieces(texts, begins_word)


def kinds(part: Any) -> Iterator[str]:
    """The kinds of a component of `tokenizer.json` and of what it is a sequence of."""
    if part is not None:
        yield str(part.get("type"))
        for name in ("normalizers", "pretokenizers", "processors", "decoders"):
            for inner in part.get(name, ()):
                yield from kinds(inner)


def described(component: Any) -> dict[str, Any] | None:
    """What a component of a tokenizer is, as `tokenizer.json` has it; None for none.

    Of components only: if ids have gaps, tokenizers before 0.23 says so on standard output whenever a whole
    tokenizer is written, and standard output is for results.
    """
    return None if component is None else json.loads(component.__getstate__())


def _is_unspaced(raw: bytes) -> bool:
    """Whether UTF-8 begins with a letter of a script without spaces, whatever follows if it is cut off."""
    if not raw or raw[0] < 0xE0:
        return False
    size = 3 if raw[0] < 0xF0 else 4
    for filling in (b"\x80", b"\xbf"):
        try:
            letter = raw[:size].ljust(size, filling).decode()
        except UnicodeDecodeError:
            return False
        code = ord(letter)
        if unicodedata.category(letter).startswith("M") or not any(a <= code <= b for a, b in _UNSPACED):
            return False
    return True

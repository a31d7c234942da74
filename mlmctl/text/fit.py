"""How a tokenizer fits a text: pieces a word, unknown tokens, tokens a byte, measured on a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from ..config import TokenizerConfig
from . import vocabulary
from .blocks import Blocks
from .encoding import Encoded, Encoder
from .words import WordCounter

_LITTLE = 2**16
"""Characters."""
_FEW_DOCUMENTS, _PIECE = 64, 4096
"""Fewer documents than these are cut into pieces of so many characters, so that there are two halves."""


@dataclass(frozen=True)
class Fit:
    """What a tokenizer made of some documents."""

    encoder: Encoder
    encoded: Encoded
    num_bytes: int
    """Of the documents, in UTF-8."""

    @property
    def num_tokens(self) -> int:
        return len(self.encoded.ids)

    @property
    def tokens_per_byte(self) -> float:
        return self.num_tokens / max(1, self.num_bytes)

    @property
    def tokens_per_word(self) -> float:
        return self.num_tokens / max(1, int(self.encoded.is_start.sum()))

    @property
    def unknown_share(self) -> float:
        return int((self.encoded.ids == self.encoder.specials.unk).sum()) / max(1, self.num_tokens)

    def blocks(self, block_length: int) -> Blocks:
        """The documents packed in memory."""
        has_tokens = self.encoded.lengths > 0
        return Blocks.packed(
            self.encoded.ids,
            self.encoded.lengths[has_tokens],
            self.encoded.is_start,
            block_length,
            self.encoder.specials,
        )


def measure(tokenizer: Tokenizer, documents: Sequence[str]) -> Fit:
    """Encode the documents with a tokenizer as `vocabulary.load` gives it."""
    encoder = Encoder(tokenizer)
    return Fit(encoder, encoder.encode(documents), sum(len(document.encode()) for document in documents))


def quickly_trained(config: TokenizerConfig, documents: Sequence[str]) -> tuple[Tokenizer, list[str]]:
    """A tokenizer trained on one half of the documents, and the other half, to measure it on.

    Where there is little text, half of it would leave most letters unknown: both are all of it then.
    UsageError `usage.vocab-size` if the characters alone need more entries than were asked for.
    """
    texts = list(documents)
    if len(texts) < _FEW_DOCUMENTS:
        texts = [text[start : start + _PIECE] for text in texts for start in range(0, len(text), _PIECE)]
    is_little = sum(map(len, texts)) < _LITTLE
    counter = WordCounter(vocabulary.untrained(config.cased, config.type))
    counter.count(texts if is_little else texts[::2])
    tokenizer = vocabulary.train(counter.words, config.vocab_size, config.cased, config.type)
    tokenizer.encode_special_tokens = True
    return tokenizer, texts if is_little else texts[1::2]

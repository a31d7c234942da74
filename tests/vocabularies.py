"""Small tokenizers for the tests: trained here, of both kinds, from a text with many scripts."""

from __future__ import annotations

from tokenizers import Tokenizer

from mlmctl.text import vocabulary
from mlmctl.text.vocabulary import Kind
from mlmctl.text.words import WordCounter

TEXT = (
    "The film was great, the film was bad. Große Straße; naïve café! 我喜欢电影 🙂 שלום "
    "kind kindness kindly unkind bad badly the a of film films filming Ὀδυσσεύς 12 123 don't"
)
SIZES: dict[Kind, int] = {"wordpiece": 220, "bpe": 340}
KINDS: tuple[Kind, ...] = ("wordpiece", "bpe")


def counted(texts: list[str], cased: bool = False, kind: Kind = "wordpiece") -> WordCounter:
    """The words of some documents as that kind of tokenizer sees them."""
    counter = WordCounter(vocabulary.untrained(cased, kind))
    counter.count(texts)
    return counter


def trained(
    size: int | None = None, cased: bool = False, text: str = TEXT, kind: Kind = "wordpiece"
) -> Tokenizer:
    """A tokenizer of at most `size` tokens."""
    return vocabulary.train(counted([text] * 3, cased, kind).words, size or SIZES[kind], cased, kind)

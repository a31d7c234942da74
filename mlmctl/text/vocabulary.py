"""Tokenizers: how text is normalised and split, a vocabulary counted and trained, a folder read again.

A tokenizer normalises (NFC; control and format characters removed; lower case unless cased; accents
kept; CJK characters set apart), splits at white space and punctuation, and takes the longest WordPieces.
Nothing of that reaches across white space. So words are counted, and encoded, once for each distinct
stretch between blanks and not once for each time it occurs.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ..errors import ArtifactError
from . import wordpiece
from .specials import NAMES, Specials

MODEL_MAX_LENGTH = 512
MAX_WORD = 100
"""Characters: a longer word is `[UNK]`."""

_MAX_STRETCHES = 2**18
_MAX_CHARACTERS = 2**25
_MAX_WORDS = 2**19
_BATCH = 2**22
_ASCII_WORDS = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]").findall
_SAFE = {
    "normalizer": {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase", "StripAccents"}
    | {"Strip", "Replace", "Prepend"},
    "pre_tokenizer": {"Sequence", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel"}
    | {"Metaspace", "Punctuation", "Digits", "Split"},
    "model": {"WordPiece", "BPE", "Unigram", "WordLevel"},
    "post_processor": {"Sequence", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel"},
    "decoder": {"Sequence", "WordPiece", "ByteLevel", "Metaspace", "BPEDecoder", "ByteFallback", "Fuse"}
    | {"Replace", "Strip"},
}


class WordCounter:
    """Counts normalised words in bounded memory: when there are too many, the rarest are forgotten."""

    def __init__(self, cased: bool) -> None:
        self.words: Counter[str] = Counter()
        self.num_words = 0
        self.num_forgotten = 0
        """Occurrences of words that were dropped to bound the memory."""
        self._cased = cased
        self._normalizer, self._splitter = _normalizer(cased), pre_tokenizers.BertPreTokenizer()
        self._stretches: Counter[str] = Counter()

    def count(self, documents: Iterable[str]) -> None:
        size = 0
        for document in documents:
            self._stretches.update(stretches(document))
            size += len(document)
            if size >= _BATCH:
                size = 0
                if len(self._stretches) > _MAX_STRETCHES or sum(map(len, self._stretches)) > _MAX_CHARACTERS:
                    self._flush()
        self._flush()

    def _flush(self) -> None:
        for stretch, count in self._stretches.items():
            words = ascii_words(stretch if self._cased else stretch.lower())
            if words is None:
                normal = self._normalizer.normalize_str(stretch)
                words = [word for word, _ in self._splitter.pre_tokenize_str(normal)]
            self.num_words += count * len(words)
            for word in words:
                if len(word) <= MAX_WORD:
                    self.words[word] += count
        self._stretches.clear()
        if len(self.words) > _MAX_WORDS:
            ranked = sorted(self.words, key=lambda word: (-self.words[word], word))
            for word in ranked[_MAX_WORDS // 2 :]:
                self.num_forgotten += self.words.pop(word)


def stretches(document: str) -> list[str]:
    """The document cut at blanks, newlines and tabs; some stretches are empty."""
    return document.replace("\n", " ").replace("\t", " ").split(" ")


def ascii_words(stretch: str) -> list[str] | None:
    """The words of a stretch of printable ASCII, None for any other.

    What `BertPreTokenizer` does with ASCII, ten times faster than a call of the library; a test compares.
    """
    return _ASCII_WORDS(stretch) if stretch.isascii() and stretch.isprintable() else None


def train(counts: Counter[str], vocab_size: int, cased: bool) -> Tokenizer:
    """A WordPiece tokenizer of at most `vocab_size` tokens, the special ones first (ids 0 to 4)."""
    specials = list(NAMES.values())
    pieces = wordpiece.learn(counts, vocab_size - len(specials))
    vocabulary = {token: i for i, token in enumerate([*specials, *pieces])}
    tokenizer = Tokenizer(
        models.WordPiece(
            vocabulary,
            unk_token=NAMES["unk"],
            max_input_chars_per_word=MAX_WORD,
            continuing_subword_prefix=wordpiece.PREFIX,
        )
    )
    tokenizer.normalizer = _normalizer(cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{NAMES['cls']} $A {NAMES['sep']}",
        pair=f"{NAMES['cls']} $A {NAMES['sep']} $B:1 {NAMES['sep']}:1",
        special_tokens=[(NAMES[name], vocabulary[NAMES[name]]) for name in ("cls", "sep")],
    )
    tokenizer.decoder = decoders.WordPiece(prefix=wordpiece.PREFIX)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def save(content: str, folder: Path) -> None:
    """Write `tokenizer.json` (its text as given) and what `AutoTokenizer` wants beside it.

    `PreTrainedTokenizerFast` takes everything from `tokenizer.json`, in transformers 4 and 5 alike.
    """
    (folder / "tokenizer.json").write_bytes(content.encode())
    tokens = {f"{name}_token": token for name, token in NAMES.items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": MODEL_MAX_LENGTH,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **tokens,
    }
    for name, fields in {"tokenizer_config.json": config, "special_tokens_map.json": tokens}.items():
        (folder / name).write_bytes(json.dumps(fields, indent=1, sort_keys=True).encode() + b"\n")


def load(folder: Path) -> Tokenizer:
    """The tokenizer in a folder, for encoding corpora: special tokens in the text are ordinary text.

    ArtifactError if it is missing, damaged, has components we do not know or lacks a special token.
    """
    path = folder / "tokenizer.json"
    try:
        content = path.read_bytes().decode()
        parts = json.loads(content)
        tokenizer = Tokenizer.from_str(content)
    except FileNotFoundError:
        raise ArtifactError("artifact.missing-file", "does not exist", where=str(path)) from None
    except OSError:
        raise
    except Exception as error:  # the library raises bare Exception for JSON that is no tokenizer
        raise ArtifactError("artifact.tokenizer", f"is not a tokenizer: {error}", where=str(path)) from None
    for name, known in _SAFE.items():
        for kind in _kinds(parts.get(name)):
            if kind not in known:
                raise ArtifactError(
                    "artifact.tokenizer", f"has a {name} of the unknown kind {kind!r}", where=str(path)
                )
    missing = [token for token in NAMES.values() if tokenizer.token_to_id(token) is None]
    if missing:
        raise ArtifactError(
            "artifact.tokenizer",
            f"lacks the special tokens {' '.join(missing)}",
            where=str(path),
            hint="a tokenizer used here has " + " ".join(NAMES.values()),
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def special_ids(tokenizer: Tokenizer) -> Specials:
    """The special tokens of a tokenizer and the size of its vocabulary."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    ids = {name: vocabulary[token] for name, token in NAMES.items()}
    added = tokenizer.get_added_tokens_decoder()
    others = sorted(i for i, token in added.items() if token.special and i not in ids.values())
    # Ids may have gaps, and a model needs a row for the highest.
    vocab_size = max(vocabulary.values()) + 1
    return Specials(**ids, vocab_size=vocab_size, others=tuple(others))


def _normalizer(cased: bool) -> normalizers.Normalizer:
    bert = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=not cased
    )
    return normalizers.Sequence([normalizers.NFC(), bert])


def _kinds(part: Any) -> list[str]:
    """The kinds of a component of `tokenizer.json` and of what it is a sequence of."""
    if part is None:
        return []
    inner = [
        p for name in ("normalizers", "pretokenizers", "processors", "decoders") for p in part.get(name, ())
    ]
    return [str(part.get("type")), *(kind for p in inner for kind in _kinds(p))]

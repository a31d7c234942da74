"""Tokenizers: what they are made of, how one is trained, a folder written and read again.

WordPiece normalises (NFC; control and format characters removed; lower case unless cased; accents kept;
CJK characters set apart), splits at white space and punctuation, and takes the longest pieces. Byte-level
BPE normalises (lower case unless cased; NFC), keeps every character, and merges bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from ..errors import ArtifactError
from . import bytelevel, wordpiece
from .pieces import kinds
from .specials import NAMES, Specials
from .words import MAX_WORD

MODEL_MAX_LENGTH = 512
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


Kind = Literal["wordpiece", "bpe"]
"""The kinds of tokenizer that are trained here."""


def untrained(cased: bool, kind: Kind = "wordpiece") -> Tokenizer:
    """A tokenizer that normalises and splits and knows no word."""
    tokenizer = Tokenizer(models.WordPiece({}) if kind == "wordpiece" else models.BPE())
    if kind == "wordpiece":
        bert = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=not cased
        )
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), bert])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece(prefix=wordpiece.PREFIX)
    else:
        lower = [] if cased else [normalizers.Lowercase()]
        tokenizer.normalizer = normalizers.Sequence([*lower, normalizers.NFC()])
        split = pre_tokenizers.Split(Regex(bytelevel.PATTERN), "isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, level])
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(counts: Mapping[str, int], vocab_size: int, cased: bool, kind: Kind = "wordpiece") -> Tokenizer:
    """A tokenizer of at most `vocab_size` tokens, the special ones first (ids 0 to 4).

    Args:
        counts: how often each word occurs, from a `WordCounter` of the same `untrained` tokenizer.

    Raises:
        UsageError `usage.vocab-size`: what there must be at least needs more.
    """
    specials = list(NAMES.values())
    tokenizer = untrained(cased, kind)
    if kind == "wordpiece":
        pieces = wordpiece.learn(counts, vocab_size - len(specials))
        tokenizer.model = models.WordPiece(
            _numbered([*specials, *pieces]),
            unk_token=NAMES["unk"],
            max_input_chars_per_word=MAX_WORD,
            continuing_subword_prefix=wordpiece.PREFIX,
        )
    else:
        learned = bytelevel.learn(counts, vocab_size - len(specials))
        merges = [(learned.pieces[left], learned.pieces[right]) for left, right in learned.merges]
        tokenizer.model = models.BPE(_numbered([*specials, *learned.pieces]), merges)
    template = processors.TemplateProcessing(
        single=f"{NAMES['cls']} $A {NAMES['sep']}",
        pair=f"{NAMES['cls']} $A {NAMES['sep']} $B:1 {NAMES['sep']}:1",
        special_tokens=[(NAMES[name], specials.index(NAMES[name])) for name in ("cls", "sep")],
    )
    # Offsets without the space that goes with a word: what asks for a place in the text wants the word.
    trimmed = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    tokenizer.post_processor = template if kind == "wordpiece" else trimmed
    # A space before a mask belongs to the word that is hidden, where spaces are part of tokens.
    tokenizer.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False, lstrip=kind == "bpe" and name == NAMES["mask"])
            for name in specials
        ]
    )
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
        for kind in kinds(parts.get(name)):
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


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}

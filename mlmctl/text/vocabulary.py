"""Tokenizers: what they are made of, how one is trained, a folder written and read again.

WordPiece normalises (NFC; control and format characters removed; lower case unless cased; accents kept;
CJK characters set apart), splits at white space and punctuation, and takes the longest pieces. Byte-level
BPE normalises (lower case unless cased; NFC), keeps every character, and merges bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
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
from ..json_files import indented
from . import bytelevel, imported, wordpiece
from .pieces import described, kinds
from .specials import NAMES, ROBERTA_NAMES, Specials
from .words import MAX_WORD

MODEL_MAX_LENGTH = 512
"""What a tokenizer says of the longest input as long as it belongs to no encoder."""

_SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
"""A special token in the terms of `tokenizer.json`."""

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
    tokenizer.post_processor = _template(NAMES, specials.index, is_byte_level=kind == "bpe")
    # A space before a mask belongs to the word that is hidden, where spaces are part of tokens.
    tokenizer.add_special_tokens(
        [
            AddedToken(name, special=True, normalized=False, lstrip=kind == "bpe" and name == NAMES["mask"])
            for name in specials
        ]
    )
    return tokenizer


def save(
    content: str, folder: Path, names: Mapping[str, str] = NAMES, max_length: int = MODEL_MAX_LENGTH
) -> None:
    """Write `tokenizer.json` (its text as given) and what `AutoTokenizer` wants beside it.

    `names` are its special tokens by role; `max_length` the tokens that its encoder has positions for.
    `PreTrainedTokenizerFast` takes everything from `tokenizer.json`, in transformers 4 and 5 alike.
    """
    (folder / "tokenizer.json").write_bytes(content.encode())
    tokens = {f"{role}_token": token for role, token in names.items()}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **tokens,
    }
    for name, fields in {"tokenizer_config.json": config, "special_tokens_map.json": tokens}.items():
        (folder / name).write_bytes(indented(fields, sort_keys=True))


def load(folder: Path, *, with_mask: bool = False) -> Tokenizer:
    """The tokenizer in a folder, for encoding corpora: special tokens in the text are ordinary text.

    But for the mask `with_mask`: there it is the token. ArtifactError if the tokenizer is missing, damaged,
    has components we do not know or lacks a special token.
    """
    path = folder / "tokenizer.json"
    content, tokenizer, names = _read(path)
    if with_mask:
        parts = json.loads(content)
        added = {token["content"]: token for token in parts.get("added_tokens") or []}
        # An added token that is not special is found in every text.
        mask = {"content": names["mask"], "id": tokenizer.token_to_id(names["mask"])}
        added[names["mask"]] = {**_SPECIAL, **mask, **added.get(names["mask"], {}), "special": False}
        parts["added_tokens"] = sorted(added.values(), key=itemgetter("id"))
        tokenizer = Tokenizer.from_str(json.dumps(parts))
    return _for_corpora(tokenizer, path, [names["mask"]] if with_mask else [])


@dataclass(frozen=True)
class Fitted:
    """A tokenizer in the form that ours have."""

    content: str
    """The text of its `tokenizer.json`; what needed no change stays as it was, byte for byte."""
    changes: Sequence[str]
    """What had to be changed. Ids never are."""
    tokenizer: Tokenizer
    """As `load` gives it."""

    def save(self, folder: Path, max_length: int = MODEL_MAX_LENGTH) -> None:
        """See `save`. Written anew and not copied: a stranger's tokenizer_config.json may point to code."""
        save(self.content, folder, special_names(self.tokenizer), max_length)


def fitted(folder: Path) -> Fitted:
    """The tokenizer in a folder, put into the form that ours have.

    Each text gets `[CLS] text [SEP]`, each pair `[CLS] text [SEP] text [SEP]`, by these or by RoBERTa's names
    (stock RoBERTa has two separators between the texts of a pair, where a question's windows have one); the
    five are marked as special, nothing is cut or padded. ArtifactError as for `load`.
    """
    path = folder / "tokenizer.json"
    content, tokenizer, names = _read(path)
    parts, changes = json.loads(content), []
    if tokenizer.truncation or tokenizer.padding:
        parts |= {"truncation": None, "padding": None}
        tokenizer.no_truncation()
        tokenizer.no_padding()
        changes.append("it no longer cuts or pads")
    number = tokenizer.get_vocab(with_added_tokens=True).__getitem__
    marked = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    unmarked = [name for name in names.values() if name not in marked]
    if unmarked:
        others = [token for token in parts.get("added_tokens") or [] if token["content"] not in unmarked]
        special = [{**_SPECIAL, "id": number(name), "content": name} for name in unmarked]
        parts["added_tokens"] = sorted([*others, *special], key=itemgetter("id"))
        changes.append(f"{' '.join(unmarked)} marked as special")
    ids = tokenizer.encode("a", add_special_tokens=False).ids
    single = [number(names["cls"]), *ids, number(names["sep"])]
    around = None
    if tokenizer.encode("a").ids != single:
        around = f"{names['cls']} text {names['sep']} is put around a text"
    elif tokenizer.encode("a", "a").ids != [*single, *single[1:]]:
        around = f"one {names['sep']} is put between the texts of a pair"
    if around:
        is_byte_level = "ByteLevel" in kinds(parts.get("pre_tokenizer"))
        parts["post_processor"] = described(_template(names, number, is_byte_level))
        changes.append(around)
    if changes:
        content = json.dumps(parts, indent=2, ensure_ascii=False)
        tokenizer = Tokenizer.from_str(content)
    return Fitted(content, changes, _for_corpora(tokenizer, path))


def _read(path: Path) -> tuple[str, Tokenizer, Mapping[str, str]]:
    """The text of a `tokenizer.json`, the tokenizer as it describes it, and its special tokens by role."""
    content, tokenizer = imported.read(path)
    names = _known_names(tokenizer)
    if names is None:
        raise _without_specials(tokenizer, path)
    return content, tokenizer, names


def _for_corpora(tokenizer: Tokenizer, path: Path, meant: Sequence[str] = ()) -> Tokenizer:
    """For texts in which special tokens are text, but for those that are `meant`."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    _make_specials_text(tokenizer, path, meant)
    return tokenizer


def special_names(tokenizer: Tokenizer) -> Mapping[str, str]:
    """The special tokens by role; BERT's if it has neither set."""
    return _known_names(tokenizer) or NAMES


def special_ids(tokenizer: Tokenizer) -> Specials:
    """The special tokens of a tokenizer and the size of its vocabulary."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    ids = {role: vocabulary[token] for role, token in special_names(tokenizer).items()}
    added = tokenizer.get_added_tokens_decoder()
    others = sorted(i for i, token in added.items() if token.special and i not in ids.values())
    # Ids may have gaps, and a model needs a row for the highest.
    vocab_size = max(vocabulary.values()) + 1
    return Specials(**ids, vocab_size=vocab_size, others=tuple(others))


def _known_names(tokenizer: Tokenizer) -> Mapping[str, str] | None:
    """BERT's or RoBERTa's names, whichever are all there; of both those that are marked as special."""
    complete = [names for names in (NAMES, ROBERTA_NAMES) if not _missing(tokenizer, names)]
    marked = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    return max(complete, key=lambda names: len(marked.intersection(names.values())), default=None)


def _missing(tokenizer: Tokenizer, names: Mapping[str, str]) -> list[str]:
    return [token for token in names.values() if tokenizer.token_to_id(token) is None]


def _without_specials(tokenizer: Tokenizer, path: Path) -> ArtifactError:
    missing = min((_missing(tokenizer, names) for names in (NAMES, ROBERTA_NAMES)), key=len)
    known = " ".join(NAMES.values()), " ".join(ROBERTA_NAMES.values())
    return ArtifactError(
        "artifact.tokenizer",
        f"lacks the special tokens {' '.join(missing)}",
        where=str(path),
        hint=f"a tokenizer used here has {known[0]} or {known[1]}",
    )


def _make_specials_text(tokenizer: Tokenizer, path: Path, meant: Sequence[str]) -> None:
    """See to it that `<s>` written in a text is no special token, where the model itself has that piece.

    Unigram does, and whatever splits at white space only: there such a text gets a space inside.
    """
    specials = special_ids(tokenizer)
    hidden = {*specials.others, specials.pad, specials.cls, specials.sep, specials.mask}
    hidden -= {tokenizer.token_to_id(name) for name in meant}
    names = [name for i, name in sorted(_contents(tokenizer).items()) if i in hidden]

    def leaking() -> list[str]:
        texts = {name: tokenizer.encode(f"{name} a{name}a", add_special_tokens=False).ids for name in names}
        return [name for name, ids in texts.items() if not hidden.isdisjoint(ids)]

    if found := leaking():
        first = [tokenizer.normalizer] if tokenizer.normalizer else []
        broken = [normalizers.Replace(name, f"{name[0]} {name[1:]}") for name in found]
        tokenizer.normalizer = normalizers.Sequence([*first, *broken])
    if found and leaking():
        message = f"takes {found[0]} in a text for the special token"
        raise ArtifactError("artifact.tokenizer", message, where=str(path))


def _contents(tokenizer: Tokenizer) -> dict[int, str]:
    return {i: token for token, i in tokenizer.get_vocab(with_added_tokens=True).items()}


def _template(
    names: Mapping[str, str], number: Callable[[str], int], is_byte_level: bool
) -> processors.PostProcessor:
    cls, sep = names["cls"], names["sep"]
    template = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {sep} $B:1 {sep}:1",
        special_tokens=[(token, number(token)) for token in (cls, sep)],
    )
    # Offsets without the space that goes with a word: what asks for a place in the text wants the word.
    trimmed = processors.Sequence([processors.ByteLevel(trim_offsets=True), template])
    return trimmed if is_byte_level else template


def _numbered(tokens: Sequence[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate(tokens)}

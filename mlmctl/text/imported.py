"""A tokenizer made elsewhere: looked at before it is used, and put into the form that ours have.

`tokenizer.json` holds data and names of the library's own components; there is no code in it, and what
lies beside it is never read. What is refused here is what we do not know, what would give other tokens
each time, and what would take memory or time without bound.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..errors import ArtifactError, MlmctlError
from .pieces import kinds

MAX_BYTES = 2**26
MAX_VOCABULARY = 2**20
_MAX_PARTS = 3 * 2**18
"""Lists and objects in the file (merges are pairs): each takes 60 bytes and a microsecond to parse."""

_KNOWN = {
    "normalizer": {"Sequence", "NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase", "StripAccents"}
    | {"Strip", "Replace", "Prepend", "Nmt", "Precompiled", "ByteLevel"},
    "pre_tokenizer": {"Sequence", "BertPreTokenizer", "Whitespace", "WhitespaceSplit", "ByteLevel"}
    | {"Metaspace", "Punctuation", "Digits", "Split"},
    "model": {"WordPiece", "BPE", "Unigram", "WordLevel"},
    "post_processor": {"Sequence", "TemplateProcessing", "BertProcessing", "RobertaProcessing", "ByteLevel"},
    "decoder": {"Sequence", "WordPiece", "ByteLevel", "Metaspace", "BPEDecoder", "ByteFallback", "Fuse"}
    | {"Replace", "Strip"},
}
_PROBE = "A probe, naïve 我\u2603 12\n"


def read(path: Path) -> tuple[str, Tokenizer]:
    """The text of a `tokenizer.json` and the tokenizer it describes.

    ArtifactError if it is missing, too large, damaged, made of components we do not know, or not
    deterministic.
    """
    content, parts = parse(path)
    found = _fault(parts)
    if found:
        raise _refusal(path, found)
    with library(str(path)):
        text = content.decode()
        tokenizer = Tokenizer.from_str(text)
        tokenizer.encode(_PROBE)
    return text, tokenizer


def parse(path: Path) -> tuple[bytes, Any]:
    """The content of a `tokenizer.json` and the JSON it is.

    ArtifactError if it is missing, too large or none.
    """
    if not path.exists():
        hint = "AutoTokenizer.from_pretrained(...).save_pretrained(...) of transformers writes one"
        raise ArtifactError("artifact.missing-file", "does not exist", where=str(path), hint=hint)
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise _refusal(path, f"is not a file of at most {MAX_BYTES:,} bytes")
    content = path.read_bytes()
    if content.count(b"{") + content.count(b"[") > _MAX_PARTS:
        raise _refusal(path, "is nested or cut up beyond what a tokenizer can be")
    try:
        return content, json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, f"is not a tokenizer: {error}") from None


@contextmanager
def library(where: str) -> Iterator[None]:
    """Whatever the library says of a tokenizer it cannot use becomes an ArtifactError.

    It raises bare `Exception`, and `PanicException`, which is none, where its own code gives up.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, OSError | MlmctlError) or not (
            isinstance(error, Exception) or type(error).__name__ == "PanicException"
        ):
            raise
        raise ArtifactError("artifact.tokenizer", f"is not a tokenizer: {error}", where=where) from None


def _fault(parts: Any) -> str | None:
    """What is wrong with the parsed file, before the library sees it."""
    if not isinstance(parts, dict) or not isinstance(parts.get("model"), dict):
        return "is not a tokenizer: it has no model"
    for name, known in _KNOWN.items():
        try:
            unknown = [kind for kind in kinds(parts.get(name)) if kind not in known]
        except (AttributeError, TypeError, RecursionError):
            return f"is not a tokenizer: its {name} cannot be read"
        if unknown:
            return f"has a {name} of the unknown kind {unknown[0]!r}"
    if parts["model"].get("dropout"):
        return "drops merges at random: the same text would give other tokens each time"
    return _vocabulary_fault(parts["model"].get("vocab"), parts.get("added_tokens") or [])


def _vocabulary_fault(vocabulary: Any, added: Any) -> str | None:
    if not isinstance(vocabulary, dict | list) or not isinstance(added, list):
        return "is not a tokenizer: it has no vocabulary"
    ids = list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary)))
    ids += [token.get("id") if isinstance(token, dict) else None for token in added]
    if not all(type(number) is int for number in ids):
        return "is not a tokenizer: an id is not a number"
    if not ids or min(ids) < 0 or max(ids) >= MAX_VOCABULARY:
        return f"has ids that are not between 0 and {MAX_VOCABULARY:,}"
    if isinstance(vocabulary, dict) and len(set(vocabulary.values())) < len(vocabulary):
        return "gives one id to two pieces"
    return None


def _refusal(path: Path, found: str) -> ArtifactError:
    return ArtifactError("artifact.tokenizer", found, where=str(path))

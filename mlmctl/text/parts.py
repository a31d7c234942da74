"""Parts: tokenized stretches of a corpus on disk, found again by their content after a kill.

A part holds some millions of characters of documents: flat ids, how long each document is, where words
start, and a hash and a size of each document's text; where near-duplicates are looked for, its signature
too. The key of a part is made of the text, the tokenizer and what makes the signatures, so a part that is
there under the key is the right one wherever the text now lies.
"""

from __future__ import annotations

import hashlib
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..artifact import Header, open_artifact, publish
from ..errors import ArtifactError
from . import near_duplicates
from .blocks import id_dtype
from .encoding import Encoder
from .npy import open_array

PART_CHARACTERS = 2**22


@dataclass(frozen=True)
class Part:
    """One part on disk; the arrays are read when they are asked for."""

    folder: Path
    num_documents: int

    def ids(self) -> NDArray[np.int64]:
        """[num_tokens]"""
        return self._array("ids").astype(np.int64)

    def is_start(self) -> NDArray[np.bool_]:
        """[num_tokens]"""
        bits = self._array("words")
        return np.unpackbits(bits, count=int(self.lengths().sum())).astype(bool)

    def lengths(self) -> NDArray[np.int64]:
        """[num_documents] in tokens; may be 0."""
        return self._array("lengths")

    def num_bytes(self) -> NDArray[np.int64]:
        """[num_documents] of the text in UTF-8."""
        return self._array("bytes")

    def hashes(self) -> NDArray[np.uint64]:
        """[num_documents, 2] of the text in NFC with single spaces."""
        return self._array("hashes")

    def signatures(self) -> near_duplicates.Signatures:
        """[num_documents, places], memory-mapped; only of parts that were made with them."""
        return open_array(self.folder / "signatures.npy", np.dtype(np.uint16))

    def _array(self, name: str) -> NDArray[Any]:
        return open_array(self.folder / f"{name}.npy", memory_mapped=False)


def make(
    documents: Iterable[str],
    encoder: Encoder,
    tokenizer_hash: str,
    folder: Path,
    signed_by: str = "",
) -> Iterator[Part]:
    """Tokenize documents into parts below `folder`, in order; what is there already is taken as it is.

    With `signed_by`, which is `near_duplicates.method()`, the parts have signatures.
    """
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document)
        if size >= PART_CHARACTERS:
            yield _part(batch, encoder, tokenizer_hash, folder, signed_by)
            batch, size = [], 0
    if batch:
        yield _part(batch, encoder, tokenizer_hash, folder, signed_by)


def _part(documents: list[str], encoder: Encoder, tokenizer_hash: str, folder: Path, signed_by: str) -> Part:
    content = hashlib.sha256()
    for document in documents:
        content.update(f"{len(document)}\n{document}".encode())
    made_from = {"tokenizer": tokenizer_hash, "text": content.hexdigest()}
    if signed_by:
        made_from["signatures"] = signed_by
    header = Header("mask/part", made_from)
    target = folder / header.key[:32]
    if target.exists():
        try:
            open_artifact(target)
            return Part(target, len(documents))
        except ArtifactError:
            shutil.rmtree(target)
    encoded = encoder.encode(documents)
    arrays = {
        "ids": encoded.ids.astype(id_dtype(encoder.specials.vocab_size)),
        "words": np.packbits(encoded.is_start),
        "lengths": encoded.lengths,
        "bytes": np.array([_utf8_size(document) for document in documents], np.int64),
        "hashes": np.frombuffer(b"".join(map(_hash, documents)), "<u8").reshape(-1, 2),
    }
    if signed_by:
        arrays["signatures"] = near_duplicates.signatures(documents)
    with publish(target, header) as draft:
        for name, array in arrays.items():
            np.save(draft.path / f"{name}.npy", array, allow_pickle=False)
    return Part(target, len(documents))


def _hash(document: str) -> bytes:
    text = " ".join(document.split())
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _utf8_size(document: str) -> int:
    return len(document) if document.isascii() else len(document.encode())

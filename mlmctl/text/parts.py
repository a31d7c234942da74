"""Parts: tokenized stretches of a corpus on disk, found again by their content after a kill.

A part holds up to some millions of characters of documents: flat ids, how long each document is, where
words start, and a hash and a size of each document's text; where near-duplicates are looked for, its
signature too. Its key is made of the text and the tokenizer, so a part that is there under the key is the
right one wherever the text now lies.

Where a part ends follows from the text near that place: adding, removing or changing a document or a file
leaves the parts of the others as they were.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import secrets
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..manifest import digest
from ..storage import TEMPORARY, sha256_file
from . import near_duplicates, vocabulary, workers
from .blocks import id_dtype
from .earlier import Earlier
from .encoding import Encoded, Encoder

PART_CHARACTERS = 2**22
"""A part is ended by a document that makes it so long, or before by one that its content chose."""

_FILE_BYTES = 2**16
"""A file of that size shares no part with another; smaller ones do, or there would be a part for each."""

_FORMAT = 2
_ORDER = ("signatures", "lengths", "bytes", "hashes", "words", "ids")
"""The arrays of a file; the first only where it is asked for, and there it is mapped into memory."""
_CHECK = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Part:
    """One part on disk; the arrays are read when they are asked for."""

    path: Path
    num_documents: int
    num_encoded: int = 0
    """Documents that had to be tokenized for it; the others were found."""

    @property
    def key(self) -> str:
        """That of the ids, whether there are signatures or not."""
        return self.path.name.partition(".")[0]

    def ids(self) -> NDArray[np.int64]:
        """[num_tokens]"""
        return self._array("ids").astype(np.int64)

    def is_start(self) -> NDArray[np.bool_]:
        """[num_tokens]"""
        return np.unpackbits(self._array("words"), count=int(self.lengths().sum())).astype(bool)

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
        """[num_documents, places], memory-mapped; ValueError for a part that was made without them."""
        if not self._is_signed:
            raise ValueError(f"{self.path.name} has no signatures")
        with self.path.open("rb") as file:
            npy.read_magic(file)
            shape, _, dtype = npy.read_array_header_1_0(file)
            mapped: near_duplicates.Signatures = np.memmap(self.path, dtype, "r", file.tell(), shape)
            return mapped

    @property
    def _is_signed(self) -> bool:
        return "." in self.path.name

    def _array(self, name: str) -> NDArray[Any]:
        names = _ORDER if self._is_signed else _ORDER[1:]
        with self.path.open("rb") as file:
            for _ in range(names.index(name) + 1):
                array: NDArray[Any] = np.load(file, allow_pickle=False)
            return array


def make(
    documents: Iterable[str],
    group_of: Callable[[], int],
    tokenizer: Path,
    folder: Path,
    earlier: Path | None = None,
    num_workers: int = 1,
    signed_by: str = "",
) -> Iterator[Part]:
    """Tokenize documents into parts below `folder`, in order; what is known already is taken from there.

    Args:
        documents: the texts.
        group_of: the group (see `groups`) of the file that the last document came from.
        tokenizer: the folder of a tokenizer.
        folder: where parts are written, and those of a run that was killed are found.
        earlier: a `mask/blocks`, from which the ids of the parts it was made of are taken.
        num_workers: processes that tokenize; the parts are the same for any number.
        signed_by: `near_duplicates.method()`, for parts with signatures.
    """
    yield from make_batches(cut(documents, group_of), tokenizer, folder, earlier, num_workers, signed_by)


def make_batches(
    batches: Iterable[list[str]],
    tokenizer: Path,
    folder: Path,
    earlier: Path | None,
    num_workers: int,
    signed_by: str,
) -> Iterator[Part]:
    """The same of batches of documents that are cut already, by `cut`."""
    folder.mkdir(parents=True, exist_ok=True)
    setup = partial(Maker, tokenizer, folder, earlier, signed_by)
    with closing(workers.in_order(setup, batches, num_workers)) as made:
        yield from made


def groups(sizes: Sequence[int]) -> list[int]:
    """The number of the group of each file, given their bytes: only small neighbours share one."""
    is_large = [size >= _FILE_BYTES for size in sizes]
    begins = [now or before for before, now in zip([False, *is_large], is_large, strict=False)]
    return list(itertools.accumulate(map(int, begins)))


def cut(documents: Iterable[str], group_of: Callable[[], int]) -> Iterator[list[str]]:
    """The documents of each part.

    A part ends with its group of files. Within one, a document ends a part by a hash of its content, more
    likely the longer it is (content-defined chunking, Muthitacharoen et al. 2001, "A low-bandwidth network
    file system"): a part has half of `PART_CHARACTERS` on average, and behind any change the same parts
    come again.
    """
    batch: list[str] = []
    size = group = 0
    mean = PART_CHARACTERS // 2
    for document in documents:
        before, group = group, group_of()
        if batch and group != before:
            yield batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
        if size >= PART_CHARACTERS or zlib.crc32(document.encode()) * mean < len(document) << 32:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


class Maker:
    """Makes the part of a batch of documents, or finds it."""

    def __init__(
        self, tokenizer: Path, folder: Path, earlier: Path | None = None, signed_by: str = ""
    ) -> None:
        self._encoder = Encoder(vocabulary.load(tokenizer))
        self._tokenizer_hash = sha256_file(tokenizer / "tokenizer.json")
        self._folder = folder
        self._suffix = f".{digest(signed_by)[:8]}" if signed_by else ""
        self._earlier = Earlier.open(earlier, self._tokenizer_hash) if earlier else None
        self._dtype = id_dtype(self._encoder.specials.vocab_size)

    def __call__(self, documents: list[str]) -> Part:
        content = hashlib.sha256()
        for document in documents:
            content.update(f"{len(document)}\n{document}".encode())
        key = digest(["mask/part", _FORMAT, self._tokenizer_hash, content.hexdigest()])[:32]
        path = self._folder / f"{key}{self._suffix}"
        if _is_whole(path):
            return Part(path, len(documents))
        encoded, num_encoded = self._encoded(key, documents)
        arrays = {
            "lengths": encoded.lengths,
            "bytes": np.array([_utf8_size(document) for document in documents], np.int64),
            "hashes": np.frombuffer(b"".join(map(_hash, documents)), "<u8").reshape(-1, 2),
            "words": np.packbits(encoded.is_start),
            "ids": encoded.ids.astype(self._dtype),
        }
        if self._suffix:
            arrays["signatures"] = near_duplicates.signatures(documents)
        _write(path, [arrays[name] for name in _ORDER if name in arrays])
        return Part(path, len(documents), num_encoded)

    def _encoded(self, key: str, documents: Sequence[str]) -> tuple[Encoded, int]:
        found = self._earlier.find(key) if self._earlier else None
        if found is None or len(found.encoded.lengths) != len(documents):
            return self._encoder.encode(documents), len(documents)
        missing = np.flatnonzero(found.is_missing)
        if len(missing):
            again = self._encoder.encode([documents[i] for i in missing.tolist()])
            of_token = np.repeat(found.is_missing, found.encoded.lengths)
            found.encoded.ids[of_token], found.encoded.is_start[of_token] = again.ids, again.is_start
        return found.encoded, len(missing)


def _write(path: Path, arrays: Sequence[NDArray[Any]]) -> None:
    """The arrays one behind the other, and a SHA-256 of it all.

    No fsync: a part that a power cut left torn is seen by its hash, and made again.
    """
    content = io.BytesIO()
    for array in arrays:
        np.save(content, array, allow_pickle=False)
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content.getbuffer())
            file.write(hashlib.sha256(content.getbuffer()).digest())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-_CHECK]).digest() == content[-_CHECK:]


def _hash(document: str) -> bytes:
    text = document
    if "  " in text or not text.isprintable():  # the only white space that is printable is the space
        text = " ".join(text.split())
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _utf8_size(document: str) -> int:
    return len(document) if document.isascii() else len(document.encode())

"""Compressed files: every member is read, nothing that is not whole passes, nothing explodes."""

from __future__ import annotations

import gzip
import io
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import COMPRESS

from mlmctl.config import CorpusConfig
from mlmctl.errors import DataError
from mlmctl.events import silent
from mlmctl.text import compression
from mlmctl.text.compression import decompressed
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents

NAMES = {"gz": "gzip", "zst": "zstd", "xz": "xz", "bz2": "bzip2"}
every = pytest.mark.parametrize("kind", COMPRESS)
TEXT = b"".join(b"line %d of a text\n" % number for number in range(3000))


def unpack(kind: str, data: bytes) -> bytes:
    return b"".join(decompressed(io.BytesIO(data), kind, "file", lambda at: None))


def refused(kind: str, data: bytes) -> DataError:
    with pytest.raises(DataError) as caught:
        unpack(kind, data)
    assert caught.value.code == f"data.{NAMES[kind]}"
    return caught.value


@every
@settings(deadline=None, max_examples=40)
@given(
    members=st.lists(st.sampled_from([b"", b"x", TEXT, b"\0" * 5000]), min_size=1, max_size=4),
    padding=st.integers(0, 5),
    read=st.sampled_from([1000, 2**17]),
    chunk=st.sampled_from([100, 2**20]),
)
def test_all_members_are_read_whatever_the_sizes(
    kind: str, members: list[bytes], padding: int, read: int, chunk: int
) -> None:
    packed = (b"\0" * 4 * padding).join(map(COMPRESS[kind], members)) + b"\0" * 4 * padding
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "_READ", read)
        patch.setattr(compression, "CHUNK", chunk)
        assert unpack(kind, packed) == b"".join(members)


@every
def test_a_file_cut_anywhere_ends_too_early(kind: str) -> None:
    packed = COMPRESS[kind](TEXT)
    for size in [0, 1, 5, *range(20, len(packed), 97), len(packed) - 1]:
        error = refused(kind, packed[:size])
        assert "ends too early" in error.message
    assert error.where == "file"
    assert f"after {len(TEXT):,} bytes" in error.message or kind in ("bz2", "zst")
    assert "too early" in refused(kind, packed + packed[:-1]).message


@every
@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed + b"something else",
        lambda packed: b"this is not compressed at all",
        lambda packed: bytes(1000),
        lambda packed: packed[:250] + bytes([packed[250] ^ 64]) + packed[251:],
    ],
    ids=["junk behind", "another kind", "zeros", "a flipped bit"],
)
def test_what_is_damaged_is_refused(kind: str, damage: Callable[[bytes], bytes]) -> None:
    assert f"not {NAMES[kind]} (" in refused(kind, damage(COMPRESS[kind](TEXT))).message


def test_zstd_frames_to_skip_are_skipped() -> None:
    skip = (0x184D2A50).to_bytes(4, "little") + (4).to_bytes(4, "little") + b"abcd"  # as pzstd writes them
    assert unpack("zst", skip + COMPRESS["zst"](b"one") + skip + COMPRESS["zst"](b"two") + skip) == b"onetwo"


def test_fault_51_a_header_that_asks_for_much_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    header = b"\x28\xb5\x2f\xfd\0" + bytes([(28 - 10) << 3])  # of a zstd frame with a window of 256 MiB
    assert "memory" in refused("zst", header + bytes(100)).message
    monkeypatch.setattr(compression, "_MAX_XZ_MEMORY", 2**20)
    assert "Memory" in refused("xz", lzma.compress(TEXT)).message


@every
def test_fault_51_what_explodes_is_stopped(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_RATIO_FROM", 2**20)
    monkeypatch.setattr(compression, "_MAX_RATIO", 100)
    with pytest.raises(DataError, match="refused as an explosion") as caught:
        unpack(kind, COMPRESS[kind](bytes(2**22)))
    assert caught.value.code == "data.ratio"
    assert unpack(kind, COMPRESS[kind](bytes(2**19))) == bytes(2**19)


def test_progress_is_told_in_bytes_of_the_file() -> None:
    packed, told = gzip.compress(TEXT), []
    list(decompressed(io.BytesIO(packed), "gz", "file", told.append))
    assert told[-1] == len(packed)
    assert told == sorted(told)


@every
def test_a_corpus_is_the_same_in_every_compression(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.txt.{kind}"
    path.write_bytes(COMPRESS[kind](TEXT))
    documents = list(Documents(resolve([str(path)], tmp_path, silent), CorpusConfig(), silent, "x"))
    assert documents == TEXT.decode().splitlines()


@every
def test_compressed_data_under_a_plain_name_says_how_to_name_it(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(COMPRESS[kind](TEXT))
    with pytest.raises(DataError, match=rf"this is {NAMES[kind]}: name the file \.{kind}, or pipe it"):
        list(Documents(resolve([str(path)], tmp_path, silent), CorpusConfig(), silent, "x"))


@pytest.mark.parametrize("tool", ["gzip", "zstd", "xz", "bzip2"])
def test_what_the_usual_programs_write_is_read(tool: str, tmp_path: Path) -> None:
    try:
        packed = subprocess.run([tool, "-c"], input=TEXT, capture_output=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip(f"{tool} is not installed")
    kind = next(kind for kind, name in NAMES.items() if name == tool)
    assert unpack(kind, packed) == TEXT

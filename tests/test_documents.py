"""Reading: newlines, encodings, compression, units, and limits that hold for any file."""

from __future__ import annotations

import gzip
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmctl.config import CorpusConfig
from mlmctl.errors import DataError, MlmctlError, UsageError
from mlmctl.events import Event, Note, silent
from mlmctl.text import reading
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents


def read(
    path: Path, content: bytes | None = None, emit: list[Event] | None = None, **fields: str
) -> tuple[list[str], dict[str, object]]:
    if content is not None:
        path.write_bytes(content)
    sources = resolve([str(path)], path.parent / "spool", silent)
    documents = Documents(sources, CorpusConfig(**fields), emit.append if emit is not None else silent, "x")
    return list(documents), documents.facts()


def refused(path: Path, content: bytes, **fields: str) -> MlmctlError:
    with pytest.raises((DataError, UsageError)) as caught:
        read(path, content, **fields)
    return caught.value


def messages(events: list[Event], level: str) -> str:
    return " ".join(e.message for e in events if isinstance(e, Note) and e.level == level)


def test_the_unit_is_a_paragraph_if_there_are_blank_lines(tmp_path: Path) -> None:
    told: list[Event] = []
    documents, facts = read(tmp_path / "a.txt", b"one\ntwo\n\n\n \t\nthree\n", told)
    assert documents == ["one\ntwo", "three"]
    assert (facts["unit"], facts["num_documents"], facts["num_lines"]) == ("paragraph", 2, 6)
    assert "paragraph" in messages(told, "info")
    assert read(tmp_path / "a.txt", b"one\ntwo\n\n")[0] == ["one", "two"]
    assert read(tmp_path / "a.txt", b"one\n\ntwo\n", unit="line")[0] == ["one", "two"]
    assert read(tmp_path / "a.txt", b"one\n\ntwo\n", unit="file")[0] == ["one\n\ntwo"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="ab \t\n", max_size=60))
def test_counts_agree_with_wc_and_nothing_is_lost(tmp_path: Path, text: str) -> None:
    if not text.strip():
        return
    content = (text + "\n").encode()
    for unit in ("line", "paragraph", "file"):
        documents, facts = read(tmp_path / "a.txt", content, unit=unit)
        assert "".join("".join(documents).split()) == "".join(text.split())
        assert all(document == document.strip() for document in documents)
        assert facts["num_lines"] == content.count(b"\n")
        assert facts["num_bytes"] == len(content)


def test_contradictions_are_warned_of(tmp_path: Path) -> None:
    told: list[Event] = []
    read(tmp_path / "a.txt", b"word\n" * 300_000 + b"line\n\n" * 40_000, told)
    assert "--unit paragraph" in messages(told, "warning")
    told.clear()
    read(tmp_path / "a.txt", b"title\n\n" + b"a line of it\n" * 60_000, told)
    assert "--unit line" in messages(told, "warning")


def test_fault_27_latin1_is_refused_with_line_and_byte(tmp_path: Path) -> None:
    content = b"first\nsecond caf\xe9 x\n"
    error = refused(tmp_path / "a.txt", content)
    assert (error.exit_code, error.code) == (4, "data.encoding")
    assert str(error.where).endswith("a.txt:2:16")
    assert "--encoding" in str(error.hint)
    assert read(tmp_path / "a.txt", content, encoding="latin-1")[0] == ["first", "second café x"]
    documents, facts = read(tmp_path / "a.txt", content, encoding_errors="replace")
    assert documents[1] == "second caf\ufffd x"
    assert facts["num_replacements"] == 1
    assert refused(tmp_path / "a.txt", content, encoding="no-such").exit_code == 2
    for no_encoding in ("base64", "undefined", "a\0b"):
        error = refused(tmp_path / "a.txt", content, encoding=no_encoding)
        assert (error.exit_code, error.code) == (2, "usage.encoding")


def test_fault_27_the_place_is_right_far_into_the_file(tmp_path: Path) -> None:
    good = ("é" * 49 + "\n").encode() * 30_000
    error = refused(tmp_path / "a.txt", good + b"x\xff\n")
    assert str(error.where).endswith(f"a.txt:30001:{len(good) + 1}")
    error = refused(tmp_path / "a.txt", good + b"\xc3")
    assert str(error.where).endswith(f"a.txt:30001:{len(good)}")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(good + b"x\xff\n"))
    with pytest.raises(DataError) as caught:
        read(tmp_path / "a.txt.gz")
    assert str(caught.value.where).endswith(f"30001:{len(good) + 1}")


def test_fault_27_utf16_is_recognised(tmp_path: Path) -> None:
    content = "zwei Zeilen\nÄpfel\n".encode("utf-16")
    assert "--encoding utf-16" in str(refused(tmp_path / "a.txt", content).hint)
    assert read(tmp_path / "a.txt", content, encoding="utf-16")[0] == ["zwei Zeilen", "Äpfel"]
    error = refused(tmp_path / "a.txt", "two lines\nof text\n".encode("utf-16-le"))
    assert "utf-16-le" in str(error.hint)
    assert "gzip" in str(refused(tmp_path / "a.txt", gzip.compress(b"text")).hint)


def test_fault_28_newlines_and_the_byte_order_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = "\ufeffa\r\nb\rc\nd\u2028e\u2029f\u0085g\x0bh\x0ci\r\n".encode()
    for size in (1, 2, 3, 2**20):
        monkeypatch.setattr(reading, "CHUNK", size)
        documents, facts = read(tmp_path / "a.txt", content)
        assert documents == ["a", "b", "c", "d\u2028e\u2029f\u0085g\x0bh\x0ci"]
        assert facts["num_lines"] == 4


def test_fault_29_a_long_line_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("w") as file:
        for _ in range(24):
            file.write("word " * 100_000 + "w" * 500_000)
    sources = resolve([str(path)], tmp_path, silent)
    tracemalloc.start()
    documents = Documents(sources, CorpusConfig(), silent, "x")
    size = sum(len(document.replace(" ", "")) for document in documents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 24 * 900_000
    assert peak < 12 * 2**20  # the line has 24 MB
    assert documents.tally.num_lines == 1
    assert documents.tally.num_cut == 1


def test_fault_29_a_million_empty_lines(tmp_path: Path) -> None:
    documents, facts = read(tmp_path / "a.txt", b"first" + b"\n" * 1_000_000 + b"last\n")
    assert documents == ["first", "last"]
    assert facts["num_lines"] == 1_000_001


def test_a_long_document_is_cut_at_white_space(tmp_path: Path) -> None:
    documents, facts = read(tmp_path / "a.txt", b"x\n\n" + b"some words\n" * 200_000)
    assert len(documents) == 4
    assert all(len(document) <= reading.MAX_PIECE for document in documents)
    assert " ".join(documents[1:]).split() == ["some", "words"] * 200_000
    assert facts["num_cut"] == 1


@pytest.mark.parametrize("content", [b"", b" \n\t\n\r\n", b"\xef\xbb\xbf\n"])
def test_fault_30_nothing_but_white_space(tmp_path: Path, content: bytes) -> None:
    error = refused(tmp_path / "a.txt", content)
    assert (error.exit_code, error.code) == (4, "data.empty")


def test_real_counts_agree_with_wc(shared_data: Path) -> None:
    path = shared_data / "corpora" / "wikitext2_test.txt"
    _, facts = read(path)
    counted = subprocess.run(["wc", "-lc", path], capture_output=True, check=True).stdout.split()
    assert [facts["num_lines"], facts["num_bytes"]] == [int(counted[0]), int(counted[1])]

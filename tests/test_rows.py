"""Files of rows: one reader for corpora and labelled data; every format says the same; bad rows are named."""

from __future__ import annotations

import csv
import io
import json
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packed import COMPRESS
from pyarrow import parquet

from mlmctl.config import CorpusConfig, FinetuneConfig
from mlmctl.errors import DataError, MlmctlError, UsageError
from mlmctl.events import Event, Note, silent
from mlmctl.tasks import labelled
from mlmctl.text import compression, reading, rows
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents
from mlmctl.text.survey import survey

TEXTS = ["one", 'two, "2"', "three\nlines\n\nof it", "  ", "naïve\u2028x", "six\ttabs"]


def read(path: Path, content: bytes | None = None, **fields: str) -> tuple[list[str], dict[str, Any]]:
    if content is not None:
        path.write_bytes(content)
    documents = Documents(
        resolve([str(path)], path.parent / "spool", silent), CorpusConfig(**fields), silent, "x"
    )
    return list(documents), documents.facts()


def refused(path: Path, content: bytes | None = None, **fields: str) -> MlmctlError:
    with pytest.raises((DataError, UsageError)) as caught:
        read(path, content, **fields)
    return caught.value


def as_jsonl(texts: Sequence[str | None]) -> bytes:
    return "".join(json.dumps({"id": n, "text": text}) + "\n" for n, text in enumerate(texts)).encode()


def as_csv(texts: Sequence[str], **options: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, **options)
    writer.writerow(["id", "text"])
    writer.writerows(enumerate(texts))
    return file.getvalue().encode()


def write_parquet(path: Path, texts: Sequence[Any], kind: Any = None, **options: Any) -> Path:
    table = pyarrow.table(
        {"text": pyarrow.array(texts, kind), "id": list(range(len(texts))), "tags": [["a"]] * len(texts)}
    )
    parquet.write_table(table, path, **options)
    return path


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    expected, facts = read(tmp_path / "a.jsonl", as_jsonl(TEXTS))
    assert expected == [text.strip() for text in TEXTS if text.strip()]
    assert (facts["unit"], facts["num_documents"], facts["num_empty"], facts["num_lines"]) == ("row", 5, 1, 6)
    assert read(tmp_path / "a.csv", as_csv(TEXTS))[0] == expected
    assert read(tmp_path / "crlf.csv", as_csv(TEXTS).replace(b"\n", b"\r\n"))[0] == expected
    assert read(tmp_path / "mark.csv", b"\xef\xbb\xbf" + as_csv(TEXTS))[0] == expected
    for kind in (pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()):
        assert read(write_parquet(tmp_path / "a.parquet", TEXTS, kind))[0] == expected
    coded = pyarrow.array(TEXTS).dictionary_encode()
    assert read(write_parquet(tmp_path / "coded.parquet", coded))[0] == expected
    flat = [text.replace("\n", " ").replace("\t", " ") for text in TEXTS]
    content = "".join(f"{n}\t{text}\n" for n, text in [("id", "text"), *enumerate(flat)]).encode()
    assert read(tmp_path / "a.tsv", content)[0] == [text.strip() for text in flat if text.strip()]


@pytest.mark.parametrize("kind", COMPRESS)
def test_rows_come_in_every_compression(kind: str, tmp_path: Path) -> None:
    for name, content in (("a.csv", as_csv(TEXTS)), ("a.jsonl", as_jsonl(TEXTS))):
        assert len(read(tmp_path / f"{name}.{kind}", COMPRESS[kind](content))[0]) == 5
    error = refused(tmp_path / f"a.parquet.{kind}", b"x")
    assert error.code == "data.unknown-suffix"
    assert "and .parquet" in error.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.text("ab,\"' é\n\U0001f600", max_size=30), min_size=1, max_size=12), st.integers(1, 40))
def test_csv_agrees_with_json_wherever_a_chunk_ends(tmp_path: Path, texts: list[str], size: int) -> None:
    texts = [*texts, "end"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK", size)
        patch.setattr(reading, "MAX_PIECE", size)
        of_csv = read(tmp_path / "a.csv", as_csv(texts, lineterminator="\n"))[0]
        assert of_csv == read(tmp_path / "a.jsonl", as_jsonl(texts))[0]


def test_other_columns_and_encodings(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", b'{"body": "x"}\n', text_column="body")[0] == ["x"]
    latin = "title,body\na,café\n".encode("latin-1")
    assert read(tmp_path / "a.csv", latin, text_column="body", encoding="latin-1")[0] == ["café"]
    assert read(write_parquet(tmp_path / "a.parquet", ["café"]), encoding="latin-1")[0] == ["café"]
    assert read(tmp_path / "null.jsonl", as_jsonl([None, "x"]))[1]["num_empty"] == 1
    assert read(write_parquet(tmp_path / "null.parquet", [None, "x"]))[1]["num_empty"] == 1


def test_a_unit_for_files_that_have_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_jsonl(TEXTS))
    told: list[Event] = []
    sources = resolve([str(tmp_path / "a.jsonl")], tmp_path / "spool", silent)
    assert Documents(sources, CorpusConfig(unit="line"), told.append, "x").unit == "row"
    [note] = told
    assert isinstance(note, Note)
    assert note.level == "warning"
    assert "--unit line" in note.message


def test_a_column_for_files_that_have_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("body\n")
    (tmp_path / "a.jsonl").write_text('{"body": "x"}\n')

    def warned(column: str, *names: str) -> str:
        told: list[Event] = []
        sources = resolve([str(tmp_path / name) for name in names], tmp_path / "spool", silent)
        Documents(sources, CorpusConfig(text_column=column), told.append, "x")
        return " ".join(note.message for note in told if isinstance(note, Note) and note.level == "warning")

    assert "--text-column 'body'" in warned("body", "a.txt")
    assert not warned("text", "a.txt")
    assert not warned("body", "a.txt", "a.jsonl")


@pytest.mark.parametrize(
    ("name", "content", "code", "said", "line"),
    [
        ("a.jsonl", b'{"text": "fine"}\n\n{"text": "a"', "data.broken-row", "row 2: is not JSON", 3),
        ("a.jsonl", b'{"text": "fine"}\n["a"]\n', "data.broken-row", "row 2: is not a JSON object", 2),
        ("a.jsonl", b'{"text": "fine"}\n' + b"[" * 10**5, "data.broken-row", "row 2: is not JSON", 2),
        ("a.jsonl", b'{"text": "a", "b": NaN}\n', "data.broken-row", "row 1: is not JSON (NaN", 1),
        ("a.jsonl", b'{"body": "a", "id": 2}\n', "data.columns", "found are: body, id", 1),
        ("a.jsonl", b'{"text": 1}\n', "data.bad-text", "row 1: the value of 'text' is not a string", 1),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "data.encoding", "row 1: holds half of a surrogate", 1),
        ("a.csv", b'text,id\n"a\nb",1\nc\n', "data.broken-row", "row 2: has 1 values, the header has 2", 4),
        ("a.csv", b'text,id\na,1\n"b,2\nc,3\n', "data.broken-row", "row 2: cannot be read", 3),
        ("a.csv", b'text,id\na,1\n"b"c,2\n', "data.broken-row", "row 2: cannot be read", 3),
        ("a.csv", b"some words\nmore words\n", "data.columns", "found are: some words", 2),
        ("a.csv", b"text,text\na,b\n", "data.columns", "names a column twice: text", 1),
        ("a.tsv", b"text\tid\na\t1\tb\n", "data.broken-row", "row 1: has 3 values", 2),
    ],
)
def test_fault_41_bad_rows_are_refused_with_line_and_row(
    tmp_path: Path, name: str, content: bytes, code: str, said: str, line: int
) -> None:
    error = refused(tmp_path / name, content)
    assert (error.code, error.exit_code) == (code, 4)
    assert said in error.message
    assert error.where == f"{tmp_path / name}:{line}"


def test_fault_41_the_place_is_right_far_into_the_file(tmp_path: Path) -> None:
    content = b"text,id\n" + b'"two\nlines",1\n' * 90_000
    assert refused(tmp_path / "a.csv", content + b"x\n").where == f"{tmp_path / 'a.csv'}:180002"
    assert "row 90001:" in refused(tmp_path / "a.csv").message
    assert str(refused(tmp_path / "a.csv", content + b"x\xff,1\n").where).endswith(
        f"180002:{len(content) + 1}"
    )


def test_fault_36_missing_columns_list_those_found_and_the_option(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", ["x"])
    error = refused(path, text_column="body")
    assert error.message == "row 1: has no column 'body'; the columns found are: text, id, tags"
    assert error.hint == "name the right one: --set corpus.text_column=COLUMN"
    no_text = refused(path, text_column="tags")
    assert "is not a string" in no_text.message
    assert no_text.hint == error.hint
    wide = ",".join(f"c{n}" for n in range(30))
    assert refused(tmp_path / "a.csv", f"{wide}\n{wide}\n".encode()).message.endswith("c11")
    assert "\x1b" not in refused(tmp_path / "a.csv", b"\x1b[31m\nx\n").message


def test_fault_29_a_quote_that_never_closes_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_MAX_ROW", 2**16)
    path = tmp_path / "a.csv"
    path.write_bytes(b'text\nfine\n"' + b"line of text\n" * 400_000)
    tracemalloc.start()
    error = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 65,536 characters" in error.message
    assert "quote" in str(error.hint)
    assert peak < 12 * 2**20
    assert "more than" in refused(tmp_path / "a.jsonl", b'{"text": "' + b"x" * 2**17 + b'"}').message
    assert len(read(tmp_path / "b.csv", b"text\n" + (b"x" * 2**14 + b"\n") * 9)[0]) == 9


def test_fault_27_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pyarrow.array([b"fine", b"caf\xe9 x", b"fine"])
    path = write_parquet(
        tmp_path / "a.parquet", pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    )
    error = refused(path)
    assert (error.code, error.message) == ("data.encoding", "row 2: byte 0xe9 at 3 of the text is not UTF-8")
    documents, facts = read(path, encoding_errors="replace")
    assert documents[1] == "caf\ufffd x"
    assert facts["num_replacements"] == 1
    found = survey(resolve([str(path)], tmp_path / "spool", silent), CorpusConfig(), silent, "x")
    assert "row 2" in found.encoding.places[0]
    assert read(tmp_path / "a.jsonl", b'{"text": "a\\ud800b"}', encoding_errors="replace")[0] == ["a\ufffdb"]


def test_parquet_is_read_across_row_groups_in_bounded_memory(tmp_path: Path) -> None:
    texts = [f"{n} " + "word " * 400 for n in range(20_000)]
    path = write_parquet(tmp_path / "a.parquet", texts, row_group_size=15_000, compression="zstd")
    pool = pyarrow.default_memory_pool()
    before, told = pool.bytes_allocated(), []
    peak, documents = 0, []
    sources = resolve([str(path)], tmp_path / "spool", silent)
    for document in Documents(sources, CorpusConfig(), told.append, "x"):
        documents.append(document[:8])
        peak = max(peak, pool.bytes_allocated() - before)
    assert documents == [text[:8] for text in texts]
    assert peak < 16 * 2**20  # the column has 40 MB
    assert told[-1].done == path.stat().st_size


def test_parquet_without_rows_or_with_an_empty_group_is_read(tmp_path: Path) -> None:
    table = pyarrow.table({"text": ["one", "two"]})
    (tmp_path / "rows").mkdir()
    parquet.write_table(table[:0], tmp_path / "rows/a.parquet")
    with parquet.ParquetWriter(tmp_path / "rows/b.parquet", table.schema) as writer:
        for part in (table[:1], table[:0], table[1:]):
            writer.write_table(part)
    assert read(tmp_path / "rows")[0] == ["one", "two"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not Parquet",
        lambda data: data[:-20],
        lambda data: data[:4] + bytes(40) + data[44:],
        lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:],
    ],
    ids=["empty", "another", "cut", "zeros", "a flipped bit"],
)
def test_damaged_parquet_is_refused(damage: Any, tmp_path: Path) -> None:
    path = write_parquet(
        tmp_path / "a.parquet",
        [f"text {n}" for n in range(999)],
        write_page_checksum=True,
        use_dictionary=False,
    )
    error = refused(path, damage(path.read_bytes()))
    assert (error.code, error.exit_code) == ("data.parquet", 4)
    assert "\n" not in str(error)


def test_fault_51_parquet_that_explodes_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_RATIO_FROM", 2**20)
    monkeypatch.setattr(compression, "_MAX_RATIO", 100)
    one = write_parquet(tmp_path / "a.parquet", [" " * 2**22], compression="zstd", use_dictionary=False)
    assert refused(one).code == "data.ratio"
    many = write_parquet(tmp_path / "b.parquet", ["x" * 1000] * 5000)  # one entry of a dictionary, repeated
    assert refused(many).code == "data.ratio"


def test_parquet_without_the_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", ["x"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    error = refused(path)
    assert error.exit_code == 2
    assert "pip install 'mlmctl[parquet]'" in str(error)


def test_labelled_parquet(tmp_path: Path) -> None:
    table = pyarrow.table(
        {
            "body": ["good film", "bad film", "fine film"],
            "stars": pyarrow.array(["pos", "neg", "pos"]).dictionary_encode(),
            "n": [1, 2, 3],
        }
    )
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    config = FinetuneConfig(text_column="body", label_column="stars")
    data = labelled.read(path, config, silent)
    assert (data.texts, data.names, data.labels.tolist()) == (
        table["body"].to_pylist(),
        ("neg", "pos"),
        [1, 0, 1],
    )
    with pytest.raises(DataError, match=r"found are: body, stars, n \(.*--set finetune.text_column"):
        labelled.read(path, FinetuneConfig(label_column="n"), silent)

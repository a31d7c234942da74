"""Reading labelled data: strict rows, one spelling of labels, honest counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packed import COMPRESS

from mlmctl.config import EvaluateConfig, FinetuneConfig
from mlmctl.errors import DataError
from mlmctl.events import Event, Note
from mlmctl.tasks import labelled
from mlmctl.text import compression

GOOD = '{"text": "good", "label": 1}\n{"text": "bad", "label": 0}\n'


def read(path: Path, content: str | bytes, **config: Any) -> labelled.Labelled:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return labelled.read(path, FinetuneConfig(**config), lambda event: None)


def refusal(path: Path, content: str | bytes, **config: Any) -> DataError:
    with pytest.raises(DataError) as error:
        read(path, content, **config)
    assert error.value.exit_code == 4
    return error.value


def test_the_formats_say_the_same(tmp_path: Path) -> None:
    rows = [("a, b", "x"), ("c", "y"), ('say "d"', "x")]
    contents = {
        "d.jsonl": "".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows),
        "d.csv": 'label,text\nx,"a, b"\ny,c\nx,"say ""d"""\n',
        "d.tsv": 'text\tlabel\na, b\tx\nc\ty\nsay "d"\tx\n',
    }
    contents["crlf.csv"] = contents["d.csv"].replace("\n", "\r\n")
    contents["bom.jsonl"] = "\ufeff" + contents["d.jsonl"]
    for name, content in contents.items():
        data = read(tmp_path / name, content)
        assert [(t, data.names[n]) for t, n in zip(data.texts, data.labels, strict=True)] == rows, name
        assert data.rows.tolist() == [1, 2, 3]
        for suffix, compress in COMPRESS.items():
            assert read(tmp_path / f"{name}.{suffix}", compress(content.encode())).texts == data.texts


def test_fault_36_wrong_columns_are_refused_with_those_found_and_the_way_out(tmp_path: Path) -> None:
    error = refusal(tmp_path / "d.jsonl", '{"review": "good", "stars": 5}\n')
    assert "review, stars" in str(error)
    assert "--set finetune.text_column=" in str(error)
    error = refusal(tmp_path / "d.jsonl", '{"text": 7, "label": 5}\n')
    assert "is not a string" in str(error)
    assert "--set finetune.text_column=" in str(error)
    error = refusal(tmp_path / "d.csv", "review,stars\ngood,5\n", text_column="review")
    assert "--set finetune.label_column=" in str(error)
    (tmp_path / "t.csv").write_text("review,stars\ngood,5\n")
    with pytest.raises(DataError, match=r"--set evaluate\.text_column="):
        labelled.read(tmp_path / "t.csv", EvaluateConfig(), lambda event: None)


def test_fault_36_escape_sequences_in_column_names_are_not_printed(tmp_path: Path) -> None:
    assert "\x1b" not in str(refusal(tmp_path / "d.csv", "a\x1b[31m,b\n1,2\n"))


def test_fault_37_one_label_in_many_spellings(tmp_path: Path) -> None:
    values: list[Any] = [1, "1", 1.0, True, "1.0", " 1 ", "true", 0, "0", 0.0, False, "False"]
    content = "".join(json.dumps({"text": f"t{n}", "label": v}) + "\n" for n, v in enumerate(values))
    data = read(tmp_path / "d.jsonl", content)
    assert data.names == ("0", "1")
    assert data.labels.tolist() == [1] * 7 + [0] * 5


def test_fault_37_integer_names_sort_as_numbers_and_other_names_stay(tmp_path: Path) -> None:
    numbers = "text,label\na,10\nb,9\nc,-1\n"
    assert read(tmp_path / "n.csv", numbers).names == ("-1", "9", "10")
    names = "text,label\na,half-true\nb,true\nc,FALSE\nd,1.5\ne,007\n"
    assert read(tmp_path / "s.csv", names).names == ("007", "1.5", "FALSE", "half-true", "true")


def test_fault_37_one_class_only_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "d.csv", "text,label\na,1\nb,1.0\n").code == "data.one-class"


def test_fault_37_a_label_the_model_does_not_know_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,True\nb,maybe\n")
    with pytest.raises(DataError, match="row 2: the label 'maybe'") as error:
        labelled.read(path, EvaluateConfig(), lambda event: None, known=("0", "1"))
    assert error.value.where == f"{path}:3"
    path.write_text("text,label\na,True\n")  # one class is enough for a test set
    data = labelled.read(path, EvaluateConfig(), lambda event: None, known=("0", "1"))
    assert data.labels.tolist() == [1]


@pytest.mark.parametrize("label", ["null", "[1]", "{}", '""', '"  "', "1e999", r'"\ud800"'])
def test_fault_37_what_is_no_label_is_refused(tmp_path: Path, label: str) -> None:
    error = refusal(tmp_path / "d.jsonl", GOOD + f'{{"text": "a", "label": {label}}}\n')
    assert "row 3" in error.message


def test_fault_38_empty_and_contradicting_texts_are_counted_and_told(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label\nGood  film,1\ngood film,0\n,1\n  ,0\nbad,0\nbad,0\n")
    told: list[Event] = []
    data = labelled.read(path, FinetuneConfig(), told.append)
    assert labelled.facts(data) == {"num_empty": 2, "num_repeated": 2, "num_contradicting": 1}
    warnings = [event.message for event in told if isinstance(event, Note) and event.level == "warning"]
    assert any("2 texts are empty" in message for message in warnings)
    assert any("1 texts occur with different labels" in message for message in warnings)


def test_fault_41_quoted_newlines_and_separators_are_part_of_the_text(tmp_path: Path) -> None:
    data = read(tmp_path / "d.csv", 'text,label\n"one\ntwo, ""three""",a\nfour,b\n')
    assert data.texts == ['one\ntwo, "three"', "four"]


@pytest.mark.parametrize(
    ("name", "content", "place"),
    [
        ("d.jsonl", GOOD + '{"text": "a", "label": 1\n' + GOOD, "row 3"),
        ("d.jsonl", GOOD + '{"text": "a", "label": NaN}\n', "row 3"),
        ("d.jsonl", GOOD + '{"text": NaN, "label": 1}\n', "row 3"),
        ("d.jsonl", GOOD + '{"text": "a", "label": 1, "stars": NaN}\n', "row 3"),
        ("d.jsonl", GOOD + '["a", 1]\n', "row 3"),
        ("d.jsonl", GOOD + '{"text": null, "label": 1}\n', "row 3"),
        ("d.jsonl", GOOD + '{"text": "\\ud800", "label": 1}\n', "row 3"),
        ("d.jsonl", GOOD + "[" * 100_000 + "\n", "row 3"),
        ("d.csv", 'text,label\na,1\n"b,0\nc,1\n', "row 2"),
        ("d.csv", 'text,label\na,1\n"b"c,0\n', "row 2"),
        ("d.csv", "text,label\na,1\nb,0,extra\n", "row 2"),
        ("d.csv", "text,label\na,1\nb\n", "row 2"),
        (
            "d.csv",
            "good film,1\nbad film,0\n",
            "row 1: has no column 'text'; the columns found are: good film, 1",
        ),
        ("d.tsv", "text\tlabel\na\t1\nb\n", "row 2"),
    ],
)
def test_fault_41_a_broken_row_is_refused_by_its_number(
    tmp_path: Path, name: str, content: str, place: str
) -> None:
    error = refusal(tmp_path / name, content)
    assert error.message.startswith(place)
    assert error.where is not None
    assert error.where.startswith(f"{tmp_path / name}:")


def test_fault_41_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    assert "text" in str(refusal(tmp_path / "d.csv", "text,label,text\na,1,b\n"))


def test_long_texts_are_read_whole_and_odd_separators_do_not_end_a_row(tmp_path: Path) -> None:
    long = "word " * 100_000
    data = read(tmp_path / "d.csv", f"text,label\n{long},a\nx\u2028y\x85z,b\n")
    assert data.texts == [long, "x\u2028y\x85z"]


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "empty.jsonl", "").code == "data.empty"
    assert refusal(tmp_path / "header.csv", "text,label\n").code == "data.empty"
    assert refusal(tmp_path / "d.xlsx", "").code == "data.format"
    error = refusal(tmp_path / "latin.csv", "text,label\na,1\ncaf\xe9,0\n".encode("latin-1"))
    assert error.where == f"{tmp_path / 'latin.csv'}:3:18"
    assert error.hint == "save the file as UTF-8"
    assert "mark of utf-16" in refusal(tmp_path / "wide.csv", "text,label\n".encode("utf-16")).message
    assert refusal(tmp_path / "plain.txt", "text").code == "data.format"
    assert refusal(tmp_path / "cut.jsonl.gz", gzip.compress(GOOD.encode())[:-9]).code == "data.gzip"
    assert refusal(tmp_path / "not.jsonl.gz", GOOD).code == "data.gzip"


def test_fault_51_a_file_that_explodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_RATIO_FROM", 2**20)
    monkeypatch.setattr(compression, "_MAX_RATIO", 100)
    assert refusal(tmp_path / "bomb.jsonl.gz", gzip.compress(b" " * 2**24)).code == "data.ratio"


label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=200).map(lambda x: np.array(x, dtype=np.int64))


@settings(deadline=None)
@given(label_lists, st.integers(1, 220), st.integers(0, 3))
def test_a_sample_has_its_size_every_label_and_the_shares(labels: Any, size: int, seed: int) -> None:
    present, counts = np.unique(labels, return_counts=True)
    if size < len(present) and size < len(labels):
        with pytest.raises(DataError, match="labels"):
            labelled.sample(labels, size, seed)
        return
    chosen = labelled.sample(labels, size, seed)
    assert len(chosen) == min(size, len(labels))
    assert (np.diff(chosen) > 0).all()
    drawn = np.array([(labels[chosen] == label).sum() for label in present])
    assert (drawn >= 1).all()
    assert (drawn <= counts).all()
    fair = counts * len(chosen) / len(labels)
    assert (np.abs(drawn - fair) <= 1 + (fair < 1).sum()).all()
    assert (chosen == labelled.sample(labels, size, seed)).all()


def test_another_seed_draws_another_sample() -> None:
    labels = np.arange(1000, dtype=np.int64) % 2
    first, second = labelled.sample(labels, 100, 0), labelled.sample(labels, 100, 1)
    assert not (first == second).all()
    assert set(first) < set(labelled.sample(labels, 200, 0))


def test_a_sample_keeps_a_label_too_rare_for_its_share() -> None:
    labels = np.array([0] * 990 + [1] * 9 + [2], dtype=np.int64)
    drawn = np.bincount(labels[labelled.sample(labels, 20, 0)])
    assert drawn.tolist() == [18, 1, 1]

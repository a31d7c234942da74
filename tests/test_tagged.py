"""Reading tagged sentences: strict columns and rows, one meaning whatever the scheme, honest counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from mlmctl.config import EvaluateConfig, FinetuneConfig
from mlmctl.errors import DataError, UsageError
from mlmctl.events import Event, Note, silent
from mlmctl.measure.entities import Span
from mlmctl.tasks import tagged
from mlmctl.tasks.tagged import Tagged

GOOD = "Anna\tB-PER\nBerg\tI-PER\nsings\tO\n\nOslo\tB-LOC\n"
ROW = '{"tokens": ["Oslo"], "tags": ["B-LOC"]}\n'


def read(path: Path, content: str | bytes, **config: Any) -> Tagged:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return tagged.read(path, FinetuneConfig(task="tags", **config), silent)


def refusal(path: Path, content: str | bytes, **config: Any) -> DataError:
    with pytest.raises(DataError) as error:
        read(path, content, **config)
    assert error.value.exit_code == 4
    return error.value


def said(data: Tagged) -> list[tuple[tuple[str, ...], list[Span]]]:
    return [(words, list(spans)) for words, spans in zip(data.words, data.entities, strict=True)]


MEANT = [
    (("Anna", "Berg", "sings"), [Span("PER", 0, 2)]),
    (("Oslo",), [Span("LOC", 0, 1)]),
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tabs.conll", GOOD),
        ("blanks.txt", GOOD.replace("\t", "  ")),
        ("mixed.iob", GOOD.replace("\t", " ", 2).replace("\t", " \t")),
        ("crlf.conll", GOOD.replace("\n", "\r\n")),
        ("bom.conll", "\ufeff" + GOOD),
        ("unended.bio", GOOD.rstrip("\n")),
        ("blank.conll", GOOD.replace("\n\n", "\n \t\n\n\t\n") + "\n \n"),
        ("trailing.conll", GOOD.replace("\tO", "\tO \t")),
        ("docs.conll", "-DOCSTART- -X- O\n\n" + GOOD.replace("\n\n", "\n-DOCSTART-\tO\n")),
        ("iobes.iob2", "Anna B-PER\nBerg E-PER\nsings O\n\nOslo S-LOC\n"),
        ("bilou.txt", "Anna B-PER\nBerg L-PER\nsings O\n\nOslo U-LOC\n"),
        ("iob1.conll", "Anna I-PER\nBerg I-PER\nsings O\n\nOslo I-LOC\n"),
        (
            "rows.jsonl",
            '{"tokens": ["Anna", "Berg", "sings"], "tags": ["B-PER", "I-PER", "O"], "id": 7}\n' + ROW,
        ),
    ],
)
def test_the_formats_and_schemes_say_the_same(tmp_path: Path, name: str, content: str) -> None:
    data = read(tmp_path / name, content)
    assert said(data) == MEANT
    assert data.types == ("LOC", "PER")
    assert data.tags == [["B-PER", "I-PER", "O"], ["B-LOC"]]
    assert data.rows.tolist() == [1, 2]
    assert tagged.facts(data)["num_unbegun"] == 0
    assert said(read(tmp_path / f"{name}.gz", gzip.compress(content.encode()))) == MEANT


def test_lists_in_parquet_are_read(tmp_path: Path) -> None:
    table = {"tokens": [["Anna", "Berg", "sings"], ["Oslo"]], "tags": [["B-PER", "I-PER", "O"], ["B-LOC"]]}
    parquet.write_table(pyarrow.table(table), tmp_path / "d.parquet")
    assert said(tagged.read(tmp_path / "d.parquet", FinetuneConfig(task="tags"), silent)) == MEANT


def test_columns_are_the_first_and_the_last_unless_numbers_are_given(tmp_path: Path) -> None:
    content = "1 Anna NNP B-NP B-PER\n2 sings VBZ B-VP O\n"
    assert read(tmp_path / "d.conll", content).words == [("1", "2")]
    data = read(tmp_path / "d.conll", content, tokens_column="2", tags_column="4")
    assert said(data) == [(("Anna", "sings"), [Span("NP", 0, 1), Span("VP", 1, 2)])]
    error = refusal(tmp_path / "d.conll", content, tags_column="6")
    assert "5 columns" in str(error)
    assert "--set finetune.tags_column=" in str(error)
    for wrong in ("ner", "0", "-1", "²"):
        with pytest.raises(UsageError, match=r"finetune\.tags_column"):
            read(tmp_path / "d.conll", content, tags_column=wrong)


def test_tabs_keep_blanks_and_odd_white_space_in_words(tmp_path: Path) -> None:
    data = read(tmp_path / "d.conll", "New York\tB-LOC\na\u00a0b\tO\n\u2028\tO\n")
    assert data.words == [("New York", "a\u00a0b", "\u2028")]
    assert read(tmp_path / "d.txt", "a\u00a0b B-X\n").words == [("a\u00a0b",)]


def test_fault_36_a_missing_column_is_named_with_those_found(tmp_path: Path) -> None:
    error = refusal(tmp_path / "d.jsonl", '{"words": ["a"], "ner_tags": ["O"]}\n')
    assert "words, ner_tags" in str(error)
    assert "--set finetune.tokens_column=" in str(error)
    row = '{"words": ["Oslo"], "ner": ["B-LOC"]}\n'
    data = read(tmp_path / "d.jsonl", row, tokens_column="words", tags_column="ner")
    assert said(data) == MEANT[1:]


@pytest.mark.parametrize(
    ("name", "content", "line", "message"),
    [
        ("d.conll", GOOD + "\nsings\n", 7, "has 1 column; the lines before have 2"),
        ("d.conll", GOOD + "sings\tVBZ\tO\n", 6, "has 3 columns; the lines before have 2"),
        ("d.conll", GOOD + "sings O\n", 6, "has 1 column; the lines before have 2"),
        ("d.txt", "Anna B-PER\n\nsings\n", 3, "has 1 column"),
        ("d.txt", "Anna\nsings\n", 1, "a word and its tag are needed"),
        ("d.conll", GOOD + "sings\tVB\n", 6, "'VB' is not O"),
        ("d.conll", GOOD + "\tO\n", 6, "the word is empty"),
        ("d.jsonl", ROW + '{"tokens": ["a", "b"], "tags": ["O"]}\n', 2, "row 2: has 2 tokens and 1 tags"),
        (
            "d.jsonl",
            ROW + '{"tokens": "a b", "tags": ["O"]}\n',
            2,
            "row 2: the value of 'tokens' is not a list",
        ),
        ("d.jsonl", ROW + '{"tokens": ["a"], "tags": [0]}\n', 2, "row 2: 'tags' holds 0"),
        ("d.jsonl", ROW + '{"tokens": ["a", 7], "tags": ["O", "O"]}\n', 2, "row 2: 'tokens' holds 7"),
        (
            "d.jsonl",
            ROW + '{"tokens": ["a", "b"], "tags": ["O", "PER"]}\n',
            2,
            "row 2: word 2: 'PER' is not O",
        ),
        ("d.jsonl", ROW + '{"tokens": [""], "tags": ["O"]}\n', 2, "row 2: word 1: the word is empty"),
        ("d.jsonl", ROW + '{"tokens": ["\\ud800"], "tags": ["O"]}\n', 2, "row 2: a word holds half"),
        ("d.jsonl", ROW + '{"tokens": ["a"], "tags": [NaN]}\n', 2, "row 2: is not JSON"),
        ("d.jsonl", ROW + '{"tokens": ["a"], "tags": ["O"]\n', 2, "row 2: is not JSON"),
    ],
)
def test_fault_41_what_is_broken_is_refused_by_its_line(
    tmp_path: Path, name: str, content: str, line: int, message: str
) -> None:
    error = refusal(tmp_path / name, content)
    assert message in error.message
    assert error.where == f"{tmp_path / name}:{line}"


def test_what_holds_nothing_or_is_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "d.conll", "\n-DOCSTART- O\n\n").code == "data.empty"
    error = refusal(tmp_path / "d.csv", "tokens,tags\na,O\n")
    assert error.code == "data.format"
    assert ".jsonl .parquet .conll" in str(error)
    assert refusal(tmp_path / "latin.conll", "caf\xe9 O\n".encode("latin-1")).code == "data.encoding"


def test_fault_37_no_entity_at_all_is_refused_in_training_only(tmp_path: Path) -> None:
    path = tmp_path / "d.conll"
    error = refusal(path, "a O\nb O\n")
    assert error.code == "data.one-class"
    assert "--set finetune.tags_column=" in str(error)
    data = tagged.read(path, EvaluateConfig(task="tags"), silent, known=["LOC"])
    assert said(data) == [(("a", "b"), [])]


def test_fault_37_a_type_the_model_does_not_know_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "d.conll"
    path.write_text(GOOD)
    with pytest.raises(DataError, match="the type 'PER' was not in the training data") as error:
        tagged.read(path, EvaluateConfig(task="tags"), silent, known=["LOC", "ORG"])
    assert error.value.where == f"{path}:1"
    assert "LOC, ORG" in str(error.value)
    data = tagged.read(path, EvaluateConfig(task="tags"), silent, known=["LOC", "ORG", "PER"])
    assert data.types == ("LOC", "ORG", "PER")


def test_fault_38_oddities_are_counted_and_told(tmp_path: Path) -> None:
    rows = [
        (["Anna", "sings"], ["B-PER", "O"]),
        (["anna", "SINGS"], ["O", "O"]),
        (["Oslo"], ["B-LOC"]),
        (["Oslo"], ["B-LOC"]),
        ([], []),
        ([], []),
        (["in", "Oslo"], ["O", "I-LOC"]),
    ]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"tokens": t, "tags": g}) + "\n" for t, g in rows))
    events: list[Event] = []
    data = tagged.read(path, FinetuneConfig(task="tags"), events.append)
    expected = {"num_empty": 2, "num_repeated": 2, "num_contradicting": 1, "num_unbegun": 1}
    assert tagged.facts(data) == expected
    assert data.entities[6] == [Span("LOC", 1, 2)]
    warnings = [event.message for event in events if isinstance(event, Note) and event.level == "warning"]
    assert len(warnings) == 3
    assert any("1 entities begin with a tag that should continue one" in message for message in warnings)
    assert tagged.facts(data.take(np.array([2, 3])))["num_unbegun"] == 0


def made(types: list[list[str]]) -> Tagged:
    """One word and one entity of each type a sentence."""
    spans = [[Span(kind, n, n + 1) for n, kind in enumerate(some)] for some in types]
    words = [tuple(f"w{n}" for n in range(len(some))) for some in types]
    rows = np.arange(1, len(types) + 1)
    return Tagged(words, spans, rows, rows.astype(np.uint64), rows * 0, ("a", "b", "c", "d"))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=40), st.data())
def test_a_sample_has_its_size_and_every_type(types: list[list[str]], data: st.DataObject) -> None:
    size, seed = data.draw(st.integers(1, len(types) + 2)), data.draw(st.integers(0, 3))
    sentences, present = made(types), {kind for some in types for kind in some}
    try:
        chosen = tagged.sample(sentences, size, seed)
    except DataError:
        assert size < len(present)
        return
    assert len(chosen) == min(size, len(types))
    assert (np.diff(chosen) > 0).all()
    assert {kind for n in chosen for kind in types[n]} == present
    if size < len(types):
        assert set(chosen) <= set(tagged.sample(sentences, size + 1, seed))


def test_samples_differ_by_seed_and_keep_the_only_sentence_of_a_rare_type() -> None:
    sentences = made([["a"], [], ["b"], []] * 250 + [["a", "c"]])
    samples = [tagged.sample(sentences, 950, seed) for seed in range(20)]
    assert all(1000 in chosen for chosen in samples)
    assert len({tuple(chosen) for chosen in samples}) == 20
    with pytest.raises(DataError, match="1 sentences cannot hold 3 types"):
        tagged.sample(sentences, 1, 0)

"""Filters: what each measures, that every drop is counted, and that nothing left is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.config import CorpusConfig
from mlmctl.errors import DataError
from mlmctl.events import Event, Note
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents
from mlmctl.text.filters import failed, letter_share, repeated_share

TEXT = "one two three four\n\nshort\n\n12 34 56 78 90 a\n\n" + "the same line\n" * 3 + "end\n"


def read(folder: Path, told: list[Event], **fields: float) -> Documents:
    (folder / "a.txt").write_text(TEXT)
    sources = resolve([str(folder / "a.txt")], folder / "spool", told.append)
    return Documents(sources, CorpusConfig(unit="paragraph", **fields), told.append, "tokenizer")


def test_every_drop_is_counted_by_reason_and_told(tmp_path: Path) -> None:
    told: list[Event] = []
    documents = read(tmp_path, told, min_words=2, min_letters=0.5, max_repetition=0.3)
    assert list(documents) == ["one two three four"]
    facts = documents.facts()
    assert facts["num_documents"] == 1
    assert facts["num_filtered"] == {"min_words": 1, "min_letters": 1, "max_repetition": 1}
    assert [event.message for event in told if isinstance(event, Note)] == [
        "3 of 4 documents are dropped: 1 shorter than 2 words, 1 with less than 50% letters, "
        "1 with more than 30% in repeated lines"
    ]


def test_all_filters_are_off_unless_asked_for(tmp_path: Path) -> None:
    told: list[Event] = []
    documents = read(tmp_path, told)
    assert len(list(documents)) == 4
    assert documents.facts()["num_filtered"] == {}
    assert not [event for event in told if isinstance(event, Note)]


def test_fault_30_nothing_left_after_filtering_says_which_filter(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(read(tmp_path, [], min_words=100))
    error = caught.value
    assert (error.exit_code, error.code) == (4, "data.filtered")
    assert "all 4 documents are dropped (4 shorter than 100 words)" in error.message
    assert "corpus.min_words" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("abcd", 1),
        ("ab 12", 0.5),
        ("1234", 0),
        ("", 0),
        (" \n", 0),
        ("हिन्दी", 1),
        ("e\u0301!", 2 / 3),
        ("日本。", 2 / 3),
    ],
)
def test_letters_and_their_marks_are_counted_among_what_is_visible(text: str, share: float) -> None:
    assert letter_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a\nb", 0),
        ("ab\n ab \ncd", 1 / 3),
        ("ab\nab\nab\nab", 0.75),
        ("", 0),
        ("\n\n", 0),
        ("a\n\n\n\na", 0.5),
    ],
)
def test_what_is_in_lines_that_were_there_before(text: str, share: float) -> None:
    assert repeated_share(text) == pytest.approx(share)


@given(st.text())
def test_shares_are_shares(text: str) -> None:
    assert 0 <= letter_share(text) <= 1
    assert 0 <= repeated_share(text) < 1


def test_limits_are_inclusive() -> None:
    assert failed("one two", CorpusConfig(min_words=2)) is None
    assert failed("one two", CorpusConfig(min_words=3)) == "min_words"
    assert failed("ab12", CorpusConfig(min_letters=0.5)) is None
    assert failed("a123", CorpusConfig(min_letters=0.5)) == "min_letters"
    assert failed("ab\nab", CorpusConfig(max_repetition=0.5)) is None
    assert failed("ab\nab\nab", CorpusConfig(max_repetition=0.5)) == "max_repetition"
    assert failed("日本語です", CorpusConfig(min_words=5)) is None

"""The plain facts about a corpus, encoding faults included."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.config import CorpusConfig
from mlmctl.events import Note, silent
from mlmctl.text import repeats, survey
from mlmctl.text.corpus import resolve
from mlmctl.text.lengths import Lengths
from mlmctl.text.survey import Survey


def of(path: Path, content: bytes, **fields: Any) -> Survey:
    path.write_bytes(content)
    return survey.survey(resolve([str(path)], path.parent, silent), CorpusConfig(**fields), silent, "doctor")


def test_counts_lengths_and_duplicates(tmp_path: Path) -> None:
    found = of(tmp_path / "a.txt", b"one two\n\nthree\n\none  two\n\nfour five six\nseven\n")
    assert (found.tally.num_documents, found.unit, found.tally.num_lines) == (4, "paragraph", 8)
    assert found.document_characters.summary() == {"p10": 5, "p50": 7, "p90": 19, "p99": 19, "max": 19}
    assert found.line_characters.summary() == {"p10": 5, "p50": 7, "p90": 13, "p99": 13, "max": 13}
    assert found.duplicates.share == 0.25
    assert found.duplicates.is_exact
    assert found.duplicates.most_frequent() == (2, f"{tmp_path}/a.txt:1")
    assert found.encoding.places == []


def test_duplicates_are_estimated_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeats, "_MAX_HASHES", 500)
    found = of(tmp_path / "a.txt", "".join(f"line {i % 3000}\n" for i in range(6000)).encode())
    assert found.duplicates.share == 0.5
    assert not found.duplicates.is_exact


@given(st.lists(st.integers(0, 10**7), min_size=1), st.integers(1, 100))
def test_percentiles_are_those_of_a_sorted_list(values: list[int], share: int) -> None:
    lengths = Lengths()
    lengths.add(values)
    expected = int(np.percentile(values, share, method="inverted_cdf"))
    assert expected * 0.99 <= lengths.percentile(share) <= expected
    assert lengths.longest == max(values)
    if expected < 1000:
        assert lengths.percentile(share) == expected


def test_of_nothing_all_lengths_are_zero() -> None:
    assert set(Lengths().summary().values()) == {0}


@pytest.mark.parametrize(
    ("content", "places"),
    [
        (b"one\ntwo\n\n\n \nthree\nfour", [1, 6]),
        (b"\n\none\r\n\r\ntwo\n\nthree", [3, 5, 7]),
        (b"one\n", [1]),
    ],
)
def test_documents_know_the_line_they_begin_at(tmp_path: Path, content: bytes, places: list[int]) -> None:
    from mlmctl.text.documents import Documents

    path = tmp_path / "a.txt"
    path.write_bytes(content)
    config = CorpusConfig(unit="paragraph")
    documents = Documents(resolve([str(path)], tmp_path, silent), config, silent, "doctor")
    assert [documents.place for _ in documents] == [f"{path}:{line}" for line in places]


def test_rows_are_places_too(tmp_path: Path) -> None:
    found = of(tmp_path / "a.jsonl", b'{"text": "x"}\n\n{"text": "same text"}\n{"text": "same text"}\n')
    assert found.duplicates.most_frequent() == (2, f"{tmp_path}/a.jsonl: row 2")


def test_boilerplate_is_what_many_documents_share(tmp_path: Path) -> None:
    texts = [f"{i} is where it begins, quite long enough to be compared with the others" for i in range(100)]
    for i in range(0, 100, 2):
        texts[i] += (
            "\nSubscribe to our newsletter!\n" + f"It ends with {i} in a line of its own, as all others do"
        )
    for i in range(0, 100, 5):
        texts[i] = "Published by the Example Foundation, volume " + texts[i]
    found = of(tmp_path / "a.txt", "\n\n".join(texts).encode())
    passages = {(p.kind, p.text): (p.num_documents, p.where) for p in found.boilerplate.passages()}
    assert passages["line", "Subscribe to our newsletter!"] == (50, f"{tmp_path}/a.txt:1")
    assert passages["beginning", "Published by the Example Foundation, vol"][0] == 20
    assert all(count >= 10 for count, _ in passages.values())


def test_what_is_frequent_is_found_in_bounded_memory() -> None:
    frequent = repeats._Frequent(100)
    for number in range(20_000):
        frequent.add(f"rare {number}", "")
        if number % 10 == 0:
            frequent.add("common", f"place {number}")
    assert len(frequent.counts) <= 100
    assert 2000 - 2 * 22_000 / 100 <= frequent.counts["common"] <= 2000
    assert frequent.places["common"] == "place 0"


def test_traces_of_where_the_text_was(tmp_path: Path) -> None:
    documents = [
        "fine & good, 3 < 4",
        "a <br /> b",
        "x &amp; y",
        "cafÃ©",
        "itâ€™s",
        "nul\0",
        "\ufffd",
        "na\u0308ive",
    ]
    found = of(tmp_path / "a.txt", "\n".join(documents).encode(), unit="line")
    assert found.traces.num_documents == {"markup": 2, "mojibake": 2, "control": 1, "replacement": 1}
    assert found.traces.first["markup"] == (f"{tmp_path}/a.txt:2", "<br />")
    assert found.encoding.count == 0  # a U+FFFD that is written in the file is no fault of it


def test_the_sample_is_spread_over_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "_SAMPLE_CHARACTERS", 1000)
    found = of(tmp_path / "a.txt", "".join(f"{n:09}\n" for n in range(1000)).encode())
    numbers = [int(text) for text in found.sample]
    assert numbers == list(range(0, 1000, numbers[1]))
    assert 50 < len(numbers) <= 111


def test_nothing_is_said_but_progress(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n" * 3 + "\ufffd")
    events: list[object] = []
    survey.survey(resolve([str(tmp_path)], tmp_path, silent), CorpusConfig(), events.append, "doctor")
    assert not [event for event in events if isinstance(event, Note)]


@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_fault_27_the_first_places_are_listed(tmp_path: Path, suffix: str) -> None:
    lines = [b"fine \xc3\xa9 line\n"] * 120_000
    for number in range(0, 120_000, 10_000):
        lines[number] = b"not \xe9 fine\n"
    content = b"".join(lines)
    path = tmp_path / f"a.{suffix}"
    found = of(path, gzip.compress(content) if suffix.endswith("gz") else content)
    places = [number for number, byte in enumerate(content) if content[number : number + 2] == b"\xe9 "]
    expected = [f"{path}:{i * 10_000 + 1}:{at}: byte 0xe9" for i, at in enumerate(places)]
    assert found.encoding.places == expected[:10]
    assert found.encoding.count == found.tally.num_replacements == 12


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_fault_27_lines_are_counted_as_the_reader_does(
    tmp_path: Path, newline: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlmctl.text.reading.CHUNK", 7)
    monkeypatch.setattr("mlmctl.text.compression.CHUNK", 7)
    content = newline.join([b"one", b"", b"two", b"thr\xffee", b"\xc3\xa9", b"\xff"])
    found = of(tmp_path / "a.txt", content, unit="line")
    assert [place.split(":")[1] for place in found.encoding.places] == ["4", "6"]
    at = [number for number, byte in enumerate(content) if byte == 0xFF]
    assert [int(place.split(":")[2]) for place in found.encoding.places] == at


def test_other_encodings_give_their_places(tmp_path: Path) -> None:
    found = of(tmp_path / "a.txt", b"one\ntw\xff\n\xfe\n", encoding="ascii")
    assert found.encoding.places == [f"{tmp_path}/a.txt:2:6: byte 0xff", f"{tmp_path}/a.txt:3:8: byte 0xfe"]


def test_fault_27_half_a_surrogate_pair_in_json_has_its_row(tmp_path: Path) -> None:
    found = of(tmp_path / "a.jsonl", b'{"text": "fine"}\n{"text": "half \\ud800"}\n')
    [place] = found.encoding.places
    assert "a.jsonl:2" in place
    assert "surrogate" in place

"""The plain facts about a corpus, encoding faults included."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mlmctl.config import CorpusConfig
from mlmctl.events import silent
from mlmctl.text import survey as survey_module
from mlmctl.text.corpus import resolve
from mlmctl.text.survey import survey


def of(path: Path, content: bytes, **fields: str) -> dict[str, object]:
    path.write_bytes(content)
    return survey(resolve([str(path)], path.parent, silent), CorpusConfig(**fields), silent, "doctor")


def test_counts_lengths_and_duplicates(tmp_path: Path) -> None:
    facts = of(tmp_path / "a.txt", b"one two\n\nthree\n\none  two\n\nfour five six\n")
    assert (facts["num_documents"], facts["unit"], facts["num_lines"]) == (4, "paragraph", 7)
    assert (facts["median_document_characters"], facts["max_document_characters"]) == (7, 13)
    assert facts["duplicate_share"] == 0.25
    assert facts["duplicate_share_is_exact"] is True
    assert facts["encoding_faults"] == []


def test_duplicates_are_estimated_when_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey_module, "_MAX_HASHES", 500)
    text = "".join(f"line {i % 3000}\n" for i in range(6000)).encode()
    facts = of(tmp_path / "a.txt", text)
    assert facts["duplicate_share"] == 0.5
    assert facts["duplicate_share_is_exact"] is False


@pytest.mark.parametrize("suffix", ["txt", "txt.gz"])
def test_fault_27_the_first_places_are_listed(tmp_path: Path, suffix: str) -> None:
    lines = [b"fine \xc3\xa9 line\n"] * 120_000
    for number in range(0, 120_000, 10_000):
        lines[number] = b"not \xe9 fine\n"
    content = b"".join(lines)
    path = tmp_path / f"a.{suffix}"
    facts = of(path, gzip.compress(content) if suffix.endswith("gz") else content)
    places = [number for number, byte in enumerate(content) if content[number : number + 2] == b"\xe9 "]
    expected = [f"{path}:{i * 10_000 + 1}:{at}: byte 0xe9" for i, at in enumerate(places)]
    assert facts["encoding_faults"] == expected[:10]
    assert facts["num_replacements"] == 12


def test_other_encodings_give_their_first_fault(tmp_path: Path) -> None:
    [fault] = of(tmp_path / "a.txt", b"one\ntw\xff\n", encoding="ascii")["encoding_faults"]  # type: ignore[misc]
    assert "a.txt:2:6" in str(fault)


def test_tokens_are_predicted_from_words(tmp_path: Path) -> None:
    facts = of(tmp_path / "a.txt", b"one two three\n" * 1000)
    assert facts["predicted_num_tokens"] == pytest.approx(3000 * 1.12, rel=0.1)

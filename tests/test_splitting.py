"""Deduplication and the split: flat in memory, by content, never an empty split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmctl.errors import ArtifactError
from mlmctl.text import near_duplicates, parts, sorting, vocabulary
from mlmctl.text.encoding import Encoder
from mlmctl.text.npy import Appender, open_array
from mlmctl.text.splitting import TRAIN, VALID, decide, first_occurrences
from mlmctl.text.words import WordCounter


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    counter = WordCounter(vocabulary.untrained(False))
    counter.count(["the words of a text " * 3])
    vocabulary.save(vocabulary.train(counter.words, 80, False).to_str(), folder)
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.integers(0, 30), max_size=80), st.integers(1, 64), st.integers(1, 9))
def test_first_occurrences_are_those_of_a_set(
    tmp_path: Path, numbers: list[int], bucket: int, batch: int
) -> None:
    table = np.random.default_rng(0).integers(0, 2**64, (31, 2), np.uint64, endpoint=False)
    table[:4, 0] = table[0, 0]  # equal first halves are no duplicates
    batches = [table[numbers[i : i + batch]] for i in range(0, len(numbers), batch)]
    found = first_occurrences(batches, len(numbers), tmp_path, bucket)
    seen: set[int] = set()
    expected = [not (n in seen or seen.add(n)) for n in numbers]
    assert found[: len(numbers)].tolist() == expected
    assert not list(tmp_path.glob("bucket-*"))


def made(texts: list[str], tokenizer: Path, folder: Path, signed_by: str = "") -> list[parts.Part]:
    return list(parts.make(texts, lambda: 0, tokenizer, folder / "parts", signed_by=signed_by))


def test_the_split_follows_the_content(tokenizer: Path, tmp_path: Path) -> None:
    texts = [f"the text of words {i} a" for i in range(400)]
    first = made(texts, tokenizer, tmp_path)
    fates = decide(first, 0.2, tmp_path / "scratch")
    by_text = dict(zip(texts, fates.of.tolist(), strict=True))
    assert 40 < fates.num_valid < 120
    assert fates.num_train + fates.num_valid == 400
    again = ["new " + text for text in texts[:50]] + texts[::-1] + ["  the text   of words 0 a\n"]
    fates = decide(made(again, tokenizer, tmp_path), 0.2, tmp_path / "scratch")
    assert [by_text[text] for text in texts[::-1]] == fates.of[50:450].tolist()
    assert fates.num_duplicates == 1
    assert fates.of[450] == 0


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.99])
def test_no_split_is_empty(tokenizer: Path, tmp_path: Path, fraction: float) -> None:
    for texts in (["a", "a text of the words"], ["a", "text", "the text of words a of"]):
        fates = decide(made(texts, tokenizer, tmp_path), fraction, tmp_path / "scratch")
        counts = np.bincount(fates.of, minlength=3)
        assert (counts[TRAIN], counts[VALID]) == (fates.num_train, fates.num_valid)
        assert fates.num_train >= 1
        assert fates.num_valid >= 1
        assert fates.of[-1] == TRAIN  # the longest
    single = decide(made(["the words"], tokenizer, tmp_path), fraction, tmp_path / "scratch")
    assert (single.num_train, single.num_valid) == (1, 0)


def test_documents_without_tokens_are_dropped(tokenizer: Path, tmp_path: Path) -> None:
    fates = decide(made(["\x01\x02", "a text", "words"], tokenizer, tmp_path), 0.01, tmp_path / "scratch")
    assert fates.num_without_tokens == 1
    assert fates.of[0] == 0


def test_parts_are_found_again_and_damaged_ones_made_again(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 60)
    texts = [f"the text of words {i}" for i in range(12)]
    first = made(texts, tokenizer, tmp_path)
    assert len(first) > 3
    assert [part.num_encoded for part in first] == [part.num_documents for part in first]
    content = {part.path: part.path.read_bytes() for part in first}
    for at in (-1, -40, 0):
        damaged = bytearray(content[first[1].path])
        damaged[at] ^= 1
        first[1].path.write_bytes(damaged)
        again = made(texts, tokenizer, tmp_path)
        assert [part.num_encoded for part in again] == [0, first[1].num_documents, *[0] * (len(first) - 2)]
        assert {part.path: part.path.read_bytes() for part in again} == content
    encoder = Encoder(vocabulary.load(tokenizer))
    flat = np.concatenate([part.ids() for part in first])
    assert np.array_equal(flat, encoder.encode(texts).ids)
    starts = np.concatenate([part.is_start() for part in first])
    assert np.array_equal(starts, encoder.encode(texts).is_start)


def test_parts_without_signatures_are_not_taken_for_parts_with(tokenizer: Path, tmp_path: Path) -> None:
    texts = ["the text of words", "a text"]
    plain, signed, other = (
        made(texts, tokenizer, tmp_path, signed_by)
        for signed_by in ("", near_duplicates.method(), "another library")
    )
    assert len({part.path for part in (*plain, *signed, *other)}) == 3
    assert plain[0].key == signed[0].key  # of the ids, by which blocks give them back
    with pytest.raises(ValueError, match="no signatures"):
        plain[0].signatures()
    assert np.array_equal(signed[0].signatures(), near_duplicates.signatures(texts))
    assert np.array_equal(plain[0].ids(), signed[0].ids())
    assert isinstance(signed[0].signatures(), np.memmap)


def test_near_duplicates_are_dropped_and_counted_once(tokenizer: Path, tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(100))
    texts = [text, text, text + " more", "another text", text.upper() + " \x01", "\x01\x02"]
    signed = made(texts, tokenizer, tmp_path, near_duplicates.method())
    fates = decide(signed, 0.01, tmp_path / "scratch", 0.8)
    assert (fates.num_duplicates, fates.num_near_duplicates, fates.num_without_tokens) == (1, 2, 1)
    assert [bool(fate) for fate in fates.of] == [True, False, False, True, False, False]
    assert decide(signed, 0.01, tmp_path / "scratch").num_near_duplicates == 0


def test_an_array_grows_and_is_read_back(tmp_path: Path) -> None:
    rows = np.arange(3000, dtype=np.uint16).reshape(-1, 3)
    with Appender(tmp_path / "a.npy", np.dtype(np.uint16), (3,)) as file:
        file.append(rows[:1])
        file.append(rows[1:])
    assert np.array_equal(open_array(tmp_path / "a.npy", np.dtype(np.uint16)), rows)
    with pytest.raises(ArtifactError, match="holds uint16"):
        open_array(tmp_path / "a.npy", np.dtype(np.int32))


def test_fault_47_an_array_of_objects_is_never_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ArtifactError):
        open_array(tmp_path / "a.npy", memory_mapped=False)


def test_the_bucket_size_keeps_memory_flat() -> None:
    assert sorting.BUCKET * 24 <= 32 * 2**20

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
def encoder() -> Encoder:
    counter = WordCounter(vocabulary.untrained(False))
    counter.count(["the words of a text " * 3])
    return Encoder(vocabulary.train(counter.words, 80, False))


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


def made(texts: list[str], encoder: Encoder, folder: Path) -> list[parts.Part]:
    return list(parts.make(texts, encoder, "hash", folder / "parts"))


def test_the_split_follows_the_content(encoder: Encoder, tmp_path: Path) -> None:
    texts = [f"the text of words {i} a" for i in range(400)]
    first = made(texts, encoder, tmp_path)
    fates = decide(first, 0.2, tmp_path / "scratch")
    by_text = dict(zip(texts, fates.of.tolist(), strict=True))
    assert 40 < fates.num_valid < 120
    assert fates.num_train + fates.num_valid == 400
    again = ["new " + text for text in texts[:50]] + texts[::-1] + ["  the text   of words 0 a\n"]
    fates = decide(made(again, encoder, tmp_path), 0.2, tmp_path / "scratch")
    assert [by_text[text] for text in texts[::-1]] == fates.of[50:450].tolist()
    assert fates.num_duplicates == 1
    assert fates.of[450] == 0


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.99])
def test_no_split_is_empty(encoder: Encoder, tmp_path: Path, fraction: float) -> None:
    for texts in (["a", "a text of the words"], ["a", "text", "the text of words a of"]):
        fates = decide(made(texts, encoder, tmp_path), fraction, tmp_path / "scratch")
        counts = np.bincount(fates.of, minlength=3)
        assert (counts[TRAIN], counts[VALID]) == (fates.num_train, fates.num_valid)
        assert fates.num_train >= 1
        assert fates.num_valid >= 1
        assert fates.of[-1] == TRAIN  # the longest
    single = decide(made(["the words"], encoder, tmp_path), fraction, tmp_path / "scratch")
    assert (single.num_train, single.num_valid) == (1, 0)


def test_documents_without_tokens_are_dropped(encoder: Encoder, tmp_path: Path) -> None:
    fates = decide(made(["\x01\x02", "a text", "words"], encoder, tmp_path), 0.01, tmp_path / "scratch")
    assert fates.num_without_tokens == 1
    assert fates.of[0] == 0


def test_parts_are_found_again_and_damaged_ones_made_again(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 30)
    texts = [f"the text of words {i}" for i in range(7)]
    first = made(texts, encoder, tmp_path)
    assert [part.num_documents for part in first] == [2, 2, 2, 1]
    content = {path: path.read_bytes() for path in tmp_path.rglob("*.npy")}
    (first[1].folder / "ids.npy").write_bytes(b"damaged")
    encoded = []
    monkeypatch.setattr(encoder, "encode", lambda d: encoded.append(d) or Encoder.encode(encoder, d))
    assert made(texts, encoder, tmp_path) == first
    assert encoded == [texts[2:4]]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.npy")} == content
    flat = np.concatenate([part.ids() for part in first])
    assert np.array_equal(flat, Encoder.encode(encoder, texts).ids)
    starts = np.concatenate([part.is_start() for part in first])
    assert np.array_equal(starts, Encoder.encode(encoder, texts).is_start)


def test_parts_without_signatures_are_not_taken_for_parts_with(encoder: Encoder, tmp_path: Path) -> None:
    texts = ["the text of words", "a text"]
    plain = list(parts.make(texts, encoder, "hash", tmp_path))
    signed = list(parts.make(texts, encoder, "hash", tmp_path, near_duplicates.method()))
    other = list(parts.make(texts, encoder, "hash", tmp_path, "another library"))
    assert len({part.folder for part in (*plain, *signed, *other)}) == 3
    assert not (plain[0].folder / "signatures.npy").exists()
    assert np.array_equal(signed[0].signatures(), near_duplicates.signatures(texts))


def test_near_duplicates_are_dropped_and_counted_once(encoder: Encoder, tmp_path: Path) -> None:
    text = " ".join(f"word{i}" for i in range(100))
    texts = [text, text, text + " more", "another text", text.upper() + " \x01", "\x01\x02"]
    made = list(parts.make(texts, encoder, "hash", tmp_path / "parts", near_duplicates.method()))
    fates = decide(made, 0.01, tmp_path / "scratch", 0.8)
    assert (fates.num_duplicates, fates.num_near_duplicates, fates.num_without_tokens) == (1, 2, 1)
    assert [bool(fate) for fate in fates.of] == [True, False, False, True, False, False]
    assert decide(made, 0.01, tmp_path / "scratch").num_near_duplicates == 0


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

"""Near-duplicates: the estimate is near the exact similarity, what is alike is found, parts do not matter."""

from __future__ import annotations

import re
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlmctl.errors import UsageError
from mlmctl.text import near_duplicates
from mlmctl.text.near_duplicates import NUM_PLACES, bands, first_of_similar, signatures, similarity
from mlmctl.text.plain_words import plain_words


def words(rng: np.random.Generator, count: int) -> list[str]:
    return [f"w{number}" for number in rng.integers(0, 5000, count)]


def changed(some: list[str], num_changes: int, rng: np.random.Generator) -> list[str]:
    """The words with so many of them replaced by others, at random places."""
    other = list(some)
    for place in rng.choice(len(some), num_changes, replace=False):
        other[place] = f"changed{rng.integers(0, 10**6)}"
    return other


def exact(left: list[str], right: list[str]) -> float:
    a, b = ({tuple(some[i : i + 5]) for i in range(max(1, len(some) - 4))} for some in (left, right))
    return len(a & b) / len(a | b)


def firsts(
    documents: list[str], threshold: float, folder: Path, batch: int = 10**9, bucket: int = 64
) -> list[bool]:
    batches = [documents[i : i + batch] for i in range(0, len(documents), batch)]
    parts = [lambda table=table: table for table in map(signatures, batches)]
    return first_of_similar(parts, threshold, folder, bucket)[: len(documents)].tolist()


@settings(max_examples=25)
@given(st.integers(1, 400), st.floats(0, 1), st.integers(0, 2**32))
def test_the_estimate_is_near_the_exact_similarity(count: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(8):
        some = words(rng, count)
        pairs.append((some, changed(some, round(share**2 * count), rng)))
    left, right = (signatures([" ".join(pair[side]) for pair in pairs]) for side in (0, 1))
    expected = np.array([exact(*pair) for pair in pairs])
    found = similarity(left, right)
    assert np.abs(found - expected).max() < 0.22  # five standard errors
    assert abs((found - expected).mean()) < 0.08
    assert (found[expected == 1] == 1).all()


def test_the_estimate_is_unbiased() -> None:
    rng = np.random.default_rng(1)
    for num_changes in (4, 20):
        pairs = [(some, changed(some, num_changes, rng)) for some in (words(rng, 200) for _ in range(150))]
        left, right = (signatures([" ".join(pair[side]) for pair in pairs]) for side in (0, 1))
        errors = similarity(left, right) - [exact(*pair) for pair in pairs]
        assert abs(errors.mean()) < 0.01
        assert errors.std() < 0.045


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5)
@given(st.integers(0, 2**32), st.integers(1, 20), st.sampled_from([1, 16, 2**20]))
def test_parts_do_not_matter_and_what_is_alike_is_found(
    tmp_path: Path, seed: int, batch: int, bucket: int
) -> None:
    rng = np.random.default_rng(seed)
    originals = [words(rng, int(rng.integers(60, 200))) for _ in range(12)]
    copies = [changed(original, 1, rng) for original in originals]
    others = [words(rng, int(n)) for n in rng.integers(1, 80, 16)]
    documents = [" ".join(some) for some in originals + others + copies]
    found = firsts(documents, 0.7, tmp_path)
    assert found == firsts(documents, 0.7, tmp_path, batch, bucket)
    assert all(found[: len(originals)])
    assert sum(found[-len(copies) :]) <= 1  # a copy has at least 0.83; one in 20 may be missed by the bands
    assert not list(tmp_path.glob("bucket-*"))


def test_unrelated_documents_stay(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    documents = [" ".join(words(rng, 50)) for _ in range(2000)]
    assert all(firsts(documents, 0.5, tmp_path, batch=300, bucket=2**12))


def test_a_document_like_one_that_is_dropped_is_dropped(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chain = [words(rng, 400)]
    for _ in range(6):
        chain.append(changed(chain[-1], 8, rng))
    assert exact(chain[0], chain[-1]) < 0.5
    assert firsts([" ".join(some) for some in chain], 0.75, tmp_path) == [True, *[False] * 6]


def test_many_copies_take_linear_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def count(left: near_duplicates.Signatures, right: near_duplicates.Signatures) -> np.ndarray:
        nonlocal compared
        compared += len(left)
        return similarity(left, right)

    monkeypatch.setattr(near_duplicates, "similarity", count)
    monkeypatch.setattr(near_duplicates, "_AT_ONCE", 7)
    assert firsts(["the same words in all of them"] * 500, 0.8, tmp_path) == [True, *[False] * 499]
    assert compared == bands(0.8)[0] * 499


def test_what_share_a_band_but_little_else_is_left_alone_after_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 2**16, (300, NUM_PLACES)).astype(np.uint16)
    table[:, :64] = 7  # half of the places agree, and so do whole bands
    table[-1] = table[0]
    monkeypatch.setattr(near_duplicates, "_MOST_COMPARED", 3)
    found = first_of_similar([lambda: table], 0.8, tmp_path)
    assert found.tolist() == [True] * 299 + [False]


@pytest.mark.parametrize(
    ("threshold", "expected"), [(0.5, (42, 3)), (0.8, (18, 7)), (0.9, (10, 12)), (1.0, (1, 128))]
)
def test_bands_find_what_is_at_the_threshold(threshold: float, expected: tuple[int, int]) -> None:
    number, length = bands(threshold)
    assert (number, length) == expected
    assert number * length <= NUM_PLACES
    assert 1 - (1 - threshold**length) ** number >= 0.95


def test_short_documents_and_those_without_words() -> None:
    table = signatures(["one two", "One, two!", "one two three", "!!!", "???", "!!!"])
    assert np.array_equal(table[0], table[1])
    assert np.array_equal(table[3], table[5])
    for left, right in ((0, 2), (3, 4), (0, 3)):
        assert similarity(table[left : left + 1], table[right : right + 1])[0] < 0.1


def test_signatures_are_those_of_each_document_alone() -> None:
    rng = np.random.default_rng(0)
    documents = [" ".join(words(rng, int(n))) for n in rng.integers(1, 12, 40)]
    assert np.array_equal(signatures(documents), np.concatenate([signatures([one]) for one in documents]))


def test_signatures_are_the_same_on_every_machine() -> None:
    """They are in the key of a part by the method's name only: a changed library must be noticed here."""
    assert near_duplicates.method() == "rensa 2, words 2"
    table = signatures(["The quick brown fox jumps over the lazy dog.", "Grüße aus 日本語"])
    assert table[:, :4].tolist() == [[47661, 58778, 28985, 63125], [61160, 31020, 17242, 41910]]


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_are_those_of_any_text(text: str) -> None:
    assert plain_words(text) == [word.encode() for word in re.findall(r"\w+", text.lower())]
    assert plain_words(text + " é")[:-1] == plain_words(text)


def test_words_of_scripts_without_blanks_are_characters() -> None:
    assert [word.decode() for word in plain_words("Die Straße, 東京タ 2x ไทย")] == [
        *("die", "straße", "東", "京", "タ", "2x", "ไ", "ท", "ย")
    ]
    assert plain_words(unicodedata.normalize("NFD", "Äpfel")) == ["äpfel".encode()]


def test_vowels_that_are_marks_belong_to_their_words() -> None:
    for text in ("हिन्दी में पढ़ना कठिन है", "مُحَمَّدٌ كَتَبَ", "বাংলা ভাষা", "שָׁלוֹם עוֹלָם"):
        assert [word.decode() for word in plain_words(text)] == unicodedata.normalize("NFC", text).split()
    assert plain_words("❤\ufe0f naïve \u0301") == ["naïve".encode()]  # a mark alone is no word


def test_he_and_she_are_not_near_duplicates(tmp_path: Path) -> None:
    pytest.importorskip("rensa")
    he = "वह लड़का रोज़ सुबह अपनी किताब पढ़ता है और फिर स्कूल जाता है"
    she = "वह लड़की रोज़ सुबह अपनी किताबें पढ़ती है और फिर स्कूल जाती है"
    assert firsts([he, she, he], 0.5, tmp_path) == [True, True, False]


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(UsageError, match="near-duplicates need the package rensa") as caught:
        near_duplicates.method()
    assert "mlmctl[near]" in str(caught.value.hint)

"""Cutting text: words are counted and encoded as the library would, in every script."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from vocabularies import KINDS, TEXT, counted, trained

from mlmctl.text import encoding, pieces, vocabulary, words
from mlmctl.text.encoding import Encoded, Encoder
from mlmctl.text.vocabulary import Kind
from mlmctl.text.words import BLANKS, BYTE_LEVEL, WHOLE, WordCounter, cut_of

SCRIPTS = {
    "greek": "ὁ Ὀδυσσεὺς ἦλθεν",
    "russian": "быстрая лиса прыгает",
    "hebrew": "שָׁלוֹם עולם",
    "arabic": "مَرْحَبًا بالعالم",
    "hindi": "हिन्दी में लिखा",
    "thai": "ภาษาไทยง่าย",
    "chinese": "我喜欢电影。",
    "japanese": "映画をみました",
    "korean": "영화를 보았다",
    "marks": "cafe\u0301 a\u0327\u0301b",
    "emoji": "👩‍👩‍👧‍👦 ❤️ 1️⃣ 🇩🇪",
}
ODD = " \t\n\r\x0b\x1c\x85\xa0\u1680\u2000\u2009\u2028\u3000\u200b\u200d\ufe0f\u0301\u0345\u0e31İIıſKÅǰẞΣ'’½²"
ANY_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("ab theFILM\n ,.'sTlve#[]MASK12"),
        st.sampled_from(ODD + "".join(SCRIPTS.values())),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=60,
)


@pytest.fixture(scope="module", params=[(k, c) for k in KINDS for c in (False, True)], ids=str)
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Each kind, cased and not, as it is loaded to encode a corpus."""
    kind, cased = request.param
    folder = tmp_path_factory.mktemp("tokenizer")
    text = " ".join([TEXT, *SCRIPTS.values()])
    vocabulary.save(trained(1000, cased, text, kind).to_str(), folder)
    return vocabulary.load(folder)


@settings(deadline=None)
@given(ANY_TEXT)
def test_words_are_counted_as_the_tokenizer_splits_them(tokenizer: Tokenizer, text: str) -> None:
    counter = WordCounter(tokenizer)
    counter.count([text])
    normal = tokenizer.normalizer.normalize_str(text)
    expected = Counter(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    assert counter.words == expected
    assert counter.num_words == expected.total()


@given(st.text(alphabet=st.sampled_from("\t\n\r" + "".join(map(chr, range(32, 127)))), max_size=30))
def test_plain_words_are_those_of_the_library(tokenizer: Tokenizer, text: str) -> None:
    cut = cut_of(tokenizer)
    normal = tokenizer.normalizer.normalize_str(text)
    expected = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
    units = cut.units(text)
    assert [word for unit in units for word in split(tokenizer, unit)] == expected
    assert all(
        split(tokenizer, unit) == [unit.replace(" ", cut.space)] for unit in filter(cut.is_word, units)
    )


def split(tokenizer: Tokenizer, text: str) -> list[str]:
    """The words of a text by the library."""
    normal = tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]


@settings(deadline=None)
@given(ANY_TEXT)
def test_units_do_not_see_each_other(tokenizer: Tokenizer, text: str) -> None:
    units = cut_of(tokenizer).units(text)
    assert [word for unit in units for word in split(tokenizer, unit)] == split(tokenizer, text)


@settings(deadline=None)
@given(st.lists(ANY_TEXT, max_size=5))
def test_the_table_encodes_as_the_library_does(tokenizer: Tokenizer, documents: list[str]) -> None:
    encoder = Encoder(tokenizer)
    encoded = encoder.encode(documents)
    expected = [tokenizer.encode(document, add_special_tokens=False) for document in documents]
    assert encoded.lengths.tolist() == [len(e) for e in expected]
    assert encoded.ids.tolist() == [i for e in expected for i in e.ids]
    assert_same(encoded, encoder._by_library(documents))
    firsts = [n == 0 or word != e.word_ids[n - 1] for e in expected for n, word in enumerate(e.word_ids)]
    assert encoded.is_start.tolist() == (np.array(firsts, bool) | begins(tokenizer)[encoded.ids]).tolist()


@functools.cache
def begins(tokenizer: Tokenizer) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return pieces.of(tokenizer).begins_word


def assert_same(one: Encoded, other: Encoded) -> None:
    for name in ("ids", "lengths", "is_start"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist()


@pytest.mark.parametrize("name", SCRIPTS)
def test_fault_35_other_scripts_survive(tokenizer: Tokenizer, name: str) -> None:
    text = SCRIPTS[name]
    encoding = tokenizer.encode(text, add_special_tokens=False)
    decoded = tokenizer.decode(encoding.ids)
    normal = tokenizer.normalizer.normalize_str(text)
    assert "[UNK]" not in encoding.tokens
    if cut_of(tokenizer).space == " ":  # white space is lost, and so are format characters
        decoded, normal = decoded.replace(" ", ""), normal.replace(" ", "")
    assert decoded == normal
    assert unicodedata.is_normalized("NFC", normal.replace("\u200d", ""))


def test_composed_and_decomposed_are_one(tokenizer: Tokenizer) -> None:
    one, other = (tokenizer.encode(text).ids for text in ("cafe\u0301 \u01f0", "caf\u00e9 j\u030c"))
    assert one == other


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_nothing_is_unknown_to_bytes_and_nothing_is_lost(text: str) -> None:
    tokenizer = trained(kind="bpe", cased=True)
    tokenizer.encode_special_tokens = True
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert not set(ids) & set(range(5))
    assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def starting_words(kind: Kind, text: str) -> list[str]:
    """The text of each word, by where words are said to start, if every letter is a piece."""
    counts = counted([text], kind=kind).words
    if kind == "bpe":
        for letter in set(text):
            counts.update(dict.fromkeys(counted([letter], kind=kind).words, 99))
    tokenizer = vocabulary.train(counts, 500, False, kind)
    encoded = Encoder(tokenizer).encode([text])
    found: list[list[int]] = []
    for i, is_start in zip(encoded.ids.tolist(), encoded.is_start.tolist(), strict=True):
        if is_start:
            found.append([])
        found[-1].append(i)
    return [tokenizer.decode(ids).strip().removeprefix("##") for ids in found]


@pytest.mark.parametrize(
    ("text", "wordpiece", "bpe"),
    [
        ("the films, (great)!", "the|films|,|(|great|)|!", "the|films|,|(|great|)!"),
        ("don't", "don|'|t", "don|'t"),
        ("naïve café", "naïve|café", "naïve|café"),
        ("שלום שלום", "שלום|שלום", "שלום|שלום"),
        ("हिन्दी में", "हिन्दी|में", "हिन्दी|में"),
        ("مَرْحَبًا", "مَرْحَبًا", "مَرْحَبًا"),
        ("我喜欢", "我|喜|欢", "我|喜|欢"),
        ("ไทยง่าย", "ไ|ท|ย|ง่|า|ย", "ไ|ท|ย|ง่|า|ย"),
        ("みました", "み|ま|し|た", "み|ま|し|た"),
        ("👩‍👧 ok", "👩👧|ok", "👩‍👧|ok"),
    ],
)
def test_words_start_where_readers_see_them(text: str, wordpiece: str, bpe: str) -> None:
    assert starting_words("wordpiece", text) == wordpiece.split("|")
    assert starting_words("bpe", text) == bpe.split("|")


def test_clauses_without_spaces_are_learned_from_as_wholes() -> None:
    pieces = trained(500, text="我喜欢电影 " * 9 + "他喜欢书 " * 9, kind="bpe").get_vocab()
    assert "".join("åĸľæ¬¢") in pieces  # 喜欢


def test_too_many_words_are_pruned_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_MAX_WORDS", 10)
    counter = counted([" ".join(f"{letter} " * n for n, letter in enumerate("abcdefghijklmnop", 1))])
    assert sorted(counter.words) == ["l", "m", "n", "o", "p"]
    assert counter.num_forgotten == sum(range(1, 12))
    assert counter.num_words == sum(range(1, 17))
    monkeypatch.setattr(words, "_MAX_WORDS", 1000)
    monkeypatch.setattr(words, "_MAX_CHARACTERS", 200)
    equals = [f"{n:03}" for n in range(100)]
    some = counted([" ".join(equals)]).words
    assert len(some) == 33
    assert 5 < sum(word > "050" for word in some) < 28  # not the first in order: a sample
    assert counted([" ".join(equals[::-1])]).words == some


def test_long_words_teach_nothing() -> None:
    counter = counted(["a" * 101 + " bb bb"])
    assert counter.words == {"bb": 2}
    assert counter.num_long == 1
    tokenizer = vocabulary.train(counter.words, 100, False)
    per_word, unknown = counter.measure(tokenizer.model, 1)
    assert (per_word, unknown) == (1.0, round(1 / 3, 6))
    assert counted(["é" * 150], kind="bpe").num_long == 0
    assert counted(["é" * 201], kind="bpe").num_long == 1


def test_a_clause_without_spaces_is_too_long_for_wordpiece_and_not_for_bytes() -> None:
    clause = "ภาษาไทยง่ายนิดเดียว" * 8
    counter = counted([clause, "ภาษา"])
    assert (counter.num_words, counter.num_long) == (2, 1)
    tokenizer = trained(500, text="ภาษา ไทย")
    assert counter.measure(tokenizer.model, 1)[1] == 0.5
    assert counted([clause], kind="bpe").num_long == 1  # too long to learn from, but not unknown
    tokenizer = trained(500, text="ภาษาไทย ง่าย", kind="bpe")
    assert tokenizer.decode(tokenizer.encode(clause).ids) == clause


@pytest.mark.parametrize(
    "limit", ["_MAX_UNITS", "_MAX_CHARACTERS", "_MAX_IDS", "_AT_ONCE", "_LIBRARY_AT_ONCE"]
)
def test_the_table_is_bounded_and_does_not_show(
    tokenizer: Tokenizer, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [f"{text} the film {n}" for n, text in enumerate(SCRIPTS.values())] * 3
    whole = Encoder(tokenizer).encode(documents)
    monkeypatch.setattr(encoding, limit, 7)
    encoder = Encoder(tokenizer)
    for _ in range(2):
        assert_same(encoder.encode(documents), whole)
    if limit.startswith("_MAX"):
        assert len(encoder._numbers) < 200
        encoder.encode(["the film", "great"])
        assert len(encoder._numbers) < 9


def test_fault_29_a_long_word_takes_linear_time(tokenizer: Tokenizer) -> None:
    cut = cut_of(tokenizer)
    for piece in ("a", "a,", "-", "é,", "aé", "a\u200b", " é", "\n", "\n ", "\x01", "'s", "\xa0"):
        units = cut.units(piece * 2**17)  # minutes, were it quadratic
        assert "".join(units).replace(" ", "").strip() == (piece * 2**17).replace(" ", "").strip()


def test_who_may_be_cut() -> None:
    parts = json.loads(trained().to_str())
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

    def cut(**changes: object) -> words.Cut:
        return cut_of(Tokenizer.from_str(json.dumps({**parts, **changes})))

    assert cut().stretches == BLANKS.stretches
    assert cut(normalizer=None).lowers is False
    assert cut(pre_tokenizer={"type": "WhitespaceSplit"}) is WHOLE
    assert cut(normalizer={"type": "Prepend", "prepend": "x"}) is WHOLE
    assert cut(normalizer=None, pre_tokenizer=level).stretches == BYTE_LEVEL.stretches
    assert cut(normalizer={"type": "NFKC"}, pre_tokenizer=level) is WHOLE
    assert cut(normalizer=None, pre_tokenizer={**level, "add_prefix_space": True}) is WHOLE
    assert cut(normalizer=None, pre_tokenizer={**level, "use_regex": False}) is WHOLE
    added = {"id": 7, "content": "x y", "special": False, "normalized": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False}
    assert cut(added_tokens=[*parts["added_tokens"], {**added, **flags}]) is WHOLE


def test_a_stranger_goes_through_the_library(tmp_path: Path) -> None:
    parts = json.loads(trained().to_str())
    parts["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    vocabulary.save(json.dumps(parts), tmp_path)
    encoded = Encoder(vocabulary.load(tmp_path)).encode(["the film kindness", "", "bad"])
    assert encoded.lengths.tolist()[1:] == [0, 1]
    assert encoded.is_start.sum() == 4

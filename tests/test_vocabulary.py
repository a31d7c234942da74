"""The vocabulary: the same bytes every time, and what its tokenizer does to text."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

from mlmctl.errors import ArtifactError, UsageError
from mlmctl.text import vocabulary, wordpiece
from mlmctl.text.encoding import Encoder

TEXT = (
    "The film was great, the film was bad. Große Straße; naïve café! 我喜欢电影 🙂 שלום "
    "kind kindness kindly unkind bad badly the a of film films filming Ὀδυσσεύς 12 123 don't"
)


def trained(size: int = 220, cased: bool = False, text: str = TEXT) -> Tokenizer:
    counter = vocabulary.WordCounter(cased)
    counter.count([text] * 3)
    return vocabulary.train(counter.words, size, cased)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    vocabulary.save(trained().to_str(pretty=True), path)
    return path


def reference_merges(counts: dict[str, int], alphabet: list[str], size: int) -> list[str]:
    """Byte-pair encoding written as its definition reads: recount everything for every merge."""
    pieces = list(alphabet)
    words = {word: [word[0], *("##" + c for c in word[1:])] for word in counts}
    while len(pieces) < size:
        totals: Counter[tuple[str, str]] = Counter()
        for word, split in words.items():
            for pair in itertools.pairwise(split):
                totals[pair] += counts[word]
        number = {piece: i for i, piece in enumerate(pieces)}
        ranked = sorted(totals, key=lambda p: (-totals[p], number[p[0]], number[p[1]]))
        if not ranked or totals[ranked[0]] < 2:
            break
        left, right = ranked[0]
        merged = left + right.removeprefix("##")
        if merged not in pieces:
            pieces.append(merged)
        for word, split in words.items():
            at, new = 0, []
            while at < len(split):
                if split[at : at + 2] == [left, right]:
                    new.append(merged)
                    at += 2
                else:
                    new.append(split[at])
                    at += 1
            words[word] = new
    return pieces


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(alphabet="abc", min_size=1, max_size=9), st.integers(1, 9), min_size=1, max_size=14
    ),
    st.integers(12, 40),
)
def test_pieces_are_those_of_the_definition(counts: dict[str, int], size: int) -> None:
    pieces = wordpiece.learn(counts, size)
    num_characters = sum(len(piece.removeprefix("##")) == 1 for piece in pieces)
    assert pieces == reference_merges(counts, pieces[:num_characters], size)
    shuffled = list(counts.items())
    random.Random(size).shuffle(shuffled)
    assert wordpiece.learn(dict(shuffled), size) == pieces


def test_the_same_bytes_whatever_the_hash_seed_and_threads(tmp_path: Path) -> None:
    program = (
        "import sys; from mlmctl.text import vocabulary as v; c = v.WordCounter(False);"
        "c.count([sys.argv[1]] * 3); print(v.train(c.words, 220, False).to_str())"
    )
    results = set()
    for seed, threads in (("1", "1"), ("2", "2"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        environment["TOKENIZERS_PARALLELISM"] = "true"
        command = [sys.executable, "-c", program, TEXT]
        results.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(results) == 1


def test_special_tokens_come_first(folder: Path) -> None:
    specials = vocabulary.special_ids(vocabulary.load(folder))
    assert [specials.pad, specials.unk, specials.cls, specials.sep, specials.mask] == [0, 1, 2, 3, 4]
    assert specials.vocab_size == trained().get_vocab_size() <= 220
    assert specials.others == ()


def test_stock_auto_tokenizer_needs_nothing_else(folder: Path) -> None:
    stock = AutoTokenizer.from_pretrained(folder)
    assert stock.is_fast
    assert [stock.pad_token_id, stock.unk_token_id, stock.cls_token_id] == [0, 1, 2]
    assert [stock.sep_token_id, stock.mask_token_id] == [3, 4]
    assert stock.model_max_length == 512
    encoded = stock(["the film", "the [MASK] film was"], padding=True)
    assert set(encoded) == {"input_ids", "attention_mask"}
    assert encoded["input_ids"][0][0] == 2
    assert encoded["input_ids"][0][-1] == 0
    assert 4 in encoded["input_ids"][1]
    assert stock("the film", "bad")["input_ids"].count(3) == 2
    assert (
        stock.decode(stock("The kindness film")["input_ids"], skip_special_tokens=True) == "the kindness film"
    )


def test_fault_34_special_tokens_in_the_text_are_text(folder: Path) -> None:
    tokenizer = vocabulary.load(folder)
    for text in ("[MASK]", "a [CLS] b [SEP]", "x[PAD]y </s> [UNK]"):
        for ids in (
            Encoder(tokenizer).encode([text]).ids,
            tokenizer.encode(text, add_special_tokens=False).ids,
        ):
            assert not np.isin(ids, [0, 2, 3, 4]).any()


def test_fault_35_other_scripts_survive(folder: Path) -> None:
    tokenizer = vocabulary.load(folder)
    for text in ("我喜欢电影", "🙂", "שלום", "naïve café", "große", "Ὀδυσσεύς"):
        encoding = tokenizer.encode(text, add_special_tokens=False)
        assert "[UNK]" not in encoding.tokens
        assert tokenizer.decode(encoding.ids).replace(" ", "") == text.lower().replace(" ", "")
    assert tokenizer.encode("我喜", add_special_tokens=False).tokens == ["我", "喜"]
    both = [tokenizer.encode(text).ids for text in ("cafe\u0301", "caf\u00e9")]
    assert both[0] == both[1]


def test_case_is_kept_if_asked(folder: Path) -> None:
    assert vocabulary.load(folder).encode("THE").tokens[1] == "the"
    assert trained(cased=True).encode("The").tokens[1] == "The"


def test_fault_31_a_small_text_gives_what_it_can() -> None:
    tokenizer = trained(8192)
    assert tokenizer.get_vocab_size() < 300
    with pytest.raises(UsageError, match="too few") as caught:
        trained(64, text="".join(f"{chr(97 + i)}{chr(97 + (i + 7) % 26)} {i} " for i in range(26)))
    assert caught.value.code == "usage.vocab-size"


def test_rare_characters_do_not_eat_the_vocabulary() -> None:
    rare = " ".join(chr(0x4E00 + i) for i in range(500))
    counter = vocabulary.WordCounter(False)
    counter.count(["some plain words " * 30_000 + rare])
    pieces = vocabulary.train(counter.words, 200, False).get_vocab()
    assert {"some", "plain", "words"} <= set(pieces)
    assert len(pieces) <= 200


@settings(deadline=None)
@given(st.text(max_size=40), st.booleans())
def test_words_are_counted_as_the_tokenizer_splits_them(text: str, cased: bool) -> None:
    counter = vocabulary.WordCounter(cased)
    counter.count([text])
    tokenizer = trained(cased=cased)
    normal = tokenizer.normalizer.normalize_str(text)
    expected = Counter(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal))
    assert counter.words == expected
    assert counter.num_words == expected.total()


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_ascii_words_are_those_of_the_library(text: str) -> None:
    expected = [word for word, _ in pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)]
    assert vocabulary.ascii_words(text) == expected


def test_too_many_words_are_pruned_by_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_MAX_WORDS", 10)
    counter = vocabulary.WordCounter(False)
    counter.count([" ".join(f"{letter} " * count for count, letter in enumerate("abcdefghijklmnop", 1))])
    assert sorted(counter.words) == ["l", "m", "n", "o", "p"]
    assert counter.num_forgotten == sum(range(1, 12))
    assert counter.num_words == sum(range(1, 17))


SOME_TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("ab the film\n\t ,.'#[]MASK"), st.characters(exclude_categories=["Cs"])
    ),
    max_size=60,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(SOME_TEXT, max_size=5))
def test_the_table_encodes_as_the_library_does(folder: Path, documents: list[str]) -> None:
    tokenizer = vocabulary.load(folder)
    encoded = Encoder(tokenizer).encode(documents)
    expected = [tokenizer.encode(document, add_special_tokens=False) for document in documents]
    assert encoded.lengths.tolist() == [len(e) for e in expected]
    assert encoded.ids.tolist() == [i for e in expected for i in e.ids]
    starts = [n == 0 or word != e.word_ids[n - 1] for e in expected for n, word in enumerate(e.word_ids)]
    assert encoded.is_start.tolist() == starts


def test_a_stranger_that_is_not_local_goes_through_the_library(tmp_path: Path) -> None:
    parts = json.loads(trained().to_str())
    parts["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    vocabulary.save(json.dumps(parts), tmp_path)
    encoder = Encoder(vocabulary.load(tmp_path))
    assert not encoder._is_local
    encoded = encoder.encode(["the film kindness", "", "bad"])
    assert encoded.lengths.tolist()[1:] == [0, 1]
    assert encoded.is_start.sum() == 4


def test_fault_52_a_strange_tokenizer_is_looked_at(folder: Path, tmp_path: Path) -> None:
    def refused(content: str) -> str:
        (tmp_path / "tokenizer.json").write_text(content)
        with pytest.raises(ArtifactError) as caught:
            vocabulary.load(tmp_path)
        return caught.value.message

    good = json.loads((folder / "tokenizer.json").read_text())
    assert "not a tokenizer" in refused("{}")
    assert "not a tokenizer" in refused("[")
    parts = {**good, "normalizer": {"type": "Nmt"}}
    assert "unknown kind 'Nmt'" in refused(json.dumps(parts))
    without = json.loads(json.dumps(good).replace("[MASK]", "[mask!]"))
    assert "[MASK]" in refused(json.dumps(without))
    with pytest.raises(ArtifactError, match="does not exist"):
        vocabulary.load(tmp_path / "nothing")

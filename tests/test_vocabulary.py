"""The vocabulary: the same bytes every time, and what its tokenizer does to text."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer
from vocabularies import KINDS, TEXT, counted, trained

from mlmctl.errors import UsageError
from mlmctl.text import vocabulary
from mlmctl.text.encoding import Encoder
from mlmctl.text.vocabulary import Kind


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """A tokenizer of each kind, saved."""
    paths: dict[Kind, Path] = {}
    for kind in KINDS:
        paths[kind] = tmp_path_factory.mktemp(kind)
        vocabulary.save(trained(kind=kind).to_str(pretty=True), paths[kind])
    return paths


@pytest.fixture
def folder(folders: dict[Kind, Path], request: pytest.FixtureRequest) -> Path:
    """The folder of the kind that the test is about: WordPiece unless it asks for both."""
    return folders[getattr(request, "param", "wordpiece")]


both_kinds = pytest.mark.parametrize("folder", KINDS, indirect=True)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_whatever_the_hash_seed_and_threads(kind: Kind) -> None:
    program = (
        "import sys; from mlmctl.text import vocabulary as v, words as w; kind = sys.argv[2];"
        "c = w.WordCounter(v.untrained(False, kind)); c.count([sys.argv[1]] * 3);"
        "print(v.train(c.words, 340, False, kind).to_str())"
    )
    results = set()
    for seed, threads in (("1", "1"), ("2", "2"), ("3", "2")):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "RAYON_NUM_THREADS": threads}
        environment["TOKENIZERS_PARALLELISM"] = "true"
        command = [sys.executable, "-c", program, TEXT, kind]
        results.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(results) == 1


@both_kinds
def test_special_tokens_come_first(folder: Path) -> None:
    specials = vocabulary.special_ids(vocabulary.load(folder))
    assert [specials.pad, specials.unk, specials.cls, specials.sep, specials.mask] == [0, 1, 2, 3, 4]
    assert 100 < specials.vocab_size <= 340
    assert specials.others == ()


@both_kinds
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
    ids = stock("The kindness film")["input_ids"]
    assert ids == [2, *vocabulary.load(folder).encode("The kindness film", add_special_tokens=False).ids, 3]
    assert stock.decode(ids, skip_special_tokens=True) == "the kindness film"


def test_a_hidden_word_takes_its_space_with_it(folders: dict[Kind, Path]) -> None:
    stock = AutoTokenizer.from_pretrained(folders["bpe"])
    whole, hidden = stock("the film was bad.")["input_ids"], stock("the [MASK] was bad.")["input_ids"]
    assert [i for i in hidden if i != 4] == [i for i in whole if i != stock.convert_tokens_to_ids("Ġfilm")]
    assert len(hidden) == len(whole)


@both_kinds
def test_fault_34_special_tokens_in_the_text_are_text(folder: Path) -> None:
    tokenizer = vocabulary.load(folder)
    for text in ("[MASK]", "a [CLS] b [SEP]", "x[PAD]y </s> [UNK]"):
        for ids in (
            Encoder(tokenizer).encode([text]).ids,
            tokenizer.encode(text, add_special_tokens=False).ids,
        ):
            assert not np.isin(ids, [0, 2, 3, 4]).any()


def test_case_is_kept_if_asked(folder: Path) -> None:
    assert vocabulary.load(folder).encode("THE").tokens[1] == "the"
    assert trained(cased=True).encode("The").tokens[1] == "The"


def test_fault_31_a_small_text_gives_what_it_can() -> None:
    for kind in KINDS:
        assert trained(8192, kind=kind).get_vocab_size() < 400
    with pytest.raises(UsageError, match="too few") as caught:
        trained(64, text="".join(f"{chr(97 + i)}{chr(97 + (i + 7) % 26)} {i} " for i in range(26)))
    assert caught.value.code == "usage.vocab-size"
    with pytest.raises(UsageError, match="256 bytes"):
        trained(260, kind="bpe")


def test_rare_characters_do_not_eat_the_vocabulary() -> None:
    rare = " ".join(chr(0x4E00 + i) for i in range(500))
    words = counted(["some plain words " * 30_000 + rare]).words
    pieces = vocabulary.train(words, 200, False).get_vocab()
    assert {"some", "plain", "words"} <= set(pieces)
    assert len(pieces) <= 200

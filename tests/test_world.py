"""The invented world: the same for the same seed, balanced, and without any way for a label to leak."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from mlmctl.world import LABELS, World, generate
from mlmctl.world.sentences import ENGLISH

FILES = ("corpus.txt", "train.jsonl", "test.jsonl", "words.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("world")


@pytest.fixture(scope="module")
def world(folder: Path) -> World:
    return generate(3, folder, num_documents=1_500)


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def _sentences(text: str) -> set[str]:
    return set(re.split(r"(?<=[.!]) ", text))


def _bytes(folder: Path, seed: int) -> list[bytes]:
    generate(seed, folder, num_documents=50, num_train=20, num_test=20)
    return [(folder / name).read_bytes() for name in FILES]


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    first = _bytes(tmp_path / "a", 7)
    assert first == _bytes(tmp_path / "b", 7)
    other = _bytes(tmp_path / "c", 8)
    assert all(mine != its for mine, its in zip(first, other, strict=True))


def test_the_bytes_of_a_seed_never_change_by_accident(tmp_path: Path) -> None:
    content = b"".join(_bytes(tmp_path, 0))
    assert (
        hashlib.sha256(content).hexdigest()
        == "1d600b05370af97ec282eaebd723859dda231242528c03a22657724724ab4ba1"
    )


def test_corpus_says_no_label_and_no_labelled_sentence(world: World) -> None:
    corpus = world.corpus.read_text()
    assert not _words(corpus) & {label.lower() for label in LABELS}
    said = {s for document in corpus.split("\n\n") for s in _sentences(document.strip())}
    for path in (world.train, world.test):
        labelled = {s for row in _rows(path) for s in _sentences(row["text"])}
        assert not labelled & said


def test_training_reviews_use_only_the_labelled_judgements(world: World) -> None:
    used = {word for row in _rows(world.train) for word in _words(row["text"])}
    assert not used & world.lexicon.unlabelled.all
    assert used & world.lexicon.labelled.all


def test_four_of_five_test_reviews_judge_only_with_words_no_label_touched(world: World) -> None:
    unlabelled, labelled = world.lexicon.unlabelled.all, world.lexicon.labelled.all
    kinds = Counter[str]()
    for row in _rows(world.test):
        words = _words(row["text"])
        assert bool(words & unlabelled) != bool(words & labelled), row["text"]
        kinds["new" if words & unlabelled else "known"] += 1
    assert kinds == {"new": 800, "known": 200}


def test_no_cue_of_the_corpus_gives_a_review_away(world: World) -> None:
    """Words other than judgements must be as frequent in good reviews as in bad ones."""
    counts = {label: Counter[str]() for label in LABELS}
    judgements = world.lexicon.labelled.all | world.lexicon.unlabelled.all
    for row in _rows(world.test):
        counts[row["label"]].update(_words(row["text"]) - judgements)
    for word in counts["positive"] | counts["negative"]:
        good, bad = counts["positive"][word], counts["negative"][word]
        assert abs(good - bad) <= 5 * (good + bad) ** 0.5, word


def test_labels_are_balanced_and_reviews_distinct(world: World) -> None:
    for path, count in ((world.train, 256), (world.test, 1_000)):
        rows = _rows(path)
        assert Counter(row["label"] for row in rows) == dict.fromkeys(LABELS, count // 2)
        assert all(row.keys() == {"text", "label"} for row in rows)
    texts = [row["text"] for path in (world.train, world.test) for row in _rows(path)]
    assert len(set(texts)) == len(texts)


def test_new_words_are_balanced_within_each_label(world: World) -> None:
    labels = Counter(
        row["label"] for row in _rows(world.test) if _words(row["text"]) & world.lexicon.unlabelled.all
    )
    assert labels["positive"] == labels["negative"]


def test_no_word_has_two_roles(world: World) -> None:
    lexicon = world.lexicon
    groups = [
        *(lexicon.labelled.good, lexicon.labelled.bad, lexicon.unlabelled.good, lexicon.unlabelled.bad),
        *(lexicon.plain, [n.lower() for n in lexicon.people], [n.lower() for n in lexicon.towns]),
    ]
    words = [word for group in groups for word in group]
    assert len(set(words)) == len(words)
    assert not set(words) & ENGLISH
    assert len(lexicon.labelled.all) == 24
    assert len(lexicon.unlabelled.all) == 96


def test_all_judgements_keep_company_in_the_corpus(world: World) -> None:
    """Praise stands beside "wonderfully" and blame beside "terribly", labelled or not alike."""
    counts = Counter(re.findall(r"[a-z]+", world.corpus.read_text().lower()))
    lexicon = world.lexicon
    of_labelled = sum(counts[w] for w in lexicon.labelled.all) / 24
    of_unlabelled = sum(counts[w] for w in lexicon.unlabelled.all) / 96
    assert 0.9 < of_labelled / of_unlabelled < 1.1
    pairs = re.findall(r"(wonderfully|terribly) ([a-z]+)", world.corpus.read_text())
    good = set(lexicon.judgements(True))
    assert all((word in good) == (company == "wonderfully") for company, word in pairs)
    assert len({word for _, word in pairs}) == 120


def test_documents_are_paragraphs(world: World) -> None:
    documents = world.corpus.read_text().strip().split("\n\n")
    assert len(documents) == 1_500
    assert all("\n" not in document and document[-1] in ".!" for document in documents)
    assert not re.search(r"[{}]", world.corpus.read_text())

"""The built-in English set: valid labels, no duplicates, answers where they are said to be."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mlmctl import samples
from mlmctl.config import FinetuneConfig
from mlmctl.events import Event, silent
from mlmctl.tasks import tagged

CORPUS = samples.path("corpus.txt").read_text(encoding="utf-8")
PARAGRAPHS = CORPUS.strip().split("\n\n")


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in samples.path(name).read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("name", "count"), [("sentiment-train.jsonl", 240), ("sentiment-test.jsonl", 80)])
def test_sentiment_is_balanced_and_well_formed(name: str, count: int) -> None:
    rows = _rows(name)
    assert Counter(row["label"] for row in rows) == {"negative": count // 2, "positive": count // 2}
    assert all(row.keys() == {"text", "label"} for row in rows)
    assert all(row["text"] == row["text"].strip() and 10 < len(row["text"]) < 120 for row in rows)


def test_no_sentence_occurs_twice_and_train_and_test_are_disjoint() -> None:
    texts = [row["text"].lower() for name in ("train", "test") for row in _rows(f"sentiment-{name}.jsonl")]
    assert len(set(texts)) == len(texts)


def test_corpus_is_varied_prose() -> None:
    assert 40_000 < len(CORPUS.encode()) < 100_000
    assert len(PARAGRAPHS) > 150
    assert len(set(PARAGRAPHS)) == len(PARAGRAPHS)
    assert all("\n" not in paragraph and 150 < len(paragraph) < 600 for paragraph in PARAGRAPHS)
    assert len(set(CORPUS.lower().split())) > 2_500
    assert CORPUS.endswith("\n")
    assert "\n\n\n" not in CORPUS


@pytest.mark.parametrize(("name", "num_questions", "num_articles"), [("qa", 41, 12), ("qa-test", 40, 15)])
def test_questions_have_their_answers_where_they_say(
    name: str, num_questions: int, num_articles: int
) -> None:
    articles = json.loads(samples.path(f"{name}.json").read_text(encoding="utf-8"))["data"]
    ids: list[str] = []
    for article in articles:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            assert context in PARAGRAPHS
            for question in paragraph["qas"]:
                ids.append(question["id"])
                assert question["question"].endswith("?")
                for answer in question["answers"]:
                    start = answer["answer_start"]
                    assert context[start : start + len(answer["text"])] == answer["text"]
    assert len(ids) == len(set(ids)) == num_questions
    assert len(articles) == num_articles


def test_no_passage_is_in_the_training_and_the_test_questions() -> None:
    train, test = (
        {
            paragraph["context"]
            for article in json.loads(content)["data"]
            for paragraph in article["paragraphs"]
        }
        for content in (
            samples.path(f"{name}.json").read_text(encoding="utf-8") for name in ("qa", "qa-test")
        )
    )
    assert not train & test


@pytest.mark.parametrize(("name", "count"), [("tags-train.jsonl", 82), ("tags-test.jsonl", 30)])
def test_tagged_sentences_are_well_formed_and_hold_every_type(name: str, count: int) -> None:
    told: list[Event] = []
    data = tagged.read(samples.path(name), FinetuneConfig(task="tags"), told.append)
    assert len(data) == count
    assert told == []  # nothing empty, repeated, contradicting or out of order
    assert data.types == ("LOC", "ORG", "PER")
    for kind in data.types:
        assert sum(span.type == kind for spans in data.entities for span in spans) >= count / 3
    assert any(not spans for spans in data.entities)


def test_tagged_train_and_test_are_disjoint() -> None:
    train, test = (
        tagged.read(samples.path(f"tags-{part}.jsonl"), FinetuneConfig(task="tags"), silent)
        for part in ("train", "test")
    )
    assert not set(train.hashes) & set(test.hashes)

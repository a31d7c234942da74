"""Pseudo-log-likelihood: equal to the definition, written out here with stock classes, one copy at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import BLOCK_LENGTH, make_data, make_encoder, run_finetune
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForMaskedLM, AutoTokenizer

from mlmctl.commands import score
from mlmctl.errors import ArtifactError, DataError
from mlmctl.text.copies import Method, hidden
from mlmctl.text.vocabulary import Kind

METHODS: tuple[Method, ...] = ("original", "within-word-l2r")
# The vocabulary has a dozen words and all letters: what is no word of it falls into pieces.
TEXTS = ["great film", "the plotting was superbly dull", "casting", "a film and a plot", "", "awful, really!"]
TOLERANCE = 2e-4
CONTINUES: dict[Kind, Callable[[str], bool]] = {
    "wordpiece": lambda piece: piece.startswith("##"),
    "bpe": lambda piece: piece[0].isalpha() and piece[0] != "Ġ",
}
"""Whether a piece goes on with the word before it, as each kind of tokenizer writes that."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "pretrain", scale=10.0)


@torch.no_grad()
def by_definition(
    folder: Path, text: str, method: Method, continues: Callable[[str], bool]
) -> list[tuple[str, float]]:
    """log P(token i | all others, those that `method` hides masked), from the stock model's dense logits."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForMaskedLM.from_pretrained(folder, attn_implementation="eager")
    ids = tokenizer(text)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    scored = []
    for place in range(1, len(ids) - 1):
        masked = list(ids)
        masked[place] = tokenizer.mask_token_id
        following = place + 1
        while method == "within-word-l2r" and continues(pieces[following]):
            masked[following] = tokenizer.mask_token_id
            following += 1
        logits = model(torch.tensor([masked])).logits[0, place]
        scored.append((pieces[place], float(torch.log_softmax(logits, dim=-1)[ids[place]])))
    return scored


def scores(
    folder: Path, texts: list[str], method: Method = "original", **options: Any
) -> list[dict[str, Any]]:
    return list(score.run(folder, texts, method, **options))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("architecture", "kind"), [("modernbert", "wordpiece"), ("bert", "wordpiece"), ("modernbert", "bpe")]
)
def test_scores_are_those_of_the_definition(
    tmp_path: Path, architecture: str, kind: Kind, method: Method
) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture=architecture, kind=kind, scale=10.0)
    found = scores(encoder, TEXTS, method)
    assert any(CONTINUES[kind](token["token"]) for token in found[1]["tokens"][1:])
    for text, row in zip(TEXTS, found, strict=True):
        expected = by_definition(encoder, text, method, CONTINUES[kind])
        assert [token["token"] for token in row["tokens"]] == [token for token, _ in expected]
        values = [token["log_probability"] for token in row["tokens"]]
        assert values == pytest.approx([value for _, value in expected], abs=TOLERANCE)
        assert row["score"] == pytest.approx(sum(value for _, value in expected), abs=TOLERANCE)
        assert row["num_tokens"] == len(expected)
        assert row["num_windows"] == 1


def test_the_methods_differ_where_a_word_has_several_pieces_and_nowhere_else(encoder: Path) -> None:
    original, l2r = (scores(encoder, ["great film", "great plotting"], method) for method in METHODS)
    assert original[0] == l2r[0]
    pieces = len(original[1]["tokens"]) - 1
    assert pieces > 2
    values = [[token["log_probability"] for token in row[1]["tokens"]] for row in (original, l2r)]
    moved = np.abs(np.subtract(*values)) > 10 * TOLERANCE
    # The word before is alone, and after the last piece of a word nothing is hidden.
    assert moved.tolist() == [False, *[True] * (pieces - 1), False]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_hidden_is_the_token_and_what_follows_in_its_word(starts: list[bool], data: Any) -> None:
    place = data.draw(st.integers(0, len(starts) - 1))
    is_start, places = np.array([starts]), np.array([place])
    assert np.flatnonzero(hidden(is_start, places, "original")[0]).tolist() == [place]
    end = next((n for n in range(place + 1, len(starts)) if starts[n]), len(starts))
    masked = np.flatnonzero(hidden(is_start, places, "within-word-l2r")[0]).tolist()
    assert masked == list(range(place, end))


def test_a_text_scores_the_same_in_any_company(encoder: Path) -> None:
    draw = np.random.default_rng(0)
    words = ["great", "lovely", "plotting", "was", "superbly", "the", "film", "casting"]
    texts = [" ".join(draw.choice(words, n)) for n in draw.integers(0, 30, 12)]
    together = [row["score"] for row in scores(encoder, texts)]
    alone = [row["score"] for text in texts for row in scores(encoder, [text])]
    assert together == pytest.approx(alone, abs=TOLERANCE)
    small = [row["score"] for row in scores(encoder, texts[::-1], batch_size=3)][::-1]
    assert together == pytest.approx(small, abs=TOLERANCE)


def test_an_empty_text_has_no_score_a_token(encoder: Path) -> None:
    (row,) = scores(encoder, [""])
    assert row == {"score": 0.0, "num_tokens": 0, "score_per_token": None, "num_windows": 1, "tokens": []}


def test_fault_39_a_long_text_is_scored_in_windows(encoder: Path) -> None:
    words = ["the", "film", "was", "a", "plot", "and", "cast"] * 4
    room = BLOCK_LENGTH - 2
    (row,) = scores(encoder, [" ".join(words)])
    halves = scores(encoder, [" ".join(words[:room]), " ".join(words[room:])])
    assert row["num_windows"] == 2
    assert row["tokens"] == [token for half in halves for token in half["tokens"]]
    assert row["score"] == pytest.approx(sum(half["score"] for half in halves), abs=TOLERANCE)


def test_no_more_lines_are_read_than_are_scored(encoder: Path) -> None:
    read = []

    def lines() -> Iterator[str]:
        for n in range(10):
            read.append(n)
            yield json.dumps({"text": TEXTS[n % 3]}) + "\n"

    rows = score.run(encoder, lines(), "original", batch_size=4)
    next(rows)
    assert len(read) == 4
    assert len(list(rows)) == 9


def test_fault_34_special_tokens_in_the_text_are_ordinary_text(encoder: Path) -> None:
    (row,) = scores(encoder, ["great [MASK] film"])
    assert "[MASK]" not in [token["token"] for token in row["tokens"]]


def test_what_cannot_predict_words_is_refused(encoder: Path, tmp_path: Path) -> None:
    run_finetune(tmp_path / "toy", encoder, make_data(tmp_path / "train.jsonl", 20), epochs=1.0)
    with pytest.raises(ArtifactError, match="no masked-language head"):
        scores(tmp_path / "toy", ["great"])
    with pytest.raises(DataError, match="line 2"):
        scores(encoder, ['{"text": "great"}', "film"])

"""Word vectors to begin with: exact counts, and vectors that know what stands in the same company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pretrain_world import LENGTH, SPECIALS, VOCAB_SIZE, Run, config, make_inputs

from mlmctl.config import PretrainConfig
from mlmctl.engine import model, word_vectors
from mlmctl.engine.architectures import Shape
from mlmctl.stages import pretrain
from mlmctl.text import cooccurrence
from mlmctl.text.blocks import Blocks

IDS = {"pad": SPECIALS.pad, "cls": SPECIALS.cls, "sep": SPECIALS.sep}
documents = st.lists(st.lists(st.integers(5, 14), min_size=1, max_size=40), min_size=1, max_size=6)


def packed(texts: list[list[int]]) -> Blocks:
    lengths = np.array([len(text) for text in texts])
    ids = np.concatenate([np.array(text, np.int64) for text in texts])
    return Blocks.packed(ids, lengths, np.ones(len(ids), bool), LENGTH, SPECIALS)


def counted_slowly(blocks: Blocks, contexts: NDArray[np.int64]) -> NDArray[np.int64]:
    found = np.zeros((VOCAB_SIZE, len(contexts)), np.int64)
    for row in blocks.ids.tolist():
        for place, token in enumerate(row):
            for other in range(max(0, place - 4), min(len(row), place + 5)):
                if other != place and token > 4 and row[other] > 4:
                    found[token] += (contexts == row[other]) * (12 // abs(other - place))
    return found


@given(documents, st.permutations(range(5, 15)), st.integers(1, 10))
def test_counts_are_those_of_a_slow_loop(texts: list[list[int]], order: list[int], num_contexts: int) -> None:
    blocks, contexts = packed(texts), np.array(order[:num_contexts])
    found = cooccurrence.counts(blocks, contexts, 10**9, seed=0)
    assert found.tolist() == counted_slowly(blocks, contexts).tolist()


def test_a_sample_of_a_large_corpus_is_counted() -> None:
    blocks = packed([[5, 6] * 40] * 20)
    contexts = np.array([5, 6])
    whole = cooccurrence.counts(blocks, contexts, 10**9, seed=0).sum()
    some = cooccurrence.counts(blocks, contexts, 10 * LENGTH, seed=0).sum()
    assert 0 < some < 0.2 * whole
    assert some == cooccurrence.counts(blocks, contexts, 10 * LENGTH, seed=0).sum()


def test_tokens_in_the_same_company_are_near() -> None:
    """Tokens 0, 1 stand beside 4, 5 and tokens 2, 3 beside 6, 7."""
    counts = torch.zeros(9, 8, dtype=torch.int32)
    for tokens, company in (((0, 1), (4, 5)), ((2, 3), (6, 7))):
        for token in tokens:
            counts[token, list(company)] = 50
            counts[list(company), token] = 50
    found = word_vectors.of(counts, 16, seed=0)
    assert found.shape == (9, 16)
    assert torch.allclose(found[:8].norm(dim=1), torch.ones(8), atol=1e-5)
    assert not found[8].any()  # never seen
    assert found[0] @ found[1] > 0.99
    assert found[0] @ found[2] < 0.1
    assert torch.equal(found, word_vectors.of(counts, 16, seed=0))


def test_nothing_counted_is_nothing_known() -> None:
    assert not word_vectors.of(torch.zeros(4, 1, dtype=torch.int32), 8, seed=0).any()
    assert word_vectors.of(torch.zeros(4, 0, dtype=torch.int32), 8, seed=0).shape == (4, 8)


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_rows_of_frequent_tokens_are_replaced(architecture: str) -> None:
    made = model.build(architecture, Shape(32, 1, 2, 48), VOCAB_SIZE, LENGTH, IDS, 0)
    before = made.get_input_embeddings().weight.detach().clone()
    generator = torch.Generator().manual_seed(1)
    torch_state = torch.random.get_rng_state()
    texts = torch.randint(5, 25, (30, 40), generator=generator).tolist()
    blocks = packed([*texts, [80, 81]])
    unigrams = np.bincount(np.concatenate([*texts, [80, 81]]), minlength=VOCAB_SIZE)
    word_vectors.install(made, blocks, unigrams, seed=0)
    after = made.get_input_embeddings().weight
    replaced = (after != before).all(dim=1).nonzero().flatten().tolist()
    assert replaced == list(range(5, 25))
    assert torch.equal(after[80:], before[80:])  # too rare
    assert torch.allclose(after[5:25].norm(dim=1), torch.full((20,), 0.02 * 32**0.5), rtol=1e-3)
    assert made.get_output_embeddings().weight is after
    assert torch.equal(torch.random.get_rng_state(), torch_state)


def test_a_run_begins_with_them_and_a_resumed_one_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    install = word_vectors.install
    monkeypatch.setattr(word_vectors, "install", lambda *given: (calls.append(1), install(*given)))
    inputs = make_inputs(tmp_path)
    begun, other = Run(tmp_path / "a", inputs), Run(tmp_path / "b", inputs)
    pretrain.run(config(steps=2), begun.stage())
    assert calls == [1]
    pretrain.run(config(steps=2), begun.stage("again"))  # its checkpoint is there
    pretrain.run(config(steps=2, initialization="random"), other.stage())
    assert calls == [1]


def test_an_encoder_to_continue_has_its_own() -> None:
    with pytest.raises(ValueError, match="initialization cannot be chosen with init"):
        PretrainConfig(init="folder", initialization="random")

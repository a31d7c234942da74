"""Heads that begin by looking at the neighbours: at the right place, and so that a guess comes of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlmctl.engine import architectures, model, neighbours
from mlmctl.engine.architectures import Shape

IDS = {"pad": 0, "cls": 2, "sep": 3}
MASK = 4
SILENT = (MASK, IDS["cls"], IDS["sep"])
LENGTH = 32


def rotated(vectors: torch.Tensor, base: float) -> torch.Tensor:
    """The vector [D] at each place [L], as ModernBERT turns it: two halves, slower and slower."""
    width = len(vectors)
    angles = torch.arange(LENGTH)[:, None] * base ** (-torch.arange(0, width, 2) / width)
    first, second = vectors.chunk(2)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=1)


@given(st.integers(-3, 3), st.sampled_from([16, 32, 64]), st.sampled_from([10_000.0, 160_000.0]))
def test_a_score_is_highest_at_its_offset(offset: int, width: int, base: float) -> None:
    query, key = neighbours.looking_at(offset, 3.0, width, base)
    scores = rotated(query, base) @ rotated(key, base).T / width**0.5
    for place in range(4, LENGTH - 4):
        row = scores[place]
        assert int(row.argmax()) == place + offset
        beside = row[[place + offset - 1, place + offset + 1]]
        assert torch.allclose(row[place + offset] - beside, torch.full((2,), 3.0), atol=0.05)


def in_company(architecture: str = "modernbert", block_length: int = LENGTH) -> torch.nn.Module:
    """A new model in whose embedding tokens 5 to 14 are alike, and tokens 15 to 24."""
    made = model.build(architecture, Shape(64, 2, 4, 96), 32, block_length, IDS, seed=0)
    groups = torch.nn.functional.normalize(
        torch.randn(2, 64, generator=torch.Generator().manual_seed(9)), dim=1
    )
    with torch.no_grad():
        rows = made.get_input_embeddings().weight
        rows[5:15] = groups[0] * 0.02 * 8
        rows[15:25] = groups[1] * 0.02 * 8
    return made.eval()


def preference(made: torch.nn.Module, before: int, after: int, elsewhere: int) -> float:
    """By how much a hidden token between two tokens, in a text of a third, is rather of the first group."""
    ids = torch.full((1, LENGTH), elsewhere)
    ids[0, [0, -1]] = torch.tensor([IDS["cls"], IDS["sep"]])
    ids[0, 15:18] = torch.tensor([before, MASK, after])
    with torch.no_grad():
        logits = made(input_ids=ids).logits[0, 16]
    return float(logits[5:15].mean() - logits[15:25].mean())


def test_a_hidden_token_is_guessed_from_what_stands_there() -> None:
    made, (first, second, unknown) = in_company(), (5, 15, 26)
    neighbours.install(made, SILENT, seed=0)
    nothing = preference(made, unknown, unknown, elsewhere=unknown)
    assert preference(made, unknown, unknown, elsewhere=first) > nothing + 0.05
    assert preference(made, unknown, unknown, elsewhere=second) < nothing - 0.05
    for pair in ((first, unknown), (unknown, first)):  # one of 31 other tokens
        assert preference(made, *pair, elsewhere=unknown) > nothing + 0.03


@pytest.mark.parametrize("block_length", [LENGTH, 1024])
def test_all_layers_pass_on_and_the_rest_stays(block_length: int) -> None:
    made, untouched = in_company(block_length=block_length), in_company(block_length=block_length)
    neighbours.install(made, SILENT, seed=0)
    found = architectures.of(made).rotary
    assert found is not None
    rotary = found(made)
    assert [base for _, _, base in rotary.layers] == [
        10_000.0 if block_length == LENGTH else 160_000.0,
        10_000.0,
    ]
    for (weight, out, _), (before, _, _) in zip(rotary.layers, found(untouched).layers, strict=True):
        values = weight[128:]
        assert torch.linalg.matrix_rank(values, rtol=1e-3) == 64 - 1 - len(SILENT)
        assert torch.equal(out, 0.5 * torch.eye(64))
        changes = (weight - before)[:128].view(8, 16, 64)
        ranks = [int(torch.linalg.matrix_rank(each, rtol=1e-3)) for each in changes]
        assert ranks.count(0) == 2  # the query and the key of one head in four
    mlps = [name for name, _ in made.named_parameters() if ".mlp." in name]
    parameters, others = dict(made.named_parameters()), dict(untouched.named_parameters())
    assert all(torch.equal(parameters[name], others[name]) for name in mlps)
    assert made.get_output_embeddings().weight is made.get_input_embeddings().weight


def test_the_same_seed_gives_the_same_weights_and_draws_nothing_else() -> None:
    one, two, other = in_company(), in_company(), in_company()
    state = torch.random.get_rng_state()
    neighbours.install(one, SILENT, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    neighbours.install(two, SILENT, seed=0)
    neighbours.install(other, SILENT, seed=1)
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not torch.equal(one.get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_positions_that_do_not_turn_are_left_alone() -> None:
    made, untouched = in_company("bert"), in_company("bert")
    neighbours.install(made, SILENT, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), untouched.parameters(), strict=True))

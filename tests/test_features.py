"""Windows and batches of fine-tuning: nothing lost, nothing twice, the same for the same seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from mlmctl.tasks.features import Features, batch, windows
from mlmctl.tasks.hiding import Hiding
from mlmctl.tasks.work import WindowWork, length_batches
from mlmctl.text.specials import NAMES, Specials

WORDS = [f"w{n}" for n in range(20)]
SPECIALS = Specials(pad=0, unk=1, cls=2, sep=3, mask=4, vocab_size=25)


def tokenizer() -> Tokenizer:
    vocabulary = {token: n for n, token in enumerate([*NAMES.values(), *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def cut(lengths: list[int], block_length: int) -> Features:
    texts = [" ".join(WORDS[n % 20] for n in range(length)) for length in lengths]
    return windows(texts, tokenizer(), SPECIALS, block_length)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(3, 20))
def test_fault_39_windows_hold_every_token_once_and_weigh_one_a_text(
    lengths: list[int], block_length: int
) -> None:
    features = cut(lengths, block_length)
    assert features.lengths.max() <= block_length
    for example, length in enumerate(lengths):
        tokens: list[int] = []
        mine = np.flatnonzero(features.examples == example)
        for number in mine:
            ids = features.input_ids[features.starts[number] : features.starts[number + 1]].tolist()
            assert (ids[0], ids[-1]) == (SPECIALS.cls, SPECIALS.sep)
            tokens += ids[1:-1]
        assert tokens == [5 + n % 20 for n in range(length)]
        assert features.weights[mine].sum() == pytest.approx(1.0)
        assert np.ptp(features.lengths[mine]) <= 1
    long = np.array(lengths) > block_length - 2
    assert features.share_windowed == pytest.approx(long.mean())


def test_a_batch_is_padded_to_a_multiple_of_eight_and_masked_only_where_padded() -> None:
    features = cut([3, 9, 6, 6], 32)
    padded = batch(features, np.array([1, 0]))
    assert padded["input_ids"].shape == (2, 16)
    assert padded["attention_mask"].sum(dim=1).tolist() == [11, 5]
    assert (padded["input_ids"][~padded["attention_mask"]] == SPECIALS.pad).all()
    assert padded["input_ids"][1, :5].tolist() == [2, 5, 6, 7, 3]
    full = batch(features, np.array([2, 3]))
    assert "attention_mask" not in full
    assert full["input_ids"].shape == (2, 8)


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=300),
    st.integers(1, 40),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_an_epoch_is_every_window_once(lengths: list[int], batch_size: int, seed: int, epoch: int) -> None:
    batches = length_batches(np.array(lengths), batch_size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    sizes = [len(numbers) for numbers in batches]
    assert len(batches) == -(-len(lengths) // batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    again = length_batches(np.array(lengths), batch_size, seed, epoch)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_differ_and_batches_are_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 4000)
    spreads = [np.ptp(lengths[numbers]) for numbers in length_batches(lengths, 32, 0, 0)]
    assert np.mean(spreads) < 10
    first = [np.concatenate(length_batches(lengths, 32, *of)) for of in ((0, 0), (0, 1), (1, 0))]
    assert not (first[0] == first[1]).all()
    assert not (first[0] == first[2]).all()


def summed(model: Any, tensors: Any) -> torch.Tensor:
    return (tensors["weights"] * 1.0).sum()


def test_micro_batches_of_a_step_hold_its_windows_once_and_few_tokens() -> None:
    features = cut([100, 50, 250, 3, 80, 7] * 20, 128)
    work = WindowWork(features, summed, batch_size=64, seed=3)
    for step in (0, 1, 2, 5, 0):  # back and forth: a step is a function of its number
        total = 0.0
        for number in range(work.num_micro_batches(step)):
            tensors = work.micro_batch(step, number)
            assert tensors["input_ids"].numel() <= 2048 or tensors["input_ids"].shape[0] == 1
            total += float(work.loss(torch.nn.Identity(), tensors))
        assert total == pytest.approx(work.total_weight(step))
    every = sum(work.total_weight(step) for step in range(work.steps_per_epoch))
    assert every == pytest.approx(120.0, rel=1e-5)


def test_a_step_is_the_same_whatever_steps_were_asked_before() -> None:
    features = cut(list(range(1, 60)), 64)
    work = WindowWork(features, summed, batch_size=8, seed=3)
    num_steps = 2 * work.steps_per_epoch
    in_order = [work.micro_batch(step, 0)["input_ids"] for step in range(num_steps)]
    for step in reversed(range(num_steps)):
        fresh = WindowWork(features, summed, batch_size=8, seed=3)  # as after a resume
        assert torch.equal(fresh.micro_batch(step, 0)["input_ids"], in_order[step])


@settings(deadline=None)
@given(st.integers(0, 5), st.integers(0, 50), st.floats(0.1, 0.9))
def test_masks_are_drawn_anew_in_each_micro_batch_and_never_fall_on_special_tokens(
    seed: int, step: int, rate: float
) -> None:
    hiding = Hiding(rate, SPECIALS)
    ids = torch.randint(0, 25, (40, 64), generator=torch.Generator().manual_seed(seed))
    hidden = hiding.hide(ids, seed, step, 0)
    assert torch.equal(hidden, hiding.hide(ids, seed, step, 0))
    is_ordinary, is_hidden = ids > SPECIALS.mask, hidden != ids
    assert not (is_hidden & ~is_ordinary).any()
    assert (hidden[is_hidden] == SPECIALS.mask).all()
    assert float(is_hidden[is_ordinary].double().mean()) == pytest.approx(rate, abs=0.06)  # 2,000: 5 sigma
    for others in ((seed + 1, step, 0), (seed, step + 1, 0), (seed, step, 1)):
        assert not torch.equal(hidden, hiding.hide(ids, *others))
    assert torch.equal(Hiding(0.0, SPECIALS).hide(ids, seed, step, 0), ids)


def test_what_is_learned_from_has_masks_if_it_is_asked_for() -> None:
    features = cut(list(range(10, 60)), 64)
    plain = WindowWork(features, summed, batch_size=8, seed=3)
    masked = WindowWork(features, summed, batch_size=8, seed=3, hiding=Hiding(0.3, SPECIALS))
    for step in range(2 * plain.steps_per_epoch):
        before, after = plain.micro_batch(step, 0), masked.micro_batch(step, 0)
        expected = Hiding(0.3, SPECIALS).hide(before["input_ids"], 3, step, 0)
        assert torch.equal(after.pop("input_ids"), expected)
        assert all(torch.equal(after[name], before[name]) for name in after)


def test_a_step_is_cut_for_all_lanes_as_far_as_its_tokens_go() -> None:
    features = cut([14] * 64, 16)  # 1,024 tokens
    for num_lanes, expected in ((1, 1), (2, 2), (8, 4)):
        work = WindowWork(features, summed, 64, 0, num_lanes)
        assert work.num_micro_batches(0) == expected
        assert sum(len(work.micro_batch(0, n)["input_ids"]) for n in range(expected)) == 64
    assert WindowWork(cut([6] * 40, 16), summed, 40, 0, 2).num_micro_batches(0) == 1  # 320 tokens

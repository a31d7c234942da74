"""Dropout that draws apart: a function of seed, step and micro-batch, whatever else is drawn and wherever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from encoders import make_data, make_encoder
from torch import Tensor, nn

from mlmctl.config import FinetuneConfig
from mlmctl.engine import dropout, lanes, loop, model
from mlmctl.events import silent
from mlmctl.tasks.adapted import TASKS
from mlmctl.tasks.work import WindowWork
from mlmctl.text import vocabulary

CPU = torch.device("cpu")


def layer(share: float = 0.25) -> nn.Module:
    made = nn.Sequential(nn.Dropout(share))
    dropout.install(made)
    return made


def masked(network: nn.Module, seed: int = 0, step: int = 0, number: int = 0) -> Tensor:
    with dropout.drawn(seed, step, number, CPU):
        return network(torch.ones(100, 100))


def test_a_mask_is_a_function_of_seed_step_and_micro_batch_in_any_thread() -> None:
    network = layer()
    state = torch.get_rng_state()
    first = masked(network)
    assert torch.equal(torch.get_rng_state(), state)  # nothing is taken from the one generator of all
    torch.rand(7)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(first, other) for other in pool.map(masked, [network] * 8))
    for other in (masked(network, seed=1), masked(network, step=1), masked(network, number=1)):
        assert not torch.equal(first, other)


def test_what_is_kept_is_scaled_so_that_the_mean_stays() -> None:
    found = masked(layer(0.25))
    assert found.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert float(found.mean()) == pytest.approx(1.0, abs=0.03)
    assert torch.equal(masked(layer(0.0)), torch.ones(100, 100))
    assert torch.equal(masked(layer().eval()), torch.ones(100, 100))


def test_outside_of_a_micro_batch_the_generator_of_all_is_used() -> None:
    network = layer()
    torch.manual_seed(0)
    first = network(torch.ones(100))
    torch.manual_seed(0)
    assert torch.equal(network(torch.ones(100)), first)


def test_fine_tuning_gives_the_same_gradients_on_any_number_of_lanes(tmp_path: Path) -> None:
    encoder, task = make_encoder(tmp_path / "pretrain", scale=4.0), TASKS["sentiment"]
    data = task.read(make_data(tmp_path / "d.jsonl", 96), FinetuneConfig(), silent)
    tokenizer = vocabulary.load(encoder)
    features = task.features(data, tokenizer, vocabulary.special_ids(tokenizer), 16, {})
    work = WindowWork(features, task.loss, 96, seed=0, num_lanes=3)
    assert work.num_micro_batches(0) == 3

    def gradients(num_threads: int, share: float = 0.5) -> list[Tensor]:
        network, _ = model.load(encoder, task.model_head, 0, CPU, share, num_labels=2)
        assert lanes.most(network, num_threads) == num_threads
        settings = loop.Settings("test", 1, 0, 1.0, 60.0, num_threads=num_threads)
        loop.accumulate(network.train(), work, 0, settings)
        return [p.grad for p in network.parameters() if p.grad is not None]

    alone, some = gradients(1), gradients(3)
    for one, other in zip(alone, some, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    without = gradients(1, 0.0)
    assert any(not torch.allclose(one, other, rtol=1e-2) for one, other in zip(alone, without, strict=True))

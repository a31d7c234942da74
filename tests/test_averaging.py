"""Averaging the weights at the ends of cycles: what is averaged, when, and what a stopped run keeps of it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from encoders import make_data, make_encoder, run_finetune
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from mlmctl.engine import optimizer
from mlmctl.engine.averaging import Average
from mlmctl.stages.finetune import _cycle_ends, _warm_up_and_decay


def small(seed: int) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(3, 2)


def test_the_mean_of_what_was_added_becomes_the_weights() -> None:
    layer = small(0)
    average = Average(dict(layer.named_parameters()))
    seen = []
    for seed in range(3):
        layer.load_state_dict(small(seed).state_dict())
        average.add()
        seen.append(layer.weight.detach().clone())
    average.apply()
    torch.testing.assert_close(layer.weight.detach(), torch.stack(seen).mean(dim=0))


def test_nothing_added_changes_nothing_and_is_no_state() -> None:
    layer = small(0)
    before = layer.weight.detach().clone()
    average = Average(dict(layer.named_parameters()))
    average.apply()
    assert torch.equal(layer.weight, before)
    assert average.state() == {}


def test_the_average_is_part_of_the_optimizers_state() -> None:
    first, second = small(0), small(1)
    one, other = (optimizer.adamw(each, learning_rate=0.1, weight_decay=0.0) for each in (first, second))
    one.average.add()
    state = {name: tensor.clone() for name, tensor in one.state().items()}
    other.load_state(state)
    other.average.add()
    other.average.apply()
    torch.testing.assert_close(second.weight, (first.weight + small(1).weight) / 2)
    for name in state:
        with pytest.raises(ValueError, match=r"missing|unknown"):
            other.load_state({key: value for key, value in state.items() if key != name})


@given(st.integers(1, 400), st.integers(1, 500))
def test_every_cycle_falls_from_one_to_almost_nothing(num_steps: int, num_cycles: int) -> None:
    ends = _cycle_ends(num_steps, num_cycles)
    factor = _warm_up_and_decay(ends)
    factors = [factor(step) for step in range(num_steps)]
    assert len(ends) == min(num_steps, num_cycles)
    assert ends == sorted(set(ends))
    assert ends[-1] == num_steps
    assert all(0 < each <= 1 for each in factors)
    lengths = {end - start for start, end in zip([0, *ends], ends, strict=False)}
    assert max(lengths) - min(lengths) <= 1
    for start, end in itertools.pairwise(ends):
        assert factors[start] == 1.0
        assert factors[end - 1] == pytest.approx(1 / (end - start))
        assert factors[start:end] == sorted(factors[start:end], reverse=True)


def test_a_model_of_several_cycles_is_the_mean_of_their_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Tensor]] = []
    add = Average.add

    def recording(average: Average) -> None:
        seen.append({name: p.detach().clone() for name, p in average._parameters.items()})
        add(average)

    monkeypatch.setattr(Average, "add", recording)
    encoder, data = make_encoder(tmp_path / "pretrain"), make_data(tmp_path / "d.jsonl")
    metrics = run_finetune(tmp_path / "x", encoder, data, cycles=3)
    assert metrics["num_cycles"] == len(seen) == 3
    assert run_finetune(tmp_path / "one", encoder, data)["num_cycles"] == 1
    assert len(seen) == 3
    for name, tensor in load_file(tmp_path / "x" / "model.safetensors").items():
        mean = torch.stack([weights[name] for weights in seen]).mean(dim=0)
        torch.testing.assert_close(tensor, mean, msg=name)

"""A step never waits for its device: proved on a CPU, with the stock layers that a GPU is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pretrain_world import LENGTH, VOCAB_SIZE, Run, config, make_inputs
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from mlmctl.engine import attention, fused, gradients, loop, model, optimizer
from mlmctl.engine.masked_lm import MaskedLanguageWork
from mlmctl.engine.work import Settings
from mlmctl.errors import DivergedError
from mlmctl.stages import pretrain
from mlmctl.text.blocks import Blocks

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "item"}
"""Operations whose result, or its shape, the host has to know before it can go on."""


class NoWaiting(TorchDispatchMode):
    """Raises where the host would have to wait for the device."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        if function.overloadpacket.__name__ in WAITING:
            raise AssertionError(f"{function} waits for the device")
        return function(*arguments, **(named or {}))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "applies", lambda model: False)
    monkeypatch.setattr(attention, "implementation", lambda device: "sdpa")
    monkeypatch.setattr(Settings, "reads_ahead", True)


def made(architecture: str = "modernbert") -> tuple[PreTrainedModel, optimizer.Optimizer]:
    ids = {"pad": 0, "cls": 2, "sep": 3}
    encoder = model.build(architecture, model.shape(config()), VOCAB_SIZE, LENGTH, ids, 0).train()
    return encoder, optimizer.muon_and_adamw(
        encoder, muon_learning_rate=0.02, learning_rate=3e-3, weight_decay=0.01
    )


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_a_step_does_not_wait(inputs: dict[str, Path], architecture: str) -> None:
    encoder, its = made(architecture)
    work = MaskedLanguageWork(Blocks.open(inputs["mask/blocks"], "train"), 0, 6, 2, lambda step: 0.3)
    settings = Settings("test", 10, 0, 1.0, 60.0, dtype=torch.bfloat16)
    for step in range(2):
        with NoWaiting():
            done = gradients.accumulate(encoder, work, step, settings)
            assert done is not None
            norm = gradients.take_step(its, 1.0, done.loss, 1.0)
        assert float(done.loss) > 0
        assert isinstance(norm, torch.Tensor)
    with pytest.raises(AssertionError, match="waits"), NoWaiting():
        float(norm)


def test_a_step_that_is_not_taken_changes_nothing() -> None:
    (encoder, its), (other, theirs) = made(), made()

    def step(one: PreTrainedModel, with_it: optimizer.Optimizer, seed: int, is_taken: bool | None) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in one.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if is_taken is False:
                parameter.grad[0] = float("nan")
        with_it.step(0.5, None if is_taken is None else torch.tensor(is_taken))

    for seed in (1, 2):
        step(encoder, its, seed, None)
    step(other, theirs, 1, True)
    step(other, theirs, 3, False)
    step(other, theirs, 2, True)
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), other.parameters(), strict=True))
    assert its.state().keys() == theirs.state().keys()
    assert all(torch.equal(its.state()[name], theirs.state()[name]) for name in its.state())


def lines(run: Run) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run.root / "work/metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in found]


def test_a_run_that_reads_ahead_ends_in_the_same_bits(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "applies", lambda model: False)
    runs = [Run(tmp_path / name, inputs) for name in "ab"]
    for run, ahead in zip(runs, (False, True), strict=True):
        monkeypatch.setattr(Settings, "reads_ahead", ahead)
        pretrain.run(config(), run.stage())
    weights = [(run.root / "out/model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1]
    told = [[line for line in lines(run) if "loss" in line] for run in runs]
    assert [line["step"] for line in told[1]] == list(range(1, 13))
    for a, b in zip(*told, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-6)


@pytest.mark.parametrize("num_bad", [3, 10])
def test_fault_42_steps_that_are_not_finite_are_skipped_where_nothing_waits(
    tmp_path: Path, inputs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, num_bad: int
) -> None:
    run, real, taken = Run(tmp_path / "run", inputs), loop.take_step, []

    def take_step(its, factor, loss, max_grad_norm):
        taken.append(factor)
        if 2 < len(taken) <= 2 + num_bad:
            its.parameters()[0].grad[0] = float("nan")
        return real(its, factor, loss, max_grad_norm)

    monkeypatch.setattr(Settings, "reads_ahead", True)
    monkeypatch.setattr(loop, "take_step", take_step)
    if num_bad < loop.MAX_SKIPPED_IN_A_ROW:
        assert pretrain.run(config(), run.stage())["num_skipped_steps"] == num_bad
        model.load(run.root / "out", "masked_lm")  # refuses weights that are not finite
    else:
        with pytest.raises(DivergedError):
            pretrain.run(config(decay_fraction=0.8), run.stage())
    bad = [line["step"] for line in lines(run) if line.get("grad_norm", 0) is None]
    assert bad == list(range(3, 3 + num_bad))

"""The pieces of the engine against independent implementations: torch's Muon, the stock forward pass."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretrain_world import LENGTH, VOCAB_SIZE, config, make_inputs
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import ModernBertForMaskedLM

from mlmctl.config import PretrainConfig, RuntimeConfig
from mlmctl.engine import (
    lanes,
    loop,
    machine,
    masked_lm,
    model,
    optimizer,
    plan,
    probe,
    ranks,
    runtime,
    schedule,
)
from mlmctl.engine.architectures import ARCHITECTURES
from mlmctl.errors import ArtifactError, ResourceError, UsageError
from mlmctl.measure import masked_lm as measure
from mlmctl.text.blocks import Blocks
from mlmctl.text.units import Units

IDS = {"pad": 0, "cls": 2, "sep": 3}
CPU = torch.device("cpu")


def tiny(
    seed: int = 0, block_length: int = LENGTH, architecture: str = "modernbert"
) -> ModernBertForMaskedLM:
    encoder = model.build(architecture, model.shape(config()), VOCAB_SIZE, block_length, IDS, seed)
    with torch.no_grad():  # large weights, so that a forgotten mask or a wrong angle shows
        for parameter in encoder.parameters():
            parameter.mul_(1.0 if parameter.ndim < 2 else 8.0)
    return encoder


@pytest.fixture(scope="module", params=["token", "word", "span"])
def work(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> masked_lm.MaskedLanguageWork:
    inputs = make_inputs(tmp_path_factory.mktemp("inputs"))
    blocks = Blocks.open(inputs["mask/blocks"], "train")
    units = Units(request.param)
    return masked_lm.MaskedLanguageWork(blocks, 3, 10, 3, lambda step: 0.3 if step < 5 else 0.2, units)


# attention


@pytest.mark.parametrize(
    ("architecture", "block_length"),
    [("modernbert", 1024), *((family, LENGTH) for family in ARCHITECTURES)],  # 1024: windows in two of three
)
def test_plain_attention_equals_stock_eager_on_padded_batches(architecture: str, block_length: int) -> None:
    ours = tiny(0, block_length, architecture)
    assert ours.config._attn_implementation == "mlmctl_plain"
    stock = tiny(0, block_length, architecture)
    stock.set_attn_implementation("eager")
    for encoder in (ours, stock):
        encoder.config.local_attention = 8  # only ModernBERT has one
    input_ids = torch.randint(5, VOCAB_SIZE, (4, 24), generator=torch.Generator().manual_seed(0))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[0, 9:] = 0
    attention_mask[2, 20:] = 0
    found = []
    for encoder in (ours, stock):
        logits = encoder(input_ids=input_ids, attention_mask=attention_mask).logits[attention_mask.bool()]
        logits.square().mean().backward()
        found.append([logits.detach(), *(p.grad for p in encoder.parameters())])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    unmasked = ours(input_ids=input_ids).logits[attention_mask.bool()]
    assert (unmasked - found[0][0]).abs().max() > 1e-2


def test_the_way_we_attend_is_not_saved(tmp_path: Path) -> None:
    model.save_model(tiny(), tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert "mlmctl" not in json.dumps(saved)
    assert saved["global_attn_every_n_layers"] == 1
    assert saved["global_rope_theta"] == saved["rope_parameters"]["full_attention"]["rope_theta"] == 10_000.0


# model


def test_weights_are_a_function_of_the_seed_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = tiny(1), tiny(1), tiny(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a.decoder.weight, c.decoder.weight)


@pytest.mark.parametrize(
    ("architecture", "preset", "millions"),
    [
        ("modernbert", "tiny", 1.5),
        ("modernbert", "mini", 5.2),
        ("modernbert", "small", 20.2),
        ("bert", "tiny", 1.6),
        ("bert", "mini", 5.3),
        ("bert", "small", 20.5),
    ],
)
def test_presets_have_the_size_they_say(architecture: str, preset: str, millions: float) -> None:
    shape = model.shape(PretrainConfig(architecture=architecture, preset=preset))
    with torch.device("meta"):
        encoder = model.build(architecture, shape, 8192, 128, IDS, 0, torch.device("meta"))
    assert model.num_parameters(encoder) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_new_encoder_takes_texts_of_512_tokens_without_dropout(architecture: str) -> None:
    encoder = tiny(architecture=architecture)
    assert ARCHITECTURES[architecture].num_positions(encoder.config.to_dict()) == 512
    input_ids = torch.full((1, 512), 7)
    with torch.no_grad():
        a, b = (encoder.train()(input_ids=input_ids).logits for _ in range(2))
    assert torch.equal(a, b)


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(UsageError, match="hidden_size 256"):
        model.shape(PretrainConfig(num_attention_heads=3))


def test_loading_reports_what_is_new_and_draws_it_from_the_seed(tmp_path: Path) -> None:
    model.save_model(tiny(), tmp_path)
    names = {0: "bad", 1: "fine", 2: "good"}
    label_ids = {name: number for number, name in names.items()}
    found = [
        model.load(tmp_path, "sequence_classification", seed, id2label=names, label2id=label_ids)
        for seed in (1, 1, 2)
    ]
    report = found[0][1]
    assert report.new == ("classifier.bias", "classifier.weight")
    assert report.unexpected == ("decoder.bias",)
    assert report.num_loaded == sum(n.startswith("model.") for n in load_file(tmp_path / "model.safetensors"))
    weights = [encoder.classifier.weight for encoder, _ in found]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert found[0][0].config.id2label == names
    fresh = model.build_like(tmp_path, "sequence_classification", 1, dropout=0.5)
    assert fresh.config.classifier_dropout == 0.5
    assert not torch.equal(fresh.model.layers[0].mlp.Wi.weight, found[0][0].model.layers[0].mlp.Wi.weight)


def test_a_pooler_that_a_masked_language_model_lacks_is_new_and_seeded(tmp_path: Path) -> None:
    model.save_model(tiny(architecture="bert"), tmp_path)
    found = [model.load(tmp_path, "sequence_classification", seed, dropout=0.3) for seed in (1, 1, 2)]
    network, report = found[0]
    head = ("classifier.bias", "classifier.weight")
    assert report.new == ("bert.pooler.dense.bias", "bert.pooler.dense.weight", *head)
    pooler = [encoder.bert.pooler.dense.weight for encoder, _ in found]
    assert torch.equal(pooler[0], pooler[1])
    assert not torch.equal(pooler[0], pooler[2])
    assert network.bert.encoder.layer[0].output.dropout.p == 0.3
    model.save_model(network, tmp_path)  # a checkpoint with a pooler: it is loaded
    again, report = model.load(tmp_path, "sequence_classification", 5)
    assert report.new == ()
    assert torch.equal(again.bert.pooler.dense.weight, network.bert.pooler.dense.weight)


def test_fault_26_a_missing_encoder_tensor_is_refused(tmp_path: Path) -> None:
    model.save_model(tiny(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.Wo.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match=r"model\.layers\.1\.mlp\.Wo\.weight is missing"):
        model.load(tmp_path, "sequence_classification")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_fault_25_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    encoder = tiny()
    with torch.no_grad():
        encoder.head.dense.weight[3, 4] = value
    model.save_model(encoder, tmp_path)
    with pytest.raises(ArtifactError, match=r"head\.dense\.weight holds NaN or infinity"):
        model.load(tmp_path, "masked_lm")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_model_folder_that_is_incomplete_or_damaged_is_refused(tmp_path: Path, name: str) -> None:
    model.save_model(tiny(), tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-40])
    with pytest.raises(ArtifactError, match=name):
        model.load(tmp_path, "masked_lm")
    (tmp_path / name).unlink()
    with pytest.raises(ArtifactError, match="does not exist"):
        model.load(tmp_path, "masked_lm")


# loss and gradients


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_sparse_loss_and_its_gradients_are_those_of_the_dense_stock_model(work, architecture) -> None:
    batches = [work.micro_batch(step, number) for step in range(8) for number in range(4)]
    padded = [batch for batch in batches if "attention_mask" in batch and not batch["weights"].all()]
    for batch in [batches[0], padded[0]]:
        ours, stock = tiny(architecture=architecture), tiny(architecture=architecture)
        stock.set_attn_implementation("eager")
        loss = work.loss(ours, batch)
        loss.backward()
        labels = torch.full(batch["input_ids"].shape, -100).flatten()
        is_used = batch["weights"] > 0
        labels[batch["positions"][is_used]] = batch["labels"][is_used]
        labels = labels.view_as(batch["input_ids"])
        dense = stock(input_ids=batch["input_ids"], attention_mask=batch.get("attention_mask"), labels=labels)
        (dense.loss * is_used.sum()).backward()
        torch.testing.assert_close(loss, dense.loss * is_used.sum(), rtol=1e-5, atol=1e-5)
        for a, b in zip(ours.parameters(), stock.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_the_total_weight_is_that_of_all_micro_batches(work) -> None:
    for step in (0, 4, 5):
        batches = [work.micro_batch(step, number) for number in range(work.num_micro_batches(step))]
        assert work.total_weight(step) == sum(float(batch["weights"].sum()) for batch in batches)
        assert sum(len(batch["input_ids"]) for batch in batches) == 10


def test_four_ranks_add_up_to_one(work) -> None:
    settings = loop.Settings("test", 1, 0, 1.0, 60.0)
    alone, shared = tiny(), tiny()
    loss, num_tokens, content = loop.accumulate(alone, work, 2, settings)
    parts = [
        loop.accumulate(shared, work, 2, replace(settings, ranks=ranks.simulated(rank, 4)))
        for rank in range(4)
    ]
    assert sum(part.loss for part in parts) == pytest.approx(loss, rel=1e-6)
    assert sum(part.num_tokens for part in parts) == num_tokens == 10 * LENGTH
    assert sum(part.content for part in parts) % 2**64 == content
    for a, b in zip(alone.parameters(), shared.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-6)


def test_dropout_is_a_function_of_seed_step_and_micro_batch(work) -> None:
    encoder = tiny()
    for layer in encoder.model.layers:
        layer.mlp.drop.p = 0.5
    encoder.train()
    settings = loop.Settings("test", 1, 0, 1.0, 60.0)
    first = loop.accumulate(encoder, work, 0, settings)
    torch.rand(7)
    assert loop.accumulate(encoder, work, 0, settings) == first
    assert loop.accumulate(encoder, work, 0, replace(settings, seed=1)) != first


# optimizer


@pytest.mark.parametrize("size", [(24, 16), (16, 24), (16, 16)])
def test_muon_does_what_torch_does(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.Parameter(torch.randn(size))
    holder = torch.nn.ModuleDict(
        {"layers": torch.nn.ModuleList([torch.nn.Linear(size[1], size[0], bias=False)])}
    )
    module = torch.nn.ModuleDict({"model": holder})
    module.config = SimpleNamespace(model_type="modernbert")
    ours = module["model"]["layers"][0].weight
    with torch.no_grad():
        ours.copy_(theirs)
    mine = optimizer.muon_and_adamw(
        module, muon_learning_rate=0.05, learning_rate=1.0, weight_decay=0.1, dtype=torch.bfloat16
    )
    reference = torch.optim.Muon([theirs], lr=0.05, weight_decay=0.1, momentum=0.9)
    for _ in range(5):
        theirs.grad = torch.randn(size)
        ours.grad = theirs.grad.clone()
        reference.step()
        mine.step(1.0)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-3)  # both in bf16: three digits


def test_newton_schulz_makes_every_matrix_of_a_batch_nearly_orthogonal() -> None:
    matrices = torch.randn(3, 20, 12, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(optimizer.newton_schulz(matrices, torch.float32))
    assert 0.6 < float(singular.min()) < float(singular.max()) < 1.3
    alone = optimizer.newton_schulz(matrices[1:2], torch.float32)[0]
    torch.testing.assert_close(optimizer.newton_schulz(matrices, torch.float32)[1], alone)


def test_muon_takes_fused_matrices_apart() -> None:
    encoder = tiny()
    mine = optimizer.muon_and_adamw(encoder, muon_learning_rate=1.0, learning_rate=1.0, weight_decay=0.0)
    weight = encoder.model.layers[0].attn.Wqkv.weight  # [3 * 32, 32]
    before = weight.detach().clone()
    for parameter in encoder.parameters():
        parameter.grad = torch.randn_like(parameter)
    weight.grad[:32] *= 1000  # a huge gradient of Q must not shrink the steps of K and V
    mine.step(1.0)
    for part in (before - weight.detach()).split(32):
        assert float(torch.linalg.svdvals(part).max()) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_muon_trains_the_matrices_of_the_layers_and_nothing_else(architecture: str) -> None:
    encoder = tiny(architecture=architecture)
    mine = optimizer.muon_and_adamw(encoder, muon_learning_rate=0.1, learning_rate=0.1, weight_decay=0.1)
    trained = {name.removeprefix("muon.") for name in mine.state() if name.startswith("muon.")}
    linear = {name for name, module in encoder.base_model.named_modules() if isinstance(module, nn.Linear)}
    prefix = encoder.base_model_prefix
    assert trained == {f"{prefix}.{name}.weight" for name in linear}


def test_every_parameter_is_trained_once_and_the_state_is_restored_exactly() -> None:
    encoder = tiny()
    mine = optimizer.muon_and_adamw(encoder, muon_learning_rate=0.1, learning_rate=0.1, weight_decay=0.1)
    assert {id(p) for p in mine.parameters()} == {id(p) for p in encoder.parameters()}
    assert len(mine.parameters()) == len(list(encoder.parameters()))

    def steps(one: ModernBertForMaskedLM, its: optimizer.Optimizer) -> None:
        generator = torch.Generator().manual_seed(1)
        for _ in range(2):
            for parameter in one.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            its.step(0.5)

    steps(encoder, mine)
    other = tiny(9)
    theirs = optimizer.muon_and_adamw(other, muon_learning_rate=0.1, learning_rate=0.1, weight_decay=0.1)
    other.load_state_dict(encoder.state_dict())
    theirs.load_state({name: tensor.clone() for name, tensor in mine.state().items()})
    steps(encoder, mine)
    steps(other, theirs)
    assert all(torch.equal(p, q) for p, q in zip(encoder.parameters(), other.parameters(), strict=True))
    with pytest.raises(ValueError, match="missing"):
        theirs.load_state({name: t for name, t in mine.state().items() if "Wqkv" not in name})
    with pytest.raises(ValueError, match="unknown"):
        theirs.load_state({**mine.state(), "muon.more": torch.zeros(1)})


# schedule and plan

runs = st.tuples(st.integers(1, 3000), st.integers(0, 100), st.floats(0, 1))


@given(runs, st.integers(1, 3000))
def test_before_the_decay_nothing_depends_on_the_length(run, more: int) -> None:
    num_steps, warmup, fraction = run
    start = schedule.decay_start(num_steps, fraction)
    longer_start = schedule.decay_start(num_steps + more, fraction)
    assert longer_start >= start - 1  # rounding
    short = schedule.Schedule(num_steps, warmup, start)
    long = schedule.Schedule(num_steps + more, warmup, max(start, longer_start))
    for step in {0, start // 2, start - 1} & set(range(start)):
        assert short.factor(step) == long.factor(step)
        assert short.mask_rate(step, 0.3, 0.15) == long.mask_rate(step, 0.3, 0.15) == 0.3


@given(runs)
def test_the_rates_fall_to_their_end(run) -> None:
    num_steps, warmup, fraction = run
    start = schedule.decay_start(num_steps, fraction)
    one = schedule.Schedule(num_steps, warmup, start)
    factors = [one.factor(step) for step in range(num_steps)]
    assert all(0 < factor <= 1 for factor in factors)
    if start < num_steps:
        assert factors[-1] <= 1 / (num_steps - start) + 1e-12
    rates = [one.mask_rate(step, 0.3, 0.15) for step in range(num_steps)]
    assert rates == sorted(rates, reverse=True)
    assert len(set(rates)) <= schedule.NUM_PLATEAUS
    if num_steps - start >= schedule.NUM_PLATEAUS:
        assert rates[-1] == pytest.approx(0.15)


moves = st.lists(st.tuples(st.floats(0.05, 0.95), st.integers(1, 2000)), max_size=4)


@given(runs, moves)
def test_an_end_that_is_moved_leaves_what_was_done(run, moves: list[tuple[float, int]]) -> None:
    num_steps, warmup, fraction = run
    start = schedule.decay_start(num_steps, fraction)
    one = schedule.Schedule(num_steps, warmup, start)
    now = start
    for number, (share, left) in enumerate(moves):
        before, to_come = one, one.num_steps - now
        if number and to_come < 2:
            break
        now += max(1, int(share * to_come)) if number else 0
        one = before.moved(now, now + left)
        assert one.agrees(before, now)
        assert before.agrees(one, now)
        assert one.agrees(before, now + 1) == (one.num_steps == before.num_steps and now == start)
        for step in {0, start, (start + now) // 2, now - 1} & set(range(now)):
            assert one.factor(step) == before.factor(step)
            assert one.mask_rate(step, 0.3, 0.15) == before.mask_rate(step, 0.3, 0.15)
        assert one.left(now) == pytest.approx(before.left(now))
    lefts = [one.left(step) for step in range(start, one.num_steps + 1)]
    assert lefts == sorted(lefts, reverse=True)
    assert lefts[0] == 1.0
    assert start == one.num_steps or lefts[-1] == 0.0
    rates = [one.mask_rate(step, 0.3, 0.15) for step in range(one.num_steps)]
    assert len(set(rates)) <= schedule.NUM_PLATEAUS
    assert schedule.Schedule.from_json(json.loads(json.dumps(asdict(one)))) == one


@given(st.integers(1, 20_000))
def test_evaluations_are_counted_right(num_steps: int) -> None:
    counted = sum(schedule.is_evaluated(step) for step in range(1, min(num_steps, 6000) + 1))
    if num_steps <= 6000:
        assert schedule.num_evaluations(num_steps) == counted
    gap = range(math.ceil(0.6 * num_steps), num_steps + 1)
    assert num_steps < 20 or num_steps > 6000 or any(map(schedule.is_evaluated, gap))


def test_steps_come_before_epochs_before_the_budget() -> None:
    assert plan.steps_by_rule(PretrainConfig(steps=7, epochs=2.0), 100, 10) == 7
    assert plan.steps_by_rule(PretrainConfig(epochs=2.5), 100, 10) == 25
    assert plan.steps_by_rule(PretrainConfig(), 100, 10) is None
    assert plan.asked_length(PretrainConfig(budget="5m")) == "budget 5m"


def test_a_damaged_plan_is_refused(tmp_path: Path) -> None:
    assert plan.read(tmp_path) is None
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(ArtifactError):
        plan.read(tmp_path)


# runtime and measures


def test_the_quota_of_a_container_limits_the_threads(tmp_path: Path) -> None:
    assert machine._quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert machine._quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert machine._quota(tmp_path) == 2.5
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("150000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert machine._quota(tmp_path) == 1.5


_ENCODING = """
import os
from tokenizers import Tokenizer, models
from mlmctl.engine import machine
machine.bind_tokenizers(1)
Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).encode_batch(["a"] * 1000)
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
def test_the_threads_that_are_asked_for_are_also_those_of_the_tokenizers() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAYON_NUM_THREADS"}
    environment |= {"TOKENIZERS_PARALLELISM": "true", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", _ENCODING], env=environment, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) <= 2  # this one, and one that tokenizes


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ResourceError, match="no cuda"):
        runtime.prepare(RuntimeConfig(device="cuda"))


def test_the_number_format_follows_the_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "cpu_flags", lambda: ["avx2", "avx512f"])
    assert probe.dtype_by_rule(CPU) == probe.dtype_by_timing(CPU, 64, 32, 32) == torch.float32
    monkeypatch.setattr(probe, "cpu_flags", lambda: ["avx2", "avx512_bf16"])
    assert probe.dtype_by_rule(CPU) == torch.bfloat16
    monkeypatch.setattr(probe, "_seconds", lambda shape, dtype, device: {torch.bfloat16: 0.9}.get(dtype, 1.0))
    assert probe.dtype_by_timing(CPU, 64, 32, 32) == torch.float32


def test_the_first_product_is_not_among_those_that_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU it waits for libraries to be loaded."""
    now, durations = 0.0, iter([5.0, 0.3, 0.1, 0.3, 0.3])
    product = torch.Tensor.__matmul__

    def slow(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        nonlocal now
        now += next(durations)
        return product(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", slow)
    monkeypatch.setattr(probe.time, "monotonic", lambda: now)
    assert probe._seconds((2, 2, 2), torch.float32, CPU) == pytest.approx(0.1)


def test_measures_against_a_direct_computation() -> None:
    counts = np.array([0, 3, 5])
    expected = -np.log(np.array([4, 6, 6]) / 11).mean()
    assert measure.unigram_loss(np.array([1, 2, 2]), counts) == pytest.approx(expected)
    whole = measure.sums(np.array([1, 2, 3, 4], np.float32), np.array([True, False, True, True]))
    parts = measure.sums(np.array([1, 2], np.float32), np.array([True, False]))
    parts += measure.sums(np.array([3, 4], np.float32), np.array([True, True]))
    assert parts == whole
    assert (whole.loss, whole.accuracy) == (2.5, 0.75)
    assert measure.Sums().loss == 0.0


# lanes


def test_lanes_add_up_to_one_and_are_the_same_every_time(work) -> None:
    def gradients(num_threads: int) -> tuple[float, int, list[torch.Tensor]]:
        encoder = tiny()
        settings = loop.Settings("test", 1, 0, 1.0, 60.0, num_threads=num_threads)
        loss, num_tokens, _ = loop.accumulate(encoder, work, 0, settings)
        return loss, num_tokens, [parameter.grad for parameter in encoder.parameters()]

    alone, some, again = gradients(1), gradients(3), gradients(3)
    assert lanes.number(tiny(), 3, work.num_micro_batches(0)) == 3
    assert some[1] == alone[1]
    assert some[0] == pytest.approx(alone[0], rel=1e-6)
    assert some[0] == again[0]
    for one, other, third in zip(alone[2], some[2], again[2], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)
        assert torch.equal(other, third)


def test_there_are_as_many_lanes_as_threads_where_layers_are_ours() -> None:
    encoder = tiny()
    assert lanes.number(encoder, 4, 2) == 2
    assert lanes.number(encoder, 1, 2) == 1
    assert lanes.number(encoder, 100, 100) == lanes.most(encoder, 100) == 8
    assert lanes.most(tiny(architecture="bert"), 4) == 1


def test_a_lane_keeps_its_threads_whatever_the_process_sets_before_it_computes() -> None:
    together = threading.Barrier(5)

    def asked(numbers: range) -> int:
        together.wait(30)
        return torch.get_num_threads()

    lanes.run(lambda numbers: together.wait(30), range(5), 5, 5)  # all threads begin, and none computes
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert lanes.run(asked, range(5), 5, 5) == [1] * 5
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_lane_is_raised_when_all_have_ended() -> None:
    ended = []

    def lane(numbers: range) -> int:
        if 1 in numbers:
            raise UsageError("usage.test", "one lane fails")
        ended.append(numbers)
        return len(numbers)

    with pytest.raises(UsageError, match="one lane fails"):
        lanes.run(lane, range(5), 3, 3)
    assert len(ended) == 2
    assert lanes.run(len, range(7), 3, 3) == [3, 2, 2]

"""Layers with their backward passes by hand, against the stock layers and autograd."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mlmctl.engine import fused, model, optimizer
from mlmctl.engine.architectures import ARCHITECTURES, Shape
from mlmctl.engine.masked_lm import sparse_logits

IDS = {"pad": 0, "cls": 2, "sep": 3}
NUM_BLOCKS, LENGTH, NUM_MASKED, VOCAB_SIZE = 5, 24, 6, 300


@pytest.fixture(scope="module")
def encoder() -> Any:
    made = model.build("modernbert", Shape(32, 3, 2, 48), VOCAB_SIZE, LENGTH, IDS, 0)
    torch.manual_seed(1)
    with torch.no_grad():  # large weights, so that a forgotten mask or a wrong angle shows
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return made


def batch(padded: bool) -> dict[str, Tensor]:
    torch.manual_seed(2)
    places = torch.stack([torch.randperm(LENGTH // 2)[:NUM_MASKED].sort()[0] for _ in range(NUM_BLOCKS)])
    places[1, -2:] = 0  # room that is not used
    weights = torch.ones(NUM_BLOCKS, NUM_MASKED)
    weights[1, -2:] = 0
    made = {
        "input_ids": torch.randint(5, VOCAB_SIZE, (NUM_BLOCKS, LENGTH)),
        "positions": (places + torch.arange(NUM_BLOCKS)[:, None] * LENGTH).ravel(),
        "labels": torch.randint(5, VOCAB_SIZE, (NUM_BLOCKS * NUM_MASKED,)),
        "weights": weights.ravel(),
    }
    if padded:
        made["attention_mask"] = (
            torch.arange(LENGTH) < torch.tensor([LENGTH, 14, 20, 24, 13])[:, None]
        ).long()
    return made


def plain_loss(encoder: Any, made: dict[str, Tensor]) -> Tensor:
    losses = cross_entropy(sparse_logits(encoder, made).float(), made["labels"], reduction="none")
    return torch.dot(losses, made["weights"])


def fused_loss(encoder: Any, made: dict[str, Tensor]) -> Tensor:
    hidden = fused.hidden_states(encoder, made)
    return fused.cross_entropy(encoder, hidden, made["labels"], made["weights"])


def gradients(encoder: Any, loss: Tensor) -> dict[str, Tensor]:
    encoder.zero_grad()
    (loss / 7).backward()  # a gradient of the loss that is not 1
    return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}


@pytest.mark.parametrize("padded", [False, True])
def test_in_float32_loss_and_gradients_are_the_plain_ones(encoder: Any, padded: bool) -> None:
    made = batch(padded)
    expected, found = plain_loss(encoder, made), fused_loss(encoder, made)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    expected_gradients, found_gradients = gradients(encoder, expected), gradients(encoder, found)
    for name, gradient in expected_gradients.items():
        largest = float(gradient.abs().max())
        assert largest > 0, name
        torch.testing.assert_close(found_gradients[name], gradient, rtol=0, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("padded", [False, True])
def test_in_bfloat16_it_is_as_near_to_float32_as_autocast_is(encoder: Any, padded: bool) -> None:
    made = batch(padded)
    exact = gradients(encoder, plain_loss(encoder, made))

    def distance(loss: Any) -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(encoder, made)
        each = gradients(encoder, found)
        return max(float((each[name] - exact[name]).norm() / exact[name].norm()) for name in exact)

    assert distance(fused_loss) < 1.5 * distance(plain_loss) < 0.1


def test_no_step_leaves_a_trace_in_what_it_reads(encoder: Any) -> None:
    """Gradients are written in place here and there: never into what somebody else holds."""
    made = batch(True)
    first = gradients(encoder, fused_loss(encoder, made))
    again = gradients(encoder, fused_loss(encoder, made))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_other_models_take_the_stock_path(encoder: Any) -> None:
    assert fused.applies(encoder)
    shape = Shape(32, 2, 2, 48)
    assert not fused.applies(model.build("bert", shape, VOCAB_SIZE, LENGTH, IDS, 0))
    assert not fused.applies(model.build("modernbert", shape, VOCAB_SIZE, 1024, IDS, 0))  # has windows
    with torch.device("meta"):
        assert not fused.applies(
            model.build("modernbert", shape, VOCAB_SIZE, LENGTH, IDS, 0, torch.device("meta"))
        )
    family = ARCHITECTURES["modernbert"]
    fields = family.configure(shape, LENGTH, IDS) | family.adjust(0.0) | {"vocab_size": VOCAB_SIZE}
    changes = {"norm_bias": True, "mlp_dropout": 0.1, "hidden_activation": "relu", "decoder_bias": False}
    for field, value in changes.items():
        other = family.model_class("masked_lm")(family.config({**fields, field: value}))
        assert not fused.applies(other), field


@pytest.mark.parametrize("head", ["sequence_classification", "token_classification", "question_answering"])
def test_installed_layers_give_any_head_the_stock_numbers(encoder: Any, head: Any, tmp_path: Path) -> None:
    model.save_model(encoder, tmp_path)
    stock, ours = (model.load(tmp_path, head, seed=3)[0] for _ in range(2))
    stock.set_attn_implementation("eager")
    fused.install(ours)
    made = batch(padded=True)
    inputs = {name: made[name] for name in ("input_ids", "attention_mask")}
    is_token = made["attention_mask"].bool()
    expected, found = (
        (lambda out: out.start_logits if "start_logits" in out else out.logits)(each(**inputs))
        for each in (stock, ours)
    )
    if head != "sequence_classification":
        expected, found = expected[is_token], found[is_token]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    expected.square().sum().backward()
    found.square().sum().backward()
    for (name, one), other in zip(stock.named_parameters(), ours.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-5, msg=name)
    assert list(ours.state_dict()) == list(stock.state_dict())


def test_an_installed_encoder_that_is_asked_for_more_is_the_stock_one(encoder: Any) -> None:
    ours = copy.deepcopy(encoder)
    fused.install(ours)
    input_ids = batch(False)["input_ids"]
    found = ours.base_model(input_ids=input_ids, output_hidden_states=True).hidden_states
    assert len(found) == 4
    torch.testing.assert_close(found[-1], ours.base_model(input_ids=input_ids)[0], rtol=1e-5, atol=1e-5)


def test_weights_that_were_updated_are_converted_again(encoder: Any) -> None:
    made, ours = batch(False), copy.deepcopy(encoder)
    updates = optimizer.muon_and_adamw(ours, muon_learning_rate=0.1, learning_rate=0.1, weight_decay=0.1)

    def in_bfloat16(loss: Any) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):  # which has a memory of its own, while it lasts
            return loss(ours, made)

    for _ in range(2):
        found = in_bfloat16(fused_loss)
        torch.testing.assert_close(found, in_bfloat16(plain_loss), rtol=2e-3, atol=0)
        gradients(ours, found)
        updates.step(1.0)
        after = in_bfloat16(fused_loss)
        assert abs(float(after.detach() - found.detach())) > 0.1
        converted = [parameter for parameter in ours.parameters() if hasattr(parameter, "_made")]
        assert len(converted) == 4 * 3 + 1  # of each layer and the decoder
        assert all(torch.equal(each._made[1], each.to(torch.bfloat16)) for each in converted)

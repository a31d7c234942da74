"""No evaluation ever has the logits of all tokens: a few positions at a time, however much is measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from encoders import make_encoder
from pretrain_world import VOCAB_SIZE, config, make_inputs
from tokenizers import Tokenizer
from torch.nn.modules.module import register_module_forward_hook

from mlmctl.commands import fill, score
from mlmctl.engine import evaluate_mlm, masked_lm, model
from mlmctl.engine.evaluate_mlm import FrozenMasks

CPU = torch.device("cpu")
TEXT = "great film [MASK] and [MASK] [MASK]"


@contextmanager
def watched(vocab_size: int) -> Iterator[list[int]]:
    """The number of positions of which a decoder is asked for logits, each time."""
    seen: list[int] = []

    def look(module: Any, inputs: Any, output: Any) -> None:
        is_decoder = isinstance(module, torch.nn.Linear) and module.bias is not None
        if is_decoder and output.shape[-1] == vocab_size:
            seen.append(output.numel() // vocab_size)

    handle = register_module_forward_hook(look)
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_masked_tokens_are_measured_a_few_at_a_time(
    tmp_path: Path, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = make_inputs(tmp_path)
    masks = FrozenMasks.open(inputs["mask/policy"], inputs["mask/blocks"])
    ids = {"pad": 0, "cls": 2, "sep": 3}
    encoder = model.build(architecture, model.shape(config()), VOCAB_SIZE, 16, ids, 0)
    tokenizer = Tokenizer.from_file(str(inputs["tokenizer"] / "tokenizer.json"))
    whole = evaluate_mlm.evaluate(encoder, masks, CPU)
    num_masked = int((masks.labels >= 0).sum())
    monkeypatch.setattr(masked_lm, "_LOGITS_AT_ONCE", 3 * VOCAB_SIZE)
    with watched(VOCAB_SIZE) as seen:
        found = evaluate_mlm.evaluate(encoder, masks, CPU)
        evaluate_mlm.filled_sentence(encoder, masks, tokenizer, 0, CPU)
    assert max(seen) == 3
    assert num_masked <= sum(seen) <= num_masked + 1
    assert found["valid_loss"] == pytest.approx(whole["valid_loss"], abs=1e-5)
    assert found["valid_accuracy"] == whole["valid_accuracy"]


def test_scores_and_fillings_are_found_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_encoder(tmp_path / "pretrain", scale=10.0)
    vocab_size = model.load(folder, "masked_lm")[0].config.vocab_size
    scores = list(score.run(folder, ["great film", "casting"], "original"))
    filled = list(fill.run(folder, [TEXT]))
    monkeypatch.setattr(masked_lm, "_LOGITS_AT_ONCE", 2 * vocab_size)
    with watched(vocab_size) as seen:
        again = list(score.run(folder, ["great film", "casting"], "original"))
        assert [row["score"] for row in again] == pytest.approx([row["score"] for row in scores], abs=1e-3)
        num_scored = sum(seen)
        assert list(fill.run(folder, [TEXT])) == filled
    assert max(seen) == 2
    assert num_scored == sum(len(row["tokens"]) for row in scores)
    assert sum(seen) == num_scored + 3

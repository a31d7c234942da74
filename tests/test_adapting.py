"""How an encoder begins to be adapted: its layers shrunk where they have grown, all else as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from encoders import make_data, make_encoder, run_finetune
from safetensors.torch import load_file
from torch import Tensor

from mlmctl.config import FinetuneConfig
from mlmctl.engine import adapting, architectures, model
from mlmctl.events import Event, Note
from mlmctl.pipeline import inputs
from mlmctl.stages.finetune import _network
from mlmctl.storage import HashCache
from mlmctl.tasks.adapted import TASKS

CPU = torch.device("cpu")


def sizes(weights: dict[str, Tensor], layers: str) -> dict[str, float]:
    return {
        n: float(w.detach().square().mean().sqrt()) for n, w in weights.items() if layers in n and w.ndim == 2
    }


def begun(
    encoder: Path, num_examples: int = 100, **config: object
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The weights with which a fine-tune begins, and the factors that it tells of."""
    asked = FinetuneConfig(task="sentiment", **config)  # type: ignore[arg-type]
    task, settings = TASKS["sentiment"], {"labels": ["bad", "good"]}
    network, report = _network(task, encoder, asked, settings, num_examples, CPU)
    return dict(network.named_parameters()), report["shrunk"]


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_large_matrices_of_layers_are_scaled_and_nothing_else_is_touched(
    tmp_path: Path, architecture: str
) -> None:
    encoder = make_encoder(tmp_path / "pretrain", architecture=architecture, scale=8.0)
    whole, _ = model.load(encoder, "sequence_classification")
    layers, most = architectures.of(whole).layers, 1.5 * whole.config.initializer_range
    before = {name: weight.detach().clone() for name, weight in whole.named_parameters()}
    factors = adapting.shrink_layers(whole, 1.5)
    after = dict(whole.named_parameters())
    assert factors.keys() == {name for name, size in sizes(before, layers).items() if size > most}
    assert len(factors) > 4
    for name, size in sizes(after, layers).items():
        assert size <= most * (1 + 1e-5), name
    for name, weight in after.items():
        torch.testing.assert_close(weight, before[name] * factors.get(name, 1.0), rtol=0, atol=0)
    assert adapting.shrink_layers(whole, 1.5001) == {}  # once is enough


def test_what_is_no_larger_than_new_weights_begins_as_it_was(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    stored, (weights, factors) = load_file(encoder / "model.safetensors"), begun(encoder)
    assert factors == {}
    assert all(torch.equal(weights[name], stored[name]) for name in stored if name in weights)


def test_who_asks_for_it_gets_the_layers_as_they_were_trained_or_smaller_ones(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain", scale=8.0)
    few, many = (max(sizes(begun(encoder, count)[0], "layers.").values()) for count in (100, 50_000))
    assert (few, many) == pytest.approx((0.04, 0.08), rel=1e-4)
    assert begun(encoder, shrink_to=0.0)[1] == {}
    assert begun(encoder, from_scratch=True)[1] == {}
    (encoder / "plan.json").unlink()
    assert begun(encoder)[1] == {}  # made elsewhere
    shrunk, _ = begun(encoder, shrink_to=0.5)
    assert max(sizes(shrunk, "layers.").values()) == pytest.approx(0.01, rel=1e-4)


def test_rules_for_what_is_unset_are_numbered() -> None:
    """Else a changed rule would take what an old one made for its own: count `finetune.defaults` up."""
    found = {
        name: [
            (epochs := task.epochs(n), round(task.mask_rate(n), 4), task.shrink_to(n), task.cycles(n, epochs))
            for n in (100, 3_000, 50_000)
        ]
        for name, task in TASKS.items()
    }
    fixed = {name: (task.learning_rate, task.batch_size, task.zero_output) for name, task in TASKS.items()}
    classify = [(30.0, 0.3, 2.0, 1), (7.0, 0.2, 2.0, 1), (3.0, 0.012, 4.0, 3)]
    assert FinetuneConfig().defaults == 3
    assert found == {
        "sentiment": classify,
        "classify": classify,
        "tags": [(30.0, 0.0, 2.0, 1), (7.0, 0.0, 2.0, 1), (3.0, 0.0, 2.0, 1)],
        "qa": [(3.0, 0.0, 2.0, 1), (1.0, 0.0, 2.0, 1), (1.0, 0.0, 2.0, 1)],
    }
    assert fixed == {
        "sentiment": (3e-4, 32, True),
        "classify": (3e-4, 32, True),
        "tags": (1e-3, 32, False),
        "qa": (1e-3, 8, False),
    }


def test_the_user_is_told_and_the_metrics_say_how_many(tmp_path: Path) -> None:
    events: list[Event] = []
    encoder = make_encoder(tmp_path / "pretrain", scale=8.0)
    data = make_data(tmp_path / "d.jsonl", 20)
    metrics = run_finetune(tmp_path / "x", encoder, data, emit=events.append, epochs=1.0)
    notes = [each.message for each in events if isinstance(each, Note)]
    assert metrics["num_shrunk_tensors"] > 0
    assert any(
        f"{metrics['num_shrunk_tensors']} matrices of its layers begin at 0." in note for note in notes
    )


def test_a_folder_without_a_manifest_is_known_by_all_that_is_read_of_it(tmp_path: Path) -> None:
    encoder = make_encoder(tmp_path / "pretrain")
    (encoder / "manifest.json").unlink()
    before = inputs.model(encoder, HashCache(None))
    (encoder / "README.md").write_text("not read")
    assert inputs.model(encoder, HashCache(None)) == before
    (encoder / "plan.json").write_text('{"block_length": 16, "is_ours": false}')
    assert inputs.model(encoder, HashCache(None)) != before

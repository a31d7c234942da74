"""The demo asks the pipeline for the right things and reports what came back, without training here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mlmctl import world
from mlmctl.commands import demo
from mlmctl.config import RuntimeConfig
from mlmctl.events import silent
from mlmctl.manifest import Manifest
from mlmctl.pipeline import Node, StageReport
from mlmctl.storage import HashCache

ACCURACY = {"pretrained-16": 0.75, "scratch-16": 0.5}


def _report(node: Node, folder: Path) -> StageReport:
    metrics: dict[str, Any] = {"valid_loss": 1.5, "num_steps": 9, "accuracy": 0.625}
    if node.stage == "evaluate":
        metrics["accuracy"] = ACCURACY.get(node.name.split("/")[1], 0.625)
    manifest = Manifest(
        stage=node.stage,
        key="k",
        fingerprint=f"f-{node.name}",
        config={},
        inputs={},
        outputs={},
        metrics=metrics,
        details={},
        environment={},
    )
    return StageReport(node.name, "ran", 1.0, folder / node.name, manifest)


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> list[Node]:
    """The nodes that the demo asked for; the pipeline and the size of the world are stand-ins."""
    asked: list[Node] = []
    generate = world.generate

    def small(seed: int, folder: Path) -> world.World:
        return generate(seed, folder, num_documents=20, num_train=256, num_test=50)

    def execute(run: Path, wanted: Callable[[HashCache], Sequence[Node]], **_: object) -> list[StageReport]:
        asked.extend(wanted(HashCache(None)))
        return [_report(node, run) for node in asked]

    monkeypatch.setattr(world, "generate", small)
    monkeypatch.setattr(demo, "execute", execute)
    return asked


def test_each_start_is_tuned_and_measured_at_each_label_count(nodes: list[Node], tmp_path: Path) -> None:
    demo.run(tmp_path, RuntimeConfig(), silent)
    names = [node.name for node in nodes]
    assert names[:4] == ["tokenizer", "mask/blocks", "mask/policy", "pretrain"]
    pairs = [(f"finetune/{m}", f"evaluate/{m}/test") for n in (16, 64, 256) for m in _models(n)]
    assert names[4:] == [name for pair in pairs for name in pair]
    tuned = {node.name.split("/")[1]: node for node in nodes if node.stage == "finetune"}
    for name, node in tuned.items():
        assert node.config["from_scratch"] == name.startswith("scratch")
        assert node.config["max_examples"] == int(name.split("-")[1])
        assert node.data == tmp_path / "data" / "train.jsonl"
    measured = [node for node in nodes if node.stage == "evaluate"]
    assert all(node.data == tmp_path / "data" / "test.jsonl" for node in measured)


def test_pretrained_and_scratch_differ_in_nothing_else(nodes: list[Node], tmp_path: Path) -> None:
    demo.run(tmp_path, RuntimeConfig(), silent)
    tuned = {node.name.split("/")[1]: dict(node.config) for node in nodes if node.stage == "finetune"}
    for count in demo.LABEL_COUNTS:
        with_it, without = (tuned[name] for name in _models(count))
        assert {**with_it, "from_scratch": True} == without


def test_the_table_holds_the_test_accuracies(nodes: list[Node], tmp_path: Path) -> None:
    result = demo.run(tmp_path, RuntimeConfig(), silent)
    assert result["table"]["16"] == {"pretrained": 0.75, "scratch": 0.5}
    assert result["metrics"] == {"valid_loss": 1.5, "num_steps": 9}
    assert [stage["name"] for stage in result["stages"]] == [node.name for node in nodes]
    assert demo.rows(result)[0] == ("16", "0.750", "0.500")
    shown = demo.explanation(result)
    assert "no labelled example" in shown[0]
    assert any(f"--run {tmp_path}" in line for line in shown)


def _models(count: int) -> tuple[str, str]:
    return f"pretrained-{count}", f"scratch-{count}"

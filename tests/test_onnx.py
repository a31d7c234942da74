"""The ONNX file of an export: the same numbers for any batch, or none; nothing of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoders import make_data, make_encoder, run_finetune

from mlmctl import samples
from mlmctl.commands import export
from mlmctl.commands.export import onnx_file
from mlmctl.engine import model as models
from mlmctl.errors import ArtifactError, UsageError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CASES = [
    ("modernbert", "masked_lm"),
    ("bert", "sequence_classification"),
    ("modernbert", "token_classification"),
    ("bert", "question_answering"),
]
TASKS = {
    "sequence_classification": "sentiment",
    "token_classification": "tags",
    "question_answering": "qa",
}


def make(folder: Path, architecture: str, head: Any) -> Path:
    """A model folder."""
    encoder = make_encoder(folder / "encoder", architecture=architecture, scale=8.0)
    if head == "masked_lm":
        return encoder
    task = TASKS[head]
    data = {"tags": "tags-train.jsonl", "qa": "qa.json"}
    path = samples.path(data[task]) if task in data else make_data(folder / "data.jsonl")
    run_finetune(folder / "model", encoder, path, task=task, max_examples=24, epochs=1.0)
    return folder / "model"


@pytest.mark.parametrize(("architecture", "head"), CASES)
def test_the_file_computes_what_the_model_does_for_any_batch(
    tmp_path: Path, architecture: str, head: Any
) -> None:
    folder = make(tmp_path, architecture, head)
    checked = onnx_file.write(folder, head, 16, 1)
    assert 0 <= checked.max_difference <= checked.tolerance
    assert checked.batches == [(1, 3), (2, 8), (3, 9), (4, 16), (5, 32)]
    path = folder / onnx_file.FILE
    proto = onnx.load(path)
    onnx.checker.check_model(proto)
    assert [each.name for each in proto.graph.input] == ["input_ids", "attention_mask"]
    assert [each.name for each in proto.graph.output] == list(checked.outputs)
    for each in proto.graph.input:
        assert [axis.dim_param for axis in each.type.tensor_type.shape.dim] == ["batch", "length"]
    content = path.read_bytes()
    for word in (b"site-packages", b".py", str(tmp_path).encode()):
        assert word not in content
    # A length that was not among those compared, by stock means.
    ids = np.random.default_rng(1).integers(5, 70, (7, 21))
    mask = np.ones_like(ids)
    mask[1:, 13:] = 0
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run([checked.outputs[0]], {"input_ids": ids, "attention_mask": mask})[0]
    ours, _ = models.load(folder, head)
    with torch.no_grad():
        wanted = ours(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask))[
            checked.outputs[0]
        ].numpy()
    real = slice(None) if head == "sequence_classification" else mask.astype(bool)
    assert np.abs(found[real] - wanted[real]).max() < 1e-4 * max(1, np.abs(wanted[real]).max())


def test_a_file_that_differs_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_encoder(tmp_path / "encoder")
    load = models.load

    def other(*arguments: Any, **named: Any) -> Any:
        network, report = load(*arguments, **named)
        with torch.no_grad():
            network.decoder.bias.add_(1e-2)
        return network, report

    monkeypatch.setattr(models, "load", other)
    with pytest.raises(ArtifactError, match=r"differs by 1\.\de-02 of the largest number, more than 0\.0001"):
        onnx_file.write(folder, "masked_lm", 16, 1)


def test_a_number_that_is_none_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_export", lambda *arguments: 20)
    monkeypatch.setattr(onnx_file, "_compare", lambda *arguments: float("nan"))
    with pytest.raises(ArtifactError, match="differs by nan"):
        onnx_file.write(make_encoder(tmp_path / "encoder"), "masked_lm", 16, 1)


def test_the_extra_is_asked_for_by_name_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = onnx_file.extras.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_file.extras.importlib.util, "find_spec", lambda name: None if "onnx" in name else find(name)
    )
    with pytest.raises(UsageError, match="not installed") as error:
        export.run(
            tmp_path, "pretrain", tmp_path / "m", export.Options(onnx=True), None, False, lambda e: None
        )  # type: ignore[arg-type]
    assert "mlmctl[onnx]" in str(error.value.hint)

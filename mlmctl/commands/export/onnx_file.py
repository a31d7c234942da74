"""A model as one ONNX file, which is kept only if it computes what the model computes.

The file is made from the folder as stock `transformers` loads it, with the stock attention. It is run by
onnxruntime on padded batches of several lengths, and compared with the model as `mlmctl` itself loads and
runs it: so the file, the stock model and ours are known to agree.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ... import extras
from ...engine import architectures, configuration
from ...engine import model as models
from ...errors import ArtifactError, UsageError, one_line, translated
from ...text import vocabulary

FILE = "onnx/model.onnx"
TOLERANCE = 1e-4
"""Largest difference of a number that is allowed, as a share of the largest number (or of 1, if that is
more); float32 sums of another order differ by some 1e-6."""

_INPUTS = ("input_ids", "attention_mask")
_OUTPUTS = {
    "masked_lm": ("logits", "last_hidden_state"),
    "sequence_classification": ("logits",),
    "token_classification": ("logits",),
    "question_answering": ("start_logits", "end_logits"),
}
_MOST_BYTES = 2**31 - 2**24  # a protobuf holds 2 GiB
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_SEED = 0


@dataclass(frozen=True)
class Checked:
    """What the comparison found."""

    outputs: Sequence[str]
    opset: int
    batches: Sequence[tuple[int, int]]
    """(texts, tokens) of each batch compared; all but the first text are padded."""
    max_difference: float
    """The largest difference of a number, as a share of the largest (or of 1)."""
    tolerance: float
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        return {"file": FILE, **asdict(self)}


def check_extra() -> None:
    """UsageError, before anything is done, where a package is missing."""
    for package in _PACKAGES:
        extras.check(package, "onnx", "ONNX files")


def write(folder: Path, head: architectures.Head, block_length: int, num_threads: int) -> Checked:
    """Write `onnx/model.onnx` into a model folder.

    ArtifactError, and the file is not to be used, if it cannot be made or differs by more than TOLERANCE.
    """
    family, _ = configuration.fields(folder)
    stock = family.model_class(head).from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True
    )
    if models.num_parameters(stock) * 4 > _MOST_BYTES:
        raise UsageError("usage.onnx-size", "is too large for one ONNX file (2 GiB)", where=str(folder))
    path = folder / FILE
    path.parent.mkdir()
    with translated(lambda error: _refusal(f"the model cannot be exported: {one_line(error)}")):
        opset = _export(_Plain(stock, head).eval(), path, head, configuration.num_positions(folder))
    ours, _ = models.load(folder, head)
    batches = _batches(folder, block_length)
    with translated(lambda error: _refusal(f"the exported file cannot be run: {one_line(error)}")):
        worst = _compare(path, _Plain(ours, head).eval(), batches, num_threads)
    if not worst <= TOLERANCE:
        found = f"the exported file differs by {worst:.1e} of the largest number, more than {TOLERANCE:g}"
        raise _refusal(found)
    return Checked(
        _OUTPUTS[head],
        opset,
        [(int(ids.shape[0]), int(ids.shape[1])) for ids, _ in batches],
        float(f"{worst:.1e}"),
        TOLERANCE,
        {name: version(name) for name in ("torch", "transformers", *_PACKAGES)},
    )


class _Plain(nn.Module):
    """A stock model whose outputs are a tuple, those of `_OUTPUTS`."""

    def __init__(self, model: Any, head: architectures.Head) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.is_of_tokens = head != "sequence_classification"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        if self.head == "masked_lm":
            encoded = model.base_model(input_ids=input_ids, attention_mask=attention_mask)
            hidden = encoded.last_hidden_state
            return architectures.of(model).decode(model, hidden), hidden
        output = model(input_ids=input_ids, attention_mask=attention_mask)
        return tuple(output[name] for name in _OUTPUTS[self.head])


def _export(model: nn.Module, path: Path, head: architectures.Head, num_positions: int) -> int:
    """Write the file; its opset. Texts and tokens of a batch stay open, up to all positions."""
    cleaning = extras.load("onnx_ir.passes.common", "onnx", "ONNX files")
    texts, tokens = torch.export.Dim("batch", min=1), torch.export.Dim("length", min=1, max=num_positions)
    ids = torch.ones((2, 6), dtype=torch.int64)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # like its log, of how torch traces: nothing that a user can act on
        program = torch.onnx.export(
            model,
            (ids, mask),
            dynamo=True,
            verbose=False,
            input_names=list(_INPUTS),
            output_names=list(_OUTPUTS[head]),
            dynamic_shapes=({0: texts, 1: tokens}, {0: texts, 1: tokens}),
        )
    assert program is not None
    # Every node carries the lines of Python it came from, with the paths of this machine.
    cleaning.ClearMetadataAndDocStringPass()(program.model)
    program.save(path, external_data=False)
    return int(program.model.opset_imports[""])


def _batches(folder: Path, block_length: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Batches of token ids and masks [B, L] of several lengths: as short as texts get, a block, beyond it.

    The first text of each fills it, the others are padded.
    """
    specials = vocabulary.special_ids(vocabulary.load(folder))
    most = configuration.num_positions(folder)
    draw = np.random.Generator(np.random.PCG64(_SEED))
    found = []
    for number, length in enumerate(sorted({3, 9, block_length // 2, block_length, 2 * block_length}), 1):
        length = min(length, most)
        ids = draw.choice(specials.ordinary, (number, length))
        lengths = np.linspace(length, 3, number).astype(np.int64)[:, None]
        places = np.arange(length)[None]
        ids[:, 0] = specials.cls
        ids[places == lengths - 1] = specials.sep
        mask = (places < lengths).astype(np.int64)
        ids[mask == 0] = specials.pad
        found.append((ids, mask))
    return found


def _compare(
    path: Path, model: _Plain, batches: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], threads: int
) -> float:
    """The largest difference, relative as for `TOLERANCE`; what is said at padding means nothing."""
    runtime = extras.load("onnxruntime", "onnx", "ONNX files")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for ids, mask in batches:
        found = session.run(None, dict(zip(_INPUTS, (ids, mask), strict=True)))
        with torch.inference_mode():
            wanted = [out.numpy() for out in model(torch.from_numpy(ids), torch.from_numpy(mask))]
        for theirs, ours in zip(found, wanted, strict=True):
            if theirs.shape != ours.shape:
                return float("inf")
            # Of numbers for each token those of padding are left out: [tokens, ...].
            real = mask.astype(bool) if model.is_of_tokens else slice(None)
            scale = max(1.0, float(np.abs(ours[real]).max()))
            worst = float(np.maximum(worst, np.abs(theirs[real] - ours[real]).max() / scale))  # NaN stays NaN
    return worst


def _refusal(found: str) -> ArtifactError:
    return ArtifactError("artifact.onnx", found, where=FILE, hint="export without --onnx")

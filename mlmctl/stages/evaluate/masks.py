"""An encoder on the frozen validation masks: loss and accuracy, and what guessing by frequency would get.

Reads: `pretrain`, `mask/policy`, `mask/blocks`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from ...artifact import read_manifest
from ...config import EvaluateConfig
from ...engine import evaluate_mlm
from ...errors import ArtifactError
from ...tasks.pretrained import open_pretrained
from ...tasks.task import Report
from ..stage import Stage


def measure(config: EvaluateConfig, stage: Stage, device: torch.device) -> Report:
    """The metrics of `engine.evaluate_mlm` on all frozen masks."""
    opened = open_pretrained(stage.inputs["pretrain"], device)
    _check_tokenizer(stage.inputs)
    frozen = evaluate_mlm.FrozenMasks.open(stage.inputs["mask/policy"], stage.inputs["mask/blocks"])
    metrics = {
        **evaluate_mlm.evaluate(opened.model, frozen, device),
        **frozen.baselines,
        "num_tokens": frozen.num_tokens,
    }
    return Report(metrics, headline="valid_loss")


def _check_tokenizer(inputs: Mapping[str, Path]) -> None:
    """ArtifactError unless encoder and masks were made with one tokenizer: by content, not by its size."""
    of_encoder, of_masks = (read_manifest(inputs[name]).inputs for name in ("pretrain", "mask/policy"))
    if of_encoder.get("tokenizer") != of_masks.get("tokenizer"):
        raise ArtifactError(
            "model.tokenizer",
            "was made with another tokenizer than the masks",
            where=str(inputs["pretrain"]),
            hint="evaluate an encoder in the run folder it was pretrained in",
        )

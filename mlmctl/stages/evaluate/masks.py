"""An encoder on the frozen validation masks: loss and accuracy, and what guessing by frequency would get.

Reads: `pretrain`, `mask/policy`, `mask/blocks`
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from ...config import EvaluateConfig
from ...engine import evaluate_mlm
from ...errors import ArtifactError
from ...tasks.pretrained import open_pretrained
from ...tasks.task import Report
from ...text import vocabulary
from ...text.blocks import read_facts
from ..stage import Stage


def measure(config: EvaluateConfig, stage: Stage, device: torch.device) -> Report:
    """The metrics of `engine.evaluate_mlm` on all frozen masks."""
    encoder, blocks = stage.inputs["pretrain"], stage.inputs["mask/blocks"]
    _check_tokenizer(encoder, read_facts(blocks)["tokenizer_sha256"])
    opened = open_pretrained(encoder, device)
    frozen = evaluate_mlm.FrozenMasks.open(stage.inputs["mask/policy"], blocks)
    metrics = {
        **evaluate_mlm.evaluate(opened.model, frozen, device),
        **frozen.baselines,
        "num_tokens": frozen.num_tokens,
    }
    return Report(metrics, headline="valid_loss")


def _check_tokenizer(encoder: Path, of_masks: str) -> None:
    """ArtifactError unless the encoder's tokenizer is, by content, the one the masks were made with."""
    content = vocabulary.fitted(encoder).content  # as it would be pinned: a stranger's may cut or pad
    if hashlib.sha256(content.encode()).hexdigest() != of_masks:
        raise ArtifactError(
            "model.tokenizer",
            "has another tokenizer than the masks were made with",
            where=str(encoder),
            hint=f"make masks with its tokenizer, in another run folder: mlmctl mask --tokenizer {encoder}",
        )

"""An encoder on the frozen validation masks: loss and accuracy, and what guessing by frequency would get.

`reference_loss` is what the encoder would have if it had learned as much as its preset did on a known text.

`bits_per_byte` is the loss times the tokens of a byte of the validation text, so that tokenizers can be
compared on one text. All else is of tokens, of which another vocabulary has others.

Reads: `pretrain`, `mask/policy`, `mask/blocks`
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...config import EvaluateConfig
from ...engine import configuration, evaluate_mlm
from ...engine.architectures import ARCHITECTURES
from ...errors import ArtifactError
from ...manifest import MANIFEST, read_manifest
from ...measure import masked_lm, reference
from ...tasks.pretrained import open_pretrained
from ...tasks.task import Report
from ...text import vocabulary
from ...text.blocks import read_facts
from ...text.policy import VALID_RATE
from ..stage import Stage

_DECIMALS = 3  # of nats and bytes of a block: what threads cannot change


def measure(config: EvaluateConfig, stage: Stage, device: torch.device) -> Report:
    """Loss and accuracy on all frozen masks, by frequency of the tokens, and a row for each block."""
    encoder, blocks = stage.inputs["pretrain"], stage.inputs["mask/blocks"]
    _check_tokenizer(encoder, read_facts(blocks)["tokenizer_sha256"])
    opened = open_pretrained(encoder, device)
    frozen = evaluate_mlm.FrozenMasks.open(stage.inputs["mask/policy"], blocks)
    found = [*evaluate_mlm.predictions(opened.model, frozen, device)]
    rows, labels, nll, is_hit = (
        np.concatenate([getattr(some, name) for some in found])
        for name in ("rows", "labels", "nll", "is_hit")
    )
    total = masked_lm.sums(nll, is_hit)
    num_tokens, num_bytes = (int(frozen.blocks.facts[name]) for name in ("num_valid_tokens", "valid_bytes"))
    unigram_loss = frozen.baselines["unigram_loss"]
    metrics = {
        "valid_loss": total.loss,
        "valid_accuracy": total.accuracy,
        **frozen.baselines,
        **_reference(encoder, unigram_loss),
        "bits_per_byte": masked_lm.bits_per_byte(total.loss, num_tokens, num_bytes),
        "unigram_bits_per_byte": masked_lm.bits_per_byte(unigram_loss, num_tokens, num_bytes),
        "mask_rate": VALID_RATE,
        "num_tokens": frozen.num_tokens,
        "num_masked": total.num_tokens,
        "frequency_bands": masked_lm.by_frequency(labels, nll, is_hit, frozen.counts),
    }
    predictions = _of_blocks(frozen, rows, nll, is_hit, num_bytes / max(num_tokens, 1))
    return Report(metrics, headline="valid_loss", predictions=predictions)


def _reference(encoder: Path, unigram_loss: float) -> dict[str, float]:
    """`reference_loss`, for an encoder that `pretrain` made from nothing at the shape of a preset."""
    if not (encoder / MANIFEST).is_file():
        return {}
    manifest = read_manifest(encoder)
    family, fields = configuration.fields(encoder)
    if family is not ARCHITECTURES["modernbert"] or "init" in manifest.inputs:
        return {}
    for preset, shape in family.presets.items():
        if asdict(shape).items() <= fields.items():
            tokens = int(manifest.metrics.get("num_train_tokens", 0))
            found = reference.reference_loss(preset, tokens, unigram_loss)
            return {} if found is None else {"reference_loss": found}
    return {}


def _of_blocks(
    frozen: evaluate_mlm.FrozenMasks,
    rows: NDArray[np.int64],
    nll: NDArray[np.float32],
    is_hit: NDArray[np.bool_],
    bytes_per_token: float,
) -> list[dict[str, Any]]:
    """A row for each block: which it is, what was asked (a hash), and the sums over its hidden tokens."""
    num_blocks = len(frozen.labels)
    num_masked = np.bincount(rows, minlength=num_blocks)
    sums, hits = (np.bincount(rows, weights=each, minlength=num_blocks) for each in (nll, is_hit))
    return [
        {
            "block": int(frozen.numbers[row]),
            "masks": _hash(frozen.input_ids[row], frozen.labels[row]),
            "nll": round(float(sums[row]), _DECIMALS),
            "num_correct": int(hits[row]),
            "num_masked": int(num_masked[row]),
            "num_bytes": round(float(num_masked[row] * bytes_per_token), _DECIMALS),
        }
        for row in range(num_blocks)
    ]


def _hash(*arrays: NDArray[Any]) -> str:
    content = b"".join(np.asarray(array, np.int64).tobytes() for array in arrays)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


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

"""What is hidden in the blocks: the policy of training, the frozen masks of validation, an audit of both.

Reads:  tokenizer/, mask/blocks/
Writes: mask/policy/: policy.json, the frozen validation masks (valid.input_ids.npy, valid.labels.npy),
        audit.json
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...config import MaskConfig
from ...events import Emit, Note
from ...json_files import indented
from ...text import policy, vocabulary
from ...text.audit import audit
from ...text.blocks import SPLITS, Blocks
from ...text.npy import write_array
from ...text.units import Units
from ..stage import Stage

_SHARE_TOLERANCE = 0.2


def run_policy(config: MaskConfig, stage: Stage) -> dict[str, Any]:
    """Freeze the validation masks, and audit them and a sample of the training masks."""
    folder = stage.inputs["mask/blocks"]
    train, valid = (Blocks.open(folder, split) for split in SPLITS)
    vocab = vocabulary.load(stage.inputs["tokenizer"]).get_vocab(with_added_tokens=True)
    tokens = {i: token for token, i in vocab.items()}
    frozen_numbers, some_numbers = (
        policy.frozen_numbers(blocks, config.num_valid_blocks, config.seed) for blocks in (valid, train)
    )
    rules = policy.Policy(
        config.rate_start,
        config.rate_end,
        Units(config.unit, config.span_length),
        config.seed,
        len(frozen_numbers),
    )
    frozen = policy.sample(valid, frozen_numbers, policy.VALID_RATE, config.seed)
    dtype = valid.ids.dtype
    write_array(stage.out / "valid.input_ids.npy", frozen.masked.input_ids.astype(dtype))
    labels = frozen.masked.dense_labels().astype(np.int32)
    write_array(stage.out / "valid.labels.npy", labels)
    (stage.out / "policy.json").write_bytes(indented(rules.to_json(valid), sort_keys=True))
    drawn = policy.sample(train, some_numbers, config.rate_start, config.seed, rules.units)
    of_valid, of_train = (audit(each, valid.specials, tokens) for each in (frozen, drawn))
    (stage.out / "audit.json").write_bytes(indented({"valid": of_valid, "train": of_train}, sort_keys=True))
    _tell_share(stage.emit, config, of_train)
    return {
        "num_frozen_blocks": len(frozen_numbers),
        "num_frozen_labels": of_valid["num_masked"],
        "masked_share": of_valid["masked_share"],
        "train_masked_share": of_train["masked_share"],
        "words_hidden_whole": of_train["masked_words"]["share_hidden_whole"],
    }


def _tell_share(emit: Emit, config: MaskConfig, found: dict[str, Any]) -> None:
    """A warning if much more or much less is masked than was asked, for words or blocks do not fit it."""
    share, asked = found["masked_share"], config.rate_start
    if found["num_maskable"] and abs(share - asked) > _SHARE_TOLERANCE * asked:
        length = found["masked_units"]["mean_tokens"]
        emit(
            Note(
                f"{share:.1%} of the tokens are masked, not {asked:.1%}: what is hidden at once has "
                f"{length:.1f} tokens on average, a block {config.block_length}",
                "warning",
            )
        )

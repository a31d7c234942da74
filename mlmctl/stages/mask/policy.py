"""What is hidden in the blocks: the policy of training, the frozen masks of validation, an audit of both.

Reads:  tokenizer/, mask/blocks/
Writes: mask/policy/: policy.json, the frozen validation masks (valid.input_ids.npy, valid.labels.npy),
        audit.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import MaskConfig
from ...events import Emit, Note
from ...json_files import indented
from ...text import policy, vocabulary
from ...text.audit import audit
from ...text.blocks import SPLITS, Blocks
from ...text.masking import IGNORED
from ...text.npy import Appender
from ...text.units import Units
from ..stage import Stage

_SHARE_TOLERANCE = 0.2
_TOKENS_AT_ONCE = 2**20
_AUDITED_TOKENS = 2**22
"""Of each split at most; shares are known to three digits by then."""


def run_policy(config: MaskConfig, stage: Stage) -> dict[str, Any]:
    """Freeze the validation masks, and audit them and a sample of the training masks."""
    folder = stage.inputs["mask/blocks"]
    train, valid = (Blocks.open(folder, split) for split in SPLITS)
    vocab = vocabulary.load(stage.inputs["tokenizer"]).get_vocab(with_added_tokens=True)
    tokens = {i: token for token, i in vocab.items()}
    frozen_numbers = policy.frozen_numbers(valid, config.num_valid_blocks, config.seed)
    most_audited = min(config.num_valid_blocks, _AUDITED_TOKENS // valid.block_length)
    rules = policy.Policy(
        config.rate_start,
        config.rate_end,
        Units(config.unit, config.span_length),
        config.seed,
        len(frozen_numbers),
    )
    num_labels = _freeze(valid, frozen_numbers, config.seed, stage.out)
    (stage.out / "policy.json").write_bytes(indented(rules.to_json(valid), sort_keys=True))
    frozen = policy.sample(valid, frozen_numbers[:most_audited], policy.VALID_RATE, config.seed)
    some_numbers = policy.frozen_numbers(train, most_audited, config.seed)
    drawn = policy.sample(train, some_numbers, config.rate_start, config.seed, rules.units)
    of_valid, of_train = (audit(each, valid.specials, tokens) for each in (frozen, drawn))
    (stage.out / "audit.json").write_bytes(indented({"valid": of_valid, "train": of_train}, sort_keys=True))
    _tell_share(stage.emit, config, of_train)
    return {
        "num_frozen_blocks": len(frozen_numbers),
        "num_frozen_labels": num_labels,
        "masked_share": of_valid["masked_share"],
        "train_masked_share": of_train["masked_share"],
        "words_hidden_whole": of_train["masked_words"]["share_hidden_whole"],
    }


def _freeze(valid: Blocks, numbers: NDArray[np.int64], seed: int, out: Path) -> int:
    """Write the frozen masks of these blocks, some at a time; how many tokens are to be predicted."""
    num_labels, shape = 0, (valid.block_length,)
    at_once = max(1, _TOKENS_AT_ONCE // valid.block_length)
    with (
        Appender(out / "valid.input_ids.npy", valid.ids.dtype, shape) as input_ids,
        Appender(out / "valid.labels.npy", np.dtype(np.int32), shape) as labels,
    ):
        for first in range(0, len(numbers), at_once):
            drawn = policy.sample(valid, numbers[first : first + at_once], policy.VALID_RATE, seed)
            input_ids.append(drawn.masked.input_ids)
            dense = drawn.masked.dense_labels()
            labels.append(dense)
            num_labels += int((dense != IGNORED).sum())
    return num_labels


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

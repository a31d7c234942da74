"""Packing: the tokens of the documents that are kept go to the blocks of their split, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...config import MaskConfig
from ...errors import DataError
from ...events import Progress
from ...text import parts
from ...text.blocks import BlockWriter
from ...text.earlier import Record
from ...text.encoding import Encoder
from ...text.splitting import DROPPED, TRAIN, VALID, Fates
from ..stage import Stage

_MIN_TOKENS = 16
"""Fewer in the whole corpus cannot be split and trained on."""


def pack(
    config: MaskConfig,
    encoder: Encoder,
    made: list[parts.Part],
    fates: Fates,
    num_tokens: int,
    stage: Stage,
) -> tuple[int, dict[str, Any]]:
    """Write both splits, removing the parts; (bytes of text in `valid`, counts of blocks and tokens)."""
    layout = (config.block_length, encoder.specials)
    valid_bytes = start = 0
    with (
        BlockWriter(stage.out, "train", *layout) as train,
        BlockWriter(stage.out, "valid", *layout) as valid,
        Record(stage.out) as record,
    ):
        last = {part.path: number for number, part in enumerate(made)}
        for done, part in enumerate(made):
            fate = np.array(fates.of[start : start + part.num_documents])
            start += part.num_documents
            ids, lengths, is_start = part.ids(), part.lengths(), part.is_start()
            places = *train.place, *valid.place
            if not fates.num_valid and (fate == TRAIN).any():
                valid_bytes = _cut_single(config, part, fate, train, valid)
                fate[:] = DROPPED  # it is in no split as a whole
            else:
                of_token = np.repeat(fate, lengths)
                for writer, which in ((train, TRAIN), (valid, VALID)):
                    chosen = of_token == which
                    writer.add(ids[chosen], lengths[fate == which], is_start[chosen])
                valid_bytes += int(part.num_bytes()[fate == VALID].sum())
            record.add(part.key, lengths, fate, places)
            if last[part.path] == done:
                part.path.unlink()  # or the disk would hold everything twice
            stage.emit(Progress(stage.name, done + 1, len(made), "parts", "packing"))
    unigrams = train.counts * encoder.specials.is_ordinary
    num_unknown = int(train.counts[encoder.specials.unk] + valid.counts[encoder.specials.unk])
    return valid_bytes, {
        "num_train_blocks": train.num_blocks,
        "num_valid_blocks": valid.num_blocks,
        "num_train_tokens": train.num_tokens,
        "num_valid_tokens": valid.num_tokens,
        "unknown_share": round(num_unknown / num_tokens, 6),
        "unigrams": unigrams,
    }


def _cut_single(
    config: MaskConfig, part: parts.Part, fate: np.ndarray[Any, Any], train: BlockWriter, valid: BlockWriter
) -> int:
    """The only document: its end is `valid`, cut where a word starts; the bytes of it, by share of tokens."""
    chosen = np.repeat(fate == TRAIN, part.lengths())
    ids, is_start = part.ids()[chosen], part.is_start()[chosen]
    total = len(ids)
    at = total - min(
        max(round(config.valid_fraction * total), min(total // 4, config.block_length)), total // 2
    )
    starts = np.flatnonzero(is_start)
    at = int(starts[np.argmin(np.abs(starts - at))]) or at
    for writer, piece in ((train, slice(0, at)), (valid, slice(at, total))):
        writer.add(ids[piece], np.array([len(ids[piece])]), is_start[piece])
    return round(int(part.num_bytes()[fate == TRAIN].sum()) * (total - at) / total)


def check_length(made: Sequence[parts.Part], fates: Fates) -> int:
    """The number of tokens kept; DataError if it is too small to be split."""
    num_tokens = start = 0
    for part in made:
        fate = fates.of[start : start + part.num_documents]
        num_tokens += int(part.lengths()[fate > 0].sum())
        start += part.num_documents
    if not num_tokens:
        raise DataError("data.empty", "nothing is left of the text after normalisation")
    if num_tokens < _MIN_TOKENS:
        raise DataError(
            "data.too-short",
            f"the corpus has {num_tokens} tokens; at least {_MIN_TOKENS} are needed to train and validate",
            hint="name more text",
        )
    return num_tokens

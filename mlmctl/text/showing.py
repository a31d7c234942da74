"""Masked examples for people (`mask --preview`) and for other trainers (`mask --export`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArtifactError, UsageError
from ..storage import whole_file
from . import pieces, policy, vocabulary
from .blocks import Blocks

COLOURS = {"mask": "cyan", "random": "red", "keep": "yellow", "special": "bright_black"}
"""How each kind of token is shown."""

_AT_ONCE = 256


def preview(tokenizer: Path, mask: Path, count: int) -> Iterator[list[tuple[str, str]]]:
    """Masked training blocks as (text, colour) parts, at most `count`.

    Without colours it can be read too: `[MASK←great]` is hidden, `[tree←great]` replaced, `[great]` kept
    and yet predicted.
    """
    blocks, rules = Blocks.open(mask / "blocks", "train"), _policy(mask)
    known = pieces.of(vocabulary.load(tokenizer))
    drawn = policy.draw(blocks, count, rules["rate_end"], rules["seed"])
    labels = drawn.masked.dense_labels()
    specials = blocks.specials
    starts = blocks.word_starts(drawn.numbers)
    rows = zip(drawn.input_ids, drawn.masked.input_ids, labels, starts, strict=True)
    for block in rows:
        row: list[tuple[str, str]] = []
        was_special = False
        for old, new, hidden, is_start in zip(*(some.tolist() for some in block), strict=True):
            if old == specials.pad:
                break
            is_special = not specials.is_ordinary[old]
            text, kind = known.shown(old), "special" if is_special else ""
            if hidden >= 0 and new == old:
                text, kind = f"[{text}]", "keep"
            elif hidden >= 0:
                kind = "mask" if new == specials.mask else "random"
                text = f"[{'MASK' if kind == 'mask' else known.shown(new)}←{text}]"
            if row and (is_start or is_special or was_special):
                row.append((" ", ""))
            row.append((text, COLOURS.get(kind, "")))
            was_special = is_special
        yield row


def export(mask: Path, path: Path) -> int:
    """Write every training block, masked as in epoch 0 at the final rate, as JSON Lines; how many.

    A line is `{"input_ids": [...], "labels": [...]}` with -100 where nothing is predicted; the padding
    of the last block is left out. The file is complete or absent.
    """
    if path.is_dir():
        raise UsageError("usage.export", "is a folder", where=str(path), hint="--export FILE.jsonl")
    blocks, rules = Blocks.open(mask / "blocks", "train"), _policy(mask)
    with whole_file(path) as file:
        for first in range(0, blocks.num_blocks, _AT_ONCE):
            numbers = np.arange(first, min(first + _AT_ONCE, blocks.num_blocks), dtype=np.int64)
            drawn = policy.sample(blocks, numbers, rules["rate_end"], rules["seed"])
            lengths = (drawn.input_ids != blocks.specials.pad).sum(axis=1).tolist()
            rows = zip(drawn.masked.input_ids, drawn.masked.dense_labels(), lengths, strict=True)
            for ids, labels, length in rows:
                example = {"input_ids": ids[:length].tolist(), "labels": labels[:length].tolist()}
                file.write(json.dumps(example).encode("ascii") + b"\n")
    return blocks.num_blocks


def _policy(mask: Path) -> dict[str, Any]:
    path = mask / "policy" / "policy.json"
    try:
        rules: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError("artifact.damaged", f"cannot be read: {error}", where=str(path)) from None
    return rules

"""Masked examples for people (`mask --preview`) and for other trainers (`mask --export`)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from ..errors import UsageError
from ..storage import whole_file
from . import pieces, policy, vocabulary
from .blocks import Blocks
from .masking import IGNORED
from .policy import Policy
from .specials import Specials

COLOURS = {"mask": "cyan", "random": "red", "keep": "yellow", "special": "bright_black"}
"""How each kind of token is shown."""

_HIDDEN = ("mask", "random", "keep")
_AT_ONCE = 256
_CONTEXT = 8  # tokens before one that can show in its text: a blank before it, bytes of its character
_UNFINISHED = "\ufffd"  # the text of a character of which bytes are missing


def preview(tokenizer: Path, mask: Path, count: int) -> Iterator[list[tuple[str, str]]]:
    """Masked training blocks as (text, colour) parts, at most `count`.

    Without colours it can be read too: `[MASK←great]` is hidden, `[tree←great]` replaced, `[great]` kept
    and yet predicted. What is hidden as a whole is in one pair of brackets: `[MASK MASK←sparkling]`.
    """
    blocks, rules = Blocks.open(mask / "blocks", "train"), Policy.read(mask / "policy")
    reader = vocabulary.load(tokenizer)
    known = pieces.of(reader)
    numbers = policy.frozen_numbers(blocks, count, rules.seed)
    drawn = policy.sample(blocks, numbers, rules.rate_end, rules.seed, rules.units)
    labels, opens = drawn.masked.dense_labels(), drawn.masked.dense_opens()
    for number, before in enumerate(drawn.input_ids):
        after = drawn.masked.input_ids[number]
        kinds = _kinds(before.tolist(), after.tolist(), labels[number].tolist(), blocks.specials)
        unit = np.cumsum(opens[number]).tolist()
        # Neighbours belong together if they are of one kind and, where hidden, of one unit.
        group = [(kind, unit[at] * (kind in _HIDDEN)) for at, kind in enumerate(kinds)]
        texts = running_text(reader, before[: len(kinds)].tolist(), blocks.specials)
        row: list[tuple[str, str]] = []
        for (kind, _), places in groupby(range(len(kinds)), key=group.__getitem__):
            some = list(places)
            text = "".join(texts[some[0] : some[-1] + 1])
            blank = text[: len(text) - len(text.lstrip())]
            shown = text.strip()
            if kind in _HIDDEN:
                shown = f"[{_put_there(kind, after[some].tolist(), reader, known)}"
                shown += f"{text.strip() or _visible(before[some].tolist(), known)}]"
            row += [(blank, ""), (shown, COLOURS.get(kind, ""))]
        yield [part for part in row if part[0]]


def running_text(tokenizer: Tokenizer, ids: Sequence[int], specials: Specials) -> list[str]:
    """The text of each token, with the blanks before it, as the tokenizer's own decoding puts it together.

    A character that several tokens make up is the last one's.
    """
    texts: list[str] = []
    borders = {specials.cls, specials.sep, specials.pad}
    start = 0  # of the text that the token is in
    for at, token in enumerate(ids):
        if token in borders or (at and ids[at - 1] in borders):
            start = at
        first = max(start, at - _CONTEXT)
        known, text = (
            tokenizer.decode(list(ids[first:end]), skip_special_tokens=False).rstrip(_UNFINISHED)
            for end in (at, at + 1)
        )
        blank = " " if at and at == start and not text[:1].isspace() else ""
        texts.append(blank + text[len(known) :])
    return texts


def export(mask: Path, path: Path) -> int:
    """Write every training block, masked as in epoch 0 at the final rate, as JSON Lines; how many.

    A line is `{"input_ids": [...], "labels": [...]}` with -100 where nothing is predicted; the padding
    of the last block is left out. The file is complete or absent.
    """
    if path.is_dir():
        raise UsageError("usage.export", "is a folder", where=str(path), hint="--export FILE.jsonl")
    blocks, rules = Blocks.open(mask / "blocks", "train"), Policy.read(mask / "policy")
    with whole_file(path) as file:
        for first in range(0, blocks.num_blocks, _AT_ONCE):
            numbers = np.arange(first, min(first + _AT_ONCE, blocks.num_blocks), dtype=np.int64)
            drawn = policy.sample(blocks, numbers, rules.rate_end, rules.seed, rules.units)
            lengths = (drawn.input_ids != blocks.specials.pad).sum(axis=1).tolist()
            rows = zip(drawn.masked.input_ids, drawn.masked.dense_labels(), lengths, strict=True)
            for ids, labels, length in rows:
                example = {"input_ids": ids[:length].tolist(), "labels": labels[:length].tolist()}
                file.write(json.dumps(example).encode("ascii") + b"\n")
    return blocks.num_blocks


def _put_there(kind: str, ids: list[int], reader: Tokenizer, known: pieces.Pieces) -> str:
    """What the model sees in the place of hidden tokens, and an arrow; nothing if it sees them."""
    if kind == "keep":
        return ""
    masks = " ".join(["MASK"] * len(ids))
    return (masks if kind == "mask" else reader.decode(ids).strip() or _visible(ids, known)) + "←"


def _visible(ids: list[int], known: pieces.Pieces) -> str:
    """Blanks and parts of characters in a form that can be seen."""
    return "".join(map(known.shown, ids))


def _kinds(before: list[int], after: list[int], labels: list[int], specials: Specials) -> list[str]:
    """What became of each token of a block, up to its padding: a key of `COLOURS`, "" if nothing."""
    kinds = []
    for old, new, label in zip(before, after, labels, strict=True):
        if old == specials.pad:
            break
        if label == IGNORED:
            kinds.append("" if specials.is_ordinary[old] else "special")
        else:
            kinds.append("mask" if new == specials.mask else "keep" if new == old else "random")
    return kinds

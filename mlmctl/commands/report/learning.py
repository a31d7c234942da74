"""What the encoder learned from: the corpus, what was hidden of it, and how the loss fell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ...quantities import percent
from ...text import showing
from ...text.masking import SHARES
from ...text.npy import open_array
from ...text.policy import VALID_RATE, Policy
from ..doctor.section import percentiles
from . import plots, wording
from .opened import Opened
from .parts import Facts, Line, Part, Passages, Section, Table

_NUM_BLOCKS = 3
_MOST_CHARACTERS = 1200
"""Of a block that is shown."""

_CORPUS = (
    "unit", "num_documents", "num_lines", "num_bytes", "num_words", "num_distinct_words", "num_empty",
    "num_replacements", "num_filtered",
)  # fmt: skip
_BLOCKS = (
    "num_duplicates", "num_near_duplicates", "num_without_tokens", "num_train_documents",
    "num_valid_documents", "num_train_tokens", "num_valid_tokens", "num_train_blocks", "num_valid_blocks",
)  # fmt: skip
_TOKENIZER = ("vocab_size", "tokens_per_word", "unknown_share")
_TRAINED = (
    "valid_loss", "unigram_loss", "uniform_loss", "valid_accuracy", "num_parameters", "num_steps",
    "num_skipped_steps", "num_train_tokens", "num_epochs", "seconds",
)  # fmt: skip
_MARKS = {colour: kind for kind, colour in showing.COLOURS.items()}


def corpus(run: Opened) -> Section:
    """Counts, and how long documents are."""
    section = Section("corpus", "Corpus")
    found: dict[str, Any] = {}
    for name in ("mask/blocks", "tokenizer"):
        if name in run.manifests:
            found |= run.manifests[name].metrics
    if "tokenizer" in run.manifests and "corpus.json" in run.manifests["tokenizer"].outputs:
        found |= run.json("tokenizer/corpus.json")
    if not found:
        line = Line("No corpus has been read yet:", run.command("tokenizer corpus.txt"))
        return Section(section.id, section.title, missing=line)
    rows = wording.facts(found, (*_CORPUS, *_TOKENIZER, *_BLOCKS))
    return Section(section.id, section.title, [Facts([*rows, *_lengths(run)])])


def _lengths(run: Opened) -> list[tuple[str, str]]:
    blocks = run.manifests.get("mask/blocks")
    if blocks is None or "documents.npy" not in blocks.outputs:
        return []
    documents = open_array(run.folder / "mask/blocks/documents.npy", np.dtype(np.uint32))
    lengths = np.asarray(documents) // 4
    kept = lengths[np.asarray(documents) % 4 > 0]
    if not len(kept):
        return []
    shares = np.quantile(kept, [0.1, 0.5, 0.9, 0.99, 1.0], method="inverted_cdf").tolist()
    named = dict(zip(("p10", "p50", "p90", "p99", "max"), shares, strict=True))
    return [("tokens a document", percentiles(named))]


def masking(run: Opened) -> Section:
    """The rules, what they really hid, and some blocks as training sees them."""
    policy = run.manifests.get("mask/policy")
    if policy is None:
        line = Line("Nothing has been masked yet:", run.command("mask corpus.txt"))
        return Section("masking", "Masking", missing=line)
    rules = Policy.read(run.folder / "mask/policy")
    rates = dict.fromkeys(map(percent, (rules.rate_start, rules.rate_end)))  # one, if it stays the same
    rows = [
        ("hidden at once", f"a {rules.units.kind}"),
        ("rate in training", ", in the end ".join(rates)),
        ("rate in validation", f"{percent(VALID_RATE)}, token by token, drawn once"),
        ("of what is hidden", ", ".join(f"{percent(part)} {kind}" for kind, part in SHARES.items())),
        *wording.facts(policy.metrics, ("num_frozen_blocks", "num_frozen_labels")),
    ]
    parts: list[Part] = [Facts(rows), _audit(rules, run.json("mask/policy/audit.json"))]
    misfit = run.misfit("tokenizer", "mask/blocks", "mask/policy")
    if not run.has_text:
        parts.append(Line("Masked examples are left out (--no-text)."))
    elif misfit:
        parts.append(Line(f"No examples are shown: {misfit}."))
    else:
        shown = showing.preview(run.folder / "tokenizer", run.folder / "mask", _NUM_BLOCKS)
        title = f"Blocks of training text, masked at {percent(rules.rate_end)}"
        parts.append(Passages(title, [list(_cut(block)) for block in shown]))
    return Section("masking", "Masking", parts)


def _audit(rules: Policy, audit: Mapping[str, Any]) -> Table:
    """What was asked for beside what a sample of training blocks and the frozen ones really have."""
    train, valid = audit["train"], audit["valid"]
    of_all = rules.rate_start, train["masked_share"], VALID_RATE, valid["masked_share"]
    rows = [("masked share", *of_all)]
    for kind, share in SHARES.items():
        rows.append((f"of it {kind}", share, train["kinds"][kind], share, valid["kinds"][kind]))
    cells = [(name, *map(percent, shares)) for name, *shares in rows]
    hidden = [percent(each["masked_words"]["share_hidden_whole"]) for each in (train, valid)]
    cells.append(("words hidden whole, of those touched", "", hidden[0], "", hidden[1]))
    columns = ("", "training, asked", "in a sample", "validation, asked", "in the frozen masks")
    return Table("What was asked for, and what was masked", columns, cells)


def _cut(block: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    left = _MOST_CHARACTERS
    for text, colour in block:
        if left <= 0:
            yield " ...", ""
            return
        left -= len(text)
        yield text, _MARKS.get(colour, "")


def pretraining(run: Opened) -> Section:
    """How the loss fell, of a finished encoder or of one that is being trained."""
    manifest = run.manifests.get("pretrain")
    figures = plots.training(run)
    if manifest is None and not run.is_begun("pretrain"):
        line = Line("No encoder has been trained yet:", run.command("pretrain corpus.txt"))
        return Section("pretraining", "Pretraining", missing=line)
    parts: list[Part] = []
    if manifest is None:
        parts.append(Line("Training has begun and is not finished; to go on:", run.command("pretrain")))
    else:
        parts.append(Facts([*wording.facts(manifest.metrics, _TRAINED), *_perplexity(manifest.metrics)]))
        init = manifest.details.get("init")
        if init:
            parts.append(Facts(wording.facts(init, init)))
    return Section("pretraining", "Pretraining", [*parts, *figures])


def _perplexity(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The number of tokens that the model wavers between, as some know the loss better."""
    loss = metrics.get("valid_loss")
    return [("valid perplexity", wording.value("", math.exp(loss)))] if loss is not None and loss < 50 else []

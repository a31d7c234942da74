"""What the records say of the data and of the training: the sections of the card about both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...config import Recipe, settings
from ..markdown import plain
from .subject import ENCODER, Subject

_TABLES = {
    "corpus": ("tokenizer", "mask/blocks"),
    "tokenizer": ("tokenizer",),
    "mask": ("mask/blocks", "mask/policy"),
    "pretrain": ("pretrain",),
}
"""Table of a recipe -> the artifacts whose configurations its values are taken from."""
_VERSIONS = ("mlmctl", "torch", "transformers", "tokenizers")


def data(subject: Subject) -> Iterator[str]:
    """How much was read, what of it was left out, and the fingerprints: no text."""
    blocks, vocabulary = subject.record("mask/blocks"), subject.record("tokenizer")
    if blocks is None:
        yield "- The encoder's corpus: nothing is recorded here. It was made elsewhere, or its run is gone."
    else:
        found = {**(vocabulary.metrics if vocabulary else {}), **blocks.metrics}
        yield from _corpus(found, blocks.inputs["corpus"])
        if blocks.details.get("built_in_data"):
            yield "- **This corpus is the small built-in one, for trying mlmctl out.**"
    manifest = subject.manifest
    if "data" in manifest.inputs:
        metrics = manifest.metrics
        told = f"- Labelled data: {metrics['num_examples']:,} examples"
        if metrics["num_held_out"]:
            told += f", {metrics['num_held_out']:,} of them held out to watch the training"
        yield f"{told} (file of SHA-256 `{manifest.inputs['data']}`)."
        if manifest.details.get("built_in_data"):
            yield "- **The labelled data is the small built-in set, for trying mlmctl out.**"


def _corpus(found: Mapping[str, Any], fingerprint: str) -> Iterator[str]:
    words = f", {found['num_words']:,} words, {found['num_bytes']:,} bytes" if "num_words" in found else ""
    yield f"- Corpus: {found['num_documents']:,} documents{words} (fingerprint `{fingerprint}`)."
    reasons = ("num_duplicates", "num_near_duplicates", "num_without_tokens")
    dropped = {name: found[name] for name in reasons if found.get(name)} | found.get("num_filtered", {})
    if dropped:
        counts = ", ".join(f"{plain(name)} {count:,}" for name, count in dropped.items())
        yield f"- Documents left out, by reason: {counts}."
    yield (
        f"- {found['num_train_documents']:,} documents ({found['num_train_tokens']:,} tokens) to learn from, "
        f"{found['num_valid_documents']:,} ({found['num_valid_tokens']:,} tokens) held out, chosen by their "
        "hashes."
    )


def configuration(subject: Subject) -> Iterator[str]:
    """How long and on what it was trained, and its settings as a recipe."""
    encoder = subject.encoder
    if encoder is not None:
        metrics = encoder.metrics
        begun = ", from an encoder made before (`init`)" if "init" in encoder.inputs else ""
        yield (
            f"- Pretraining{begun}: {metrics['num_steps']:,} steps, {metrics['num_train_tokens']:,} tokens "
            f"({metrics['num_epochs']:g} passes), {metrics['seconds']:,.0f} seconds"
            f"{_machine(encoder.environment)}"
        )
    if subject.manifest.stage != ENCODER:
        metrics = subject.manifest.metrics
        start = (
            "the encoder's shape with random weights"
            if subject.is_from_scratch
            else (
                f"{metrics['num_loaded_tensors']:,} tensors of the encoder, "
                f"{metrics['num_new_tensors']:,} new"
            )
        )
        yield (
            f"- Fine-tuning: {start}; {metrics['num_steps']:,} steps ({metrics['num_epochs']:g} passes) at a "
            f"learning rate of up to {metrics['learning_rate']:g}, {metrics['seconds']:,.0f} seconds"
            f"{_machine(subject.manifest.environment)}"
        )
    yield ""
    yield "As a recipe of mlmctl; it names no files, and what else is not in it had no value:"
    yield from ("", "```toml", "\n".join(recipe(subject)).strip(), "```")
    unnamed = list(_unnamed(subject))
    if unnamed:
        yield from ("", "Without these it makes another model:", "", *unnamed)


def _machine(environment: Mapping[str, Any]) -> str:
    if not environment:
        return "."
    versions = ", ".join(f"{name} {environment[name]}" for name in _VERSIONS if name in environment)
    return f" with {environment['num_threads']} threads on {plain(environment['cpu'])} ({versions})."


def recipe(subject: Subject) -> Iterator[str]:
    """The lines of a recipe with all settings that could change the result."""
    configs: dict[str, dict[str, Any]] = {}
    for name, artifacts in _TABLES.items():
        records = [subject.record(artifact) for artifact in artifacts]
        configs[name] = {
            k: v for record in records if record for k, v in settings(record.config, record.inputs).items()
        }
    if subject.manifest.stage != ENCODER:
        configs["finetune"] = dict(subject.manifest.config)
    for name, config in configs.items():
        table = Recipe.model_fields[name].annotation
        fields = table.model_fields if table else {}
        # JSON's numbers, strings and booleans are TOML's.
        lines = [
            f"{field} = {json.dumps(config[field], ensure_ascii=False)}"
            for field in fields
            if config.get(field) is not None
        ]
        if lines:
            yield from (f"[{name}]", *lines, "")


def _unnamed(subject: Subject) -> Iterator[str]:
    """What the recipe needs beside the data, and cannot name: a path says nothing of what is there."""
    encoder, vocabulary = subject.record(ENCODER), subject.record("tokenizer")
    if encoder is not None and "init" in encoder.inputs:
        yield (
            "- `pretrain.init`: it continued an encoder made before, and took over its shape (fingerprint "
            f"`{encoder.inputs['init']}`)."
        )
    if vocabulary is not None and "pinned" in vocabulary.inputs:
        of = ", extended" if vocabulary.config.get("extend") else ""
        yield (
            f"- `tokenizer.path`: the tokenizer was pinned{of} (`tokenizer.json` of SHA-256 "
            f"`{vocabulary.inputs['pinned']}`)."
        )


def limits(subject: Subject) -> Iterator[str]:
    """What follows from how little or how much was learned, as sentences with the figures."""
    encoder, vocabulary = subject.encoder, subject.record("tokenizer")
    if encoder is not None:
        metrics, blocks = encoder.metrics, subject.record("mask/blocks")
        of = f" of the {blocks.metrics['num_train_tokens']:,} there are" if blocks else ""
        yield (
            f"The encoder has seen {metrics['num_train_tokens']:,} tokens{of} ({metrics['num_epochs']:g} "
            f"passes), and predicts {metrics['valid_accuracy']:.1%} of the hidden tokens of held-out text."
        )
    elif subject.is_from_scratch:
        yield "It was not pretrained: its weights began at random, and it has read labelled examples alone."
    else:
        yield "How much text the encoder has seen is not recorded here."
    unknown = vocabulary.metrics.get("unknown_share") if vocabulary else None
    share = f"; {100 * unknown:.2g} % of its corpus is unknown to it" if unknown is not None else ""
    case = " It does not tell upper from lower case." if _ignores_case(subject) else ""
    yield f"Its vocabulary has {subject.config['vocab_size']:,} entries{share}.{case}"
    if "data" in subject.manifest.inputs:
        yield (
            f"It was adapted with {subject.manifest.metrics['num_examples']:,} labelled examples: it answers "
            "whatever it is asked, also what is unlike them."
        )


def _ignores_case(subject: Subject) -> bool:
    return all(
        subject.tokenizer.encode(text).ids == subject.tokenizer.encode(text.lower()).ids for text in _CASED
    )


_CASED = ("A", "THE", "Paris", "NATO")

"""What the records say of the data and of the training: the sections of the card about both."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ...config import Recipe, settings
from ...manifest import Manifest
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
    if subject.is_from_scratch:
        yield _without_corpus(vocabulary)
    elif blocks is None:
        yield "- The encoder's corpus: nothing is recorded here. It was made elsewhere, or its run is gone."
    else:
        found = {**(vocabulary.metrics if vocabulary else {}), **blocks.metrics}
        yield from _corpus(found, blocks.inputs["corpus"])
        if blocks.details.get("built_in_data"):
            yield "- **This corpus is the small built-in one, for trying mlmctl out.**"
    for tuning in subject.tunings:
        metrics = tuning.metrics
        told = f"- Labelled data{_which(subject, tuning)}: {metrics['num_examples']:,} examples"
        if metrics["num_held_out"]:
            told += f", {metrics['num_held_out']:,} of them held out to watch the training"
        yield f"{told} (file of SHA-256 `{tuning.inputs['data']}`)."
        if tuning.details.get("built_in_data"):
            yield "- **The labelled data is the small built-in set, for trying mlmctl out.**"


def _which(subject: Subject, tuning: Manifest) -> str:
    """The name of a fine-tuning, where there was more than one."""
    return f" of {plain(tuning.stage)}" if len(subject.tunings) > 1 else ""


def _without_corpus(vocabulary: Manifest | None) -> str:
    """What there was of a corpus for weights that began at random and never saw one."""
    if vocabulary is None:
        return "- What its vocabulary was made from is not recorded here. Its weights have seen no corpus."
    if "corpus" not in vocabulary.inputs:
        return "- Its vocabulary was made elsewhere. Its weights have seen no corpus."
    found = _size(vocabulary.metrics, vocabulary.inputs["corpus"])
    return f"- Corpus of the vocabulary alone: {found}. Its weights have never seen that text."


def _corpus(found: Mapping[str, Any], fingerprint: str) -> Iterator[str]:
    yield f"- Corpus: {_size(found, fingerprint)}."
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


def _size(found: Mapping[str, Any], fingerprint: str) -> str:
    words = f", {found['num_words']:,} words, {found['num_bytes']:,} bytes" if "num_words" in found else ""
    return f"{found['num_documents']:,} documents{words} (fingerprint `{fingerprint}`)"


def configuration(subject: Subject) -> Iterator[str]:
    """How long and on what it was trained, and its settings as a recipe."""
    for training in subject.trainings:
        if training.stage == ENCODER:
            yield _pretraining(training)
        elif training in subject.tunings:
            yield _tuning(training, _which(subject, training))
    yield ""
    if subject.is_from_scratch and subject.record(ENCODER):
        yield "The encoder in this recipe gave its shape and its vocabulary, and no weights."
    yield "As a recipe of mlmctl; it names no files, and what else is not in it had no value:"
    yield from ("", "```toml", "\n".join(recipe(subject)).strip(), "```")
    unnamed = list(_unnamed(subject))
    if unnamed:
        yield from ("", "Without these it makes another model:", "", *unnamed)


def _pretraining(encoder: Manifest) -> str:
    metrics = encoder.metrics
    begun = ", from an encoder made before (`init`)" if "init" in encoder.inputs else ""
    return (
        f"- Pretraining{begun}: {metrics['num_steps']:,} steps, {metrics['num_train_tokens']:,} tokens "
        f"({metrics['num_epochs']:g} passes), {metrics['seconds']:,.0f} seconds"
        f"{_machine(encoder.environment)}"
    )


def _tuning(tuning: Manifest, which: str) -> str:
    metrics = tuning.metrics
    start = (
        "the encoder's shape with random weights"
        if tuning.config.get("from_scratch")
        else (
            f"{metrics['num_loaded_tensors']:,} tensors of the model it began from, "
            f"{metrics['num_new_tensors']:,} new"
        )
    )
    return (
        f"- Fine-tuning{which}: {start}; {metrics['num_steps']:,} steps ({metrics['num_epochs']:g} passes) "
        f"at a learning rate of up to {metrics['learning_rate']:g}, {metrics['seconds']:,.0f} seconds"
        f"{_machine(tuning.environment)}"
    )


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
    of_model = subject.manifest.inputs.get("pretrain")
    for link in subject.chain.values():
        if link.fingerprint == of_model and (link.manifest is None or link.manifest.stage != ENCODER):
            made_from = f"{plain(link.name)} (fingerprint `{link.fingerprint}`)"
            yield f"- `finetune.model`: it was made from {made_from}."


def limits(subject: Subject) -> Iterator[str]:
    """What follows from how little or how much was learned, as sentences with the figures."""
    encoder, vocabulary = subject.encoder, subject.record("tokenizer")
    if encoder is not None:
        metrics, blocks = encoder.metrics, subject.record("mask/blocks")
        of = f" of the {blocks.metrics['num_train_tokens']:,} there are" if blocks else ""
        before = " after all that the one it continued had seen" if "init" in encoder.inputs else ""
        yield (
            f"The encoder has seen {metrics['num_train_tokens']:,} tokens{of} ({metrics['num_epochs']:g} "
            f"passes){before}, and predicts {metrics['valid_accuracy']:.1%} of the hidden tokens of "
            "held-out text."
        )
    elif subject.is_from_scratch:
        yield "It was not pretrained: its weights began at random, and it has read labelled examples alone."
    else:
        yield "How much text the encoder has seen is not recorded here."
    unknown = vocabulary.metrics.get("unknown_share") if vocabulary else None
    share = f"; {100 * unknown:.2g} % of its corpus is unknown to it" if unknown is not None else ""
    case = " It does not tell upper from lower case." if _ignores_case(subject) else ""
    yield f"Its vocabulary has {subject.config['vocab_size']:,} entries{share}.{case}"
    if subject.manifest.stage != ENCODER:
        *earlier, last = [f"{tuning.metrics['num_examples']:,}" for tuning in subject.tunings]
        first = f" (before that with {', then '.join(earlier)})" if earlier else ""
        yield (
            f"It was adapted with {last} labelled examples{first}: it answers whatever it is asked, also "
            "what is unlike them."
        )


def _ignores_case(subject: Subject) -> bool:
    return all(
        subject.tokenizer.encode(text).ids == subject.tokenizer.encode(text.lower()).ids for text in _CASED
    )


_CASED = ("A", "THE", "Paris", "NATO")

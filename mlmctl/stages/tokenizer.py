"""The vocabulary: how text becomes tokens.

Reads   the corpus, or a pinned tokenizer.
Writes  tokenizer/: tokenizer.json, tokenizer_config.json, special_tokens_map.json, corpus.json (the facts
        about the corpus, if it was read); base/tokenizer.json, the pinned one as it was, if it had to be
        changed; extension.json, what its new entries were made of, if it was extended.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..config import CorpusConfig, TokenizerConfig
from ..engine.machine import num_threads
from ..errors import UsageError
from ..events import Note
from ..json_files import indented
from ..text import extension, growth, vocabulary, workers
from ..text.corpus import text_bytes
from ..text.documents import Documents
from ..text.words import WordCounter
from .stage import BASE, Stage


def run(config: TokenizerConfig, corpus: CorpusConfig, stage: Stage) -> dict[str, Any]:
    """Train a vocabulary, or copy the pinned one after looking at what it is made of.

    The same text gives the same bytes, whatever the machine does. Nothing is kept in the work folder:
    a run that was killed begins again, which takes seconds.
    """
    if config.path and config.extend:
        return _extended(Path(config.path), config.extend, corpus, stage)
    if config.path:
        return _pinned(Path(config.path), stage)
    counter, facts = _count(vocabulary.untrained(config.cased, config.type), corpus, stage)
    tokenizer = vocabulary.train(counter.words, config.vocab_size, config.cased, config.type)
    vocabulary.save(tokenizer.to_str(pretty=True), stage.out)

    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < config.vocab_size:
        stage.emit(
            Note(
                f"the text supports a vocabulary of {vocab_size:,}, not the {config.vocab_size:,} asked for: "
                f"{vocab_size:,} it is",
                "warning",
            )
        )
    tokens_per_word, unknown_share = counter.measure(tokenizer.model, vocabulary.special_ids(tokenizer).unk)
    return {
        "vocab_size": vocab_size,
        **facts,
        "tokens_per_word": tokens_per_word,
        "unknown_share": unknown_share,
    }


def _count(tokenizer: Tokenizer, corpus: CorpusConfig, stage: Stage) -> tuple[WordCounter, dict[str, Any]]:
    """Read the corpus and write `corpus.json`; the words as this tokenizer splits them, and their metrics."""
    documents = Documents(stage.sources, corpus, stage.emit, stage.name)
    counter = WordCounter(tokenizer)
    counter.count(documents, workers.number(num_threads(stage.runtime), text_bytes(stage.sources)))
    facts = {**documents.facts(), "num_words": counter.num_words}
    (stage.out / "corpus.json").write_bytes(indented(facts, sort_keys=True))
    if counter.num_forgotten:
        share = counter.num_forgotten / counter.num_words
        stage.emit(Note(f"rare words, {share:.2%} of the text, were left out to bound the memory"))
    return counter, {
        "num_documents": facts["num_documents"],
        "num_bytes": facts["num_bytes"],
        "num_words": counter.num_words,
        "num_distinct_words": len(counter.words),
    }


def _extended(pinned: Path, num_new: int, corpus: CorpusConfig, stage: Stage) -> dict[str, Any]:
    """The pinned tokenizer with new entries for what the corpus needs most."""
    _pinned(pinned, stage)
    before = vocabulary.load(stage.out)
    specials = vocabulary.special_ids(before)
    counter, facts = _count(before, corpus, stage)
    content = (stage.out / "tokenizer.json").read_text(encoding="utf-8")
    grown = growth.grow(content, counter.words, num_new, str(pinned))
    vocabulary.save(grown.content, stage.out, vocabulary.special_names(before))
    _keep(pinned, stage.out, specials.vocab_size, grown.pieces)
    if len(grown.pieces) < num_new:
        found = f"the text supports {len(grown.pieces):,} new entries, not the {num_new:,} asked for"
        stage.emit(Note(found, "warning"))
    after = vocabulary.load(stage.out)
    tokens_before, _ = counter.measure(before.model, specials.unk)
    tokens_after, unknown_share = counter.measure(after.model, specials.unk)
    return {
        "vocab_size": vocabulary.special_ids(after).vocab_size,
        "num_new": len(grown.pieces),
        **facts,
        "tokens_per_word_before": tokens_before,
        "tokens_per_word": tokens_after,
        "unknown_share": unknown_share,
    }


def _pinned(folder: Path, stage: Stage) -> dict[str, Any]:
    if not folder.is_dir():
        raise UsageError("usage.no-tokenizer", "is not a folder", where=str(folder))
    pinned = vocabulary.fitted(folder)
    pinned.save(stage.out)
    vocab_size = vocabulary.special_ids(pinned.tokenizer).vocab_size
    if pinned.changes:
        stage.emit(Note(f"{folder}/tokenizer.json, changed: {'; '.join(pinned.changes)}"))
        _keep(folder, stage.out, vocab_size, {})
    return {"vocab_size": vocab_size}


def _keep(pinned: Path, out: Path, num_base: int, pieces: Mapping[int, list[int]]) -> None:
    """Keep what the tokenizer was made from, so that the same can be made of it again; say what is new."""
    base = out / BASE
    base.mkdir(exist_ok=True)
    shutil.copyfile(pinned / "tokenizer.json", base / "tokenizer.json")
    record = {"base_sha256": extension.content_hash(pinned), "num_base": num_base, "pieces": pieces}
    (out / extension.FILE).write_bytes(indented(record, sort_keys=True))

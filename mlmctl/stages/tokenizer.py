"""The vocabulary: how text becomes tokens.

Reads   the corpus, or a pinned tokenizer.
Writes  tokenizer/: tokenizer.json, tokenizer_config.json, special_tokens_map.json, corpus.json (the facts
        about the corpus; not with a pinned tokenizer); base/tokenizer.json, the pinned one as it was, if
        it had to be changed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from ..config import CorpusConfig, TokenizerConfig
from ..errors import UsageError
from ..events import Note
from ..text import vocabulary
from ..text.documents import Documents
from ..text.words import WordCounter
from .stage import BASE, Stage


def run(config: TokenizerConfig, corpus: CorpusConfig, stage: Stage) -> dict[str, Any]:
    """Train a vocabulary, or copy the pinned one after looking at what it is made of.

    The same text gives the same bytes, whatever the machine does. Nothing is kept in the work folder:
    a run that was killed begins again, which takes seconds.
    """
    if config.path:
        return _pinned(Path(config.path), stage)
    documents = Documents(stage.sources, corpus, stage.emit, stage.name)
    counter = WordCounter(vocabulary.untrained(config.cased, config.type))
    counter.count(documents)
    tokenizer = vocabulary.train(counter.words, config.vocab_size, config.cased, config.type)
    vocabulary.save(tokenizer.to_str(pretty=True), stage.out)
    facts = documents.facts()
    content = json.dumps({**facts, "num_words": counter.num_words}, indent=1, sort_keys=True)
    (stage.out / "corpus.json").write_bytes(content.encode() + b"\n")

    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < config.vocab_size:
        stage.emit(
            Note(
                f"the text supports a vocabulary of {vocab_size:,}, not the {config.vocab_size:,} asked for: "
                f"{vocab_size:,} it is",
                "warning",
            )
        )
    if counter.num_forgotten:
        share = counter.num_forgotten / counter.num_words
        stage.emit(Note(f"rare words, {share:.2%} of the text, were left out to bound the memory"))
    tokens_per_word, unknown_share = counter.measure(tokenizer.model, vocabulary.special_ids(tokenizer).unk)
    return {
        "vocab_size": vocab_size,
        "num_documents": facts["num_documents"],
        "num_bytes": facts["num_bytes"],
        "num_words": counter.num_words,
        "num_distinct_words": len(counter.words),
        "tokens_per_word": tokens_per_word,
        "unknown_share": unknown_share,
    }


def _pinned(folder: Path, stage: Stage) -> dict[str, Any]:
    if not folder.is_dir():
        raise UsageError("usage.no-tokenizer", "is not a folder", where=str(folder))
    tokenizer = vocabulary.load(folder)
    content, changes = vocabulary.fitted(folder)
    # Written anew and not copied: a stranger's tokenizer_config.json may point to code.
    vocabulary.save(content, stage.out, vocabulary.special_names(tokenizer))
    if changes:
        stage.emit(Note(f"{folder}/tokenizer.json, changed: {'; '.join(changes)}"))
        _keep(folder, stage.out)
    return {"vocab_size": vocabulary.special_ids(tokenizer).vocab_size}


def _keep(pinned: Path, out: Path) -> None:
    """Keep what the tokenizer was made from, so that the same can be made of it again."""
    base = out / BASE
    base.mkdir()
    shutil.copyfile(pinned / "tokenizer.json", base / "tokenizer.json")

"""Growing a vocabulary for a domain: what a tokenizer writes in many pieces gets pieces of its own.

The words of a corpus are split as the tokenizer splits them now, and the most frequent neighbours are
merged on from there (`text.merges`): byte-pair encoding goes on where it stopped. WordPiece takes the
longest piece first, so it needs only the new pieces; byte-pair encoding needs the merges as well. No id
changes. (Appending the pieces of a domain: Tai et al. 2020, "exBERT", Findings of EMNLP.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokenizers import Tokenizer

from ..errors import ArtifactError
from . import imported
from .merges import merge

_GROWING = ("WordPiece", "BPE")


@dataclass(frozen=True)
class Grown:
    """A larger tokenizer, and what its new pieces were made of."""

    content: str
    """The text of its `tokenizer.json`."""
    pieces: dict[int, list[int]]
    """New id -> ids of the smaller tokenizer."""


def grow(content: str, counts: Mapping[str, int], num_new: int, where: str) -> Grown:
    """The tokenizer with at most `num_new` more pieces; fewer if the words have no more to give.

    Args:
        content: the text of a `tokenizer.json`.
        counts: how often each word occurs, from a `WordCounter` of that tokenizer.
        where: the place of the tokenizer, for errors.

    Raises:
        ArtifactError: it is of a kind that cannot grow, or its ids would change.
    """
    parts: dict[str, Any] = json.loads(content)
    model = parts["model"]
    if model["type"] not in _GROWING:
        message = f"is a {model['type']} tokenizer; only {' and '.join(_GROWING)} can be extended"
        raise ArtifactError("artifact.tokenizer", message, where=where)
    base = Tokenizer.from_str(content)
    ids_before = base.get_vocab(with_added_tokens=True)
    # Tokens beside the vocabulary are numbered after it, and would move when it grows: they go into it.
    model["vocab"] |= {token["content"]: token["id"] for token in parts["added_tokens"]}
    vocabulary: dict[str, int] = model["vocab"]
    added = {token["content"] for token in parts["added_tokens"]}
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    number = {token: n for n, token in enumerate(tokens)}
    words, word_counts = [], []
    for word in sorted(counts):
        if any(token in word for token in added):  # or merging could end in what is written like a special
            continue
        found = [token.value for token in base.model.tokenize(word)]
        if added.isdisjoint(found):  # one that holds something unknown teaches nothing
            words.append([number[token] for token in found])
            word_counts.append(counts[word])
    prefix = model.get("continuing_subword_prefix") or ""
    merged = merge(words, word_counts, tokens, len(tokens) + num_new, prefix)

    made_of = [[vocabulary[token]] for token in tokens]
    place = {name: n for n, name in enumerate(merged.pieces)}
    for left, right in merged.merges:
        piece = place[merged.pieces[left] + merged.pieces[right].removeprefix(prefix)]
        if piece == len(made_of):
            made_of.append(made_of[left] + made_of[right])
    first = max(vocabulary.values()) + 1
    new = merged.pieces[len(tokens) :]
    model["vocab"] |= {piece: first + n for n, piece in enumerate(new)}
    if model["type"] == "BPE":
        is_joined = bool(model["merges"]) and isinstance(model["merges"][0], str)  # as it was written before
        known = {tuple(pair.split(" ") if is_joined else pair) for pair in model["merges"]}
        named = [(merged.pieces[left], merged.pieces[right]) for left, right in merged.merges]
        pairs = [
            list(pair) for pair in named if pair not in known
        ]  # a second one would take the first's rank
        model["merges"] += [" ".join(pair) for pair in pairs] if is_joined else pairs
    with imported.library(where):
        grown = Tokenizer.from_str(json.dumps(parts))
    ids_after = grown.get_vocab(with_added_tokens=True)
    if any(ids_after.get(token) != i for token, i in ids_before.items()):
        raise ArtifactError("artifact.tokenizer", "cannot be extended without changing its ids", where=where)
    pieces = {first + n: made_of[len(tokens) + n] for n in range(len(new))}
    return Grown(grown.to_str(pretty=True), pieces)

"""Near-duplicates of a corpus by MinHash beside the exact ones: python scripts/near_duplicates.py FILE

Prints, for some thresholds, how many documents MinHash drops, how many the exact similarity would, and
how many of either the other does not; then some pairs with what differs, to be read. Holds the corpus in
memory.
"""

from __future__ import annotations

import difflib
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from mlmctl.config import CorpusConfig
from mlmctl.events import silent
from mlmctl.text import near_duplicates
from mlmctl.text.corpus import resolve
from mlmctl.text.documents import Documents
from mlmctl.text.near_duplicates import SHINGLE
from mlmctl.text.plain_words import plain_words

THRESHOLDS = (0.5, 0.7, 0.8, 0.9)
MOST_SHARING = 200
"""A run of words in more documents than that is left out in looking for pairs."""
NUM_SHOWN = 8
BATCH = 4000


def shingles(document: str) -> set[tuple[bytes, ...]]:
    words = plain_words(document)
    return {tuple(words[place : place + SHINGLE]) for place in range(max(1, len(words) - SHINGLE + 1))}


def exact_pairs(documents: list[str]) -> dict[tuple[int, int], float]:
    """The similarity of pairs of documents from the lowest threshold on."""
    sets = [shingles(document) for document in documents]
    having = defaultdict(list)
    for number, some in enumerate(sets):
        for shingle in some:
            having[hash(shingle)].append(number)
    shared: Counter[tuple[int, int]] = Counter()
    for numbers in having.values():
        if len(numbers) < MOST_SHARING:
            shared.update((a, b) for place, a in enumerate(numbers) for b in numbers[place + 1 :])
    pairs = {}
    for (a, b), count in shared.items():
        if 2 * count < min(THRESHOLDS) * max(len(sets[a]), len(sets[b])):
            continue
        similarity = len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        if similarity >= min(THRESHOLDS):
            pairs[a, b] = similarity
    return pairs


def show(left: str, right: str) -> None:
    a, b = left.split(), right.split()
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(None, a, b, False).get_opcodes():
        if kind != "equal":
            print(f"    {' '.join(a[start:end])[:100]!r} -> {' '.join(b[other_start:other_end])[:100]!r}")


def main(path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        documents = list(Documents(resolve([path], Path(folder), silent), CorpusConfig(), silent, "look"))
        batches = (documents[start : start + BATCH] for start in range(0, len(documents), BATCH))
        table = np.concatenate([near_duplicates.signatures(batch) for batch in batches])
        pairs = exact_pairs(documents)
        for threshold in THRESHOLDS:
            is_first = near_duplicates.first_of_similar([lambda: table], threshold, Path(folder))
            found = set(np.flatnonzero(~is_first).tolist())
            exact = {later for (_, later), similarity in pairs.items() if similarity >= threshold}
            print(f"{threshold}: {len(found)} found, {len(exact)} exact, ", end="")
            print(f"{len(exact - found)} missed, {len(found - exact)} found below")
    ranked = sorted(pairs.items(), key=lambda item: -item[1])
    for (a, b), similarity in ranked[:: max(1, len(ranked) // NUM_SHOWN)]:
        estimate = near_duplicates.similarity(table[a : a + 1], table[b : b + 1])[0]
        print(f"documents {a} and {b}: exact {similarity:.3f}, estimate {estimate:.3f}")
        show(documents[a], documents[b])


if __name__ == "__main__":
    main(sys.argv[1])

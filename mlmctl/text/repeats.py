"""What occurs again and again: whole documents, and passages that many documents share; in bounded memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

_MAX_HASHES = 2**18
_MAX_PASSAGES = 2**15
_EDGE = 40
"""Characters of the beginning or end of a document that are compared."""
_SHORTEST_LINE, _LONGEST_LINE = 20, 200
_COMMON_SHARE, _COMMON_LEAST = 0.01, 10
"""A passage is boilerplate if it is in so large a share of the documents, and in so many at least."""


@dataclass
class Duplicates:
    """Share of documents that were there before: exact, or from a sample once there are very many.

    Two documents are the same if they differ in white space at most. The sample is of hashes and not of
    documents (Wegman's adaptive sampling, Flajolet 1990): all copies of a text are in it or none, and it
    halves itself whenever it is full.
    """

    _seen: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Hash -> how often, and the place of the first."""
    _bits: int = 0

    def add(self, document: str, place: str) -> bool:
        """Count a document; whether it is, as far as is known, the first of its kind."""
        text = " ".join(document.split())
        number = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
        if number & ((1 << self._bits) - 1):
            return True
        count, first = self._seen.get(number, (0, place))
        self._seen[number] = count + 1, first
        if len(self._seen) > _MAX_HASHES:
            self._bits += 1
            mask = (1 << self._bits) - 1
            self._seen = {n: entry for n, entry in self._seen.items() if not n & mask}
        return not count

    @property
    def is_exact(self) -> bool:
        return self._bits == 0

    @property
    def share(self) -> float:
        return 1 - len(self._seen) / max(1, sum(count for count, _ in self._seen.values()))

    def most_frequent(self) -> tuple[int, str]:
        """How often the most frequent document seen occurs, and where it stands first."""
        return max(self._seen.values(), key=lambda entry: entry[0], default=(0, ""))


class Passage(NamedTuple):
    """A piece of text that many documents have."""

    kind: str
    """`beginning`, `end` or `line`."""
    text: str
    num_documents: int
    """A lower bound: exact unless there were very many different ones."""
    where: str
    """The first document found with it."""


class Boilerplate:
    """Finds how documents commonly begin and end, and lines that many have.

    Beginnings and ends are of documents at least twice as long as these; lines of 20 to 200 characters are
    counted once a document, where a document has several.
    """

    def __init__(self) -> None:
        self._found = {kind: _Frequent(_MAX_PASSAGES) for kind in ("beginning", "end", "line")}
        self._num_documents = 0

    def add(self, document: str, lines: Iterable[str], place: str) -> None:
        """Count a document, which is cut into these lines."""
        self._num_documents += 1
        if len(document) >= 2 * _EDGE:
            self._found["beginning"].add(document[:_EDGE], place)
            self._found["end"].add(document[-_EDGE:], place)
        inner = {line.strip() for line in lines if len(line) >= _SHORTEST_LINE and len(line) < len(document)}
        for line in inner:
            if _SHORTEST_LINE <= len(line) <= _LONGEST_LINE:
                self._found["line"].add(line, place)

    def passages(self) -> list[Passage]:
        """Those in at least 1 % of the documents, and in 10 at least; the most frequent first."""
        least = max(_COMMON_LEAST, _COMMON_SHARE * self._num_documents)
        passages = [
            Passage(kind, text, count, found.places[text])
            for kind, found in self._found.items()
            for text, count in found.counts.items()
            if count >= least
        ]
        return sorted(passages, key=lambda passage: (-passage.num_documents, passage.kind, passage.text))


class _Frequent:
    """The texts that are a large share of a stream (Misra and Gries 1982, many counters lowered at once).

    A count is at most twice the length of the stream divided by `most` too low.
    """

    def __init__(self, most: int) -> None:
        self.counts: Counter[str] = Counter()
        self.places: dict[str, str] = {}
        self._most = most

    def add(self, text: str, place: str) -> None:
        self.counts[text] += 1
        if text not in self.places:
            self.places[text] = place
            if len(self.counts) > self._most:
                self._lower()

    def _lower(self) -> None:
        cut = sorted(self.counts.values())[len(self.counts) // 2]
        self.counts = Counter({text: count - cut for text, count in self.counts.items() if count > cut})
        self.places = {text: self.places[text] for text in self.counts}

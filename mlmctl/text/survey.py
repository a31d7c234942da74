"""The plain facts about a corpus, from one pass in bounded memory, before anything is made of it.

Lengths, duplicates, boilerplate and faults are counted over the whole corpus; language, script and how a
tokenizer fits are measured on a sample spread evenly over it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..config import CorpusConfig
from ..events import Emit, Event, Progress
from . import near_duplicates
from .corpus import Source
from .documents import Documents
from .encoding_faults import EncodingFaults, find
from .lengths import Lengths
from .npy import open_array
from .reading import Tally
from .repeats import Boilerplate, Duplicates
from .traces import Traces

_SIGNED_AT_ONCE = 2**22  # characters
_PLACES = "places.txt"
_SAMPLE_CHARACTERS = 2**22
_MOST_OF_A_DOCUMENT = 2**16


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus found."""

    unit: str
    contradiction: str
    """What speaks against that unit, if anything."""
    tally: Tally
    num_text_bytes: int
    """Of the documents, in UTF-8: of rows the text may be a small part."""
    document_characters: Lengths
    line_characters: Lengths
    duplicates: Duplicates
    boilerplate: Boilerplate
    traces: Traces
    encoding: EncodingFaults
    sample: list[str]
    """Documents, or their beginnings."""


def survey(
    sources: Sequence[Source],
    corpus: CorpusConfig,
    emit: Emit,
    stage: str,
    near: NearDuplicates | None = None,
) -> Survey:
    """Read the corpus once; once more if something in it cannot be decoded, for the places.

    What cannot be decoded is not an error here but a fact. Raises what `Documents` raises for all else.
    Near-duplicates are collected in `near`, where they were asked for.
    """
    lenient = corpus.model_copy(update={"encoding_errors": "replace"})
    documents = Documents(sources, lenient, _progress_only(emit), stage)
    of_documents, of_lines, num_text_bytes = Lengths(), Lengths(), 0
    duplicates, boilerplate, traces, sample = Duplicates(), Boilerplate(), Traces(), _Sample()
    for document in documents:
        place = documents.place
        lines = document.split("\n")
        num_text_bytes += len(document.encode())
        of_documents.add((len(document),))
        of_lines.add(map(len, lines))
        if duplicates.add(document, place):  # of copies the whole is told, not the parts
            boilerplate.add(document, lines, place)
        traces.add(document, place)
        sample.add(document)
        if near is not None:
            near.add(document, place)
    return Survey(
        unit=documents.unit,
        contradiction=documents.contradiction(),
        tally=documents.tally,
        num_text_bytes=num_text_bytes,
        document_characters=of_documents,
        line_characters=of_lines,
        duplicates=duplicates,
        boilerplate=boilerplate,
        traces=traces,
        encoding=find(sources, corpus) if documents.tally.num_replacements else EncodingFaults(),
        sample=sample.texts,
    )


class NearDuplicates:
    """Collects the signatures of documents in a scratch folder, and then finds those that are alike."""

    def __init__(self, threshold: float, scratch: Path) -> None:
        self.threshold = threshold
        self._scratch = scratch
        self._files: list[Path] = []
        self._batch: list[tuple[str, str]] = []
        self._size = 0

    def add(self, document: str, place: str) -> None:
        self._batch.append((document, place))
        self._size += len(document)
        if self._size >= _SIGNED_AT_ONCE:
            self._sign()

    def found(self) -> tuple[int, str]:
        """How many documents are like an earlier one, exact duplicates among them; the place of the first."""
        self._sign()
        parts = [partial(open_array, file) for file in self._files]
        is_first = near_duplicates.first_of_similar(parts, self.threshold, self._scratch)
        numbers = np.flatnonzero(~is_first)
        if not len(numbers):
            return 0, ""
        with (self._scratch / _PLACES).open(encoding="utf-8") as places:
            return len(numbers), next(itertools.islice(places, int(numbers[0]), None)).rstrip("\n")

    def _sign(self) -> None:
        if self._batch:
            self._files.append(self._scratch / f"signatures-{len(self._files)}.npy")
            signatures = near_duplicates.signatures([document for document, _ in self._batch])
            np.save(self._files[-1], signatures, allow_pickle=False)
            with (self._scratch / _PLACES).open("a", encoding="utf-8") as places:
                places.writelines(f"{place}\n" for _, place in self._batch)
        self._batch, self._size = [], 0


class _Sample:
    """Every n-th document, n doubled whenever there are too many characters: evenly spread, no randomness."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._every, self._size = 1, 0
        self._numbers = itertools.count()

    def add(self, document: str) -> None:
        if next(self._numbers) % self._every:
            return
        self.texts.append(document[:_MOST_OF_A_DOCUMENT])
        self._size += len(self.texts[-1])
        while self._size > _SAMPLE_CHARACTERS and len(self.texts) > 1:
            self._every *= 2
            self.texts = self.texts[::2]
            self._size = sum(map(len, self.texts))


def _progress_only(emit: Emit) -> Emit:
    """What the pass would say of the corpus is in its result."""

    def emit_progress(event: Event) -> None:
        if isinstance(event, Progress):
            emit(event)

    return emit_progress

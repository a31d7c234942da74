"""Parts made ahead: how further processes, on any machine, help the one that goes through the whole corpus.

Each takes a stretch of the corpus of its own and makes the parts it finds there, in the common folder. The
first process goes through everything as it would alone: where it comes to a part that is there, it takes it,
and otherwise it makes it. So the bytes cannot depend on who helped, and nobody waits for anybody.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..config import CorpusConfig
from ..errors import DataError
from ..events import silent
from . import parts, workers
from .corpus import Source, text_bytes
from .documents import Documents


def make(
    sources: Sequence[Source],
    config: CorpusConfig,
    place: tuple[int, int],
    tokenizer: Path,
    folder: Path,
    earlier: Path | None,
    num_threads: int,
    signed_by: str,
    is_enough: Callable[[], bool],
) -> None:
    """Make the parts of the stretch of process `place` = (number, of how many), until that or `is_enough`.

    What is wrong with the text is left to the first process, which comes to it in its turn. The other
    arguments are those of `parts.make`.
    """
    number, num_processes = place
    sizes = [source.size for source in sources]
    groups = parts.groups(sizes)
    begins = [0, *itertools.accumulate(sizes)]
    start, end = (begins[-1] * edge // num_processes for edge in (number, number + 1))
    first = _beginning(groups, begins, start)
    last = max(first + 1, sum(begin < end for begin in begins[:-1]))
    unit = Documents(sources, config, silent, "").unit
    asked = config if unit == "row" else config.model_copy(update={"unit": unit})
    documents = Documents(sources[first:last], asked, silent, "")

    places: list[int] = []  # how far the corpus was read when each document of a batch came

    def placed() -> Iterator[str]:
        for document in documents:
            places.append(begins[first] + documents.position)
            yield document

    def stretch() -> Iterator[list[str]]:
        for batch in parts.cut(placed(), lambda: groups[first + documents.file]):
            place = places[len(batch) - 1]
            del places[: len(batch)]
            if place > end or is_enough():
                return
            if place > start:
                yield batch

    num_workers = workers.number(num_threads, text_bytes(sources[first:last]))
    try:
        for _ in parts.make_batches(stretch(), tokenizer, folder, earlier, num_workers, signed_by):
            pass
    except DataError:
        return


def _beginning(groups: Sequence[int], begins: Sequence[int], start: int) -> int:
    """The number of the first file of the group of files that the byte `start` of all files is in."""
    file = max(sum(begin <= start for begin in begins[:-1]) - 1, 0)
    return groups.index(groups[file])

"""Data sets of the Hugging Face hub: `hf://datasets/OWNER/NAME`, streamed through `datasets` into the spool.

`hf://datasets/OWNER/NAME/CONFIG` takes a configuration of it, `?split=NAME` another split. What arrives
is JSON Lines: the one column of a corpus, or every column of labelled data that JSON can hold, labels by
their names. Code of a data set is never run.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from .. import extras
from ..errors import MlmctlError, ResourceError, UsageError, one_line, translated
from ..events import Emit, Note, Progress
from .compression import CHUNK
from .corpus import shown
from .rows import Row
from .spool import Kept, Spool

FORM = "hf://datasets/OWNER/NAME[/CONFIG][?split=NAME]"
_PREFIX = "hf://datasets/"
_NAME = re.compile(r"(?P<path>\w[\w.-]*/\w[\w.-]*)(?:/(?P<config>\w[\w.-]*))?(?:\?split=(?P<split>\w+))?")
_JSON = (str, int, float, bool, list, dict, type(None))


def read(name: str, spool: Spool, emit: Emit, split: str, columns: Sequence[str] = ()) -> list[Kept]:
    """A split of a data set as JSON Lines in the spool: `split` unless the name has another.

    Only `columns` are written, or all that JSON can hold if none are given. UsageError for a name of
    another form, a data set, configuration or split that does not exist; ResourceError if the hub cannot
    be reached; DataError `data.columns` if a column is not there.
    """
    known_as = key(name, split, columns)
    if kept := spool.recall(known_as):
        emit(Note(f"{shown(name)}: as it was read before; --refresh reads it anew"))
        return kept
    match = _parse(name)
    split = match["split"] or split
    emit(Note(f"reading {shown(name)}, split {split}"))
    with _in_one_line(name):
        rows = _open(match["path"], match["config"], split)
    written = spool.add(_json_lines(rows, columns, name, emit), "dataset", ".jsonl")
    kept = [Kept(f"{name} ({split})", written)]
    spool.remember(known_as, kept)
    return kept


def key(name: str, split: str, columns: Sequence[str] = ()) -> str:
    """The name under which the spool knows what was read of a data set."""
    return json.dumps([name, split, *columns])


def short_name(name: str) -> str:
    """The last part of a data set's name."""
    return str(_parse(name)["path"]).rpartition("/")[2]


def _parse(name: str) -> re.Match[str]:
    match = _NAME.fullmatch(name.removeprefix(_PREFIX))
    if match is None:
        raise UsageError("usage.remote", "is no data set's name", where=shown(name), hint=FORM)
    return match


def _open(path: str, config: str | None, split: str) -> Any:
    datasets = extras.load("datasets", "datasets", "data sets of the hub")
    if os.path.exists(path):  # the library would take it, and not the one on the hub
        found = f"there is a local {path!r}, which would be read instead"
        raise UsageError("usage.remote", found, where=_PREFIX + path, hint="run from another folder")
    datasets.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # nobody is told of the use
    for library in ("datasets", "huggingface_hub"):  # it tells each retry
        logging.getLogger(library).setLevel(logging.ERROR)
    return datasets.load_dataset(path, config, split=split, streaming=True)


def _json_lines(rows: Any, columns: Sequence[str], name: str, emit: Emit) -> Iterator[bytes]:
    """The rows as lines of JSON, about a MiB at once."""
    datasets = extras.load("datasets", "datasets", "data sets of the hub")
    named = {column: _namer(datasets, feature) for column, feature in (rows.features or {}).items()}
    if columns and set(columns) <= named.keys():
        rows = rows.select_columns(list(columns))
    buffer = bytearray()
    num_bytes = 0
    for number, row in enumerate(_one_by_one(rows, name), start=1):
        for column in columns:
            Row(number, shown(name), row).value(column, "corpus.text_column")
        wanted = {column: _plain(value, named.get(column)) for column, value in row.items()}
        if columns:
            wanted = {column: wanted[column] for column in columns}
        plain = {column: value for column, value in wanted.items() if isinstance(value, _JSON)}
        buffer += json.dumps(plain, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
        if len(buffer) >= CHUNK:
            num_bytes += len(buffer)
            emit(Progress("corpus", num_bytes, None, "bytes"))
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


def _one_by_one(rows: Any, name: str) -> Iterator[dict[str, Any]]:
    iterator = iter(rows)
    while True:
        with _in_one_line(name):
            row = next(iterator, None)
        if row is None:
            return
        yield row


def _namer(datasets: Any, feature: Any) -> Callable[[Any], Any] | None:
    """What turns numbers of classes into their names, in a column or in the lists of one."""
    if isinstance(feature, datasets.ClassLabel):
        names = list(feature.names)
        return lambda value: names[value] if isinstance(value, int) and 0 <= value < len(names) else None
    of_one = _namer(datasets, feature.feature) if hasattr(feature, "feature") else None
    if of_one is None:
        return None
    return lambda values: [of_one(value) for value in values] if isinstance(values, list) else None


def _plain(value: Any, namer: Callable[[Any], Any] | None) -> Any:
    """A value as JSON has it: the name of a class, and null for a number that is none, at any depth."""
    if namer is not None:
        return namer(value)
    if isinstance(value, list):
        return [_plain(item, None) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, None) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_one_line(name: str) -> AbstractContextManager[None]:
    """Whatever the library raises, as an error of ours: it passes on those of its HTTP client."""
    return translated(partial(_translate, name))


def _translate(name: str, error: Exception) -> MlmctlError:
    where = shown(name)
    if isinstance(error, FileNotFoundError | ValueError):  # no such data set, configuration or split
        return UsageError("usage.no-such-path", one_line(error), where=where, hint=FORM)
    found = f"cannot be read: {type(error).__name__}: {one_line(error)}"
    return ResourceError("resource.hub", found, where=where)

"""Turn lines of text into embeddings, in order, as they come or into one `.npy` file."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..config import RuntimeConfig
from ..errors import UsageError
from ..events import Emit, Progress
from ..storage import check_writable, whole_path
from ..tasks.embedding import Pooling, embed
from ..text.npy import Appender
from . import stdin
from .encoders import open_encoder


@dataclass(frozen=True)
class Embeddings:
    """Embeddings in the order of the lines, in pieces of float32 [num_texts, hidden_size]."""

    hidden_size: int
    pieces: Iterator[NDArray[np.float32]]


def run(
    model: Path,
    lines: Iterable[str],
    pooling: Pooling = "mean",
    layer: int | None = None,
    normalize: bool = False,
    batch_size: int = 512,
    machine: RuntimeConfig | None = None,
) -> Embeddings:
    """Open any encoder folder and embed each line (plain text, or JSON objects with a `text`).

    At most `batch_size` lines are read before their embeddings are given. ArtifactError if `model` is no
    encoder; UsageError if it has no such layer; DataError names the line that cannot be read.
    """
    opened = open_encoder(model, machine, needs_head=False)
    if layer is not None and not 0 <= layer <= opened.num_layers:
        hint = f"0 (the embeddings) to {opened.num_layers}"
        raise UsageError("usage.layer", f"has no layer {layer}", where=str(model), hint=hint)
    if layer == opened.num_layers:
        layer = None  # with the norm behind it, whatever a version of transformers calls that one
    texts = stdin.texts(lines)

    def pieces() -> Iterator[NDArray[np.float32]]:
        while batch := list(itertools.islice(texts, batch_size)):
            yield embed(opened, batch, pooling, layer, normalize)

    return Embeddings(opened.hidden_size, pieces())


def check_output(path: Path) -> None:
    """UsageError or ResourceError, before any work is done, if no `.npy` file can be written there."""
    if path.suffix != ".npy":
        hint = "--output FILE.npy"
        raise UsageError("usage.output", "is not the name of a .npy file", where=str(path), hint=hint)
    check_writable(path)


def save(embeddings: Embeddings, path: Path, emit: Emit) -> int:
    """Write all embeddings as float32 [num_texts, hidden_size], a piece at a time; how many texts.

    The file is complete or absent.
    """
    with (
        whole_path(path) as temporary,
        Appender(temporary, np.dtype(np.float32), (embeddings.hidden_size,)) as file,
    ):
        for piece in embeddings.pieces:
            file.append(piece)
            emit(Progress("embed", file.num_rows, None, "texts"))
        return file.num_rows

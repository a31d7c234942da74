"""`.npy` files written by appending, so that an array never has to fit in memory."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArtifactError, one_line, translated

_MAX_HEADER = 2**12
"""Bytes; ours have 118."""


class Appender:
    """A `.npy` file of shape [rows so far, *row_shape]; the header is completed when it is closed."""

    def __init__(self, path: Path, dtype: np.dtype[Any], row_shape: tuple[int, ...] = ()) -> None:
        self.num_rows = 0
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._file = path.open("xb")
        self._write_header()
        self._header_size = self._file.tell()

    def append(self, rows: NDArray[Any]) -> None:
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"rows of shape {rows.shape[1:]} where {self._row_shape} belong")
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self.num_rows += len(rows)

    def close(self) -> None:
        # numpy leaves room in the header for the first dimension to grow.
        self._file.seek(0)
        self._write_header()
        if self._file.tell() != self._header_size:
            raise ValueError("the .npy header does not fit its place")
        self._file.close()

    def __enter__(self) -> Appender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._file.close()

    def _write_header(self) -> None:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.num_rows, *self._row_shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """A new `.npy` file of an array that fits in memory twice.

    `numpy.save` hands a file to the C library, and what the last flush of its buffer is refused (a full disk)
    is told to nobody.
    """
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    with path.open("xb") as file:
        file.write(content.getbuffer())


def open_array(path: Path, dtype: np.dtype[Any] | None = None, *, memory_mapped: bool = True) -> NDArray[Any]:
    """An array from an artifact, read-only and memory-mapped; never of objects.

    ArtifactError if the file is not such an array or has another dtype. Mapped first in any case, so that no
    memory is taken for what the header claims and the file does not have.
    """

    def refusal(error: Exception) -> ArtifactError:
        return ArtifactError("artifact.not-an-array", f"cannot be read: {one_line(error)}", where=str(path))

    with translated(refusal):
        _check_header(path)
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    if dtype is not None and array.dtype != dtype:
        raise ArtifactError("artifact.dtype", f"holds {array.dtype}, not {dtype}", where=str(path))
    return array if memory_mapped else np.array(array)


def _check_header(path: Path) -> None:
    """ValueError for a header that is longer than any of ours: numpy would read all of it."""
    with path.open("rb") as file:
        start = file.read(12)
    size = int.from_bytes(start[8:10] if start[6:7] == b"\1" else start[8:12], "little")
    if size > _MAX_HEADER:
        raise ValueError(f"its header is said to have {size:,} bytes")

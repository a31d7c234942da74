"""The weights of a model folder: safetensors files, looked at before a byte of a tensor is read.

The files may be a stranger's. What is in them (names, shapes, number formats) is known from their
headers, which are bounded here and checked by `safetensors` (no gaps, no overlaps, no shape that is not
as large as its bytes). So a model that does not fit is refused before memory is taken. Pickles are
never opened.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from ..errors import ArtifactError, one_line
from ..json_files import read_json

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
"""Names the file of each tensor where there are several."""

_MAX_HEADER = 2**22
"""Bytes; the header of the largest stock encoder has some 100,000."""

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FLOATS = {"F64", "F32", "F16", "BF16"}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: F32, BF16, ..."""


def write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """A new file of tensors. OSError as Python raises it: safetensors says what the disk refused in words.

    What a signal interrupted is done again, as Python does it: its handler looks at the signal afterwards.
    """
    from safetensors.torch import save_file

    while True:
        try:
            save_file(tensors, path, metadata=metadata)
            return
        except SafetensorError as error:
            found = _OS_ERROR.search(str(error))
            if found is None:
                raise
            number = int(found[1])
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number), str(path)) from None


def files(folder: Path) -> list[Path]:
    """All files that hold the weights, the index (if there is one) first.

    ArtifactError if there are none, or only pickles.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if (folder / INDEX).is_file():
        return [folder / INDEX, *sorted(set(_indexed(folder / INDEX).values()))]
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise ArtifactError(
            "model.pickle",
            f"has its weights only in {pickles[0]}, which can hold code and is never opened",
            where=str(folder),
            hint="save it anew where you trust it: model.save_pretrained(...) of transformers",
        )
    raise ArtifactError("model.missing", "does not exist", where=str(folder / WEIGHTS))


def stored(folder: Path) -> dict[str, Stored]:
    """Every tensor of the folder's weights by its name. ArtifactError for files that are not sound."""
    first, *shards = files(folder)
    found: dict[str, Stored] = {}
    for path in shards or [first]:
        with _opened(path, "numpy") as file:  # maps the file for reading only: any size will do
            for name in file.keys():  # noqa: SIM118 (not a dictionary)
                view = file.get_slice(name)
                found[name] = Stored(path, tuple(view.get_shape()), view.get_dtype())
    return found


def read(tensors: Mapping[str, Stored], names: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """(wanted, tensor) for each `names[wanted] = stored`, one after the other, in the file's number format.

    ArtifactError for a tensor that is not made of floating-point numbers, or holds NaN or infinity.
    """
    by_file: dict[Path, list[str]] = {}
    for wanted, name in names.items():
        by_file.setdefault(tensors[name].file, []).append(wanted)
    for path, some in by_file.items():
        with _opened(path, "pt") as file:
            for wanted in some:
                name = names[wanted]
                if tensors[name].dtype not in _FLOATS:
                    found = f"{name} holds {tensors[name].dtype} numbers: quantized weights are not read"
                    raise ArtifactError("model.quantized", found, where=str(path))
                tensor = file.get_tensor(name)
                if not tensor.isfinite().all():
                    raise ArtifactError("model.not-finite", f"{name} holds NaN or infinity", where=str(path))
                yield wanted, tensor


def _indexed(path: Path) -> dict[str, Path]:
    """Tensor -> file of an index; only plain names of safetensors files beside it."""

    def made(index: Mapping[str, Any]) -> dict[str, str]:
        return {str(tensor): str(file) for tensor, file in index["weight_map"].items()}

    names = read_json(path, made)
    for name in names.values():
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ArtifactError("model.damaged", f"names {name!r}, no safetensors file", where=str(path))
    return {tensor: path.parent / file for tensor, file in names.items()}


@contextmanager
def _opened(path: Path, framework: str) -> Iterator[Any]:
    """A safetensors file whose header is bounded and sound."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
        if size > _MAX_HEADER:
            raise SafetensorError(f"its header is said to have {size:,} bytes")
        with safe_open(path, framework=framework) as opened:
            yield opened
    except FileNotFoundError:
        raise ArtifactError("model.missing", "does not exist", where=str(path)) from None
    except (SafetensorError, OSError, RuntimeError) as error:  # the last from torch, if it cannot map it
        raise ArtifactError("model.damaged", f"cannot be read: {one_line(error)}", where=str(path)) from None

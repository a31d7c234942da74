"""JSON files: one way to write small ones, one to read them, whoever wrote them, one to read our records."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from .errors import ArtifactError, one_line

T = TypeVar("T")

REMAKE = "make it again: --force with the stage's name"
"""The way out where something of ours is damaged."""

_MAX_JSON = 2**22
"""Bytes: far above what is written here, and what parses to less than 200 MB whatever it holds."""
_MAX_LISTS = 2**16
"""Of which Python's collector of garbage takes a second for a million."""


def read_json(path: Path, make: Callable[[dict[str, Any]], T]) -> T:
    """What `make` builds of the JSON object in a small file.

    ArtifactError if the file is missing or too large, is no JSON object, or is one that `make` cannot use.
    """
    try:
        return make(parse_json(path))
    except FileNotFoundError:
        raise _missing(path) from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise _damaged(path, f"cannot be read: {one_line(error)}") from None


def parse_json(path: Path) -> dict[str, Any]:
    """The JSON object in a small file, whoever wrote it; ValueError or RecursionError if it is none."""
    content = bounded_bytes(path, _MAX_JSON)
    if content.count(b"[") > _MAX_LISTS:
        raise ValueError(f"it has more than {_MAX_LISTS:,} lists")
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return found


def read_lines(path: Path, most: int | None = None, *, is_growing: bool = False) -> list[dict[str, Any]]:
    """The JSON objects of a file that we have written one a line, or the first `most` of them.

    Of one that `is_growing` a last line without its end is left out: it is being written. ArtifactError if
    the file is missing, or holds a line that is no JSON object.
    """
    try:
        with path.open("rb") as file:
            lines = (line for line in islice(file, most) if line.endswith(b"\n") or not is_growing)
            found = [json.loads(line) for line in lines]
    except FileNotFoundError:
        raise _missing(path) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"cannot be read: {one_line(error)}") from None
    if not all(isinstance(row, dict) for row in found):
        raise _damaged(path, "holds a line that is no JSON object")
    return found


def json_object(line: str) -> dict[str, Any] | None:
    """The JSON object that a line is; None for any other text."""
    try:
        found = json.loads(line) if line.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def bounded_bytes(path: Path, most: int) -> bytes:
    """The content of a file; ValueError if it has more bytes than this."""
    with path.open("rb") as file:
        is_larger = os.fstat(file.fileno()).st_size > most
        content = b"" if is_larger else file.read(most + 1)  # what is no file has no size
    if is_larger or len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content


def json_bytes(value: Any, **layout: Any) -> bytes:
    """JSON in UTF-8, without NaN; bytes of a file name that are no text become escapes, and come back."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, **layout)
    return text.encode(errors="backslashreplace")  # half a surrogate pair as JSON itself escapes it


def indented(value: Any, **layout: Any) -> bytes:
    """The same for people to read: indented, with a newline at its end."""
    return json_bytes(value, indent=1, **layout) + b"\n"


def _missing(path: Path) -> ArtifactError:
    return ArtifactError("artifact.missing-file", "does not exist", where=str(path))


def _damaged(path: Path, found: str) -> ArtifactError:
    return ArtifactError("artifact.damaged", found, where=str(path), hint=REMAKE)

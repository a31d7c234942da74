"""What doctor says: sections of facts for machines and rows for people, and findings with a way out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["info", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that was found and may need doing."""

    code: str
    """Stable, `doctor.duplicates`; scripts may match on it."""
    level: Level
    """A `warning` counts under `--strict`, an `info` never."""
    count: int
    """How many documents, rows, bytes ... it concerns, as the message says."""
    message: str
    where: str = ""
    """One place, `file:line`, where there is one."""
    hint: str = ""
    """The way out, in one line."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class Section:
    """One group of facts."""

    name: str
    facts: dict[str, Any]
    """As they stand in the JSON object."""
    rows: list[tuple[str, str]]
    """(name, value) lines for people."""
    findings: list[Finding] = field(default_factory=list)


def level_of(share: float, warn_from: float) -> Level:
    """`warning` from this share on."""
    return "warning" if share >= warn_from else "info"


def percentiles(summary: Mapping[str, int]) -> str:
    """The numbers of `Lengths.summary` in a row."""
    named = {"p50": "median", "max": "longest"}
    return ", ".join(f"{named.get(name, name)} {value:,}" for name, value in summary.items())

"""The label-efficiency curves that `mlmctl curve` has measured in this run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...quantities import number
from ..curve import PRETRAINED, cell
from . import plots
from .opened import Opened, damaged
from .parts import Group, Line, Part, Section, Table

_RESULT = "curve.json"


def section(run: Opened) -> Section:
    """For each curve its verdict, picture and table; of one of another encoder that it is one.

    ArtifactError for a file that is no such curve.
    """
    folders = sorted(path for path in run.folder.glob("curve/*") if path.is_dir())
    if not folders:
        command = run.command("curve --task sentiment --data train.jsonl --test test.jsonl --quick")
        line = Line("What pretraining is worth in labels has not been measured yet:", command)
        return Section("curve", "Label efficiency", missing=line)
    groups: list[Part] = []
    for place, folder in enumerate(folders):
        if not (folder / _RESULT).is_file():
            groups.append(Line(f"{folder.name} is not finished; the same command goes on.", ""))
            continue
        found = run.json(f"curve/{folder.name}/{_RESULT}")
        try:
            if misfit := _misfit(run, found):
                told = f"{folder.name} {misfit} and is not shown"
                groups.append(Line(f"{told}; the same command, without --model, measures again."))
                continue
            groups.append(Group(folder.name, list(_curve(found, f"curve-{place}"))))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise damaged(folder / _RESULT, error) from None
    return Section("curve", "Label efficiency", groups)


def _misfit(run: Opened, found: Mapping[str, Any]) -> str:
    """Why a curve is not one of the encoder of the run, if it has one; older ones do not say of which."""
    encoder, measured = run.manifests.get("pretrain"), found.get("fingerprints", {}).get(PRETRAINED)
    if encoder is None or measured == encoder.fingerprint:
        return ""
    if measured is None:
        return "does not say with which encoder it was measured"
    return "was measured with another encoder than the one here"


def _curve(found: Mapping[str, Any], picture: str) -> Iterator[Part]:
    table = found["table"]
    yield Line(str(found["verdict"]))
    yield plots.efficiency(picture, table, str(found["score"]))
    counts = sorted({row["labels"] for rows in table.values() for row in rows})
    cells = []
    for count in counts:
        of_starts = [next((row for row in rows if row["labels"] == count), None) for rows in table.values()]
        cells.append((number(count), *(cell(row) if row else "" for row in of_starts)))
    yield Table(f"{found['score']}, mean and deviation of seeds", ("labels", *table), cells, num_texts=0)

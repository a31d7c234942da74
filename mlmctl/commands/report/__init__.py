"""`mlmctl report`: a run folder as one HTML file, to be read anywhere and sent to anybody.

Everything in it was computed by the stages before, but for what the encoder fills in. The same run gives the
same bytes: no dates, no paths of the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...config import RuntimeConfig
from ...errors import ArtifactError, UsageError
from ...events import Emit, Note
from ...pipeline import hash_cache
from ...quantities import number
from ...storage import check_writable, write_file
from .. import status
from . import efficiency, fillings, learning, lineage, measured, page, system
from .opened import Opened
from .parts import Section

FILE = "report.html"


def run(
    folder: Path, output: Path | None, has_text: bool, force: bool, runtime: RuntimeConfig, emit: Emit
) -> dict[str, Any]:
    """Write the report (into the run folder, if nowhere else); {output, num_bytes, sections, missing}.

    `missing` are {section, message, command}: what the run has not got, and how it gets it. UsageError if
    there is no run or the file must not be replaced, ArtifactError for a damaged artifact.
    """
    page.check()
    found, path = status.run(folder), output or folder / FILE
    check_output(path, force)
    opened = Opened.open(folder, found, hash_cache(folder), has_text, emit)
    sections = [
        lineage.section(opened),
        learning.corpus(opened),
        learning.masking(opened),
        learning.pretraining(opened),
        fillings.section(opened, runtime),
        efficiency.section(opened),
        measured.models(opened),
        measured.evaluations(opened),
        system.section(opened),
    ]
    content = page.render(opened.name, _headlines(opened), sections)
    write_file(path, content)
    missing = _missing(sections)
    for each in missing:
        emit(Note(f"{each['message']} {each['command']}"))
    return {
        "output": str(path),
        "num_bytes": len(content),
        "sections": [section.id for section in sections if section.missing is None],
        "missing": missing,
    }


def check_output(path: Path, force: bool) -> None:
    """Before any work: ArtifactError for a link, UsageError for what is there and no report of ours.

    Raises also what `check_writable` does.
    """
    if path.is_symlink():
        raise ArtifactError(
            "artifact.link", "is a symbolic link; nothing is written through it", where=str(path)
        )
    check_writable(path)
    if path.exists() and not (path.is_file() and (force or _is_ours(path))):
        hint = "--force replaces it, --output FILE.html writes elsewhere"
        raise UsageError("usage.output", "is there and is no report of mlmctl", where=str(path), hint=hint)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return page.MARK.encode() in file.read(1024)


def _headlines(run: Opened) -> list[tuple[str, str, str]]:
    """(name, value, note) of the few numbers that one looks for first."""
    found = []
    encoder = run.manifests.get("pretrain")
    if encoder is not None:
        metrics = encoder.metrics
        if {"valid_loss", "unigram_loss"} <= metrics.keys():
            note = f"token frequencies: {metrics['unigram_loss']:.3f}"
            found.append(("valid loss", f"{metrics['valid_loss']:.3f}", note))
        if "num_parameters" in metrics:
            note = f"{number(metrics.get('num_train_tokens', 0))} tokens seen"
            found.append(("parameters", number(metrics["num_parameters"]), note))
    best: dict[str, tuple[float, tuple[str, str, str]]] = {}
    for name, manifest in run.evaluations().items():
        task = str(manifest.config.get("task"))
        metric, value, interval = measured.headline_of(manifest)
        if task != "mlm" and value is not None and value > best.get(task, (-1.0,))[0]:
            of = name.removeprefix("evaluate/")
            best[task] = value, (f"{metric}, {task}", number(value), f"{interval}, {of}" if interval else of)
    return [*found, *(told for _, told in best.values())]


def _missing(sections: Sequence[Section]) -> list[dict[str, str]]:
    return [
        {"section": each.id, "message": each.missing.text, "command": each.missing.command}
        for each in sections
        if each.missing is not None
    ]

"""Mistakes that training systems make, as changes of ours: the harness has to notice each of them.

Each is applied in a trial's own process.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mlmctl import artifact, storage
from mlmctl.artifact import Draft
from mlmctl.engine import checkpoint, dropout, plan
from mlmctl.engine.checkpoint import Checkpoints
from mlmctl.engine.masked_lm import MaskedLanguageWork
from mlmctl.engine.optimizer import Optimizer
from mlmctl.manifest import MANIFEST, Header, read_manifest
from mlmctl.pipeline import work

execute: Any = import_module("mlmctl.pipeline.execute")  # the package has a function of that name


def in_place() -> None:
    """Artifacts are written under their final name."""

    @contextmanager
    def publish(
        target: Path, header: Header, *, environment: Mapping[str, Any] | None = None, old: Path | None = None
    ) -> Iterator[Draft]:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        draft = Draft(target)
        yield draft
        artifact._close(draft, header, environment or {})

    execute.publish = checkpoint.publish = publish  # type: ignore[attr-defined]


def manifest_first() -> None:
    """The files follow the manifest, one by one."""

    def swap_in(new: Path, target: Path, old: Path | None) -> None:
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        for path in sorted(new.iterdir(), key=lambda path: path.name != MANIFEST):
            path.rename(target / path.name)
        new.rmdir()

    artifact._swap_in = swap_in


def newest_number_wins() -> None:
    """The highest step is taken, whatever its files hold."""
    checkpoint.open_artifact = read_manifest  # type: ignore[attr-defined, assignment]


def files_not_synced() -> None:
    """Files are renamed into place before their bytes are safe."""
    artifact.sync = lambda path: storage.sync(path) if path.is_dir() else None  # type: ignore[attr-defined]


def folders_not_synced() -> None:
    """A rename is taken for safe at once."""
    artifact.sync = lambda path: None if path.is_dir() else storage.sync(path)  # type: ignore[attr-defined]


def new_folders_not_synced() -> None:
    """What is in a new folder is synced, but not the folder's own name."""

    def make_folder(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    for module in (artifact, checkpoint, work):
        module.make_folder = make_folder


def random_state_not_saved() -> None:
    """Dropout draws from a generator that starts again with every process."""
    numbers, drawn = itertools.count(), dropout.drawn
    dropout.drawn = lambda seed, step, number, device: drawn(seed, 0, next(numbers), device)


def optimizer_not_restored() -> None:
    Optimizer.load_state = lambda self, tensors: None  # type: ignore[method-assign]


def old_removed_first() -> None:
    """The artifact that is replaced is deleted before the new one stands."""
    swap_in = artifact._swap_in

    def remove_first(new: Path, target: Path, old: Path | None) -> None:
        shutil.rmtree(target, ignore_errors=True)
        swap_in(new, target, old)

    artifact._swap_in = remove_first


def checkpoint_removed_first() -> None:
    """Room is made for the new checkpoint before it is there."""
    save = Checkpoints.save

    def remove_first(self: Checkpoints, *arguments: Any) -> None:
        for path in self._found():
            checkpoint._remove(path)
        save(self, *arguments)

    Checkpoints.save = remove_first  # type: ignore[method-assign]


def log_not_truncated() -> None:
    """What was logged after the last checkpoint stays, and is logged again."""
    Checkpoints._truncate_metrics = lambda self, num_bytes: None  # type: ignore[method-assign]


def log_not_synced() -> None:
    """A checkpoint records a length of metrics.jsonl that is not safe."""

    class Unsynced:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, descriptor: int) -> None:
            pass

    checkpoint.os = Unsynced()  # type: ignore[attr-defined]


def data_off_by_one() -> None:
    """A run that is continued reads one batch too far."""
    restore, micro_batch = Checkpoints.restore, MaskedLanguageWork.micro_batch
    ahead = 0

    def restored(self: Checkpoints, *arguments: Any) -> Any:
        nonlocal ahead
        found = restore(self, *arguments)
        ahead = int(found[0].step > 0)
        return found

    Checkpoints.restore = restored  # type: ignore[method-assign]
    MaskedLanguageWork.micro_batch = (  # type: ignore[method-assign]
        lambda self, step, number: micro_batch(self, step + ahead, number)
    )


def leftovers_are_finished() -> None:
    """A folder that a killed run left is given its name."""
    recover = artifact.recover

    def finish(run: Path) -> list[str]:
        for path in run.glob(f"{storage.TEMPORARY}*-*"):
            target = path.with_name(path.name.removeprefix(storage.TEMPORARY).rpartition("-")[0])
            if path.is_dir() and not target.exists():
                path.rename(target)
        return recover(run)

    execute.recover = finish  # type: ignore[attr-defined]


def swap_not_recovered() -> None:
    """A replacement that was cut short stays as it is."""
    execute.recover = lambda run: []  # type: ignore[attr-defined]


def small_files_in_place() -> None:
    """plan.json and request.json are written under their own names."""

    def write(path: Path, content: bytes) -> None:
        path.write_bytes(content)

    plan.write_file = work.write_file = write  # type: ignore[attr-defined]


def errors_swallowed() -> None:
    """What the disk refuses is not told."""

    def sync(path: Path) -> None:
        with suppress(OSError):
            storage.sync(path)

    artifact.sync = sync  # type: ignore[attr-defined]


def _named(*functions: Any) -> dict[str, Any]:
    return {function.__name__: function for function in functions}


DEFECTS = _named(
    in_place,
    manifest_first,
    newest_number_wins,
    files_not_synced,
    folders_not_synced,
    new_folders_not_synced,
    random_state_not_saved,
    optimizer_not_restored,
    old_removed_first,
    checkpoint_removed_first,
    log_not_truncated,
    log_not_synced,
    data_off_by_one,
    leftovers_are_finished,
    swap_not_recovered,
    small_files_in_place,
    errors_swallowed,
)

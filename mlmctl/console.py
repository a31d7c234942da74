"""The screen: shows events on standard error, results on standard output; nothing else knows rich.

On a terminal a stage has a progress bar; elsewhere one plain line every few seconds. Text that comes
from data or file names is stripped of control characters before it is shown, so that no escape
sequence in a corpus reaches the terminal.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from . import events
from .errors import MlmctlError
from .quantities import duration, number
from .unsafe_text import clean

PLAIN_LINE_EVERY = 5.0
"""Seconds between two progress lines where there is no terminal."""


class Console:
    """Receives every event of a command (`emit`) and prints its result (`result`, `table`, ...)."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self.quiet = quiet
        self.verbose = verbose
        self._err = RichConsole(stderr=True, highlight=False, soft_wrap=True)
        self._out = RichConsole(highlight=False, soft_wrap=not sys.stdout.isatty())
        self._bar: ProgressBar | None = None
        self._last_line = 0.0
        self.warnings: list[str] = []

    def emit(self, event: events.Event) -> None:
        """Show one event (the `Emit` that commands hand down)."""
        match event:
            case events.Note(level="warning"):
                self.warnings.append(event.message)
                self._say(f"warning: {event.message}", "yellow", even_if_quiet=True)
            case events.Note():
                self._say(f"  {event.message}", "dim")
            case events.Plan():
                self._plan(event)
            case events.Progress():
                self._progress(event)
            case events.Evaluated():
                self._evaluated(event)
            case events.StageStarted():
                self._say(f"{event.stage}: {event.reason}", "bold")
            case events.StageFinished():
                self._stop_bar()
                took = f" in {duration(event.seconds)}" if event.status != "fresh" else ""
                self._say(f"{event.stage}: {event.status}{took}", "green")

    def error(self, error: MlmctlError) -> None:
        """The one line of a refusal or a failure."""
        self._stop_bar()
        self._say(f"error: {error} [{error.code}]", "red", even_if_quiet=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
        """A table on standard output: drawn on a terminal, tab-separated in a pipe."""
        self._stop_bar()
        if not sys.stdout.isatty():
            print("\t".join(clean(column) for column in columns))
            for row in rows:
                print("\t".join(clean(cell) for cell in row))
            return
        table = Table(title=title or None, title_justify="left")
        for column in columns:
            table.add_column(Text(clean(column)))
        for row in rows:
            table.add_row(*(Text(clean(cell)) for cell in row))
        self._out.print(table)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Aligned name and value lines on standard output."""
        self._stop_bar()
        pairs = [(name, clean(value)) for name, value in rows]
        width = max((len(name) for name, _ in pairs), default=0)
        for name, value in pairs:
            self._out.print(Text(f"{name:<{width}}  {value}"))

    def line(self, text: str) -> None:
        """One plain line on standard output."""
        print(clean(text))

    def cells(self, values: Iterable[str]) -> None:
        """One line of tab-separated values on standard output, empty ones at its end left out."""
        print("\t".join(clean(value) for value in values).rstrip("\t"))

    def coloured(self, parts: Iterable[tuple[str, str]]) -> None:
        """One line on standard output from (text, style) parts; styles show on a terminal only."""
        self._out.print(Text.assemble(*((clean(text), style) for text, style in parts)))

    def json(self, value: Any) -> None:
        """One JSON object, one line, on standard output: escaped where that does not take every letter."""
        is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        text = json.dumps(value, ensure_ascii=not is_unicode, allow_nan=False)
        print(text.encode(errors="backslashreplace").decode(), flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._stop_bar()

    def _say(self, text: str, style: str = "", even_if_quiet: bool = False) -> None:
        if even_if_quiet or not self.quiet:
            with suppress(OSError):  # a closed terminal must not end a training run
                self._err.print(Text(clean(text), style=style))

    def _plan(self, event: events.Plan) -> None:
        self._say(event.title, "bold")
        width = max((len(name) for name, _ in event.rows), default=0)
        for name, value in event.rows:
            self._say(f"  {name:<{width}}  {value}")

    def _evaluated(self, event: events.Evaluated) -> None:
        values = "  ".join(f"{name} {number(value)}" for name, value in event.metrics.items())
        left = "" if event.seconds_left is None else f"  {duration(event.seconds_left)} left"
        self._say(f"  {event.stage} {event.step}/{event.num_steps}  {values}{left}")
        if event.sample:
            self._say(f"    {event.sample}", "cyan")

    def _progress(self, event: events.Progress) -> None:
        if self.quiet:
            return
        if self._err.is_terminal:
            self._draw(event)
        elif time.monotonic() - self._last_line >= PLAIN_LINE_EVERY:
            self._last_line = time.monotonic()
            of = f"/{event.total:,}" if event.total else ""
            self._say(f"  {event.stage} {event.done:,}{of} {event.unit} {event.detail}".rstrip())

    def _draw(self, event: events.Progress) -> None:
        description = clean(f"  {event.stage}")
        if self._bar is None:
            description_column, detail_column = (
                TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[detail]}")
            )
            columns = (description_column, BarColumn(), detail_column)
            self._bar = ProgressBar(*columns, TimeRemainingColumn(), console=self._err, transient=True)
            self._bar.add_task(description, total=event.total, detail="")
            self._bar.start()
        task = self._bar.tasks[0]
        if task.description != description:
            self._bar.reset(task.id, total=event.total, description=description)
        of = f"/{event.total:,}" if event.total else ""
        detail = clean(f"{event.done:,}{of} {event.unit} {event.detail}")
        self._bar.update(task.id, completed=event.done, total=event.total, detail=detail)

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

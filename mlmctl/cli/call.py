"""One call of one command: its run folder, its recipe, its console, and how it ends.

Everything a command may do wrong or be told ends here: an `MlmctlError` becomes one line (or one JSON
object) and an exit code, a traceback is shown only with `--debug`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..console import Console
from ..engine.ranks import Place
from ..errors import MlmctlError, UsageError, from_os_error, memory_told
from ..events import Note
from ..signals import stop
from . import among

if TYPE_CHECKING:
    from ..config import Recipe
    from ..pipeline import Node, StageReport
    from ..pipeline.team import Team
    from ..recipe import Resolved

SCHEMA_VERSION = 1
STAGES = ("tokenizer", "mask", "pretrain", "finetune", "evaluate")
OWN = "own"
"""What `--force` without a stage is taken for: the command's own."""


@dataclass
class Call:
    """What the user asked for, after parsing."""

    command: str
    run: Path
    flags: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    recipe: str | None = None
    settings: Sequence[str] | None = None
    force: Sequence[str] | None = None
    dry_run: bool = False
    refresh: bool = False
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    is_divided: bool = False
    """Whether several ranks can do this command."""
    place: Place = field(default_factory=Place)
    team: Team | None = None

    @cached_property
    def console(self) -> Console:
        return Console(quiet=self.quiet, verbose=self.verbose)

    @cached_property
    def resolved(self) -> Resolved:
        """The recipe with flags, environment and defaults applied."""
        from ..recipe import resolve

        return resolve(self.recipe, self.environment, self.settings or (), self.flags)

    def adopted(self) -> Recipe:
        """The same, what nobody said taken from what the run folder was made with (not with a recipe)."""
        from ..pipeline import adopt

        if self.recipe is not None:
            return self.resolved.recipe
        return adopt(self.run, self.resolved, self.console.emit, self._forced())

    def invoke(self, function: Callable[..., None], arguments: Mapping[str, Any]) -> None:
        """Run the command's function; never returns normally if it failed."""
        try:
            self._invoke(function, arguments)
        except SystemExit as ended:
            if self.place.world_size > 1 and isinstance(ended.code, int) and ended.code:
                among.leave(ended.code)
            raise

    def _invoke(self, function: Callable[..., None], arguments: Mapping[str, Any]) -> None:
        stop.install()
        try:
            self._try(lambda: self._among_ranks(lambda: function(self, **arguments)))
        except BrokenPipeError:
            # The reader of our output went away (`| head`): nothing to say, and nobody to say it to.
            raise SystemExit(141) from None

    def _try(self, function: Callable[[], None]) -> None:
        try:
            with memory_told():
                function()
        except MlmctlError as error:
            self.fail(error)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.fail(from_os_error(error))
        finally:
            self.console.close()

    def _among_ranks(self, function: Callable[[], None]) -> None:
        """Call it, by the first rank if there are several, while the others help."""
        self.place = Place.read()
        if self.place.world_size == 1:
            function()
            return
        if not self.is_divided:
            raise among.refused(self.command, self.place)
        from ..config import seconds

        runtime = self.resolved.recipe.runtime
        self.team = among.join(self.place, seconds(runtime.rank_timeout), runtime.device)
        if self.team.ranks.is_first:
            among.lead(self.team, function)
        else:
            among.follow(self.team)

    def fail(self, error: MlmctlError, **result: Any) -> None:
        """Report an error as the user asked to be told, and leave with its exit code."""
        if self.debug and sys.exc_info()[0] is not None:
            import traceback

            traceback.print_exc()
        if self.json and self.place.rank == 0:
            self.console.json(error_object(self.command, error) | result | self._warnings)
        if among.is_told(self.place, self.team, error):
            self.console.error(error)
        raise SystemExit(error.exit_code)

    def done(self, result: Mapping[str, Any], status: str = "done") -> None:
        """Print the JSON object of a command that ended well, if `--json` was given."""
        if self.json:
            head = {"schema_version": SCHEMA_VERSION, "command": self.command, "status": status}
            self.console.json({**head, **result, **self._warnings})

    @property
    def _warnings(self) -> dict[str, Any]:
        return {"warnings": self.console.warnings} if self.console.warnings else {}

    def execute(self, nodes: Callable[[Any], Sequence[Node]]) -> list[StageReport] | None:
        """Bring nodes up to date and return what became of them; None after `--dry-run`."""
        from ..pipeline import execute, preview

        if self.dry_run:
            if self.refresh:
                told = "--refresh: a plan reads nothing, and takes remote input as it was read before"
                self.console.emit(Note(told, "warning"))
            plan = preview(self.run, nodes, runtime=self.resolved.recipe.runtime, force=self._forced())
            if not self.json:
                self.console.table(("stage", "action", "why"), plan)
            rows = [{"name": name, "action": action, "reason": why} for name, action, why in plan]
            self.done({"run": str(self.run), "stages": rows}, status="planned")
            return None
        return execute(
            self.run,
            nodes,
            runtime=self.resolved.recipe.runtime,
            emit=self.console.emit,
            force=self._forced(),
            refresh=self.refresh,
            team=self.team,
        )

    def report(self, reports: Iterable[StageReport]) -> dict[str, Any]:
        """The part of the JSON object that every stage command has."""
        reports = list(reports)
        stages = [
            {
                "name": report.name,
                "status": report.status,
                "seconds": round(report.seconds, 3),
                "fingerprint": report.manifest.fingerprint,
            }
            for report in reports
        ]
        last = reports[-1].name.split("/")[0]
        metrics: dict[str, Any] = {}
        for report in reports:
            if report.name.split("/")[0] == last:  # `mask` is two artifacts
                metrics.update(report.manifest.metrics)
        return {
            "run": str(self.run),
            "stages": stages,
            "artifacts": {report.name: str(report.path) for report in reports},
            "metrics": metrics,
        }

    def _forced(self) -> set[str]:
        names = {self.command if name == OWN else name for name in self.force or ()}
        for name in names:
            if name.split("/")[0] not in STAGES:
                found = f"{name!r} is no stage" if name != self.command else f"{name} has several stages"
                hint = f"--force STAGE, of {', '.join(STAGES)}"
                raise UsageError("usage.force", found, where="--force", hint=hint)
        return names


def error_object(command: str, error: MlmctlError) -> dict[str, Any]:
    """The JSON object of a failure."""
    return {
        "schema_version": SCHEMA_VERSION,
        "command": command,
        "status": "error",
        "error": {
            "code": error.code,
            "message": error.message,
            "where": error.where,
            "hint": error.hint,
        },
    }

"""One command among the ranks that `torchrun` started: the first runs it and talks, the others help."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from ..engine.ranks import Place
from ..errors import DivergedError, InterruptedRun, MlmctlError, UsageError, from_os_error, memory_told

if TYPE_CHECKING:
    from ..pipeline.team import Team


def is_first() -> bool:
    """Whether this process is the one that talks, before anything else is known of it."""
    return os.environ.get("RANK", "0") == "0"


def join(place: Place, timeout: float, device: str) -> Team:
    """Meet the others. ResourceError `ranks.lost` if they do not come, `resource.device` without GPUs."""
    from ..pipeline.team import Team

    return Team(place, timeout, device)


def lead(team: Team, function: Callable[[], None]) -> None:
    """Run a command as the first rank; the others end when it ends, with its exit code.

    An error of this rank that only says that another one is gone is replaced by what that one said.
    """
    exit_code = 1
    try:
        with memory_told():
            function()
        exit_code = 0
    except SystemExit as ended:
        exit_code = ended.code if isinstance(ended.code, int) else 1
        raise
    except MlmctlError as error:
        explained = _explained(team, error)
        if explained is error:
            team.tell_failure(error)
        exit_code = explained.exit_code
        raise explained from None
    finally:
        team.end(exit_code)


def follow(team: Team) -> None:
    """Help the first rank until it ends; SystemExit with its exit code."""
    try:
        with memory_told():
            exit_code = team.follow(_perform)
    except OSError as error:
        raise _told(team, from_os_error(error)) from None
    except MlmctlError as error:
        raise _told(team, error) from None
    except Exception as error:
        _told(team, MlmctlError("internal.error", f"{type(error).__name__}: {error}"))
        raise
    if exit_code:
        raise SystemExit(exit_code)


def leave(exit_code: int) -> NoReturn:
    """End this rank at once.

    An interpreter that ends in its own time waits for connections to ranks that are gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def is_told(place: Place, team: Team | None, error: MlmctlError) -> bool:
    """Whether a rank prints its error: what happens to all is told by the first rank alone.

    That contact was lost is told once on each machine, for the first rank may be on the one that was cut off.
    """
    if place.rank == 0:
        return True
    if error.code == "ranks.lost":
        return place.local_rank == 0
    is_of_all = isinstance(error, InterruptedRun | DivergedError | UsageError)
    return team is not None and team.failed_first and not is_of_all


def refused(command: str, place: Place) -> UsageError:
    """What is said of a command that one process does."""
    return UsageError(
        "usage.ranks",
        f"{command} is done by one process, and torchrun started {place.world_size}",
        hint="start it without torchrun",
    )


def _told(team: Team, error: MlmctlError) -> MlmctlError:
    """The error with the rank it befell; the others are told, unless it only came from outside."""
    if error.code not in ("ranks.lost", "run.interrupted"):
        team.tell_failure(error)
        rank = f"rank {team.ranks.rank}"
        error.where = f"{rank}: {error.where}" if error.where else rank
    return error


def _explained(team: Team, error: MlmctlError) -> MlmctlError:
    found = team.failure() if error.code == "ranks.lost" else None
    if not found:
        return error
    explained = MlmctlError(found["code"], found["message"], where=f"rank {found['rank']}")
    explained.exit_code = found["exit_code"]
    return explained


def _perform(name: str, content: Mapping[str, Any], team: Team) -> None:
    if name == "curve":
        from ..commands.curve import share

        share.help_with(content, team.ranks)
    else:
        from ..pipeline.follow import help_with

        help_with(name, content, team)

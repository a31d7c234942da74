"""The typer application, and `main`, which turns what typer itself refuses into our exit codes."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from .. import __version__
from ..console import Console
from ..errors import UsageError, from_os_error
from . import among
from .call import error_object

app = typer.Typer(
    name="mlmctl",
    help="Masked-language-model pretraining on your own text, from the command line.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        Console().line(f"mlmctl {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exits with the codes of `errors`, or 141 if the reader of its output went away."""
    _open_streams()
    given = _complete_force(sys.argv[1:] if arguments is None else arguments)
    try:
        try:
            _run(given)
        finally:
            sys.stdout.flush()  # what is left would fail later, when nobody can say so
    except OSError as error:
        # Nobody reads on (`| head`), or the disk behind standard output is full: let the rest go nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(141) from None
        refusal = from_os_error(error)
        refusal.where = refusal.where or "standard output"
        Console().error(refusal)
        raise SystemExit(refusal.exit_code) from None


def _open_streams() -> None:
    """Open what the caller closed (`>&-`), or the next file that is opened would get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (for good)


def _run(given: list[str]) -> None:
    try:
        # Without its standalone mode typer raises what it refuses, so that `--json` holds there too.
        status = app(given, standalone_mode=False)
    except OSError:
        raise
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of typer's: a fault of ours
            if "--debug" in given:
                raise
            console = Console()
            fault = UsageError("internal.error", f"{type(error).__name__}: {error}")
            fault.hint = "a fault of mlmctl; --debug shows the traceback"
            if "--json" in given and among.is_first():
                console.json(error_object(_command(given), fault))
            console.error(fault)
            raise SystemExit(1) from None
        if not error.format_message().strip():  # no command at all: the help was shown
            raise SystemExit(2) from None
        refusal = UsageError("usage.command-line", error.format_message().strip(), hint="see --help")
        console = Console()
        if "--json" in given and among.is_first():
            console.json(error_object(_command(given), refusal))
        if among.is_first():
            console.error(refusal)
        raise SystemExit(2) from None
    raise SystemExit(status if isinstance(status, int) else 0)


def _command(given: list[str]) -> str:
    return next((word for word in given if not word.startswith("-")), "mlmctl")


def _complete_force(given: list[str]) -> list[str]:
    """`--force` alone means the command's own stage; typer options cannot have an optional value."""
    from .call import OWN, STAGES
    from .options import with_stages

    if _command(given) not in with_stages:  # elsewhere it is a plain switch
        return given
    completed: list[str] = []
    for place, word in enumerate(given):
        completed.append(word)
        following = given[place + 1] if place + 1 < len(given) else ""
        if word == "--force" and following.split("/")[0] not in STAGES:
            completed.append(OWN)
    return completed

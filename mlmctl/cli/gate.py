"""The options of quality gates, and the showing of their verdict; shared by `evaluate` and `run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..storage import check_writable
from .call import Call

if TYPE_CHECKING:
    from ..commands.gate import Gate, Verdict

FailUnder = Annotated[
    list[str] | None,
    typer.Option("--fail-under", metavar="METRIC=VALUE", help="Exit with 3 if a metric is lower."),
]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option(
        "--max-drop",
        metavar="METRIC=VALUE",
        help="Exit with 3 if a metric is worse than the baseline's by more, beyond doubt.",
    ),
]
Markdown = Annotated[
    Path | None,
    typer.Option("--markdown", metavar="FILE", help="Append a summary to it, as for a CI job's page."),
]


def gate(
    call: Call,
    fail_under: Sequence[str] | None,
    max_drop: Sequence[str] | None,
    markdown: Path | None = None,
) -> Gate:
    """The gates of the recipe with those of the flags; the baseline is read now, but not for a plan.

    Where a summary cannot be written, that is said now too.
    """
    from ..commands.gate import Gate
    from ..measure import gates

    if markdown is not None:
        check_writable(markdown)
    config = call.resolved.recipe.evaluate
    limits = _limits("--fail-under", config.fail_under, fail_under)
    gates.check_limits(limits)
    drops = _limits("--max-drop", config.max_drop, max_drop)
    return Gate(limits, drops) if call.dry_run else Gate.of(limits, drops, config.baseline)


def _limits(flag: str, of_recipe: Mapping[str, float], given: Sequence[str] | None) -> dict[str, float]:
    limits = dict(of_recipe)
    for each in given or []:
        name, _, value = each.partition("=")
        try:
            limits[name.strip()] = float(value)
            if not math.isfinite(limits[name.strip()]):
                raise ValueError
        except ValueError:
            message, hint = f"{each!r} is not METRIC=VALUE", f"for example {flag} accuracy=0.80"
            raise UsageError(f"usage.{flag[2:]}", message, hint=hint) from None
    return limits


def show_differences(call: Call, verdict: Verdict) -> None:
    """A table of the metrics beside the baseline's."""
    if verdict.differences:
        call.console.table(
            ("metric", "baseline", "now", "difference", "95 % interval", "p"),
            [
                (
                    name,
                    f"{each.baseline:.4g}",
                    f"{each.value:.4g}",
                    f"{each.difference:+.4g}",
                    f"{each.low:+.4g} to {each.high:+.4g}",
                    f"{each.p_value:.2g}",
                )
                for name, each in verdict.differences.items()
            ],
        )

"""Quality gates: which metrics of a result are below the limits that were asked for, or worse than before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UsageError
from ..quantities import is_number, limit, number
from .bootstrap import Difference

_LOW = ("loss", "bits_per_byte", "ece")
"""Ends of the names of metrics that are the better the lower they are."""


def check_limits(limits: Iterable[str]) -> None:
    """UsageError for a metric that is the better the lower it is: a gate the wrong way round."""
    for name in limits:
        if name.endswith(_LOW):
            found = f"{name} is the better the lower it is"
            hint = "a loss has --baseline with --max-drop; --json tells the value"
            raise UsageError("usage.metric", found, where="--fail-under", hint=hint)


def check(metrics: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """One sentence for each metric that is below its limit, in the order of `limits`; NaN is below any.

    UsageError for a name that is no number among the metrics: a gate that is never looked at would let
    everything pass.
    """
    numbers = {name: value for name, value in metrics.items() if is_number(value)}
    _check_names(limits, numbers, "--fail-under")
    return [
        f"{name} is {_beside(numbers[name], least)}, below {limit(least)}"
        for name, least in limits.items()
        if not numbers[name] >= least
    ]


def check_drops(
    differences: Mapping[str, Difference], most: Mapping[str, float]
) -> tuple[list[str], list[str]]:
    """(failures, doubts): a sentence for each metric that is worse by more than `most` allows, by name.

    It fails if all of the interval of the difference is worse than that, which noise brings about in at most
    one of 40 evaluations. It is in doubt if the difference itself is: then more examples would tell.
    UsageError for the name of no metric that was compared.
    """
    _check_names(most, differences, "--max-drop")
    failures, doubts = [], []
    for name, allowed in most.items():
        least, drop, _ = differences[name].drops
        found = f"{name} is worse by {_beside(drop, allowed)}, more than {limit(allowed)}"
        if least > allowed:
            failures.append(f"{found}; by {_beside(least, allowed)} at least, with a confidence of 95 %")
        elif drop > allowed:
            perhaps = f"worse by {least:.4f} only" if least > 0 else "no worse at all"
            doubts.append(f"{found}, which may be noise (it is perhaps {perhaps}): it passes")
    return failures, doubts


def _beside(value: float, bound: float) -> str:
    """A count in full; else with four decimals, or as many more as show on which side of the bound it is."""
    if isinstance(value, int):
        return number(value)

    def side(of: float) -> tuple[bool, bool]:
        return of < bound, of > bound

    shown = (f"{value:.{decimals}f}" for decimals in range(4, 16))
    return next((each for each in shown if side(float(each)) == side(value)), repr(value))


def _check_names(named: Iterable[str], known: Iterable[str], flag: str) -> None:
    for name in named:
        if name not in known:
            raise UsageError(
                "usage.unknown-metric",
                f"no metric is named {name!r}",
                where=flag,
                hint="the metrics are: " + ", ".join(sorted(known)),
            )

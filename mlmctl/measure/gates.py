"""Quality gates: which metrics of a result stay below the limits that were asked for (`--fail-under`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import UsageError


def check(metrics: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """One sentence for each metric that is below its limit, in the order of `limits`; NaN is below any.

    UsageError for a name that is no number among the metrics: a gate that is never looked at would
    let everything pass.
    """
    numbers = {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    failures = []
    for name, limit in limits.items():
        if name not in numbers:
            raise UsageError(
                "usage.unknown-metric",
                f"no metric is named {name!r}",
                where="--fail-under",
                hint="the metrics are: " + ", ".join(sorted(numbers)),
            )
        if not numbers[name] >= limit:
            failures.append(f"{name} is {numbers[name]:.4f}, below {limit:g}")
    return failures

"""The quality gates of an evaluation: limits, a baseline not to fall behind, a summary for a page in CI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..measure import gates
from ..measure.bootstrap import Difference
from ..quantities import limit, number
from .evaluations import Evaluation, differences, named
from .markdown import plain, table

_COLUMNS = ("metric", "value", "95 % interval", "baseline", "difference", "p", "gate")


@dataclass(frozen=True)
class Verdict:
    """What became of the gates."""

    failures: Sequence[str] = ()
    """A sentence for each gate that was not met."""
    doubts: Sequence[str] = ()
    """A sentence for each that was met because nothing is certain."""
    differences: Mapping[str, Difference] = field(default_factory=dict)
    """From the baseline, by metric; none without one."""

    def to_json(self, baseline: Path) -> dict[str, Any]:
        found = {name: each.to_json() for name, each in self.differences.items()}
        return {"baseline": str(baseline), "metrics": found, "doubts": list(self.doubts)}


@dataclass(frozen=True)
class Gate:
    """What an evaluation must be."""

    fail_under: Mapping[str, float]
    max_drop: Mapping[str, float]
    baseline: Evaluation | None = None

    @classmethod
    def of(cls, fail_under: Mapping[str, float], max_drop: Mapping[str, float], baseline: str) -> Gate:
        """With the baseline of this name, read and verified now: the evaluation may be going to replace it.

        Raises what `evaluations.named` does; UsageError for a drop from nothing.
        """
        if max_drop and not baseline:
            hint = "--baseline DIR, an evaluation to compare with"
            raise UsageError("usage.no-baseline", "needs a baseline", where="--max-drop", hint=hint)
        return cls(fail_under, max_drop, named(baseline) if baseline else None)

    def check_target(self, target: Path) -> None:
        """UsageError if `target` is where the baseline lies: next time it would be compared with itself."""
        if self.baseline is not None and target.resolve() == self.baseline.path.resolve():
            raise UsageError(
                "usage.no-baseline",
                "is where this evaluation is written",
                where=str(self.baseline.path),
                hint="a copy of that folder elsewhere, or another --name",
            )

    def judge(self, artifact: Path, metrics: Mapping[str, Any]) -> Verdict:
        """The verdict on an evaluation, just verified. ArtifactError if the baseline has other test data."""
        failures = gates.check(metrics, self.fail_under)
        if self.baseline is None:
            return Verdict(failures)
        found = differences(Evaluation.open(artifact), self.baseline)
        dropped, doubts = gates.check_drops(found, self.max_drop)
        return Verdict([*failures, *dropped], doubts, found)

    def markdown(self, name: str, metrics: Mapping[str, Any], verdict: Verdict) -> str:
        """A heading, a table of what has an interval or a limit, and what failed: GitHub's Markdown.

        Nothing of the data is in it but names of metrics.
        """
        has_gate = self.fail_under or self.max_drop
        outcome = ("failed" if verdict.failures else "passed") if has_gate else "measured"
        num_examples = metrics.get("num_examples")
        rows = self._rows(metrics, verdict)
        lines = [f"### {plain(name)}: {outcome}", "", *table(_COLUMNS, rows, numbers=range(1, 6))]
        told = [f"- **{plain(sentence)}**" for sentence in verdict.failures]
        told += [f"- {plain(sentence)}" for sentence in verdict.doubts]
        last = [f"{num_examples:,} examples."] if isinstance(num_examples, int) else []
        return "".join("\n".join(part) + "\n\n" for part in (lines, told, last) if part)

    def _rows(self, metrics: Mapping[str, Any], verdict: Verdict) -> Iterator[Sequence[str]]:
        intervals = metrics.get("intervals", {})
        for name in dict.fromkeys([*intervals, *self.fail_under, *self.max_drop]):
            ends, change = intervals.get(name), verdict.differences.get(name)
            asked = [f"at least {limit(self.fail_under[name])}"] if name in self.fail_under else []
            if name in self.max_drop:
                asked.append(f"worse by {limit(self.max_drop[name])} at most")
            yield (
                name,
                number(metrics[name]),
                f"{number(ends['low'])} to {number(ends['high'])}" if ends else "",
                number(change.baseline) if change else "",
                f"{change.difference:+.4g} ({change.low:+.4g} to {change.high:+.4g})" if change else "",
                number(change.p_value) if change else "",
                ", ".join(asked),
            )

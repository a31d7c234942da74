"""Faults in scenarios, and the tally of what was tried.

On every commit a sample is tried that takes about a minute; `make crash` (MLMCTL_CRASH=all) tries all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

from .client import Workers

TRIES_ALL = os.environ.get("MLMCTL_CRASH") == "all"
NUM_WORKERS = 1 if "PYTEST_XDIST_WORKER" in os.environ else 2
POWER_CUT = "power cut"
TALLY: Counter[str] = Counter()


class Trials:
    """Faults in scenarios, each of which is prepared when it is first used."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._calls: dict[str, list[list[str]]] = {}

    def calls(self, scenario: str) -> list[list[str]]:
        """(kind, path, new name) of the counted calls of a run that nothing disturbs."""
        if scenario not in self._calls:
            self._calls[scenario] = self._workers.ask("prepare", scenario=scenario)
        return self._calls[scenario]

    def attempts(self, scenario: str, faults: Sequence[Any], told_as: str = "", **more: Any) -> list[str]:
        """What was wrong after each of these faults (or tuples of faults that follow on one another)."""
        self.calls(scenario)
        series = [each if isinstance(each[0], tuple) else (each,) for each in faults]
        if told_as:
            TALLY[f"{told_as}: {scenario}"] += len(series)
        requests = [{"do": "attempt", "scenario": scenario, "faults": each, **more} for each in series]
        return [problem for answer in self._workers.ask_all(requests) for problem in answer["problems"]]

    def power_cuts(self, scenario: str, told_as: str = "", **how: Any) -> list[str]:
        """What was wrong with what power cuts may leave; the states are shared by the workers."""
        self.calls(scenario)
        requests = [
            {"do": "lose_power", "scenario": scenario, "share": (n, NUM_WORKERS), "seed": 0, **how}
            for n in range(NUM_WORKERS)
        ]
        answers = self._workers.ask_all(requests)
        if told_as:
            num_reruns = sum(answer["num_reruns"] for answer in answers)
            TALLY[f"{told_as}: {scenario}"] += sum(answer["num_states"] for answer in answers) - num_reruns
            TALLY[f"{told_as}, then the command: {scenario}"] += num_reruns
        return [problem for answer in answers for problem in answer["problems"]]


def chosen(places: Sequence[int], most: int) -> list[int]:
    """All of them, or (on every commit) at most so many, evenly spread."""
    if TRIES_ALL or len(places) <= most:
        return list(places)
    return [places[(2 * n + 1) * len(places) // (2 * most)] for n in range(most)]

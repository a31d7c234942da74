"""What a power cut may leave of a command's work: a valid state is always found in it."""

from __future__ import annotations

import pytest

from .scenarios import SCENARIOS
from .trials import POWER_CUT, TRIES_ALL, Trials

NAMES = [name for name, scenario in SCENARIOS.items() if not scenario.is_real]


@pytest.mark.parametrize("scenario", NAMES)
def test_fault_15_a_power_cut_at_any_call(trials: Trials, scenario: str) -> None:
    how = {"step": 1, "most": 100, "rerun": 50} if TRIES_ALL else {"step": 6, "most": 5, "rerun": 40}
    assert not trials.power_cuts(scenario, POWER_CUT, **how)

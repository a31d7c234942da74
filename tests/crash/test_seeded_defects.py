"""The harness itself: mistakes that are made on purpose are noticed."""

from __future__ import annotations

import errno

import pytest

from .defects import DEFECTS
from .trials import Trials

KILL, POWER, ERROR, ROT = "kill", "power", "error", "rot"
NOTICED_BY = {
    "in_place": (KILL, "pretrain"),
    "manifest_first": (KILL, "tokenizer"),
    "newest_number_wins": (ROT, "pretrain"),
    "files_not_synced": (POWER, "pretrain"),
    "folders_not_synced": (POWER, "pretrain"),
    "new_folders_not_synced": (POWER, "pretrain"),
    "random_state_not_saved": (KILL, "finetune"),
    "optimizer_not_restored": (KILL, "pretrain"),
    "old_removed_first": (KILL, "stale-tests"),
    "checkpoint_removed_first": (KILL, "pretrain"),
    "log_not_truncated": (KILL, "pretrain"),
    "log_not_synced": (POWER, "pretrain"),
    "data_off_by_one": (KILL, "pretrain"),
    "leftovers_are_finished": (KILL, "tokenizer"),
    "swap_not_recovered": (KILL, "stale-tests"),
    "small_files_in_place": (KILL, "pretrain"),
    "errors_swallowed": (ERROR, "tokenizer"),
}
"""Which mode has to notice, in which scenario."""


PLACES = {"small_files_in_place": ".work/pretrain", "errors_swallowed": ".tmp-"}
"""What the paths of the calls have in them that are tried, where a defect shows at few of all."""
_STRIDE, _AT_ONCE = 19, 4


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_seeded_defect_is_noticed(trials: Trials, defect: str) -> None:
    mode, scenario = NOTICED_BY[defect]
    calls = trials.calls(scenario)
    places = range(1, len(calls) + 1)
    if mode == POWER:
        found = trials.power_cuts(scenario, step=3, most=10, defect=defect)
    elif mode == ERROR:
        syncs = [n for n in places if calls[n - 1][0] == "sync" and PLACES[defect] in calls[n - 1][1]]
        found = trials.attempts(scenario, [("error", n, errno.EIO) for n in syncs], defect=defect)
    else:
        near = [n for n in places if PLACES.get(defect, "") in calls[n - 1][1]]
        found = _first(trials, scenario, [("kill", n) for n in near], defect=defect, rot=mode == ROT)
    assert found


def _first(trials: Trials, scenario: str, faults: list[tuple[str, int]], **how: object) -> list[str]:
    """Try them from all over, a few at a time, until one is noticed."""
    spread = [fault for start in range(_STRIDE) for fault in faults[start::_STRIDE]]
    for start in range(0, len(spread), _AT_ONCE):
        if found := trials.attempts(scenario, spread[start : start + _AT_ONCE], **how):
            return found
    return []

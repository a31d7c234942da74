"""A run on a budget ends when it should, by a clock that the test holds in its hand."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pretrain_world import Run, config, make_inputs

from mlmctl.engine import budget, calibrate, evaluate_mlm, loop, plan, probe
from mlmctl.engine.budget import Timing
from mlmctl.engine.checkpoint import Checkpoints
from mlmctl.engine.clock import Clock
from mlmctl.engine.reading import Reading
from mlmctl.engine.work import Settings
from mlmctl.errors import UsageError
from mlmctl.stages import pretrain
from mlmctl.storage import sha256_file

TIMING = Timing(step=0.5, late_step=0.4, evaluation=1.0, save=0.4, ending=5.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time goes by in steps (fewer masked tokens: faster), evaluations and checkpoints alone.

    `trial` is by how much the steps that are timed are slower than those of the run, `pace` by how much these
    are from `since` on.
    """
    clock = SimpleNamespace(now=1000.0, trial=1.0, pace=1.0, since=0.0, num_trials=0)

    def costs(function, cost):
        def costly(*arguments, **named):
            found = function(*arguments, **named)
            clock.now += cost(*arguments, **named)
            return found

        return costly

    def step(model, work, number, *rest, **named) -> float:
        return (clock.pace if clock.now >= clock.since else 1.0) * (1.2 + 4.0 * work._rate(number))

    def trial(*arguments) -> float:
        clock.num_trials += 1
        return clock.trial * step(*arguments)

    def evaluation(model, masks, device, max_tokens=None, *rest) -> float:
        return 0.01 * min(max_tokens or masks.num_tokens, masks.num_tokens)

    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(probe, "dtype_by_timing", lambda *arguments: torch.float32)
    monkeypatch.setattr(loop, "accumulate", costs(loop.accumulate, step))
    monkeypatch.setattr(calibrate, "accumulate", costs(calibrate.accumulate, trial))
    monkeypatch.setattr(evaluate_mlm, "evaluate", costs(evaluate_mlm.evaluate, evaluation))
    monkeypatch.setattr(calibrate, "evaluate", evaluate_mlm.evaluate)
    monkeypatch.setattr(Checkpoints, "save", costs(Checkpoints.save, lambda *arguments: 0.3))
    return clock


def learn(run: Run, clock: SimpleNamespace, out: str, length: str = "2m") -> dict[str, float]:
    stage = replace(run.stage(out), started=clock.now)
    return pretrain.run(config(steps=None, budget=length), stage)


def weights(run: Run, out: str) -> str:
    return sha256_file(run.root / out / "model.safetensors")


@pytest.mark.parametrize("trial", [0.7, 1.0, 1.4])
def test_a_budget_is_met_though_the_timing_was_off(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace, trial: float
) -> None:
    clock.trial, started = trial, clock.now
    found = learn(Run(tmp_path / "run", inputs), clock, "out")
    assert found["seconds"] == pytest.approx(clock.now - started, abs=1e-3)
    assert 0.95 * 120 < found["seconds"] + calibrate._PUBLISHING < 1.02 * 120


@pytest.mark.parametrize("pace", [0.7, 1.4])
@pytest.mark.parametrize("share", [0.45, 0.7, 0.85])
def test_a_budget_is_met_though_the_machine_changes_in_the_decay(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace, pace: float, share: float
) -> None:
    clock.pace, clock.since = pace, clock.now + share * 600
    found = learn(Run(tmp_path / "run", inputs), clock, "out", "10m")
    assert found["seconds"] + calibrate._PUBLISHING == pytest.approx(600, rel=0.05)
    lines = (tmp_path / "run/out/metrics.jsonl").read_text().splitlines()
    factors = [line["lr_factor"] for line in map(json.loads, lines) if "lr_factor" in line]
    assert len(factors) == found["num_steps"]
    assert factors[-1] < 0.05
    assert factors[-100:] == sorted(factors[-100:], reverse=True)


def test_a_budget_is_met_by_a_device_that_is_waited_for_one_step_later(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(reading: Reading) -> tuple[float, float | None]:
        clock.now += 1.6
        return read(reading)

    read = Reading.read
    monkeypatch.setattr(Reading, "read", waits)
    monkeypatch.setattr(Settings, "reads_ahead", True)
    clock.pace, clock.trial, started = 0.3, 1.0 / 0.3, clock.now
    found = learn(Run(tmp_path / "run", inputs), clock, "out", "4m")
    assert found["seconds"] == pytest.approx(clock.now - started, abs=1e-3)
    assert found["seconds"] + calibrate._PUBLISHING == pytest.approx(240, rel=0.05)


def test_the_same_budget_in_other_words_is_the_same_run(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace
) -> None:
    run = Run(tmp_path / "run", inputs)
    first = learn(run, clock, "out0", "2m")
    settled = plan.read(run.root / "work")
    again = learn(run, clock, "out1", "120s")
    assert plan.read(run.root / "work") == replace(settled, length="budget 120s")
    assert (again["num_steps"], weights(run, "out1")) == (first["num_steps"], weights(run, "out0"))


def test_a_run_that_is_killed_after_its_end_was_moved_ends_in_the_same_bits(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", inputs)
    clock.pace, clock.since = 1.3, clock.now + 60

    def dies(*arguments, **named) -> plan.Plan:
        found = settled(*arguments, **named)
        if found.earlier_ends:
            plan.commit(run.root / "work", found)
            raise KeyboardInterrupt
        return found

    settled = plan.settled
    with monkeypatch.context() as patch:
        patch.setattr(plan, "settled", dies)
        with pytest.raises(KeyboardInterrupt):
            learn(run, clock, "out0", "4m")
    for path in sorted((run.root / "work/checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(path)  # to one before the move
    learn(run, clock, "out1", "4m")
    whole = Run(tmp_path / "whole", inputs)
    (whole.root / "work").mkdir(parents=True)
    shutil.copy(run.root / "work/plan.json", whole.root / "work/plan.json")
    learn(whole, clock, "out", "4m")
    assert weights(whole, "out") == weights(run, "out1")


def test_a_budget_is_timed_once_settled_from_where_the_decay_begins_and_read_back(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace
) -> None:
    run, clock.trial = Run(tmp_path / "run", inputs), 1.4
    first = learn(run, clock, "out0")
    settled = (run.root / "work/plan.json").read_bytes()
    num_trials = clock.num_trials
    clock.pace = 3.0
    again = learn(run, clock, "out1")
    assert (run.root / "work/plan.json").read_bytes() == settled
    assert (again["num_steps"], weights(run, "out1")) == (first["num_steps"], weights(run, "out0"))
    copy = Run(tmp_path / "copy", inputs)
    (copy.root / "work").mkdir(parents=True)
    (copy.root / "work/plan.json").write_bytes(settled)
    learn(copy, clock, "out")
    assert weights(copy, "out") == weights(run, "out0")
    assert clock.num_trials == num_trials


def test_a_larger_budget_counts_what_was_spent_before_the_decay(
    tmp_path: Path, inputs: dict[str, Path], clock: SimpleNamespace
) -> None:
    run = Run(tmp_path / "run", inputs)
    first = learn(run, clock, "out0")
    more = learn(run, clock, "out1", "3m")
    assert more["num_steps"] > 1.4 * first["num_steps"]
    assert more["seconds"] == pytest.approx(180, rel=0.05)
    with pytest.raises(UsageError, match="this run has"):
        learn(run, clock, "out2", "1m")


def test_a_process_that_was_stopped_lost_no_training_time() -> None:
    clock = Clock(0.0)
    for seconds in (0.5, 0.5, 3600.0, 0.5):
        clock.step(seconds, 10)
    assert clock.seconds == 2.0


def test_a_budget_is_filled_and_not_overdrawn() -> None:
    num_steps, per_step = budget.steps_in(300.0, TIMING, 60.0, 0.6)
    assert 0.97 * 300 < num_steps * per_step + TIMING.ending <= 300
    assert budget.steps_in(1.0, TIMING, 60.0, 0.6)[0] == 1
    assert budget.steps_after(40, 1.0, TIMING, 60.0) == 41


@given(st.floats(1.0, 1e4), st.floats(1.0, 1.5), st.floats(0.0, 1.0), st.integers(1, 200))
def test_more_time_is_never_fewer_steps(left: float, more: float, decay: float, start: int) -> None:
    assert (
        budget.steps_in(more * left, TIMING, 60.0, decay)[0] >= budget.steps_in(left, TIMING, 60.0, decay)[0]
    )
    longer, shorter = (
        budget.steps_after(start, time_left, TIMING, 60.0) for time_left in (more * left, left)
    )
    assert longer >= shorter > start


def test_the_decay_is_between_a_quarter_and_four_times_as_long_as_planned() -> None:
    draft = plan.Plan(100, 10, 40, 8, 4, 16, "float32", 0.5, "budget 1m", 40, TIMING)
    lengths = [plan.settled(draft, left, (40, 0.5), 60.0).num_steps for left in (-100.0, 40.0, 1e6)]
    assert lengths[0] == 40 + 15
    assert lengths[0] < lengths[1] < lengths[2]
    assert lengths[2] == 40 + 240
    assert plan.settled(draft, 40.0, (40, 1.0), 60.0).num_steps < lengths[1]
    assert plan.settled(draft, 40.0, (0, 0.0), 60.0).num_steps == lengths[1]


def test_the_end_is_moved_half_way_to_it_until_that_is_near() -> None:
    found = plan.Plan(1000, 10, 400, 8, 4, 16, "float32", 0.5, "budget 8m", 400, TIMING)
    left, places = 300.0, []
    while found.settle_at is not None:
        places.append(found.settle_at)
        found = plan.settled(found, left, (0, 0.0), 60.0)
        left /= 2
    assert len(places) == 6
    assert all(found.num_steps - place < 2.6 * (found.num_steps - later) for place, later in pairwise(places))
    assert TIMING.late_step * (found.num_steps - places[-1]) < 4 * budget._LEAST_HALF
    assert found.decay_start == 400
    assert [step for step, _ in found.earlier_ends] == places[1:]
    assert plan.from_json(json.loads(json.dumps(asdict(found)))) == found


def test_steps_are_the_quicker_the_less_of_the_decay_is_to_come() -> None:
    assert [TIMING.step_at(left) for left in (1.0, 0.5)] == [TIMING.step, TIMING.late_step]
    assert TIMING.step_at(0.0) == pytest.approx(0.3)
    assert replace(TIMING, late_step=0.1).step_at(0.0) > 0


def test_few_steps_do_not_say_how_fast_the_machine_is() -> None:
    draft = plan.Plan(100, 10, 40, 8, 4, 16, "float32", 0.5, "budget 1m", 40, TIMING)
    assert plan.settled(draft, 40.0, (2, 5.0), 60.0) == plan.settled(draft, 40.0, (0, 0.0), 60.0)


def test_the_end_is_not_moved_where_a_checkpoint_takes_longer_than_it_is_worth() -> None:
    assert budget.settles_again(400, 1000, TIMING) == 700
    assert budget.settles_again(400, 1000, replace(TIMING, save=30.0)) is None


@given(
    st.floats(0.01, 10),
    st.floats(0.5, 1.0),
    st.lists(st.floats(1.0, 5.0), min_size=1, max_size=8),
    st.lists(st.floats(1.0, 5.0), min_size=1, max_size=8),
)
def test_other_work_on_the_machine_does_not_change_how_the_kinds_of_step_compare(
    quick: float, ratio: float, early: list[float], late: list[float]
) -> None:
    """Each list slows steps down; one of each kind is left alone."""
    step, late_step = calibrate.both_kinds(
        [quick * slower for slower in (1.0, *early)], [quick * ratio * slower for slower in (*late, 1.0)]
    )
    assert late_step / step == pytest.approx(ratio)
    assert quick <= step <= quick * max(early) * (1 + 1e-9)

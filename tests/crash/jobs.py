"""What a worker of the zygote does: prepare a scenario, and try faults in it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mlmctl.cli import main

from . import cuts, defects, scenarios, standing, trial
from .power import Disk
from .scenarios import RUN, SCENARIOS, Scenario
from .seccomp import Call, Watch
from .standing import Tree
from .trial import Ended, Fault

_REMOVALS = {"unlink", "rmdir"}
_ENOUGH = 5  # problems of a kind, and the rest is not looked at
_TOLD = 600  # characters of what a command said that are shown


class Worker:
    """Works in a folder of its own; what scenarios look like before and after is in one that all share."""

    def __init__(self, base: Path, number: int) -> None:
        self._prepared = base / "prepared"
        self._place = base / f"worker{number}"
        self._place.mkdir(parents=True)
        self._folder = self._place / "folder"
        self._run = self._folder / RUN

    def prepare(self, scenario: str) -> list[list[str]]:
        """Make what the other jobs compare with; the calls of a run that nothing disturbs."""
        chosen, prepared = SCENARIOS[scenario], self._prepared / scenario
        shutil.rmtree(self._folder, ignore_errors=True)
        scenarios.write_inputs(self._folder)
        for command in chosen.done:
            self._must(Scenario("", (), command))
        chosen.alter(self._folder)
        scenarios.copy(self._folder, prepared / "before")
        before = standing.tree(self._run)
        ended = self._must(chosen)
        told = {"before": before, "after": standing.tree(self._run)}
        (prepared / "trees.json").write_text(json.dumps(told))
        return [list(call) for call in ended.calls]

    def attempt(
        self, scenario: str, faults: Sequence[Sequence[Any]], defect: str = "", rot: bool = False
    ) -> dict[str, Any]:
        """Run the command with the first fault, again with the next, and at last without one.

        `rot` flips a byte of the newest checkpoint before that. The answer: the exit codes, and everything
        that was found wrong.
        """
        chosen, before, after = self._begin(scenario)
        wrong, codes, newest, discarded = [], [], 0, set[str]()
        for fault in (Fault(*each) for each in faults):
            if chosen.starts_again:
                newest, discarded = 0, standing.works(standing.tree(self._run))
            ended = self._call(chosen, fault, defect)
            codes.append(ended.code)
            found = self._judge(fault, ended) + standing.problems(self._run, before, after, discarded)
            newest = _newest(ended, newest)
            if fault.kind in ("kill", "torn") and newest > standing.newest_step(self._run, chosen.command[0]):
                found.append(f"the checkpoint after step {newest} is lost")
            wrong += [f"{fault}: {each}" for each in found]
        if rot:
            _rot(self._run, chosen.command[0])
        wrong += self._finish(chosen, before, after, defect)
        return {"codes": codes, "problems": wrong}

    def lose_power(
        self,
        scenario: str,
        share: tuple[int, int],
        step: int,
        most: int,
        seed: int,
        defect: str = "",
        rerun: int = 0,
    ) -> dict[str, Any]:
        """Give what power cuts may leave of the command's work to the loader; see `cuts.sample`.

        Each `rerun`-th state is also given to the command. The answer: how many states there were, how many
        of them were rerun, and what was wrong.
        """
        chosen, before, after = self._begin(scenario)
        discarded = standing.works(before) if chosen.starts_again else set()
        newest = 0 if chosen.starts_again else standing.newest_step(self._run, chosen.command[0])
        recording = cuts.Recording(Disk(self._folder), chosen.command[0], newest)
        ended = self._call(chosen, Fault(), defect, recording.record)
        wrong = [] if ended.code == 0 else [f"exit code {ended.code}: {self._told()[-_TOLD:]}"]
        if not recording.disk.is_right():
            wrong.append("the recorded disk is not the real one")
        num_states = num_reruns = 0
        for state in cuts.sample(recording, share, step, most, random.Random(seed)):
            num_states += 1
            wrong += cuts.problems(state, recording, self._folder, before, after, discarded)
            if rerun and num_states % rerun == 0:
                num_reruns += 1
                shutil.rmtree(self._folder)
                state.write(self._folder)
                found = self._finish(chosen, before, after, defect)
                wrong += [f"power cut before call {state.at}: {each}" for each in found]
            if len(wrong) >= _ENOUGH:
                break
        return {"num_states": num_states, "num_reruns": num_reruns, "problems": wrong}

    def _begin(self, scenario: str) -> tuple[Scenario, Tree, Tree]:
        """A fresh folder; the scenario, and the run folder before and after it."""
        prepared = self._prepared / scenario
        trees = json.loads((prepared / "trees.json").read_text())
        scenarios.copy(prepared / "before", self._folder)
        return SCENARIOS[scenario], trees["before"], trees["after"]

    def _finish(self, scenario: Scenario, before: Tree, after: Tree, defect: str) -> list[str]:
        """Run the command undisturbed; what is wrong with its end."""
        is_trained = scenario.starts_again or standing.is_trained(standing.tree(self._run), before, after)
        step = 0 if is_trained else standing.newest_step(self._run, scenario.command[0])
        ended = self._call(scenario, Fault(), defect)
        if ended.code != 0:
            return [f"the same command again: exit code {ended.code}: {self._told()[-_TOLD:]}"]
        now = standing.tree(self._run)
        left, different = standing.leftovers(now), standing.difference(now, after)
        wrong = [f"left over: {left[:_ENOUGH]}"] if left else []
        if step and f"continues after step {step}" not in self._told():
            wrong.append(f"does not continue after step {step}: {self._told()[-_TOLD:]}")
        return wrong + ([f"another result: {different[:_ENOUGH]}"] if different else [])

    def _must(self, scenario: Scenario) -> Ended:
        ended = self._call(scenario, Fault())
        if ended.code != 0:
            raise RuntimeError(f"{scenario.command[0]}: exit code {ended.code}: {self._told()[-_TOLD:]}")
        return ended

    def _call(
        self,
        scenario: Scenario,
        fault: Fault,
        defect: str = "",
        record: Callable[[Watch, Call], None] | None = None,
    ) -> Ended:
        patch = defects.DEFECTS[defect] if defect else None
        (self._place / "err.txt").write_text("")
        function = partial(_command, self._folder, scenario, self._place, patch)
        return trial.run(function, self._run if record is None else self._folder, fault, record)

    def _judge(self, fault: Fault, ended: Ended) -> list[str]:
        """What is wrong with how a command that was disturbed ended."""
        code, told = ended.code, self._told()
        if "Traceback" in told:
            return [f"a traceback: {told[-_TOLD:]}"]
        if code == 0:
            hit = ended.calls[fault.at - 1] if len(ended.calls) >= fault.at else ("rmdir", "", "")
            if fault.kind in ("error", "full") and hit[0] not in _REMOVALS:
                return [f"exit code 0, though {hit} failed"]
            return []
        allowed = {
            "kill": -signal.SIGKILL,
            "torn": -signal.SIGKILL,
            "error": 6,
            "full": 6,
            "signal": 128 + fault.number,
        }
        return [] if code == allowed.get(fault.kind, 0) else [f"exit code {code}: {told[-_TOLD:]}"]

    def _told(self) -> str:
        return (self._place / "err.txt").read_text(errors="replace").strip()


def _newest(ended: Ended, newest: int) -> int:
    """The newest checkpoint that was published and has to be there; 0 once the result is."""
    renamed = [name for kind, _, name in ended.calls[:-1] if kind == "rename"]
    if any(name in standing.TRAINED for name in renamed):
        return 0
    return max([newest, *filter(None, map(standing.published_step, renamed))])


def _rot(run: Path, stage: str) -> None:
    """Flip a byte of the newest checkpoint of a stage."""
    newest = f"step-{standing.newest_step(run, stage):08d}"
    for path in run.glob(f".work/{stage}*/checkpoints/{newest}/model.safetensors"):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)


def _command(folder: Path, scenario: Scenario, place: Path, patch: Callable[[], object] | None) -> None:
    """In the child: the command line itself, with its streams as files."""
    os.chdir(folder)
    new = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    streams = (
        os.open(scenario.stdin, os.O_RDONLY),
        *(os.open(place / name, new) for name in ("out.txt", "err.txt")),
    )
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    if patch is not None:
        patch()
    if scenario.is_real:
        os.execv(sys.executable, [sys.executable, "-m", "mlmctl", *scenario.command])
    sys.argv = ["mlmctl", *scenario.command]
    main(list(scenario.command))

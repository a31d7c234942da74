"""The pipeline on stages of three lines: fresh, stale, refused, resumed, extended, locked."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlmctl.config import RuntimeConfig
from mlmctl.errors import ArtifactError, BusyError, InterruptedRun, UsageError
from mlmctl.events import Event, Note
from mlmctl.manifest import MANIFEST, read_manifest
from mlmctl.pipeline import Node, execute, preview
from mlmctl.pipeline.lock import locked
from mlmctl.stages.stage import Stage


@pytest.fixture(autouse=True)
def quick_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlmctl.engine.runtime.environment", lambda runtime, ranks: {})


def writes(content: str) -> Callable[[Stage], dict[str, Any]]:
    def run(stage: Stage) -> dict[str, Any]:
        (stage.out / "x").write_text(content)
        return {"length": len(content)}

    return run


def nodes(run: Path, content: str = "a", vocab: int = 1, steps: int = 1, width: int = 1) -> list[Node]:
    return [
        Node("tokenizer", writes(content), {"vocab": vocab}, {}, {"corpus": content}),
        Node(
            "pretrain",
            writes(f"{steps} {width}"),
            {"steps": steps, "width": width},
            {"tokenizer": run / "tokenizer"},
            replaceable=False,
            extendable=("steps",),
            tidy=lambda work: None,
        ),
    ]


def bring_up(run: Path, made: list[Node], force: tuple[str, ...] = (), emit: Any = None) -> list[str]:
    events: list[Event] = []
    reports = execute(
        run, lambda cache: made, runtime=RuntimeConfig(), emit=emit or events.append, force=force
    )
    return [report.status for report in reports]


def test_the_second_time_nothing_is_to_be_done(tmp_path: Path) -> None:
    assert bring_up(tmp_path, nodes(tmp_path)) == ["ran", "ran"]
    assert bring_up(tmp_path, nodes(tmp_path)) == ["fresh", "fresh"]


def test_a_stale_tokenizer_is_made_again_and_a_trained_model_is_not_thrown_away(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    before = read_manifest(tmp_path / "tokenizer").fingerprint
    with pytest.raises(ArtifactError, match=r"input tokenizer changes.*--force pretrain") as caught:
        bring_up(tmp_path, nodes(tmp_path, vocab=2))
    assert caught.value.exit_code == 5
    assert (tmp_path / "pretrain" / MANIFEST).exists()
    assert read_manifest(tmp_path / "tokenizer").fingerprint == before  # the folder fits together as before
    assert bring_up(tmp_path, nodes(tmp_path, vocab=2), force=("pretrain",)) == ["ran", "ran"]


def test_what_is_gone_is_made_again_and_what_was_made_from_it_stays(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    shutil.rmtree(tmp_path / "tokenizer")
    assert bring_up(tmp_path, nodes(tmp_path)) == ["ran", "fresh"]
    assert bring_up(tmp_path, nodes(tmp_path), force=("tokenizer",)) == ["ran", "fresh"]


def test_back_to_what_a_model_was_made_with_is_no_refusal(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    assert bring_up(tmp_path, nodes(tmp_path, vocab=2)[:1]) == ["ran"]
    assert bring_up(tmp_path, nodes(tmp_path)) == ["ran", "fresh"]


def tuned(run: Path) -> Node:
    reads = {"pretrain": run / "pretrain"}
    return Node("finetune/x", writes("x"), {}, reads, replaceable=False)


@pytest.mark.parametrize("changes", [{"width": 2}, {"steps": 2}])
def test_what_was_made_from_a_model_is_asked_for_before_that_is_replaced(
    tmp_path: Path, changes: dict[str, int]
) -> None:
    bring_up(tmp_path, [*nodes(tmp_path), tuned(tmp_path)])
    before = read_manifest(tmp_path / "pretrain").fingerprint
    changed = [*nodes(tmp_path, **changes), tuned(tmp_path)]
    force = ("pretrain",) if "width" in changes else ()
    with pytest.raises(ArtifactError, match=r"finetune/x: .*input pretrain changes.*--force finetune"):
        bring_up(tmp_path, changed, force=force)
    assert read_manifest(tmp_path / "pretrain").fingerprint == before
    assert bring_up(tmp_path, changed, force=(*force, "finetune"))[2] == "ran"


def test_a_model_that_was_begun_from_what_is_to_change_is_asked_for_before(tmp_path: Path) -> None:
    def stops(stage: Stage) -> dict[str, Any]:
        (stage.work / "state").write_text("1")
        raise InterruptedRun(2)

    made = nodes(tmp_path)
    with pytest.raises(InterruptedRun):
        bring_up(tmp_path, [made[0], replace(made[1], run=stops)])
    before = read_manifest(tmp_path / "tokenizer").fingerprint
    with pytest.raises(ArtifactError, match="input tokenizer changes"):
        bring_up(tmp_path, nodes(tmp_path, vocab=2))
    assert read_manifest(tmp_path / "tokenizer").fingerprint == before
    assert bring_up(tmp_path, nodes(tmp_path)) == ["fresh", "resumed"]


@pytest.mark.parametrize("plan", [True, False])
def test_to_force_what_is_not_made_here_is_refused(tmp_path: Path, plan: bool) -> None:
    made = nodes(tmp_path)[:1]
    with pytest.raises(
        UsageError, match=r"is not among what is made here: tokenizer .mlmctl pretrain --force"
    ):
        if plan:
            preview(tmp_path, lambda cache: made, runtime=RuntimeConfig(), force=("pretrain",))
        else:
            bring_up(tmp_path, made, force=("pretrain",))


def test_a_finished_run_without_its_work_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    shutil.rmtree(tmp_path / ".work")
    assert bring_up(tmp_path, nodes(tmp_path)) == ["fresh", "fresh"]
    with pytest.raises(ArtifactError, match=r"without its work folder: steps: 1 -> 2.*--force pretrain"):
        bring_up(tmp_path, nodes(tmp_path, steps=2))


def test_fault_02_what_was_begun_to_replace_a_stale_artifact_is_continued(tmp_path: Path) -> None:
    def stops(stage: Stage) -> dict[str, Any]:
        (stage.work / "part").write_text("1")
        raise InterruptedRun(2)

    def goes_on(stage: Stage) -> dict[str, Any]:
        (stage.out / "x").write_text("b")
        return {"was_there": (stage.work / "part").exists()}

    bring_up(tmp_path, nodes(tmp_path)[:1])
    changed = nodes(tmp_path, vocab=2)[0]
    with pytest.raises(InterruptedRun):
        bring_up(tmp_path, [replace(changed, run=stops)])
    (work,) = (tmp_path / ".work").iterdir()
    assert preview(tmp_path, lambda cache: [changed], runtime=RuntimeConfig())[0][1] == "resume"
    whole = shutil.copytree(tmp_path, tmp_path.with_name("forced"))
    assert bring_up(tmp_path, [replace(changed, run=goes_on)]) == ["resumed"]
    assert read_manifest(tmp_path / "tokenizer").metrics == {"was_there": True}
    assert not work.exists()
    assert bring_up(whole, [replace(changed, run=goes_on)], force=("tokenizer",)) == ["ran"]
    assert read_manifest(whole / "tokenizer").metrics == {"was_there": False}


def test_fault_23_a_changed_recipe_is_refused_with_the_field(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    with pytest.raises(ArtifactError, match=r"width: 1 -> 2.*--force pretrain"):
        bring_up(tmp_path, nodes(tmp_path, width=2))


def test_fault_23_a_begun_stage_is_refused_too(tmp_path: Path) -> None:
    made = nodes(tmp_path)

    def fails(stage: Stage) -> dict[str, Any]:
        (stage.work / "state").write_text("1")
        raise ArtifactError("test", "stopped")

    broken = Node("pretrain", fails, made[1].config, made[1].reads, replaceable=False, extendable=("steps",))
    with pytest.raises(ArtifactError, match="stopped"):
        bring_up(tmp_path, [made[0], broken])
    assert not (tmp_path / "pretrain").exists()
    with pytest.raises(ArtifactError, match="width: 1 -> 2"):
        bring_up(tmp_path, nodes(tmp_path, width=2))
    assert bring_up(tmp_path, nodes(tmp_path)) == ["fresh", "resumed"]


def test_more_steps_continue_a_finished_run(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    assert bring_up(tmp_path, nodes(tmp_path, steps=2)) == ["fresh", "resumed"]
    assert (tmp_path / "pretrain" / "x").read_text() == "2 1"


def test_the_work_for_a_longer_run_is_left_alone_by_one_that_is_finished(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    longer = nodes(tmp_path, steps=2)

    def stops(stage: Stage) -> dict[str, Any]:
        (stage.work / "state").write_text("2")
        raise InterruptedRun(2)

    def tidied(work: Path) -> None:
        (work / "state").unlink(missing_ok=True)

    begun = [longer[0], replace(longer[1], run=stops, tidy=tidied)]
    with pytest.raises(InterruptedRun):
        bring_up(tmp_path, begun)
    shorter = nodes(tmp_path)
    assert bring_up(tmp_path, [shorter[0], replace(shorter[1], tidy=tidied)]) == ["fresh", "fresh"]
    (state,) = tmp_path.glob(".work/pretrain-*/state")
    assert bring_up(tmp_path, [longer[0], replace(longer[1], tidy=tidied)]) == ["fresh", "resumed"]
    assert not state.exists()


def test_work_belongs_to_the_name_it_was_begun_for_and_to_none_that_begins_alike(tmp_path: Path) -> None:
    def node(name: str, seed: int) -> Node:
        return Node(name, writes("a"), {"seed": seed}, {}, {"data": "1"}, replaceable=False)

    def stops(stage: Stage) -> dict[str, Any]:
        (stage.work / "state").write_text("1")
        raise InterruptedRun(2)

    for name in ("finetune/mood-scratch", "finetune/mood[s]"):
        with pytest.raises(InterruptedRun):
            bring_up(tmp_path, [replace(node(name, 1), run=stops)])
    for name in ("finetune/mood", "finetune/moods"):
        assert bring_up(tmp_path, [node(name, 2)], force=("finetune",)) == ["ran"]
    assert len(list(tmp_path.glob(".work/*/state"))) == 2
    with pytest.raises(ArtifactError, match="seed: 1 -> 2"):
        bring_up(tmp_path, [node("finetune/mood[s]", 2)])


def test_preview_says_what_would_be_done_and_writes_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert [row[:2] for row in preview(run, lambda cache: nodes(run), runtime=RuntimeConfig())] == [
        ("tokenizer", "run"),
        ("pretrain", "run"),
    ]
    assert not run.exists()
    bring_up(run, nodes(run))
    assert [row[1] for row in preview(run, lambda cache: nodes(run), runtime=RuntimeConfig())] == [
        "fresh",
        "fresh",
    ]
    changed = nodes(run, content="b")
    rows = preview(run, lambda cache: changed, runtime=RuntimeConfig(), force=("pretrain",))
    assert rows[0][1:] == ("run", "stale: input corpus changed")
    assert rows[1][1:] == ("run", "after tokenizer")
    with pytest.raises(ArtifactError, match="input tokenizer changes"):
        preview(run, lambda cache: changed, runtime=RuntimeConfig())


def test_fault_20_a_damaged_input_is_refused_before_anything_runs(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    (tmp_path / "tokenizer" / "x").write_text("b")
    with pytest.raises(ArtifactError, match="tokenizer/x"):
        bring_up(tmp_path, nodes(tmp_path, width=2), force=("pretrain",))


def test_fault_22_an_artifact_made_with_another_input_is_refused_by_content(tmp_path: Path) -> None:
    bring_up(tmp_path, nodes(tmp_path))
    other = tmp_path / "other"
    bring_up(other, nodes(other, content="b"))
    for file in ("x", MANIFEST):
        (tmp_path / "tokenizer" / file).write_bytes((other / "tokenizer" / file).read_bytes())
    reads = {"tokenizer": tmp_path / "tokenizer", "pretrain": tmp_path / "pretrain"}
    with pytest.raises(ArtifactError, match="another tokenizer") as caught:
        bring_up(tmp_path, [Node("evaluate/a/b", writes("x"), {}, reads)])
    assert caught.value.exit_code == 5


def test_an_input_that_does_not_exist_names_its_command(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="make it first: mlmctl tokenizer"):
        bring_up(tmp_path, nodes(tmp_path)[1:])


def test_warnings_are_recorded_in_the_manifest(tmp_path: Path) -> None:
    def warns(stage: Stage) -> dict[str, Any]:
        stage.emit(Note("odd", "warning"))
        stage.emit(Note("even"))
        return {}

    execute(
        tmp_path,
        lambda cache: [Node("tokenizer", warns, {}, {})],
        runtime=RuntimeConfig(),
        emit=lambda event: None,
    )
    assert '"warnings": [\n   "odd"\n  ]' in (tmp_path / "tokenizer" / MANIFEST).read_text()


def _hold(run: Path, ready: Any, release: Any) -> None:
    with locked(run):
        ready.set()
        release.wait(20)


def test_fault_17_a_second_run_in_the_folder_is_refused_with_the_holder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(120)  # a busy machine starts slowly
    with pytest.raises(BusyError, match=f"process {process.pid}") as caught, locked(tmp_path):
        pass
    assert caught.value.exit_code == 7
    process.kill()
    process.join()
    with locked(tmp_path):  # a killed holder leaves no stale lock
        pass

"""`mlmctl compare`: what differs, what was measured, the picture; whatever the run folders hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import Shell
from evaluated import make_evaluated, make_evaluation, make_model

from mlmctl.artifact import publish
from mlmctl.commands import compare, curves
from mlmctl.commands.compare import Comparison
from mlmctl.errors import ArtifactError, UsageError
from mlmctl.events import Event, Note
from mlmctl.manifest import Header

LOSSES = [9.0, 8.0, 7.0, 6.5, 6.2, 6.0]


def log(losses: Sequence[float | None] = LOSSES) -> str:
    rows: list[dict[str, Any]] = []
    for step, loss in enumerate(losses, start=1):
        rows.append({"step": step, "loss": loss, "num_tokens": 100 * step, "seconds": 0.1})
        if step % 2 == 0 and loss is not None:
            rows.append({"step": step, "valid_loss": loss + 0.1, "unigram_loss": 6.4})
    return "".join(json.dumps(row) + "\n" for row in rows)


def make_run(folder: Path, losses: list[float] = LOSSES, corpus: str = "c" * 64, **config: Any) -> Path:
    """A run folder with a tokenizer and an encoder."""
    with publish(folder / "tokenizer", Header("tokenizer", {"vocab_size": 100}, {"corpus": corpus})) as draft:
        draft.metrics.update(vocab_size=100)
    header = Header("pretrain", {"steps": len(losses), "seed": 0, **config}, {"tokenizer": corpus[::-1]})
    with publish(folder / "pretrain", header) as draft:
        (draft.path / "metrics.jsonl").write_text(log(losses))
        draft.metrics.update(valid_loss=losses[-1] + 0.1, num_steps=len(losses), built_in=True)
        draft.details.update(reads={"tokenizer": "tokenizer"})
    return folder


def metric(found: Comparison, name: str) -> compare.Metric:
    return next(each for each in found.metrics if each.name == name)


def test_what_differs_is_told_and_what_is_the_same_is_not(tmp_path: Path) -> None:
    one, other = make_run(tmp_path / "a", seed=1), make_run(tmp_path / "b", LOSSES[:4], "d" * 64, seed=1)
    found = compare.run([one, other])
    assert found.runs == ["a", "b"]
    assert [(each.artifact, each.name, each.values) for each in found.settings] == [
        ("tokenizer", "corpus", ["c" * 12, "d" * 12]),
        ("pretrain", "steps", [6, 4]),  # and not the tokenizer: it follows from the corpus
    ]
    assert metric(found, "valid_loss").values == [6.1, 6.6]
    assert not any(each.name in ("built_in", "vocab_size") for each in found.metrics)
    assert compare.run([one, one]).settings == []
    assert compare.run([one, one]).runs == [str(one), str(one)]


def test_encoders_from_elsewhere_are_told_apart(tmp_path: Path) -> None:
    runs = []
    for name, inside in (("a", False), ("b", False), ("c", True)):
        header = Header("finetune/sentiment", {"seed": 0}, {"pretrain": 64 * name})
        with publish(tmp_path / name / "finetune/sentiment", header) as draft:
            draft.details.update(reads={"pretrain": "pretrain" if inside else str(tmp_path / name)})
        runs.append(tmp_path / name)
    told = [(each.name, each.values) for each in compare.run(runs[:2]).settings]
    assert told == [("pretrain", ["a" * 12, "b" * 12])]
    assert compare.run([runs[2], runs[2]]).settings == []


def test_metrics_have_intervals_and_a_difference_from_the_first(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name) for name in "abcd"]
    for run, num_right, size in zip(runs[:3], (340, 280, 240), (400, 400, 300), strict=True):
        make_evaluation(run / "evaluate/m/t", num_right, size)
    found = metric(compare.run(runs), "accuracy")
    assert found.values == [0.85, 0.7, 0.8, None]
    assert found.intervals[3] is None
    assert found.intervals[0] is not None
    assert found.intervals[0]["low"] < 0.85 < found.intervals[0]["high"]
    first, second, *others = found.differences
    assert (first, others) == (None, [None, None])  # other test data cannot be paired, nothing cannot be
    assert second is not None
    assert second["difference"] == pytest.approx(-0.15)
    assert second["p_value"] < 0.001


def test_an_evaluation_of_a_model_that_was_replaced_is_left_out_and_told(tmp_path: Path) -> None:
    told: list[Event] = []
    make_evaluated(tmp_path)
    assert metric(compare.run([tmp_path], told.append), "accuracy").values == [0.8125]
    assert told == []
    make_model(tmp_path, seed=1)
    found = compare.run([tmp_path], told.append)
    assert not any(each.artifact.startswith("evaluate/") for each in found.metrics)
    (note,) = told
    assert isinstance(note, Note)
    assert "evaluate/sentiment/test was made with another finetune/sentiment and is left out" in note.message


def test_what_is_no_run_folder_or_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run folder"):
        compare.run([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no artifact"):
        compare.run([tmp_path / "empty"])
    run = make_run(tmp_path / "a")
    (run / "pretrain/metrics.jsonl").write_text(log(LOSSES[::-1]))
    with pytest.raises(ArtifactError, match="SHA-256"):
        curves.read(run, "a")
    (run / "pretrain/metrics.jsonl").unlink()
    with pytest.raises(ArtifactError, match="recorded but missing"):
        curves.read(run, "a")
    (run / "pretrain/manifest.json").write_text("{}")
    with pytest.raises(ArtifactError):
        compare.run([run])


def test_a_curve_is_that_of_the_encoder_or_of_the_one_in_work(tmp_path: Path) -> None:
    curve = curves.read(make_run(tmp_path / "a"), "a")
    assert curve.train.tolist() == [[100.0 * n, loss] for n, loss in enumerate(LOSSES, start=1)]
    assert curve.valid.ravel() == pytest.approx([200, 8.1, 400, 6.6, 600, 6.1])  # by tokens, not by steps
    assert curve.unigram_loss == 6.4
    work = tmp_path / "b/.work/pretrain-0123"
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text(log() + '{"step": 7, "lo')
    assert curves.read(tmp_path / "b", "b").train.tolist() == curve.train.tolist()
    assert len(curves.read(tmp_path / "nothing", "c").train) == 0
    long = curves.read(make_run(tmp_path / "long", [5.0, 7.0] * 1000), "long").train
    assert long.shape == (200, 2)
    assert (long[:, 1] == 6.0).all()


def test_steps_without_a_finite_loss_are_left_out(tmp_path: Path) -> None:
    work = tmp_path / ".work/pretrain-0123"
    work.mkdir(parents=True)
    (work / "metrics.jsonl").write_text(log([9.0, 8.0, None, 6.5]))
    assert curves.read(tmp_path, "a").train.tolist() == [[100, 9.0], [200, 8.0], [400, 6.5]]


def test_the_picture_is_the_same_every_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    of_runs = [curves.read(make_run(tmp_path / "a"), "$a$ <b>"), curves.read(tmp_path / "nothing", "none")]
    for name in ("one.svg", "two.svg", "one.png", "one.pdf"):
        curves.check(tmp_path / name)
        curves.draw(of_runs, tmp_path / name)
    content = (tmp_path / "one.svg").read_bytes()
    assert content == (tmp_path / "two.svg").read_bytes()
    assert b"<script" not in content
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UsageError, match=r"\.svg, \.png or \.pdf"):
        curves.check(tmp_path / "one.gif")
    with pytest.raises(UsageError, match="none of the runs has a loss"):
        curves.draw(of_runs[1:], tmp_path / "none.svg")


def test_every_line_has_a_name_in_the_legend(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = make_run(tmp_path / "a")
    curves.draw([curves.read(run, "b"), curves.read(run, "_base")], tmp_path / "x.svg")
    assert "_base</text>" in (tmp_path / "x.svg").read_text(encoding="utf-8")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capsys)


def without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_the_command_prints_tables_and_asks_for_the_extra_only_to_draw(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, num_right in (("a", 340), ("b", 300)):
        make_evaluation(make_run(Path(name), LOSSES[: 2 * len(name)]) / "evaluate/m/t", num_right)
    without_matplotlib(monkeypatch)
    shown = shell("compare", "a", "b")
    assert shown.code == 0, shown.err
    assert any(line.startswith("evaluate/m/t\taccuracy\t0.85 (0.8") for line in shown.out.splitlines())
    assert " p 0." in shown.out
    found = shell("compare", "a", "b", "--json").json
    assert (found["runs"], found["status"]) == (["a", "b"], "done")
    refused = shell("compare", "a", "b", "--plot", "x.svg")
    assert refused.code == 2
    assert "mlmctl[report]" in refused.err
    assert not Path("x.svg").exists()


def test_the_command_draws(shell: Shell) -> None:
    pytest.importorskip("matplotlib")
    make_run(Path("a"))
    assert shell("compare", "a", "--plot", "x.svg", "--json").json["plot"] == "x.svg"
    assert Path("x.svg").read_text().startswith("<?xml")

"""`mlmctl bench`: its arithmetic against a counter of torch's, its children, its result, its refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from commands import Outcome, Shell, write_corpus
from datasets import Dataset
from pretrain_world import LENGTH, SPECIALS, VOCAB_SIZE, config, make_inputs
from torch.utils.flop_counter import FlopCounterMode

from mlmctl.commands.bench import arithmetic, measured, ours, plot, race, stock
from mlmctl.commands.bench.arithmetic import Dimensions
from mlmctl.commands.bench.children import Child
from mlmctl.commands.bench.measured import Measured, Shares
from mlmctl.commands.bench.rows import write_rows
from mlmctl.commands.bench.sides import MASK_RATE, SIDES, Job, World
from mlmctl.engine import fused, initial
from mlmctl.engine.architectures import Shape
from mlmctl.engine.loop import Settings, accumulate, take_step
from mlmctl.engine.masked_lm import MaskedLanguageWork
from mlmctl.engine.optimizer import muon_and_adamw
from mlmctl.errors import MlmctlError, ResourceError
from mlmctl.text.blocks import Blocks

SHAPE = Shape(32, 2, 2, 48)
NUM_BLOCKS = 6
OPTIONS = ("--tokens-per-step", "64", "--burst", "0.01", "--repetitions", "2", "--threads", "1")
SMALL = (
    "--preset", "tiny", "--vocab-size", "80", "--block-length", "32",
    "--set", "pretrain.hidden_size=16", "--set", "pretrain.num_hidden_layers=1",
    "--set", "pretrain.num_attention_heads=2", "--set", "pretrain.intermediate_size=16",
)  # fmt: skip


def _product(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    return 2 * int(np.prod(a)) * b[-1]


def _in_place(self: Any, a: Any, b: Any, *_: Any, **__: Any) -> int:
    return _product(a, b)


def _attention(query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Scores, and the mix of the values."""
    return 2 * 2 * int(np.prod(query)) * key[-2]


def _attention_backward(grad: Any, query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Scores again, and the gradients of all four matrices."""
    return 5 * 2 * int(np.prod(query)) * key[-2]


def count(work: Any) -> float:
    """Operations of the matrix products in `work()`."""
    aten = torch.ops.aten
    kernels = {
        aten.addmm_: _in_place,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        work()
    return float(counter.get_total_flops())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    folders = make_inputs(root)
    return World(
        tokenizer=str(folders["tokenizer"]),
        blocks=str(folders["mask/blocks"]),
        policy=str(folders["mask/policy"]),
        rows=str(root / "rows.arrow"),
        shape=asdict(SHAPE),
        special_ids={"pad": SPECIALS.pad, "cls": SPECIALS.cls, "sep": SPECIALS.sep},
        vocab_size=VOCAB_SIZE,
        block_length=LENGTH,
        tokens_per_step=NUM_BLOCKS * LENGTH,
        num_threads=1,
        pretrain={**asdict(SHAPE)},
    )


def _dimensions(world: World, architecture: str) -> Dimensions:
    return Dimensions(architecture, world.shape_of(architecture), world.vocab_size, world.block_length)


@pytest.mark.parametrize("side", ["a", "c", "d"])
def test_the_arithmetic_of_the_stock_loops_is_what_torch_counts(side: str, world: World) -> None:
    model, _ = stock.build(Job("stock", side, world, "nowhere"))
    input_ids = torch.randint(5, VOCAB_SIZE, (NUM_BLOCKS, LENGTH))
    labels = torch.where(torch.arange(LENGTH) % 4 == 0, input_ids, -100)  # a quarter is predicted
    counted = count(lambda: model.train()(input_ids=input_ids, labels=labels).loss.backward())
    expected = arithmetic.executed_by_stock(
        _dimensions(world, SIDES[side].architecture),
        predicted=0.25 if side == "d" else 1.0,
        fused_attention=side == "c",
    )
    assert counted / input_ids.numel() == pytest.approx(expected, rel=1e-3)


def test_our_arithmetic_is_what_torch_counts(world: World) -> None:
    blocks = Blocks.open(Path(world.blocks), "train")
    made = initial.new(config(**asdict(SHAPE)), SPECIALS, LENGTH, torch.device("cpu")).make().train()
    optimizer = muon_and_adamw(made, muon_learning_rate=0.02, learning_rate=1e-3, weight_decay=0.0)
    work = MaskedLanguageWork(blocks, 0, NUM_BLOCKS, 3, lambda step: MASK_RATE)
    settings = Settings(stage="test", num_steps=1, seed=0, max_grad_norm=1.0, save_interval=1e9)

    def step() -> None:
        done = accumulate(made, work, 0, settings)
        assert done is not None
        take_step(optimizer, 1.0, done[0], 1.0)

    expected = arithmetic.executed_by_ours(
        _dimensions(world, "modernbert"),
        predicted=Shares.of(blocks).room,
        cuts_last_layer=fused.applies(made),
        tokens_per_step=world.tokens_per_step,
    )
    assert count(step) / world.tokens_per_step == pytest.approx(expected, rel=1e-3)


def test_no_side_executes_less_than_is_useful(world: World) -> None:
    for architecture in ("modernbert", "bert"):
        model = _dimensions(world, architecture)
        useful = arithmetic.useful(model, 0.15)
        assert useful < arithmetic.executed_by_stock(model, predicted=0.15, fused_attention=False)
        assert useful < arithmetic.executed_by_ours(
            model, predicted=0.15, cuts_last_layer=True, tokens_per_step=64
        )
        products = arithmetic.products(model, 1000, 0.15)
        weights = sum(n * rows * inner * columns for (rows, inner, columns), n in products)
        assert 6 * weights / 1000 > useful  # attention is not among them, but the whole last layer is


def test_bert_has_as_many_parameters(world: World) -> None:
    bert, modernbert = (world.shape_of(name) for name in ("bert", "modernbert"))
    assert 2 * bert.intermediate_size == 3 * modernbert.intermediate_size
    assert replace(bert, intermediate_size=0) == replace(modernbert, intermediate_size=0)


def test_the_rows_are_the_blocks(world: World, tmp_path: Path) -> None:
    blocks = Blocks.open(Path(world.blocks), "train")
    write_rows(blocks, tmp_path / "rows.arrow")
    read = Dataset.from_file(str(tmp_path / "rows.arrow")).with_format("numpy")
    ids = blocks.rows(np.arange(blocks.num_blocks))
    assert np.array_equal(np.stack(read["input_ids"][:]), ids)
    assert np.array_equal(np.stack(read["attention_mask"][:]), ids != SPECIALS.pad)
    assert np.array_equal(np.stack(read["special_tokens_mask"][:]), ids < 5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.txt")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def test_a_whole_run_gives_numbers_and_a_plot(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--sides", "ours,a,c", "--json", "-q")
    done: Outcome = shell("bench", corpus, "--run", run, *SMALL, *OPTIONS, *words)
    assert done.code == 0, done.err
    assert done.err == ""  # nothing of the libraries, nothing of the children
    found = done.json
    stored = json.loads((run / "bench/bench.json").read_text())
    assert stored == {name: found[name] for name in stored}
    assert (found["command"], found["status"]) == ("bench", "done")
    assert set(found["limits"]) == {"float32", "bfloat16"}
    assert all(value > 0 for values in found["limits"].values() for value in values)
    ours, a, c = found["sides"]
    assert (ours["side"], a["side"], c["side"]) == ("ours", "a", "c")
    for side in found["sides"]:
        speed = side["tokens_per_second"]
        assert len(speed["bursts"]) == 2
        assert 0 < speed["min"] <= speed["median"] <= speed["max"]
        assert 0 < side["useful_share"] <= side["executed_share"]
        assert side["peak_memory_bytes"] > 50e6
    assert ours["ours_over_this"]["median"] == 1.0
    assert ours["num_parameters"] == c["num_parameters"]
    assert ours["useful_operations_per_token"] == c["useful_operations_per_token"]
    assert ours["executed_operations_per_token"] != c["executed_operations_per_token"]
    assert found["machine"]["accelerate"]
    assert "race" not in found
    ElementTree.parse(run / "bench/bench.svg")


def test_our_race_is_the_command_in_a_run_folder_of_its_own(
    corpus: Path, shell: Shell, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--sides", "ours", "--race", "0.05", "-q")
    done = shell("bench", corpus, "--run", run, *SMALL, *OPTIONS, *words)
    assert (done.code, done.err) == (0, "")
    found = json.loads((run / "bench/bench.json").read_text())["race"]
    whole, short = found["sides"]
    assert (whole["minutes"], short["minutes"]) == (0.05, 0.05 / 8)
    for side in (whole, short):  # its own last loss, which another point may have had before by chance
        assert side["ratio"] >= 1.0
        assert side["final_loss"] == side["points"][-1]["valid_loss"]
    assert found["unigram_loss"] > 0
    ElementTree.parse(run / "bench/race.svg")
    assert not (run / "pretrain").exists()


def test_a_side_that_fails_is_one_line(world: World, tmp_path: Path) -> None:
    job = Job("limit", "limit", replace(world, shape={}), str(tmp_path / "limit"))
    with Child(job, tmp_path / "kept") as child, pytest.raises(MlmctlError) as caught:
        child.answer()
    assert caught.value.where == "side limit"
    assert "hidden_size" in caught.value.message
    assert "\n" not in str(caught.value)
    assert "Traceback" in (tmp_path / "kept" / "limit.log").read_text()


def test_a_side_that_is_killed_is_one_line(world: World, tmp_path: Path) -> None:
    with Child(Job("limit", "limit", world, str(tmp_path / "limit")), tmp_path / "kept") as child:
        os.kill(child._process.pid, 9)
        with pytest.raises(ResourceError, match="killed") as caught:
            child.ask({"measure": True})
    assert caught.value.exit_code == 6


def test_children_end_when_the_command_does(world: World, tmp_path: Path) -> None:
    """The command is killed without a chance to end them."""
    program = f"""
import json, os, sys
from pathlib import Path
from types import SimpleNamespace
from mlmctl.commands.bench.children import Child
from mlmctl.commands.bench.sides import Job, World
child = Child(Job("limit", "limit", World(**json.loads(sys.argv[1])), {str(tmp_path / "x")!r}), Path("."))
child.answer()
print(child._process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asdict(world))],
        capture_output=True,
        text=True,
        check=False,
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is waited for by nobody does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Line:
    """A channel without another process: the requests are known, the answers kept."""

    def __init__(self, *requests: int) -> None:
        self.requests = [{"num_steps": number} for number in requests]
        self.answers: list[dict[str, Any]] = []

    def receive(self) -> dict[str, Any]:
        if not self.requests:
            raise EOFError
        return self.requests.pop(0)

    def send(self, message: dict[str, Any]) -> None:
        self.answers.append(message)


def test_our_loop_takes_the_steps_it_is_asked_for(world: World, tmp_path: Path) -> None:
    line = Line(2, 1)
    with pytest.raises(EOFError):
        ours.run(Job("ours", "ours", world, str(tmp_path)), line)  # type: ignore[arg-type]
    facts, *bursts = line.answers
    assert facts["num_parameters"] > 0
    assert [burst["num_steps"] for burst in bursts] == [2, 1]
    steps = [json.loads(row)["num_tokens"] for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [world.tokens_per_step * n for n in (1, 2, 3)]


def test_a_race_of_a_stock_model_is_a_curve(world: World, corpus: Path, shell: Shell, tmp_path: Path) -> None:
    """In the run folder of a corpus, since the Trainer wants a whole tokenizer."""
    run = tmp_path / "run"
    assert shell("mask", corpus, "--run", run, *SMALL[2:6]).code == 0
    blocks = Blocks.open(run / "mask/blocks", "train")
    write_rows(blocks, tmp_path / "rows.arrow")
    specials = blocks.specials
    there = replace(
        world,
        tokenizer=str(run / "tokenizer"),
        blocks=str(run / "mask/blocks"),
        policy=str(run / "mask/policy"),
        rows=str(tmp_path / "rows.arrow"),
        special_ids={"pad": specials.pad, "cls": specials.cls, "sep": specials.sep},
        vocab_size=specials.vocab_size,
        block_length=32,
        tokens_per_step=64,
    )
    line = Line()
    job = Job(
        "race", "c", there, str(tmp_path), 1e-3, seconds=2.0, step_seconds=0.1, started=time.monotonic()
    )
    stock.race(job, line)  # type: ignore[arg-type]
    *_, last = line.answers
    assert set(last) == {"point", "seconds"}
    assert [set(answer["point"]) for answer in line.answers] == [{"seconds", "step", "valid_loss"}] * len(
        line.answers
    )
    assert last["point"]["step"] > 1
    assert last["point"]["valid_loss"] < 6


def _point(seconds: float, loss: float) -> dict[str, float]:
    return {"seconds": seconds, "step": 1, "valid_loss": loss}


def test_the_time_to_a_loss_is_interpolated() -> None:
    curve = [_point(10, 6.0), _point(20, 5.0), _point(30, 5.5), _point(40, 4.0)]
    assert race.seconds_to(curve, 5.5) == 15
    assert race.seconds_to(curve, 5.0) == 20
    assert race.seconds_to(curve, 4.75) == 35
    assert race.seconds_to(curve, 7.0) == 10
    assert race.seconds_to(curve, 3.9) is None


def test_the_shorter_of_our_races_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    curves = {8.0: [_point(60, 6.0), _point(480, 3.0)], 1.0: [_point(50, 4.5)], 99.0: [_point(480, 4.5)]}

    def ours(track: race.Track, minutes: float) -> dict[str, Any]:
        return {
            "minutes": minutes,
            "points": curves[minutes],
            "final_loss": curves[minutes][-1]["valid_loss"],
        }

    monkeypatch.setattr(race, "_ours", ours)
    monkeypatch.setattr(race, "_stock", lambda *given: {**ours(given[0], 99.0), "side": "a"})
    monkeypatch.setattr(race, "_unigram_loss", lambda world: 6.5)
    sides: Any = [SimpleNamespace(name="ours"), SimpleNamespace(name="a")]
    track: Any = SimpleNamespace(minutes=8.0, our_minutes=None, world=None)
    *_, a = race.run(track, sides, None)["sides"]
    assert (a["ours_seconds"], a["ratio"]) == (50, 9.6)
    track.our_minutes = 1.0
    ours_alone, _ = race.run(track, sides, None)["sides"]
    assert (ours_alone["minutes"], ours_alone["title"]) == (1.0, "mlmctl, 1 min")


def test_the_curve_of_a_run_has_the_time_before_it_and_its_last_loss(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = [
        {"step": 1, "seconds": 1.0, "loss": 6.0},
        {"step": 1, "valid_loss": 5.0},
        {"step": 2, "seconds": 3.0, "loss": 5.0},
        {"step": 2, "valid_loss": 4.0},
    ]
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    points = race._points(metrics, 10.0, 4.1)
    assert [(point["seconds"], point["valid_loss"]) for point in points] == [(11.0, 5.0), (13.0, 4.1)]


def test_what_the_recipe_changes_is_raced_with() -> None:
    changed = config(steps=5, learning_rate=0.001, hidden_size=None, num_hidden_layers=None)
    assert "pretrain.learning_rate=0.001" in race._settings(changed)
    assert not [setting for setting in race._settings(changed) if "steps=5" in setting or "None" in setting]


def test_the_ratio_is_of_medians_and_its_spread_of_rounds(world: World) -> None:
    facts = {"dtype": "float32", "num_parameters": 1, "notes": [], "is_sparse": False}
    ours = Measured("ours", {**facts, "cuts_last_layer": True}, 1.0, 0.1, [30.0, 20.0, 40.0])
    c = Measured("c", {**facts, "has_fused_attention": True}, 0.0, 0.1, [10.0, 10.0, 5.0])
    found = measured.to_json(c, ours, world, Shares(0.14, 0.15), 1e12)
    assert found["ours_over_this"] == {"median": 3.0, "min": 2.0, "max": 8.0}
    assert measured.to_json(c, None, world, Shares(0.14, 0.15), 1e12)["ours_over_this"] is None


def test_the_plots_have_labels_and_are_the_same_every_time(tmp_path: Path) -> None:
    speed = {"median": 2.0, "min": 1.0, "max": 3.0}
    sides = [{"side": name, "title": side.title, "tokens_per_second": speed} for name, side in SIDES.items()]
    for name in ("one.svg", "two.svg"):
        plot.speeds(sides, tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert drawn == (tmp_path / "two.svg").read_text()
    assert "training tokens a second" in drawn
    assert all(side.title in drawn for side in SIDES.values())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--sides", "ours,e"), "there is no side 'e'"),
        (("--sides", ","), "no side is named"),
        (("--set", "pretrain.architecture=bert"), "only the training of a new modernbert"),
        (("--race-ours", "1"), "there is no race"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: tuple[str, ...], told: str, shell: Shell) -> None:
    done = shell("bench", "nowhere.txt", *words)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert told in done.err


def test_a_text_too_short_for_a_step_is_refused(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    words = ("--sides", "ours", "--tokens-per-step", "1000000", "-q")
    done = shell("bench", corpus, "--run", tmp_path / "run", *SMALL, *words)
    assert done.code == 4
    assert "fewer than a step has" in done.err


def test_a_missing_package_is_named_before_anything_is_done(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    done = shell("bench", "nowhere.txt", "--run", tmp_path / "run")
    assert done.code == 2
    assert "accelerate" in done.err
    assert "mlmctl[bench]" in done.err
    assert not (tmp_path / "run").exists()

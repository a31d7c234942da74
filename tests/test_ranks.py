"""Several ranks: the same batches and artifacts for any number; one that ends takes the others with it."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ranked
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_engine import tiny

from mlmctl.artifact import open_artifact
from mlmctl.commands.curve import share
from mlmctl.commands.curve.points import Start, all_points
from mlmctl.engine import divided, optimizer, ranks
from mlmctl.engine.ranks import Place
from mlmctl.errors import ResourceError, UsageError
from mlmctl.manifest import Manifest, read_manifest
from mlmctl.samples import path as sample
from mlmctl.storage import sha256_file

WORLDS = (1, 2, 4)
STEPS = 12
OPTIONS = (
    "--vocab-size", "128", "--block-length", "16", "--steps", str(STEPS), "--threads", "1", "--device", "cpu",
    "--set", "pretrain.tokens_per_step=10240", "--set", "pretrain.hidden_size=32",
    "--set", "pretrain.num_hidden_layers=2", "--set", "pretrain.num_attention_heads=2",
    "--set", "pretrain.intermediate_size=32", "--set", "pretrain.decay_fraction=0.5",
    "--set", "mask.num_valid_blocks=16",
)  # fmt: skip
"""A model of some thousand parameters; five micro-batches a step, so that shares are not equal."""


def pretrain(folder: Path, *more: str) -> list[str]:
    return ["pretrain", str(sample("corpus.txt")), "--run", str(folder), *OPTIONS, *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Finished run folders, by the number of ranks that made them."""
    root = tmp_path_factory.mktemp("ranks")
    made = {}
    for num_ranks in WORLDS:
        folder = root / f"of-{num_ranks}"
        ended = ranked.run(
            num_ranks, ranked.command, *pretrain(folder, "--json"), folder=root / f"told-{num_ranks}"
        )
        assert ended.codes == [0] * num_ranks, ended.told
        assert ended.told[1:] == [""] * (num_ranks - 1)
        assert json.loads(ended.told[0].splitlines()[-1])["status"] == "done"
        made[num_ranks] = folder
    return made


@pytest.fixture(scope="module")
def broken(runs: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of two ranks, of which one was killed after the checkpoint of step 6."""
    root = tmp_path_factory.mktemp("broken")
    folder = with_blocks(runs, root / "run")
    ended = ranked.run(2, ranked.command_that_ends_at, 8, "is killed", pretrain(folder), folder=root / "told")
    assert ended.codes == [6, -9], ended.told
    assert ended.seconds < 60
    assert "lost contact" in ended.told[0]
    return folder


def with_blocks(runs: dict[int, Path], folder: Path) -> Path:
    """A new run folder with all but the encoder."""
    shutil.copytree(runs[1], folder, ignore=shutil.ignore_patterns("pretrain*"))
    return folder


def logged(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "pretrain/metrics.jsonl").read_text().splitlines()]


def steps(folder: Path) -> list[dict[str, Any]]:
    return [line for line in logged(folder) if "loss" in line]


def evaluated(folder: Path) -> list[dict[str, Any]]:
    return [line for line in logged(folder) if "valid_loss" in line]


def manifest(folder: Path) -> Manifest:
    return read_manifest(folder / "pretrain")


def test_any_number_of_ranks_has_the_same_batches_and_losses(runs: dict[int, Path]) -> None:
    alone = steps(runs[1])
    assert [line["step"] for line in alone] == list(range(1, STEPS + 1))
    assert len({line["order_hash"] for line in alone}) == STEPS
    for num_ranks in WORLDS[1:]:
        others = steps(runs[num_ranks])
        for name in ("step", "order_hash", "num_tokens"):
            assert [line[name] for line in others] == [line[name] for line in alone]
        for name, rel in (("loss", 0.01), ("grad_norm", 0.1)):  # rounding, amplified from step to step
            found, expected = ([line[name] for line in run] for run in (others, alone))
            assert found[0] == pytest.approx(expected[0], rel=1e-5)
            assert found[:4] == pytest.approx(expected[:4], rel=1e-3)
            assert found == pytest.approx(expected, rel=rel)
        assert manifest(runs[num_ranks]).details["order_hash"] == alone[-1]["order_hash"]


def test_any_number_of_ranks_makes_the_same_kind_of_artifact(runs: dict[int, Path]) -> None:
    alone = manifest(runs[1])
    for num_ranks in WORLDS[1:]:
        other = manifest(runs[num_ranks])
        assert (other.key, set(other.outputs)) == (alone.key, set(alone.outputs))
        assert other.environment["world_size"] == other.metrics["num_ranks"] == num_ranks
        for name in ("mask/blocks", "mask/policy", "tokenizer"):
            assert (
                read_manifest(runs[num_ranks] / name).fingerprint == read_manifest(runs[1] / name).fingerprint
            )
        open_artifact(runs[num_ranks] / "pretrain")


def test_fault_10_one_that_dies_takes_the_others_with_it_and_nothing_is_published(broken: Path) -> None:
    assert not (broken / "pretrain").exists()
    (work,) = (broken / ".work").glob("pretrain-*")
    assert [path.name for path in (work / "checkpoints").iterdir()] == ["step-00000006"]


def test_fault_10_resumed_with_the_same_number_the_result_is_that_of_an_unbroken_run(
    runs: dict[int, Path], broken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(broken, folder)
    ended = ranked.run(2, ranked.command, *pretrain(folder), folder=tmp_path / "told")
    assert ended.codes == [0, 0], ended.told
    assert "continues after step 6" in ended.told[0]
    weights = [sha256_file(each / "pretrain/model.safetensors") for each in (folder, runs[2])]
    assert weights[0] == weights[1]
    assert steps(folder)[-1]["order_hash"] == steps(runs[2])[-1]["order_hash"]


def test_fault_10_resumed_with_another_number_the_batches_are_the_same_and_it_is_said(
    runs: dict[int, Path], broken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(broken, folder)
    ended = ranked.run(1, ranked.command, *pretrain(folder), folder=tmp_path / "told")
    assert ended.codes == [0], ended.told
    assert "world_size: 2 -> 1" in ended.told[0]
    assert steps(folder)[-1]["order_hash"] == steps(runs[1])[-1]["order_hash"]
    assert steps(folder)[-1]["loss"] == pytest.approx(steps(runs[1])[-1]["loss"], rel=1e-3)


def test_fault_10_one_that_hangs_is_given_up(runs: dict[int, Path], tmp_path: Path) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    words = pretrain(folder, "--set", "runtime.rank_timeout=3s")
    process_began = time.monotonic()
    ended = ranked.run(2, hanging_once_the_first_gave_up, words, folder=tmp_path / "told")
    assert ended.codes[0] == 6, ended.told
    assert "lost contact" in ended.told[0]
    assert time.monotonic() - process_began < 60
    assert not (folder / "pretrain").exists()


def hanging_once_the_first_gave_up(words: list[str]) -> None:
    """The last rank hangs, for no longer than the test needs."""
    ranked._LIMIT = 15.0
    ranked.command_that_ends_at(2, "hangs", words)


def test_fault_10_one_that_fails_says_so_and_the_others_end_with_its_code(
    runs: dict[int, Path], tmp_path: Path
) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    ended = ranked.run(
        2, ranked.command_that_ends_at, 2, "fails", pretrain(folder, "--json"), folder=tmp_path
    )
    assert ended.codes == [4, 4], ended.told
    assert ended.told[1] == "error: rank 1: there: is bad [data.test]\n"
    error = json.loads(next(line for line in ended.told[0].splitlines() if line.startswith("{")))["error"]
    assert (error["code"], error["where"]) == ("data.test", "rank 1")


def test_fault_45_memory_that_one_lacks_is_no_fault_of_ours(runs: dict[int, Path], tmp_path: Path) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    ended = ranked.run(
        2, ranked.command_that_ends_at, 2, "lacks memory", pretrain(folder, "--json"), folder=tmp_path
    )
    assert ended.codes == [6, 6], ended.told
    error = json.loads(next(line for line in ended.told[0].splitlines() if line.startswith("{")))["error"]
    assert (error["code"], error["where"]) == ("resource.memory", "rank 1")


def test_fault_10_weights_that_are_not_the_same_on_all_ranks_are_not_saved(
    runs: dict[int, Path], tmp_path: Path
) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    ended = ranked.run(2, ranked.command_that_ends_at, 2, "drifts", pretrain(folder), folder=tmp_path)
    assert ended.codes == [5, 5], ended.told
    assert "after step 6 the weights of rank 1" in ended.told[0]
    assert not list((folder / ".work").glob("pretrain-*/checkpoints/step-*"))


def test_a_signal_to_one_rank_stops_all_at_the_same_step_with_the_state_saved(
    runs: dict[int, Path], tmp_path: Path
) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    ended = ranked.run(2, ranked.command_that_ends_at, 3, "is stopped", pretrain(folder), folder=tmp_path)
    assert ended.codes == [143, 143], ended.told
    assert "stopped by SIGTERM" in ended.told[0]
    assert ended.told[1] == ""
    assert next((folder / ".work").glob("pretrain-*/checkpoints/step-00000004")).is_dir()
    ended = ranked.run(2, ranked.command, *pretrain(folder), folder=tmp_path)
    assert ended.codes == [0, 0], ended.told
    weights = [sha256_file(each / "pretrain/model.safetensors") for each in (folder, runs[2])]
    assert weights[0] == weights[1]


def test_an_evaluation_that_a_signal_cuts_short_is_made_when_the_run_goes_on(
    runs: dict[int, Path], tmp_path: Path
) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    words = pretrain(folder)
    ended = ranked.run(2, ranked.command_stopped_as_it_evaluates, *words, folder=tmp_path)
    assert ended.codes == [143, 143], ended.told
    ended = ranked.run(2, ranked.command, *words, folder=tmp_path)
    assert ended.codes == [0, 0], ended.told
    assert evaluated(folder) == evaluated(runs[2]) != []


def test_a_budget_is_calibrated_by_all_ranks(runs: dict[int, Path], tmp_path: Path) -> None:
    folder = with_blocks(runs, tmp_path / "run")
    words = [word for word in pretrain(folder, "--budget", "3s") if word not in ("--steps", str(STEPS))]
    ended = ranked.run(2, ranked.command, *words, folder=tmp_path)
    assert ended.codes == [0, 0], ended.told
    plan = json.loads((folder / "pretrain/plan.json").read_text())
    assert plan["num_steps"] == manifest(folder).metrics["num_steps"] >= 1


def test_an_encoder_is_continued_by_all_ranks(runs: dict[int, Path], tmp_path: Path) -> None:
    def words(folder: Path) -> list[str]:
        init = ("--init", str(runs[1] / "pretrain"), "--steps", "3", "--threads", "1")
        return ["pretrain", str(sample("corpus.txt")), "--run", str(folder), *init]

    losses = []
    for num_ranks in (1, 2):
        folder = tmp_path / f"of-{num_ranks}"
        ended = ranked.run(num_ranks, ranked.command, *words(folder), folder=tmp_path / "told")
        assert ended.codes == [0] * num_ranks, ended.told
        losses.append([step["loss"] for step in steps(folder)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_stage_that_one_process_does_is_done_by_the_first(runs: dict[int, Path], tmp_path: Path) -> None:
    words = ["evaluate", "--run", str(runs[2]), "--task", "mlm", "--json", "--threads", "1"]
    ended = ranked.run(2, ranked.command, *words, folder=tmp_path)
    assert ended.codes == [0, 0], ended.told
    assert json.loads(ended.told[0].splitlines()[-1])["metrics"]["valid_loss"] > 0
    assert ended.told[1] == ""


def test_finetuning_is_divided(runs: dict[int, Path], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs[1], folder)
    results = []
    for num_ranks in (1, 2):
        words = ["finetune", "--run", str(folder), "--task", "sentiment", "--epochs", "0.5", "--threads", "1"]
        # What is hidden and what drops out depends on how a batch is cut, and each rank has a piece.
        words += ["--set", "finetune.mask_rate=0", "--set", "finetune.dropout=0", "--name", f"of-{num_ranks}"]
        ended = ranked.run(num_ranks, ranked.command, *words, folder=tmp_path / "told")
        assert ended.codes == [0] * num_ranks, ended.told
        results.append(read_manifest(folder / f"finetune/of-{num_ranks}").metrics["train_loss"])
    assert results[0] == pytest.approx(results[1], rel=1e-3)


def test_a_command_of_one_process_is_refused(tmp_path: Path) -> None:
    ended = ranked.run(2, ranked.command, "doctor", "--json", "--run", str(tmp_path / "run"), folder=tmp_path)
    assert ended.codes == [2, 2], ended.told
    assert json.loads(ended.told[0].splitlines()[0])["error"]["code"] == "usage.ranks"
    assert ended.told[1] == ""


def test_an_environment_that_names_no_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Place.read() == Place()
    for rank, world_size in (("2", "2"), ("-1", "2"), ("one", "2")):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", world_size)
        with pytest.raises(UsageError, match="torchrun"):
            Place.read()


def test_ranks_of_one_start_meet_in_a_store_that_earlier_ones_have_used() -> None:
    store = torch.distributed.HashStore()
    names = set()
    for _ in range(3):
        with ThreadPoolExecutor(3) as pool:
            here = [pool.submit(ranks.meet, store, Place(rank, 3), 30.0) for rank in range(3)]
        assert len({each.result() for each in here}) == 1
        names.add(here[0].result())
    assert len(names) == 3


def test_ranks_without_a_gpu_for_each_are_refused_before_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(*arguments: object, **more: object) -> None:
        raise LookupError("met")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "rendezvous", meet)
    for rank in (0, 1):
        with pytest.raises(ResourceError, match="2 ranks on this machine want a GPU each, there are 1"):
            ranks.Ranks.join(Place(rank, 2, rank, 2), 0.1)
        with pytest.raises(LookupError, match="met"):
            ranks.Ranks.join(Place(rank, 2, rank, 2), 0.1, device="cpu")


def test_a_rank_that_does_not_come_is_not_waited_for() -> None:
    for rank in (0, 1):
        with pytest.raises(ResourceError, match="has not come"):
            ranks.meet(torch.distributed.HashStore(), Place(rank, 2), 0.1)


@given(
    st.lists(st.tuples(*[st.integers(1, 9)] * 3), min_size=1, max_size=4),
    st.integers(1, 6),
)
def test_every_matrix_is_dealt_to_one_rank(shapes: list[tuple[int, int, int]], world_size: int) -> None:
    hands = divided.deal(shapes, world_size)
    for place, (count, _, _) in enumerate(shapes):
        assert sorted(number for hand in hands for number in hand[place]) == list(range(count))
    costs = [rows * columns * min(rows, columns) for _, rows, columns in shapes]
    loads = [sum(len(numbers) * cost for numbers, cost in zip(hand, costs, strict=True)) for hand in hands]
    assert max(loads) - min(loads) <= max(costs)


def test_muon_divided_does_what_muon_alone_does(tmp_path: Path) -> None:
    ended = ranked.run(3, step_of_muon, str(tmp_path), folder=tmp_path / "told")
    assert ended.codes == [0, 0, 0], ended.told
    alone = torch.nn.utils.parameters_to_vector(stepped(ranks.ALONE).parameters()).detach()
    for rank in range(3):
        found = torch.from_numpy(np.load(tmp_path / f"{rank}.npy"))
        torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


def stepped(among: ranks.Ranks) -> torch.nn.Module:
    encoder = tiny()
    generator = torch.Generator().manual_seed(1)
    for parameter in encoder.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    rates = {"muon_learning_rate": 0.02, "learning_rate": 1e-3, "weight_decay": 0.01}
    optimizer.muon_and_adamw(encoder, **rates, ranks=among).step(1.0)
    return encoder


def step_of_muon(folder: str) -> None:
    torch.set_num_threads(1)
    among = ranks.Ranks.join(Place.read(), 30.0)
    vector = torch.nn.utils.parameters_to_vector(stepped(among).parameters())
    np.save(Path(folder) / f"{among.rank}.npy", vector.detach().numpy())
    among.leave()


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_the_points_of_a_curve_are_dealt_evenly_and_each_once(world_size: int) -> None:
    starts = [Start("pretrained", Path("a")), Start("scratch", Path("a"), True), Start("words", None)]
    points = all_points(starts, [8, 32, 2000])
    shares = [share.deal(points, rank, world_size) for rank in range(world_size)]
    assert sorted(map(repr, points)) == sorted(repr(point) for each in shares for point in each)
    for start in starts:
        numbers = [sum(point.start == start for point in each) for each in shares]
        assert max(numbers) - min(numbers) <= 1

"""The pretrain stage: stopped, damaged, continued and extended, it ends in the same bits."""

from __future__ import annotations

import json
import re
import shutil
import signal
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from pretrain_world import LENGTH, Run, config, make_inputs
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM

from mlmctl.commands import fill
from mlmctl.config import RuntimeConfig
from mlmctl.engine import evaluate_mlm, loop, model, schedule
from mlmctl.engine.evaluate_mlm import FrozenMasks, evaluate
from mlmctl.errors import ArtifactError, DataError, DivergedError, InterruptedRun, ResourceError, UsageError
from mlmctl.events import Evaluated, Note, Plan
from mlmctl.signals import StopRequest
from mlmctl.stages import pretrain
from mlmctl.storage import check_space, sha256_file
from mlmctl.text.masking import IGNORED

STATE = ("model.safetensors", "optimizer.safetensors", "state.json")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def new_run(tmp_path: Path, inputs: dict[str, Path]):
    def make(name: str) -> Run:
        return Run(tmp_path / name, inputs)

    return make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, Path]) -> Run:
    """An unbroken run of twelve steps."""
    run = Run(tmp_path_factory.mktemp("whole") / "run", inputs)
    pretrain.run(config(), run.stage())
    return run


def state(run: Run, step: int) -> list[str]:
    return [sha256_file(run.root / f"work/checkpoints/step-{step:08d}" / name) for name in STATE]


def metrics(path: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, since: float | None = None) -> None:
    """Let SIGTERM arrive while `step` (from 0) is computed; `since` makes its patience run out."""
    request = StopRequest()
    real = loop.accumulate

    def accumulate(model, work, number, settings, stop):
        if number == step:
            request._handle(signal.SIGTERM, None)
            request._since = request._since if since is None else since
        return real(model, work, number, settings, request)

    monkeypatch.setattr(loop, "accumulate", accumulate)
    monkeypatch.setattr(pretrain, "train", lambda *arguments: loop.train(*arguments, stop=request))


def warnings(run: Run) -> list[str]:
    return [e.message for e in run.events if isinstance(e, Note) and e.level == "warning"]


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_a_run_learns_and_writes_what_stock_transformers_loads(
    architecture: str, whole: Run, new_run, inputs: dict[str, Path]
) -> None:
    if architecture != "modernbert":
        whole = new_run(architecture)
        pretrain.run(config(architecture=architecture), whole.stage())
    out = whole.root / "out"
    ours, _ = model.load(out, "masked_lm")
    stock = AutoModelForMaskedLM.from_pretrained(out, attn_implementation="eager").eval()
    input_ids = torch.randint(5, 90, (3, 16))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[1, 9:] = 0
    with torch.no_grad():
        a = ours(input_ids=input_ids, attention_mask=attention_mask).logits[attention_mask.bool()]
        b = stock(input_ids=input_ids, attention_mask=attention_mask).logits[attention_mask.bool()]
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert stock.config.model_type == architecture
    assert {"config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl", "plan.json"} <= {
        path.name for path in out.iterdir()
    }
    assert "mlmctl" not in (out / "config.json").read_text()
    assert [e.title for e in whole.events if isinstance(e, Plan)] == ["pretrain"]
    assert any("[word" in e.sample for e in whole.events if isinstance(e, Evaluated))


def test_longer_training_gets_below_the_unigram_loss(new_run) -> None:
    found = pretrain.run(config(steps=120, learning_rate=0.02, muon_learning_rate=0.05), new_run("a").stage())
    assert found["valid_loss"] < found["unigram_loss"] - 0.3
    assert found["uniform_loss"] == pytest.approx(np.log(96))
    assert found["num_steps"] == 120
    assert found["num_train_tokens"] == 120 * 96


def test_fault_07_a_stopped_run_continues_to_the_same_bits(new_run, whole: Run, monkeypatch) -> None:
    run = new_run("b")
    for number, step in enumerate((4, 9)):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(InterruptedRun) as stopped:
                pretrain.run(config(), run.stage(f"out{number}"))
            assert stopped.value.exit_code == 143
        assert (run.root / f"work/checkpoints/step-{step + 1:08d}").is_dir()
    pretrain.run(config(), run.stage())
    assert state(run, 12) == state(whole, 12)
    assert sha256_file(run.root / "out/model.safetensors") == sha256_file(
        whole.root / "out/model.safetensors"
    )
    assert metrics(run.root / "out/metrics.jsonl") == metrics(whole.root / "out/metrics.jsonl")


def test_fault_07_a_step_that_cannot_end_is_abandoned(new_run, whole: Run, monkeypatch) -> None:
    run = new_run("b")
    with monkeypatch.context() as patch:
        stop_at(patch, 4, since=-1e9)
        with pytest.raises(InterruptedRun):
            pretrain.run(config(), run.stage("out0"))
    assert (run.root / "work/checkpoints/step-00000004").is_dir()
    assert len(metrics(run.root / "work/metrics.jsonl")) == 4
    pretrain.run(config(), run.stage())
    assert state(run, 12) == state(whole, 12)


def test_a_signal_during_an_evaluation_saves_the_state(new_run, whole: Run, monkeypatch) -> None:
    run = new_run("b")

    def interrupted(*arguments, **more):
        raise InterruptedRun(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.evaluate_mlm, "evaluate", interrupted)
        with pytest.raises(InterruptedRun):
            pretrain.run(config(), run.stage("out0"))
    assert (run.root / "work/checkpoints/step-00000010").is_dir()
    pretrain.run(config(), run.stage())
    assert state(run, 12) == state(whole, 12)
    assert metrics(run.root / "out/metrics.jsonl") == metrics(whole.root / "out/metrics.jsonl")


def test_faults_03_and_06_a_kill_after_a_checkpoint_loses_only_the_steps_since(
    new_run, whole: Run, monkeypatch
) -> None:
    run = new_run("b")

    def kill(line):
        if line["step"] == 9:
            raise KeyboardInterrupt  # nothing handles it: as good as SIGKILL for the work folder

    real = loop.Checkpoints.log
    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoints, "log", lambda self, line: (real(self, line), kill(line)))
        with pytest.raises(KeyboardInterrupt):
            pretrain.run(config(), run.stage("out0"))
    with (run.root / "work/metrics.jsonl").open("a") as file:
        file.write('{"step": 10, "lo')
    pretrain.run(config(), run.stage())
    assert state(run, 12) == state(whole, 12)
    assert metrics(run.root / "out/metrics.jsonl") == metrics(whole.root / "out/metrics.jsonl")


def test_a_longer_run_continues_from_before_the_decay(new_run, whole: Run) -> None:
    longer, extended = new_run("longer"), new_run("extended")
    pretrain.run(config(steps=30, warmup_steps=1), longer.stage())
    pretrain.run(config(steps=12, warmup_steps=1), extended.stage("out0"))
    pretrain.run(config(steps=30, warmup_steps=1), extended.stage())
    assert any("continues after step 6" in e.message for e in extended.events if isinstance(e, Note))
    assert state(extended, 30) == state(longer, 30)
    assert metrics(extended.root / "out/metrics.jsonl") == metrics(longer.root / "out/metrics.jsonl")
    kept = sorted(path.name for path in (extended.root / "work/checkpoints").iterdir())
    assert kept == ["step-00000015", "step-00000030"]


def test_a_shorter_run_than_begun_is_refused(new_run) -> None:
    run = new_run("a")
    pretrain.run(config(steps=4), run.stage("out0"))
    with pytest.raises(UsageError, match="steps 3 is 3 steps, this run has 4"):
        pretrain.run(config(steps=3), run.stage())


@pytest.mark.parametrize("num_bad", [3, 10])
def test_fault_42_steps_without_a_finite_loss_are_skipped_then_fatal(new_run, monkeypatch, num_bad) -> None:
    run = new_run("a")
    real = loop.take_step

    def take_step(optimizer, factor, loss, max_grad_norm):
        step = len(metrics(run.root / "work/metrics.jsonl"))
        bad = 2 <= step < 2 + num_bad
        if bad:
            optimizer.parameters()[0].grad[0] = float("nan")
        return real(optimizer, factor, loss, max_grad_norm)

    monkeypatch.setattr(loop, "take_step", take_step)
    monkeypatch.setattr(schedule, "is_evaluated", lambda step: False)
    if num_bad < loop.MAX_SKIPPED_IN_A_ROW:
        assert pretrain.run(config(save_interval="1s"), run.stage())["num_skipped_steps"] == num_bad
        model.load(run.root / "out", "masked_lm")  # refuses weights that are not finite
        assert sum("skipped" in message for message in warnings(run)) == num_bad
    else:
        with pytest.raises(DivergedError) as error:
            pretrain.run(config(decay_fraction=0.8), run.stage())
        assert error.value.exit_code == 8
        assert (run.root / "work/checkpoints/step-00000002").is_dir()


def test_fault_43_a_jump_of_the_loss_is_told(new_run, monkeypatch) -> None:
    run = new_run("a")
    real = loop.accumulate

    def accumulate(model, work, number, settings, stop):
        done = real(model, work, number, settings, stop)
        return done._replace(loss=done.loss + 30 * (number == 5))

    monkeypatch.setattr(loop, "accumulate", accumulate)
    pretrain.run(config(), run.stage())
    assert [m for m in warnings(run) if "jumped" in m and "step 6" in m]


def test_fault_21_a_damaged_checkpoint_is_told_and_the_one_before_it_used(new_run, whole: Run) -> None:
    run = new_run("b")
    shutil.copytree(whole.root / "work", run.root / "work")
    weights = run.root / "work/checkpoints/step-00000012/model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    pretrain.run(config(), run.stage())
    assert [m for m in warnings(run) if "step-00000012" in m]
    assert state(run, 12) == state(whole, 12)


def test_fault_21_with_no_valid_checkpoint_the_run_does_not_start_again(new_run, whole: Run) -> None:
    run = new_run("b")
    shutil.copytree(whole.root / "work", run.root / "work")
    for path in (run.root / "work/checkpoints").iterdir():
        (path / "optimizer.safetensors").unlink()
    with pytest.raises(ArtifactError, match="none of the 2 checkpoints"):
        pretrain.run(config(), run.stage())


def test_fault_11_a_changed_environment_is_told_once(new_run, whole: Run) -> None:
    from dataclasses import replace

    run = new_run("b")
    pretrain.run(config(steps=4), replace(run.stage("out0"), environment={"num_threads": 1}))
    pretrain.run(config(steps=8), replace(run.stage(), environment={"num_threads": 2}))
    assert [m for m in warnings(run) if "num_threads: 1 -> 2" in m] == warnings(run)[:1]


def test_fault_12_too_little_disk_is_said_before_the_first_step(new_run, monkeypatch) -> None:
    run = new_run("a")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 900, 100))
    with pytest.raises(ResourceError, match="bytes of disk"):
        pretrain.run(config(), run.stage())
    assert not (run.root / "work/metrics.jsonl").exists()


def test_fault_12_what_a_stopped_run_has_written_is_not_asked_for_again(new_run, monkeypatch) -> None:
    run = new_run("a")
    pretrain.run(config(steps=4), run.stage("out0"))
    held = sum(path.stat().st_size for path in (run.root / "work").rglob("*") if path.is_file())
    needed = []
    monkeypatch.setattr(pretrain, "check_space", lambda folder, need, held: needed.append((need, held)))
    pretrain.run(config(steps=8), run.stage("out1"))
    [(need, found)] = needed
    assert found == pytest.approx(held, rel=0.1)
    free = int(1.05 * need - found) + 1
    for lacking in (0, 2):
        shortage = shutil._ntuple_diskusage(2 * free, free, free - lacking)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, found=shortage: found)
        with pytest.raises(ResourceError) if lacking else nullcontext():
            check_space(run.root / "work", need, held=found)


def test_the_final_loss_is_that_of_the_dense_stock_model(whole: Run, inputs: dict[str, Path]) -> None:
    masks = FrozenMasks.open(inputs["mask/policy"], inputs["mask/blocks"])
    stock = AutoModelForMaskedLM.from_pretrained(whole.root / "out").eval()
    input_ids = torch.from_numpy(masks.input_ids.astype(np.int64))
    with torch.no_grad():
        dense = stock(
            input_ids=input_ids,
            attention_mask=(input_ids != 0).long(),
            labels=torch.from_numpy(masks.labels.astype(np.int64)),
        ).loss
    ours = evaluate(stock, masks, torch.device("cpu"))["valid_loss"]
    assert ours == pytest.approx(float(dense), abs=1e-5)


def test_the_filled_word_is_whole_by_the_stored_word_starts(whole: Run, inputs: dict[str, Path]) -> None:
    masks = FrozenMasks.open(inputs["mask/policy"], inputs["mask/blocks"])
    tokenizer = Tokenizer.from_file(str(whole.root / "out/tokenizer.json"))
    encoder, _ = model.load(whole.root / "out", "masked_lm")
    num_samples = 0
    for row, labels in enumerate(masks.labels):
        text_ids, starts = evaluate_mlm._text(masks, row)
        restored = np.where(labels == IGNORED, masks.input_ids[row], labels)
        assert np.array_equal(text_ids, restored)
        alone = starts[:-1] & starts[1:] & masks.specials.is_ordinary[text_ids[:-1]]
        for at in range(LENGTH - 1):
            only = np.arange(LENGTH) == at
            found = evaluate_mlm._whole_word(only & starts, text_ids, starts, tokenizer)
            assert found == (at if alone[at] else None)
        sample = evaluate_mlm.filled_sentence(encoder, masks, tokenizer, row, torch.device("cpu"))
        shown = re.search(r"\[(\w+)\](?: \((\w+)\))?", sample)
        assert bool(shown) == bool((alone & (labels[:-1] != IGNORED)).any())
        if shown:
            num_samples += 1
            assert tokenizer.token_to_id(shown[2] or shown[1]) in labels[:-1][alone]
    assert num_samples


def test_fill_gives_probable_tokens_for_each_mask_and_refuses_a_text_without(whole: Run) -> None:
    runtime = RuntimeConfig(threads=1)
    texts = ["wordaf [MASK] wordah [MASK]"]
    (row,) = fill.run(whole.root / "out", texts, 3, runtime)
    assert [len(fillings) for fillings in row["masks"]] == [3, 3]
    first = [filling["probability"] for filling in row["masks"][0]]
    assert first == sorted(first, reverse=True)
    assert Tokenizer.from_file(str(whole.root / "out/tokenizer.json")).token_to_id(
        row["masks"][0][0]["token"]
    )
    with pytest.raises(DataError, match="line 2") as error:
        list(fill.run(whole.root / "out", [*texts, "no mask"], 3, runtime))
    assert error.value.exit_code == 4

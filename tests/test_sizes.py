"""`preset auto`: one rule, monotone, the same for doctor, a dry run and pretraining; chosen once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import Shell, write_corpus
from hypothesis import given
from hypothesis import strategies as st
from pretrain_world import Run, config, make_inputs

from mlmctl.config import PretrainConfig
from mlmctl.engine import calibrate, model, sizes
from mlmctl.engine.architectures import ARCHITECTURES, Shape
from mlmctl.engine.sizes import MOST_EPOCHS, TOKENS_PER_PARAMETER, Size
from mlmctl.errors import UsageError
from mlmctl.manifest import read_manifest
from mlmctl.stages import pretrain

AUTO = (
    "--preset", "auto", "--vocab-size", "120", "--block-length", "32",
    "--set", "pretrain.tokens_per_step=256",
)  # fmt: skip
PRESETS = [
    Size(name, Shape(64, 2, 2, 64), num_parameters)
    for name, num_parameters in (("tiny", 10**6), ("mini", 5 * 10**6), ("small", 2 * 10**7), ("base", 10**8))
]
NO_SHAPE = dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"))


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLMCTL_RUN", raising=False)
    return Shell(capsys)


def choose(text: float, seconds: float, speeds: Sequence[float], most: int = 3) -> int:
    """The place of the size chosen; `speeds` in tokens a second, sizes beyond `most` are too large."""

    def tokens_in(size: Size) -> float:
        return seconds * speeds[PRESETS.index(size)]

    found = sizes.choose(PRESETS, text, "budget", tokens_in, lambda size: PRESETS.index(size) <= most)
    return [size.name for size in PRESETS].index(found.preset)


@given(
    st.floats(1e3, 1e10),
    st.floats(1.0, 1e6),
    st.lists(st.floats(10.0, 1e6), min_size=4, max_size=4),
    st.floats(1.0, 1e3),
    st.floats(1.0, 1e3),
    st.integers(0, 3),
)
def test_more_text_time_speed_or_memory_never_gives_a_smaller_model(
    text: float, seconds: float, speeds: list[float], more_text: float, more_time: float, most: int
) -> None:
    place = choose(text, seconds, speeds, most)
    assert choose(more_text * text, seconds, speeds, most) >= place
    assert choose(text, more_time * seconds, speeds, most) >= place
    assert choose(text, seconds, [more_time * speed for speed in speeds], most) >= place
    assert choose(text, seconds, speeds) >= place
    assert place <= most


@given(st.floats(1e3, 1e10), st.floats(1.0, 1e6))
def test_the_chosen_size_is_fed_enough_and_the_next_is_not(text: float, seconds: float) -> None:
    speeds = [4e5, 1e5, 2e4, 4e3]
    place = choose(text, seconds, speeds)
    fed = [min(MOST_EPOCHS * text, seconds * speed) / TOKENS_PER_PARAMETER for speed in speeds]
    assert place == 0 or fed[place] >= PRESETS[place].num_parameters
    assert place == 3 or fed[place + 1] < PRESETS[place + 1].num_parameters


def test_a_size_is_timed_only_if_the_one_before_it_leaves_it_a_chance() -> None:
    timed, num_tokens = [], int(TOKENS_PER_PARAMETER * 6e6)

    def tokens_in(size: Size) -> float:
        timed.append(size.name)
        return num_tokens

    found = sizes.choose(PRESETS, 1e12, "budget 10m", tokens_in)
    assert timed == ["tiny", "mini"]
    assert (found.preset, found.num_parameters, found.num_tokens) == ("mini", 5 * 10**6, num_tokens)
    assert "small" in found.reason
    assert "budget 10m" in found.reason
    assert "4 epochs" in sizes.choose(PRESETS, 1e3, "budget 10m", tokens_in).reason
    assert "memory" in sizes.choose(PRESETS, 1e12, "", tokens_in, lambda size: size.name == "tiny").reason


@pytest.mark.parametrize("architecture", ["modernbert", "bert"])
def test_candidates_are_the_presets_by_size(architecture: str) -> None:
    found = sizes.presets(architecture, 8192, 128, {"pad": 0, "cls": 2, "sep": 3})
    assert [size.name for size in found] == ["tiny", "mini", "small", "base"]
    assert [size.shape for size in found] == list(ARCHITECTURES[architecture].presets.values())
    assert found[1].num_parameters == pytest.approx(5.2e6, rel=0.03)


def test_auto_has_no_shape_of_its_own() -> None:
    with pytest.raises(ValueError, match="hidden_size cannot be chosen with preset auto"):
        PretrainConfig(preset="auto", hidden_size=64)
    with pytest.raises(UsageError, match="auto"):
        model.shape(PretrainConfig(preset="auto"))


def test_auto_is_chosen_once_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, given, chosen = Run(tmp_path / "run", make_inputs(tmp_path / "inputs")), [], calibrate.preset

    def preset(*arguments):
        given.append(arguments[1].num_tokens)
        return chosen(*arguments)

    monkeypatch.setattr(calibrate, "preset", preset)
    asked = config(preset="auto", steps=2, **NO_SHAPE)
    stage = run.stage("out0")
    pretrain.run(asked, stage)
    committed = json.loads((run.root / "work/plan.json").read_text())["choice"]
    assert committed["preset"] == "tiny"
    assert stage.details["preset"] == committed
    monkeypatch.setattr(sizes, "TOKENS_PER_PARAMETER", 0.0)  # by which it would be the largest
    again = run.stage("out1")
    pretrain.run(asked.model_copy(update={"steps": 3}), again)
    assert again.details["preset"] == committed
    assert len(given) == 1
    assert json.loads((run.root / "out1/config.json").read_text())["hidden_size"] == 128


def test_on_a_budget_the_speed_of_each_size_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_inputs(tmp_path / "inputs")
    monkeypatch.setattr(sizes, "MOST_EPOCHS", 10**6)
    speeds = {128: 1e6, 256: 1e5, 512: 1e3}  # tokens a second by width
    monkeypatch.setattr(
        calibrate, "tokens_per_second", lambda config, start, *rest: speeds[start.shape.hidden_size]
    )
    for seconds, expected in ((2, "tiny"), (3600, "mini")):
        asked = config(preset="auto", steps=None, budget=f"{seconds}s", **NO_SHAPE)
        assert pretrain.outlook(
            asked, inputs, None, Run(tmp_path, inputs).stage(expected).runtime
        ).startswith(expected)


def test_doctor_a_dry_run_and_pretraining_say_the_same(shell: Shell, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.txt")
    length = ("--steps", "2")
    unread = shell("pretrain", corpus, *AUTO, *length, "--dry-run", "--json").json["stages"][-1]
    assert unread["reason"].startswith("after")
    assert shell("mask", corpus, *AUTO[2:6]).code == 0
    dry = shell("pretrain", corpus, *AUTO, *length, "--dry-run", "--json").json["stages"][-1]["reason"]
    plan = shell("doctor", corpus, *AUTO, *length, "--json").json["plan"]
    done = shell("pretrain", corpus, *AUTO, *length, "--json")
    manifest = read_manifest(tmp_path / "run/pretrain")
    assert (done.code, manifest.config["preset"]) == (0, "auto")
    assert manifest.details["preset"]["preset"] == plan["preset"] == plan["fitting_preset"] == "tiny"
    assert dry == f"new; {manifest.details['preset']['reason']}"
    assert plan["fitting_reason"].split(":")[0] == manifest.details["preset"]["reason"].split(":")[0]
    fresh = shell("pretrain", corpus, *AUTO, *length, "--json").json["stages"][-1]
    assert fresh["status"] == "fresh"
    other = shell("pretrain", corpus, *AUTO[2:], "--preset", "mini", *length, "--json")
    assert (other.code, "preset: 'auto' -> 'mini'" in other.json["error"]["message"]) == (5, True)
    assert shell("bench", corpus, "--preset", "auto", "--json").json["error"]["code"] == "usage.bench"

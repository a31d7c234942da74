"""Recipes: strict reading, precedence, origins."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlmctl import recipe
from mlmctl.config import Recipe, TokenizerConfig, changed_fields, seconds
from mlmctl.errors import UsageError


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_precedence_is_flag_environment_recipe_default(tmp_path: Path) -> None:
    file = write(tmp_path / "r.toml", "[tokenizer]\nvocab_size = 100\n[mask]\nblock_length = 32\nseed = 4\n")
    environment = {"MLMCTL_TOKENIZER_VOCAB_SIZE": "200", "MLMCTL_MASK_BLOCK_LENGTH": "64", "MLMCTL_RUN": "x"}
    found = recipe.resolve(file, environment, (), {"tokenizer.vocab_size": 300})
    assert found.recipe.tokenizer.vocab_size == 300
    assert found.recipe.mask.block_length == 64
    assert found.recipe.mask.seed == 4
    assert found.origins["tokenizer.vocab_size"] == "flag"
    assert found.origins["mask.block_length"] == "environment"
    assert found.origins["mask.seed"] == "recipe r.toml"
    assert ("mask.valid_fraction", 0.01, "default") in recipe.flatten(found)


def test_a_flag_for_the_budget_overrules_steps_in_the_recipe(tmp_path: Path) -> None:
    file = write(tmp_path / "r.toml", "[pretrain]\nsteps = 10\n")
    assert recipe.resolve(file, {}, (), {}).recipe.pretrain.steps == 10
    found = recipe.resolve(file, {}, (), {"pretrain.budget": "5m"}).recipe.pretrain
    assert (found.steps, found.budget) == (None, "5m")


def test_set_reads_values_as_a_recipe_does() -> None:
    found = recipe.resolve(
        None, {}, ["mask.rate_end=0.2", "tokenizer.cased=true", "finetune.name=100"], {}
    ).recipe
    assert (found.mask.rate_end, found.tokenizer.cased, found.finetune.name) == (0.2, True, "100")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tokenizer]\nvocab_sise = 1\n", "did you mean 'vocab_size'"),
        ("[tokeniser]\n", "tokenizer"),
        ("[tokenizer]\nvocab_size = 1\nvocab_size = 2\n", "is not TOML"),
        ("[tokenizer]\nvocab_size = 1e99\n", "vocab_size"),
        ("[tokenizer]\nvocab_size = 99999999999\n", "vocab_size"),
        ("[tokenizer]\nvocab_size = true\n", "vocab_size"),
        ("[mask]\nrate_start = nan\n", "rate_start"),
        ("[pretrain]\nbudget = 'soon'\n", "not a duration"),
        ("[pretrain]\nhidden_size = 100\nnum_attention_heads = 3\n", "multiple"),
        ("x = " + "[" * 5000, "nested|TOML"),
        ("# " + "x" * 70_000, "larger than"),
        ("[corpus]\npaths = 3\n", "paths"),
    ],
)
def test_fault_49_a_bad_recipe_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "r.toml", text)
    with pytest.raises(UsageError, match=message) as caught:
        recipe.resolve(file, {}, (), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting", ["steps=3", "pretrain.steps", "pretrain=3", "nothing.x=1", "pretrain.x=1"]
)
def test_a_bad_setting_is_refused(setting: str) -> None:
    with pytest.raises(UsageError):
        recipe.resolve(None, {}, [setting], {})


def test_an_unknown_recipe_lists_the_known() -> None:
    with pytest.raises(UsageError, match="quick"):
        recipe.find("quik")


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_is_read_and_differs_from_the_defaults(name: str) -> None:
    found = recipe.resolve(name, {}, (), {})
    assert recipe.summary(recipe.find(name))
    defaults = {key: value for key, value, _ in recipe.flatten(recipe.resolve(None, {}, (), {}))}
    for key, value, origin in recipe.flatten(found):
        if origin != "default":
            assert value != defaults[key], f"{key} only repeats the default"


def test_free_fields_are_in_no_key() -> None:
    assert TokenizerConfig(path="x").key_fields() == TokenizerConfig().key_fields()
    assert changed_fields(TokenizerConfig().key_fields(), TokenizerConfig(cased=True).key_fields()) == [
        "cased: False -> True"
    ]


@given(st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_durations_add_up(hours: int, minutes: int, secs: int) -> None:
    assert seconds(f"{hours}h{minutes}m{secs}s") == hours * 3600 + minutes * 60 + secs


@given(st.text(max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert seconds(text) >= 1


def test_defaults_are_a_valid_recipe() -> None:
    assert recipe.resolve(None, {}, (), {}).recipe == Recipe()

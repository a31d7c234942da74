"""The configuration of every stage: one strict, frozen table each, with its defaults and its limits.

The tables are the ones a recipe may have. A field that cannot change the result is marked `_free`:
it is left out of the key of the artifact, so changing it never makes anything stale.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def seconds(duration: str) -> float:
    """Seconds in a duration such as `45s`, `10m`, `1h30m`; ValueError for anything else."""
    text = duration.strip().lower()
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{duration!r} is not a duration such as 45s, 10m or 1h30m")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if not 1.0 <= total <= 366 * 86400.0:
        raise ValueError(f"{duration!r} is not between one second and a year")
    return total


def _check_duration(duration: str) -> str:
    seconds(duration)
    return duration


def _free(default: Any, **limits: Any) -> Any:
    return Field(default, json_schema_extra={"free": True}, **limits)


Duration = Annotated[str, AfterValidator(_check_duration)]
Rate = Annotated[float, Field(gt=0.0, le=0.95)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


def _check_similarity(value: float) -> float:
    if 0.0 < value < 0.5:
        raise ValueError("is 0 (off), or from 0.5 to 1")
    return value


Share = Annotated[float, Field(ge=0.0, le=1.0)]
Similarity = Annotated[float, Field(ge=0.0, le=1.0), AfterValidator(_check_similarity)]
OnBad = Literal["fail", "skip"]
Preset = Literal["tiny", "mini", "small", "base", "auto"]
MaskUnit = Literal["token", "word", "span"]


class Table(BaseModel):
    """A recipe table: unknown keys, wrong types and numbers out of range are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def key_fields(self) -> dict[str, Any]:
        """The fields that can change the result, as plain JSON values."""
        free = {
            name
            for name, info in type(self).model_fields.items()
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("free")
        }
        return self.model_dump(mode="json", exclude=free)


class RuntimeConfig(Table):
    """`[runtime]`: where the work is done; in no key (a changed machine is told, not refused)."""

    threads: int = Field(0, ge=0, le=4096, description="CPU threads; 0 means all that are ours")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    rank_timeout: Duration = Field("5m", description="silence of a rank after which the others give up")


class CorpusConfig(Table):
    """`[corpus]`: which text, and how it is read."""

    paths: list[str] = _free([], max_length=100_000)
    unit: Literal["auto", "line", "paragraph", "file"] = "auto"
    text_column: str = "text"
    encoding: str = "utf-8"
    encoding_errors: Literal["strict", "replace"] = "strict"
    min_words: int = Field(0, ge=0, le=2**20, description="of a document; shorter ones are dropped")
    min_letters: Share = Field(0.0, description="share of its characters; others are dropped")
    max_repetition: Share = Field(1.0, description="share of it in repeated lines; others are dropped")


class TokenizerConfig(Table):
    """`[tokenizer]`: the vocabulary; `path` pins an existing tokenizer folder instead of training."""

    type: Literal["wordpiece", "bpe"] = Field("wordpiece", description="bpe is byte-level")
    vocab_size: int = Field(8192, ge=64, le=1_000_000)
    cased: bool = False
    path: str = _free("")
    extend: int = Field(0, ge=0, le=1_000_000, description="new entries for a pinned tokenizer")


class MaskConfig(Table):
    """`[mask]`: packing into blocks, and the policy of what is hidden."""

    block_length: int = Field(128, ge=8, le=8192, description="tokens a block, specials included")
    near_duplicates: Similarity = Field(0.0, description="similarity from which on they go; 0: all stay")
    valid_fraction: Fraction = Field(0.01, description="share of documents held out, by content hash")
    rate_start: Rate = Field(0.30, description="share of tokens masked before the decay begins")
    rate_end: Rate = Field(0.15, description="share masked at the end of the decay")
    unit: MaskUnit = Field("token", description="what is hidden as a whole, in training")
    span_length: float = Field(3.8, ge=1.0, le=8.0, description="mean words a span, clipped at 10")
    num_valid_blocks: int = Field(512, ge=1, le=1_000_000, description="most blocks frozen")
    seed: int = Field(0, ge=0, lt=2**31, description="of the frozen validation masks")


_SIZE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
_SHAPE = ("architecture", "preset", *_SIZE, "initialization")
_GENTLE = {"learning_rate": 3e-4, "muon_learning_rate": 0.002}
"""Defaults where an encoder is continued: the rates for random weights would undo what it knows."""


class PretrainConfig(Table):
    """`[pretrain]`: the encoder and how long it learns. Of steps, epochs, budget the first set wins."""

    init: str = _free("", description="encoder to continue: a folder, or hf:OWNER/NAME")
    architecture: Literal["modernbert", "bert"] = "modernbert"
    preset: Preset = Field("mini", description="auto: the size that fits text, length and machine")
    hidden_size: int | None = Field(None, ge=16, le=8192)
    num_hidden_layers: int | None = Field(None, ge=1, le=128)
    num_attention_heads: int | None = Field(None, ge=1, le=128)
    intermediate_size: int | None = Field(None, ge=16, le=65536)
    initialization: Literal["cooccurrence", "random"] = Field(
        "cooccurrence",
        description="word vectors of this text and heads that look at neighbours, or noise",
    )
    budget: Duration = "10m"
    steps: int | None = Field(None, ge=1, le=100_000_000)
    epochs: float | None = Field(None, gt=0, le=100_000)
    tokens_per_step: int = Field(8192, ge=8, le=2**26)
    learning_rate: float = Field(3e-3, gt=0, le=1, description="AdamW: embeddings, norms, biases")
    muon_learning_rate: float = Field(0.02, gt=0, le=10, description="Muon: hidden matrices")
    weight_decay: float = Field(0.01, ge=0, le=1)
    warmup_steps: int = Field(30, ge=0, le=1_000_000)
    decay_fraction: float = Field(0.6, ge=0.0, le=1.0, description="share of the steps that decay")
    max_grad_norm: float = Field(1.0, gt=0, le=1e6)
    defaults: Literal[1] = Field(
        1, description="number of the choices that no setting names (Muon's momentum): others, another key"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    save_interval: Duration = _free("60s")

    @model_validator(mode="before")
    @classmethod
    def _gentle_with_init(cls, values: Any) -> Any:
        return {**_GENTLE, **values} if isinstance(values, dict) and values.get("init") else values

    @model_validator(mode="after")
    def _shape_comes_with_init(self) -> PretrainConfig:
        given = [name for name in _SHAPE if name in self.model_fields_set]
        if self.init and given:
            raise ValueError(f"{given[0]} cannot be chosen with init: the encoder to continue has its own")
        return self

    @model_validator(mode="after")
    def _auto_chooses_the_shape(self) -> PretrainConfig:
        given = [name for name in _SIZE if getattr(self, name) is not None]
        if self.preset == "auto" and given:
            raise ValueError(f"{given[0]} cannot be chosen with preset auto, which chooses it")
        return self

    @model_validator(mode="after")
    def _heads_divide_width(self) -> PretrainConfig:
        if self.hidden_size and self.num_attention_heads and self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size must be a multiple of num_attention_heads")
        return self


class FinetuneConfig(Table):
    """`[finetune]`: a task, its labelled data, and how the encoder is adapted."""

    task: Literal["sentiment", "classify", "tags", "qa"] = "sentiment"
    name: str = _free("")
    data: str = _free("")
    model: str = _free("")
    from_scratch: bool = False
    max_examples: int | None = Field(None, ge=1)
    text_column: str = "text"
    label_column: str = "label"
    tokens_column: str = Field("tokens", description="in columns the first, or a number from 1")
    tags_column: str = Field("tags", description="in columns the last, or a number from 1")
    on_bad: OnBad = Field("fail", description="what a question that cannot be used does (qa)")
    doc_stride: int = Field(32, ge=0, le=4096, description="tokens that windows of a passage share (qa)")
    num_best: int = Field(20, ge=1, le=1000, description="answers kept of each window and question (qa)")
    max_answer_length: int = Field(30, ge=1, le=512, description="tokens of the longest answer (qa)")
    window_length: int | None = Field(None, ge=8, le=8192, description="tokens; unset: the encoder's block")
    epochs: float | None = Field(None, gt=0, le=10_000)
    batch_size: int | None = Field(None, ge=1, le=65536, description="windows a step")
    learning_rate: float | None = Field(None, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=1)
    dropout: Fraction = 0.1
    mask_rate: Fraction | None = Field(
        None, description="share of the tokens masked in training, others each time; unset: by the task"
    )
    shrink_to: float | None = Field(
        None,
        ge=0,
        description="root mean square of a layer's matrix at most, when it begins, in units of "
        "initializer_range; 0: as it was trained; unset: by the task for one of `pretrain`, 0 for others",
    )
    cycles: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="how often the learning rate falls to zero; the weights at the ends of several are "
        "averaged; unset: by the task",
    )
    defaults: Literal[3] = Field(
        3, description="number of the rules by which a task chooses what is unset: others, another key"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    save_interval: Duration = _free("60s")


class EvaluateConfig(Table):
    """`[evaluate]`: a model, its test data, and the gates that the result must pass."""

    task: Literal["sentiment", "classify", "tags", "qa", "mlm", "pairs"] = "sentiment"
    name: str = _free("")
    data: str = _free("")
    model: str = _free("")
    text_column: str = "text"
    label_column: str = "label"
    tokens_column: str = Field("tokens", description="in columns the first, or a number from 1")
    tags_column: str = Field("tags", description="in columns the last, or a number from 1")
    on_bad: OnBad = Field("fail", description="what a question that cannot be used does (qa)")
    max_examples: int | None = Field(None, ge=1)
    method: Literal["original", "within-word-l2r"] = Field(
        "within-word-l2r", description="pseudo-log-likelihood: of task pairs, and of the command score"
    )
    batch_size: int = _free(64, ge=1, le=65536)
    fail_under: dict[str, float] = _free({})
    baseline: str = _free("", description="an earlier evaluation, to compare with")
    max_drop: dict[str, float] = _free({})


class Recipe(Table):
    """All tables. No function below the command line is handed more than the one it needs."""

    runtime: RuntimeConfig = RuntimeConfig()
    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    mask: MaskConfig = MaskConfig()
    pretrain: PretrainConfig = PretrainConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _tokenizer_comes_with_init(self) -> Recipe:
        given = sorted(self.tokenizer.model_fields_set & {"type", "vocab_size", "cased"})
        for name, named in (("pretrain.init", self.pretrain.init), ("tokenizer.path", self.tokenizer.path)):
            if named and given:
                raise ValueError(f"tokenizer.{given[0]} cannot be chosen with {name}, which has its own")
        return self


def settings(config: Mapping[str, Any], inputs: Container[str]) -> dict[str, Any]:
    """What was a setting in the configuration of an artifact that was made from `inputs`.

    The shape is in every key of an encoder, and yet is none where it came with the encoder to continue.
    """
    return {name: value for name, value in config.items() if not ("init" in inputs and name in _SHAPE)}


def changed_fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """`field: old -> new` for every field that differs; both as `Table.key_fields` gives them."""
    names = sorted(set(old) | set(new))
    return [f"{n}: {old.get(n)!r} -> {new.get(n)!r}" for n in names if old.get(n) != new.get(n)]

"""The encoder: stock ModernBERT classes in four sizes, built, saved and loaded so that anybody can use them.

Nothing here adds a module or changes a forward pass: what we train is what `transformers` 4.57 and 5
load, and speed comes from the attention function and from what the loss asks of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    ModernBertConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from ..config import PretrainConfig
from ..errors import ArtifactError, UsageError
from . import attention
from .architectures import ARCHITECTURES, Head

_CPU = torch.device("cpu")
_MAX_FULL_LENGTH = 512
"""Up to here every layer sees the whole block; longer blocks take ModernBERT's windows in two of three."""


@dataclass(frozen=True)
class Shape:
    """The size of an encoder."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int


PRESETS = {  # parameters at a vocabulary of 8,192 (base: of 30,522)
    "tiny": Shape(128, 2, 2, 384),  # 1.5 million
    "mini": Shape(256, 4, 4, 640),  # 5.2 million
    "small": Shape(512, 6, 8, 1024),  # 20 million
    "base": Shape(768, 12, 12, 2048),  # 109 million
}


@dataclass(frozen=True)
class LoadReport:
    """What loading did with the tensors; names sorted."""

    num_loaded: int
    """Encoder tensors (below `model.`) that came from the file: all of them, or loading is refused."""
    new: tuple[str, ...]
    """Tensors of the model that the file does not have in that shape: a fresh head, seeded."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the model has no place for: another head."""


def shape(config: PretrainConfig) -> Shape:
    """The preset's shape with the overrides of the recipe. UsageError if the heads do not divide it."""
    wanted = {name: getattr(config, name) for name in asdict(PRESETS["mini"])}
    chosen = replace(PRESETS[config.preset], **{name: n for name, n in wanted.items() if n is not None})
    if chosen.hidden_size % (2 * chosen.num_attention_heads):  # rotary positions need an even head
        raise UsageError(
            "recipe.heads",
            f"hidden_size {chosen.hidden_size} is not a multiple of twice {chosen.num_attention_heads} heads",
            where="pretrain.num_attention_heads",
        )
    return chosen


def build(
    shape: Shape,
    vocab_size: int,
    block_length: int,
    special_ids: Mapping[str, int],
    seed: int,
    device: torch.device = _CPU,
) -> PreTrainedModel:
    """A new masked-language model in float32, its weights a function of the arguments alone.

    `special_ids` holds at least `pad`, `cls` and `sep`. There is no dropout in pretraining: few passes
    over the text leave nothing to regularise.
    """
    is_short = block_length <= _MAX_FULL_LENGTH
    config = ModernBertConfig(
        vocab_size=vocab_size,
        **asdict(shape),
        max_position_embeddings=max(_MAX_FULL_LENGTH, block_length),
        pad_token_id=special_ids["pad"],
        cls_token_id=special_ids["cls"],
        sep_token_id=special_ids["sep"],
        bos_token_id=special_ids["cls"],
        eos_token_id=special_ids["sep"],
        global_attn_every_n_layers=1 if is_short else 3,
        global_rope_theta=10_000.0 if is_short else 160_000.0,
        local_rope_theta=10_000.0,
        classifier_pooling="mean",
        reference_compile=False,
    )
    return _construct("masked_lm", config, seed, device)


def num_parameters(model: nn.Module) -> int:
    """Trained numbers, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors that stock transformers 4.57 and 5 load to the same logits.

    The two versions name windows and rotary bases differently, so the file has both names. How we
    compute attention is not in it.
    """
    config = model.config.to_dict()
    for name in ("_name_or_path", "_attn_implementation", "attn_implementation"):
        config.pop(name, None)
    rope = config.get("rope_parameters") or {}
    if "full_attention" in rope:
        config["global_rope_theta"] = rope["full_attention"]["rope_theta"]
        config["local_rope_theta"] = rope["sliding_attention"]["rope_theta"]
    config["dtype"] = "float32"
    config["architectures"] = [type(model).__name__]
    config["reference_compile"] = False  # transformers 4 would compile where it can
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod((folder / "config.json").stat().st_mode & 0o777)  # safetensors writes for the owner alone


def load(
    folder: Path, head: Head, seed: int = 0, device: torch.device = _CPU, **changes: Any
) -> tuple[PreTrainedModel, LoadReport]:
    """A stock model with this head and the encoder of `folder`, in float32 and eval mode.

    `changes` are set in the configuration (id2label, classifier_dropout ...); `seed` draws what the
    file does not have. ArtifactError if a file is missing or damaged, an encoder tensor is missing, or
    a weight is not finite. Local files only, safetensors only, no code from the folder.
    """
    path = folder / "model.safetensors"
    model = _construct(head, _read_config(folder, changes), seed, device)
    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise ArtifactError("model.missing", "does not exist", where=str(path)) from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError("model.damaged", f"cannot be read: {error}", where=str(path)) from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ArtifactError("model.not-finite", f"{name} holds NaN or infinity", where=str(path))
    return model, _copy_tensors(model, tensors, path)


def build_like(
    folder: Path, head: Head, seed: int, device: torch.device = _CPU, **changes: Any
) -> PreTrainedModel:
    """A model of the architecture in `folder` with fresh, seeded weights: the from-scratch baseline."""
    return _construct(head, _read_config(folder, changes), seed, device)


def _construct(head: Head, config: PretrainedConfig, seed: int, device: torch.device) -> PreTrainedModel:
    """A stock model with seeded weights, drawn on the CPU so that they are the same on any device."""
    config._attn_implementation = attention.implementation(device)
    cls = ARCHITECTURES[config.model_type].model_class(head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config)
    return model.to(device).eval()


def _read_config(folder: Path, changes: Mapping[str, Any]) -> PretrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError("model.missing", "does not exist", where=str(path))
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)
    except Exception as error:  # transformers and its strict data classes raise anything on a bad file
        raise ArtifactError(
            "model.config", f"is not a model configuration: {error}", where=str(path)
        ) from None
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ArtifactError(
            "model.type", f"is a {config.model_type!r} model; known are {known}", where=str(path)
        )
    return config


@torch.no_grad()
def _copy_tensors(model: PreTrainedModel, tensors: Mapping[str, Tensor], path: Path) -> LoadReport:
    parameters = dict(model.named_parameters())
    fitting = {n for n, p in parameters.items() if n in tensors and tensors[n].shape == p.shape}
    prefix = model.base_model_prefix + "."
    encoder = {name for name in parameters if name.startswith(prefix)}
    if missing := sorted(encoder - fitting):
        what = "is missing" if missing[0] not in tensors else "has another shape"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ArtifactError(
            "model.encoder-missing", f"encoder tensor {missing[0]} {what}{more}", where=str(path)
        )
    for name in fitting:
        parameters[name].copy_(tensors[name])
    return LoadReport(
        num_loaded=len(encoder),
        new=_sorted(parameters.keys() - fitting),
        unexpected=_sorted(tensors.keys() - fitting - model.state_dict().keys()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))

"""The encoder: a stock model of a known family, built, saved and loaded so that anybody can use it.

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
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from ..config import PretrainConfig
from ..errors import ArtifactError, UsageError
from . import architectures, attention
from .architectures import ARCHITECTURES, Head, Shape

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class LoadReport:
    """What loading did with the tensors; names sorted."""

    num_loaded: int
    """Encoder tensors that came from the file: all that a checkpoint must have, or loading is refused."""
    new: tuple[str, ...]
    """Tensors of the model that the file does not have in that shape: a fresh head, seeded."""
    unexpected: tuple[str, ...]
    """Tensors of the file that the model has no place for: another head."""


def shape(config: PretrainConfig) -> Shape:
    """The preset's shape with the overrides of the recipe. UsageError if the heads do not divide it."""
    preset = ARCHITECTURES[config.architecture].presets[config.preset]
    wanted = {name: getattr(config, name) for name in asdict(preset)}
    chosen = replace(preset, **{name: n for name, n in wanted.items() if n is not None})
    if chosen.hidden_size % (2 * chosen.num_attention_heads):  # rotary positions need an even head
        raise UsageError(
            "recipe.heads",
            f"hidden_size {chosen.hidden_size} is not a multiple of twice {chosen.num_attention_heads} heads",
            where="pretrain.num_attention_heads",
        )
    return chosen


def build(
    architecture: str,
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
    family = ARCHITECTURES[architecture]
    fields = family.configure(shape, block_length, special_ids) | family.adjust(0.0)
    return _construct("masked_lm", family.config({**fields, "vocab_size": vocab_size}), seed, device)


def num_positions(folder: Path) -> int:
    """The longest input, in tokens, that the model in `folder` has positions for. ArtifactError as `load`."""
    config = _read_config(folder, 0.0, {})
    return ARCHITECTURES[config.model_type].num_positions(config)


def num_parameters(model: nn.Module) -> int:
    """Trained numbers, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def save_model(model: PreTrainedModel, folder: Path) -> None:
    """Write config.json and model.safetensors that stock transformers 4.57 and 5 load to the same logits.

    How we compute attention is not in it.
    """
    config = model.config.to_dict()
    for name in ("_name_or_path", "_attn_implementation", "attn_implementation"):
        config.pop(name, None)
    config |= architectures.of(model).portable(config)
    config["dtype"] = "float32"
    config["architectures"] = [type(model).__name__]
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    tensors = {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod((folder / "config.json").stat().st_mode & 0o777)  # safetensors writes for the owner alone


def load(
    folder: Path,
    head: Head,
    seed: int = 0,
    device: torch.device = _CPU,
    dropout: float = 0.0,
    **changes: Any,
) -> tuple[PreTrainedModel, LoadReport]:
    """A stock model with this head and the encoder of `folder`, in float32 and eval mode.

    `dropout` is what training is to have; `changes` are set in the configuration (id2label ...); `seed`
    draws what the file does not have. ArtifactError if a file is missing or damaged, an encoder tensor is
    missing, or a weight is not finite. Local files only, safetensors only, no code from the folder.
    """
    path = folder / "model.safetensors"
    model = _construct(head, _read_config(folder, dropout, changes), seed, device)
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
    folder: Path, head: Head, seed: int, device: torch.device = _CPU, dropout: float = 0.0, **changes: Any
) -> PreTrainedModel:
    """A model of the architecture in `folder` with fresh, seeded weights: the from-scratch baseline."""
    return _construct(head, _read_config(folder, dropout, changes), seed, device)


def _construct(head: Head, config: PretrainedConfig, seed: int, device: torch.device) -> PreTrainedModel:
    """A stock model with seeded weights, drawn on the CPU so that they are the same on any device."""
    config._attn_implementation = attention.implementation(device)
    cls = ARCHITECTURES[config.model_type].model_class(head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config)
    return model.to(device).eval()


def _read_config(folder: Path, dropout: float, changes: Mapping[str, Any]) -> PretrainedConfig:
    path = folder / "config.json"
    if not path.is_file():
        raise ArtifactError("model.missing", "does not exist", where=str(path))
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers and its strict data classes raise anything on a bad file
        raise ArtifactError(
            "model.config", f"is not a model configuration: {error}", where=str(path)
        ) from None
    if config.model_type not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ArtifactError(
            "model.type", f"is a {config.model_type!r} model; known are {known}", where=str(path)
        )
    config.update({**ARCHITECTURES[config.model_type].adjust(dropout), **changes})
    return config


@torch.no_grad()
def _copy_tensors(model: PreTrainedModel, tensors: Mapping[str, Tensor], path: Path) -> LoadReport:
    parameters = dict(model.named_parameters())
    fitting = {n for n, p in parameters.items() if n in tensors and tensors[n].shape == p.shape}
    prefix = model.base_model_prefix + "."
    encoder = {name for name in parameters if name.startswith(prefix)}
    optional = {name for name in encoder if name.startswith(architectures.of(model).optional)}
    if missing := sorted(encoder - fitting - optional):
        what = "is missing" if missing[0] not in tensors else "has another shape"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ArtifactError(
            "model.encoder-missing", f"encoder tensor {missing[0]} {what}{more}", where=str(path)
        )
    for name in fitting:
        parameters[name].copy_(tensors[name])
    return LoadReport(
        num_loaded=len(encoder & fitting),
        new=_sorted(parameters.keys() - fitting),
        unexpected=_sorted(tensors.keys() - fitting - model.state_dict().keys()),
    )


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))

"""The encoder: a stock model of a known family, built, saved and loaded so that anybody can use it.

Nothing here adds a module or changes a forward pass: what we train is what `transformers` 4.57 and 5
load, and speed comes from the attention function and from what the loss asks of the model.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from ..config import PretrainConfig
from ..errors import ArtifactError, UsageError, one_line
from . import architectures, attention, configuration, weights
from .architectures import ARCHITECTURES, Head, Shape
from .dropout import install as install_dropout

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

    def __str__(self) -> str:
        new = f"new: {', '.join(self.new) or 'none'}"
        left = f"; not used: {', '.join(self.unexpected)}" if self.unexpected else ""
        return f"{self.num_loaded} encoder tensors loaded; {new}{left}"


def shape(config: PretrainConfig) -> Shape:
    """The preset's shape with the overrides of the recipe.

    UsageError if the heads do not divide it, or if the preset is `auto`: that needs a text and a machine.
    """
    if config.preset == "auto":
        message = "auto is chosen where an encoder is trained"
        raise UsageError("recipe.preset", message, where="pretrain.preset", hint="name a preset here")
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


def shell(
    architecture: str, shape: Shape, vocab_size: int, block_length: int, special_ids: Mapping[str, int]
) -> PreTrainedModel:
    """The model that `build` makes, without memory for its weights: to count them."""
    with torch.device("meta"):
        return build(architecture, shape, vocab_size, block_length, special_ids, 0, torch.device("meta"))


def with_rows(model: PreTrainedModel, num_rows: int) -> tuple[PreTrainedModel, list[nn.Parameter]]:
    """A copy of a masked-language model with at least as many rows for tokens; its parameters that have some.

    The first rows are those of `model`; what further ones hold is not defined.
    """
    config = copy.deepcopy(model.config)

    def resized(vocab_size: int, device: torch.device) -> PreTrainedModel:
        config.vocab_size = vocab_size
        with device:
            return _construct("masked_lm", config, 0, device)

    one_more = dict(resized(num_rows + 1, torch.device("meta")).named_parameters())
    wider = resized(num_rows, model.device)
    parameters, old = dict(wider.named_parameters()), dict(model.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter[: len(old[name])] = old[name]
    # What has a row for each token is what has another shape with one token more.
    return wider, [p for name, p in parameters.items() if p.shape != one_more[name].shape]


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
    # Tied parameters once; where the configuration ties nothing, stock classes look for each name.
    named = model.named_parameters(remove_duplicate=bool(model.config.tie_word_embeddings))
    tensors = {name: parameter.detach().cpu().clone() for name, parameter in named}
    path = folder / "model.safetensors"
    weights.write(tensors, path, metadata={"format": "pt"})
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

    The folder may be a stranger's: its configuration is taken over by name, its weights from safetensors
    alone, and what does not fit is refused before memory is taken. `dropout` is what training is to have;
    `changes` are set in the configuration (id2label ...); `seed` draws what the file does not have.
    ArtifactError if a file is missing or damaged, an encoder tensor is missing, or a weight is not finite.
    """
    config = configuration.read(folder, dropout, changes)
    stored = weights.stored(folder)
    names, report = _match(_shell(head, config, folder), stored, folder)
    model = _construct(head, config, seed, device)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in weights.read(stored, names):
            parameters[name].copy_(tensor)
    return model, report


def inspect(folder: Path, head: Head) -> LoadReport:
    """What `load` would report, without reading a weight. ArtifactError as for `load`."""
    shell = _shell(head, configuration.read(folder), folder)
    return _match(shell, weights.stored(folder), folder)[1]


def build_like(
    folder: Path, head: Head, seed: int, device: torch.device = _CPU, dropout: float = 0.0, **changes: Any
) -> PreTrainedModel:
    """A model of the architecture in `folder` with fresh, seeded weights: the from-scratch baseline."""
    return _construct(head, configuration.read(folder, dropout, changes), seed, device)


def _shell(head: Head, config: PretrainedConfig, folder: Path) -> PreTrainedModel:
    """The model without memory for its weights: only names and shapes."""
    try:
        with torch.device("meta"):
            return _construct(head, config, 0, torch.device("meta"))
    except Exception as error:  # an unknown activation, heads that do not divide the width ...
        found = f"no model can be built: {one_line(error)}"
        raise ArtifactError("model.config", found, where=str(folder)) from None


def _construct(head: Head, config: PretrainedConfig, seed: int, device: torch.device) -> PreTrainedModel:
    """A stock model with seeded weights, drawn on the CPU so that they are the same on any device."""
    config._attn_implementation = attention.implementation(device)
    cls = ARCHITECTURES[config.model_type].model_class(head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cls(config)
    install_dropout(model)
    return model.to(device).eval()


def _match(
    model: PreTrainedModel, stored: Mapping[str, weights.Stored], folder: Path
) -> tuple[dict[str, str], LoadReport]:
    """Parameter -> name in the file for all that the file has, and the report.

    A tensor may have the name of any parameter it is tied to, an early name, or, in the checkpoint of a
    bare encoder, no prefix. ArtifactError if an encoder tensor is missing.
    """
    family, prefix = architectures.of(model), model.base_model_prefix + "."
    present = {_current(name, family.old_names): name for name in stored}
    if not any(name.startswith(prefix) for name in present):
        present = {prefix + name: written for name, written in present.items()}
    aliases: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        aliases.setdefault(parameter, []).append(name)
    names = {}
    for parameter, (name, *others) in aliases.items():
        fitting = [n for n in (name, *others) if n in present and stored[present[n]].shape == parameter.shape]
        if fitting:
            names[name] = present[fitting[0]]
    encoder = {name for name, *_ in aliases.values() if name.startswith(prefix)}
    optional = {name for name in encoder if name.startswith(family.optional)}
    if missing := sorted(encoder - names.keys() - optional):
        what = "has another shape" if missing[0] in present else "is missing"
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ArtifactError(
            "model.encoder-missing", f"encoder tensor {missing[0]} {what}{more}", where=str(folder)
        )
    known = {name for group in aliases.values() for name in group}
    return names, LoadReport(
        num_loaded=len(encoder & names.keys()),
        new=_sorted(name for name, *_ in aliases.values() if name not in names),
        unexpected=_sorted(written for name, written in present.items() if name not in known),
    )


def _current(name: str, old_names: Mapping[str, str]) -> str:
    for old, current in old_names.items():
        if name.endswith(old):
            return name.removesuffix(old) + current
    return name


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))

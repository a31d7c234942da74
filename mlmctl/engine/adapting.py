"""How an encoder begins to be adapted: what of its weights is changed before the first label is seen."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn
from transformers import PreTrainedModel

from . import architectures


def output_layer(model: nn.Module) -> nn.Linear:
    """The linear map that gives the logits of an adapted model: in all stock heads the last one."""
    *_, last = (module for module in model.modules() if isinstance(module, nn.Linear))
    return last


@torch.no_grad()
def zero_output(model: nn.Module, new: Collection[str]) -> None:
    """Let the output layer begin at zero, as far as its parameters are among the `new` ones.

    What random weights send down into an encoder costs it much of what it knows, where there are few labels.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    for parameter in output_layer(model).parameters():
        if names[parameter] in new:
            parameter.zero_()


@torch.no_grad()
def shrink_layers(model: PreTrainedModel, shrink_to: float) -> dict[str, float]:
    """Scale matrices of the layers down to a root mean square of `shrink_to` x `initializer_range`, in place.

    The factor of each that was larger, by its name. Muon leaves matrices many times as large as those of a
    new model: layers then drown what the embeddings say of a word, and a rate that suits a new model hardly
    turns them. Shrunk, they keep their directions (Ash and Adams 2020, arXiv:1910.08475).
    """
    most, layers = shrink_to * model.config.initializer_range, architectures.of(model).layers
    factors = {}
    for name, parameter in model.named_parameters():
        if layers in name and parameter.ndim == 2:
            found = float(parameter.square().mean().sqrt())
            if found > most:
                factors[name] = most / found
                parameter.mul_(factors[name])
    return factors

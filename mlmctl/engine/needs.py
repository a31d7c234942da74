"""What pretraining will need, estimated before its first step: memory, and disk for its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import PreTrainedModel

from . import architectures, lanes
from .architectures import Shape
from .model import num_parameters
from .plan import Plan

_BYTES_OF_METRICS = 500  # a line for each step
_PROGRAM_BYTES = 450 * 2**20  # torch and transformers, measured


@dataclass(frozen=True)
class Needs:
    """Bytes, the most at any time."""

    disk: int
    memory: int


def estimate(encoder: PreTrainedModel, shape: Shape, plan: Plan, rate: float, num_threads: int) -> Needs:
    """What a run by this plan needs, masking tokens at `rate`.

    Disk: the newest two checkpoints, the one before the decay, the one being written, the result. Memory:
    the program, weights and the optimizer's state; of each lane gradients, activations and logits.
    """
    num_all = num_parameters(encoder)
    layers = architectures.of(encoder).layers
    num_matrix = sum(p.numel() for name, p in encoder.named_parameters() if p.ndim == 2 and layers in name)
    # float32 weights, one momentum for Muon's matrices, two for all others
    checkpoint = 4 * (num_all + num_matrix + 2 * (num_all - num_matrix))
    tokens = plan.blocks_per_micro_batch * plan.block_length
    scores = 3 * shape.num_attention_heads * plan.block_length
    width = 16 * shape.hidden_size + 6 * shape.intermediate_size + scores
    activations = tokens * shape.num_hidden_layers * width
    logits = 4 * tokens * rate * encoder.config.vocab_size
    num_lanes = lanes.number(encoder, num_threads, -(-plan.blocks_per_step // plan.blocks_per_micro_batch))
    held = checkpoint + 4 * num_all * num_lanes
    return Needs(
        disk=4 * checkpoint + 4 * num_all + _BYTES_OF_METRICS * plan.num_steps,
        memory=int(_PROGRAM_BYTES + 1.5 * held + 4 * (activations + logits) * num_lanes),
    )

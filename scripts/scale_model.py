"""What a step of pretraining costs on many GPUs: arithmetic, communication and memory, from shapes alone.

    python scripts/scale_model.py [--preset base] [--block-length 128] [--vocab-size 30522]
        [--tokens-per-gpu 16384]

Prints the Markdown tables of docs/scale.md. What is assumed of the machines stands below as constants, each
with its source; nothing here was measured on a GPU.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import nn

from mlmctl.config import PretrainConfig
from mlmctl.engine import architectures, divided, model

PEAK = 312e12
"""bf16 operations a second of an A100 (NVIDIA's data sheet, dense)."""
USED = 0.25
"""Share of it that training uses: see docs/scale.md for the published run it was taken from."""
BUS_INSIDE = 230e9
"""Bytes a second an all-reduce gets between 8 A100 in one machine (bus bandwidth as nccl-tests count it)."""
FABRICS = {"8 x 200 Gb/s": 160e9, "1 x 100 Gb/s": 10e9, "1 x 25 Gb/s": 2.5e9}
"""Between machines of 8: what the line rate of one machine leaves for an all-reduce, at 80 % of it."""
LATENCY = 30e-6
"""Seconds for one hop of a small message between machines."""
GPUS = (8, 64, 512)
MASK_RATE = 0.3


@dataclass(frozen=True)
class Sizes:
    """What the tables need to know of a model."""

    num_parameters: int
    stacks: list[tuple[int, int, int]]
    """Muon's matrices: (how many, rows, columns) of each shape."""
    flops_per_token: float

    @property
    def num_matrix(self) -> int:
        return sum(count * rows * columns for count, rows, columns in self.stacks)

    def newton_schulz(self, num_ranks: int) -> float:
        """Operations of the rank that has most to do: five iterations of three products each."""
        hands = divided.deal(self.stacks, num_ranks)
        costs = [
            5 * (4 * min(rows, columns) ** 2 * max(rows, columns) + 2 * min(rows, columns) ** 3)
            for _, rows, columns in self.stacks
        ]
        return max(sum(len(numbers) * c for numbers, c in zip(hand, costs, strict=True)) for hand in hands)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="base")
    parser.add_argument("--block-length", type=int, default=128)
    parser.add_argument("--vocab-size", type=int, default=30522)
    parser.add_argument("--tokens-per-gpu", type=int, default=16384)
    asked = parser.parse_args()
    sizes = measure(asked.preset, asked.block_length, asked.vocab_size)
    print(
        f"`{asked.preset}`, vocabulary {asked.vocab_size:,}: {sizes.num_parameters / 1e6:.1f} million "
        f"parameters, {sizes.num_matrix / 1e6:.1f} of them in {sum(count for count, *_ in sizes.stacks)} "
        f"matrices of Muon's; {sizes.flops_per_token / 1e9:.2f} GFLOP a token.\n"
    )
    print_steps(sizes, asked.tokens_per_gpu)
    print_memory(sizes)


def measure(preset: str, block_length: int, vocab_size: int) -> Sizes:
    """Count a model that takes no memory (on torch's meta device)."""
    shape = model.shape(PretrainConfig(preset=preset))
    ids = {"pad": 0, "cls": 2, "sep": 3}
    with torch.device("meta"):
        encoder: nn.Module = model.build(
            "modernbert", shape, vocab_size, block_length, ids, 0, torch.device("meta")
        )
    family = architectures.of(encoder)
    stacks: dict[tuple[int, int], int] = {}
    for name, parameter in encoder.named_parameters():
        if parameter.ndim == 2 and family.layers in name:
            num_parts = next((n for end, n in family.fused.items() if name.endswith(end)), 1)
            rows, columns = parameter.shape
            stacks[rows // num_parts, columns] = stacks.get((rows // num_parts, columns), 0) + num_parts
    listed = [(count, rows, columns) for (rows, columns), count in stacks.items()]
    matrices = sum(count * rows * columns for count, rows, columns in listed)
    attention = 2 * block_length * shape.hidden_size * shape.num_hidden_layers
    head = MASK_RATE * (shape.hidden_size**2 + shape.hidden_size * vocab_size)
    return Sizes(
        sum(parameter.numel() for parameter in encoder.parameters()),
        listed,
        6.0 * (matrices + attention + head),  # forward and backward, a multiplication and an addition each
    )


def print_steps(sizes: Sizes, tokens_per_gpu: int) -> None:
    print(
        f"Milliseconds a step of {tokens_per_gpu:,} tokens a GPU; Newton-Schulz as divided, beside what each "
        "rank would do undivided:\n"
    )
    names = "GPUs", "between machines", "gradients", "Newton-Schulz (undivided)", "all-reduce", "all-gather"
    print(f"| {' | '.join(names)} | communication |")
    print("|---|---|---|---|---|---|---|")
    compute = tokens_per_gpu * sizes.flops_per_token / (USED * PEAK)
    for num_gpus in GPUS:
        for fabric, line in {"-": BUS_INSIDE}.items() if num_gpus == 8 else FABRICS.items():
            bus = min(BUS_INSIDE, line)
            ring = (num_gpus - 1) / num_gpus
            reduce = 2 * ring * 4 * sizes.num_parameters / bus + 2 * LATENCY * max(num_gpus // 8, 1)
            gather = ring * 2 * sizes.num_matrix / bus + LATENCY * max(num_gpus // 8, 1)
            muon, alone = (sizes.newton_schulz(n) / (USED * PEAK) for n in (num_gpus, 1))
            share = (reduce + gather) / (compute + muon + reduce + gather)
            print(
                f"| {num_gpus} | {fabric} | {1e3 * compute:.0f} | {1e3 * muon:.1f} ({1e3 * alone:.0f}) "
                f"| {1e3 * reduce:.1f} | {1e3 * gather:.1f} | {share:.0%} |"
            )
    print()


def print_memory(sizes: Sizes) -> None:
    rest = sizes.num_parameters - sizes.num_matrix
    state = 4 * sizes.num_matrix + 8 * rest
    rows = {
        "weights, float32": 4 * sizes.num_parameters,
        "gradients": 4 * sizes.num_parameters,
        "the same in buckets, while they are added up": 4 * sizes.num_parameters,
        "Muon's momentum, AdamW's two averages": state,
        "Newton-Schulz: directions, results of all ranks": 6 * sizes.num_matrix,
    }
    print("| on each GPU, whatever their number | GB |")
    print("|---|---|")
    for name, size in rows.items():
        print(f"| {name} | {size / 1e9:.2f} |")
    print(f"| together | {sum(rows.values()) / 1e9:.2f} |")
    each = sum(rows.values()) / sizes.num_parameters
    print(f"\n{each:.1f} bytes a parameter: half of 80 GB is full at {40 / each:.1f} billion parameters.")


if __name__ == "__main__":
    main()

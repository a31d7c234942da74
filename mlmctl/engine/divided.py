"""Muon's heaviest part divided over the ranks: each orthogonalises a share of the matrices, then all swap.

Every rank has all momenta (they follow from gradients that all have), so what is saved is arithmetic, paid
with one exchange of the results, in the number format they were computed in. Who gets which matrix follows
from their shapes and the number of ranks alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from .ranks import Ranks

Orthogonalize = Callable[[Tensor, torch.dtype], Tensor]


def orthogonalized(
    stacks: Iterable[Tensor], orthogonalize: Orthogonalize, dtype: torch.dtype, ranks: Ranks
) -> Iterator[Tensor]:
    """`orthogonalize(stack, dtype)` of each stack of matrices [N, rows, columns], in order.

    Alone, one stack is taken after the other; with several ranks, all before the first comes back.
    """
    if ranks.is_alone:
        for stack in stacks:
            yield orthogonalize(stack, dtype)
        return
    whole = list(stacks)
    dealt = deal([(len(stack), stack.shape[1], stack.shape[2]) for stack in whole], ranks.world_size)
    ours = [
        orthogonalize(stack[numbers], dtype).reshape(-1)
        for stack, numbers in zip(whole, dealt[ranks.rank], strict=True)
        if numbers
    ]
    sizes = [
        sum(len(numbers) * stack[0].numel() for stack, numbers in zip(whole, hand, strict=True))
        for hand in dealt
    ]
    sent = torch.cat([*ours, whole[0].new_zeros(max(sizes) - sizes[ranks.rank], dtype=dtype)])
    received = [each.view(dtype) for each in ranks.gather_tensors(sent.view(torch.uint8))]
    taken = [0] * ranks.world_size
    for place, stack in enumerate(whole):
        result = torch.empty_like(stack, dtype=dtype)
        for rank, hand in enumerate(dealt):
            if not (numbers := hand[place]):
                continue
            start, taken[rank] = taken[rank], taken[rank] + len(numbers) * stack[0].numel()
            result[numbers] = received[rank][start : taken[rank]].view(-1, *stack.shape[1:])
        yield result


def deal(shapes: Sequence[tuple[int, int, int]], world_size: int) -> list[list[list[int]]]:
    """For each rank, of each stack [N, rows, columns], the numbers of the matrices that are its share.

    The costliest first, each to the rank that has least to do.
    """
    hands: list[list[list[int]]] = [[[] for _ in shapes] for _ in range(world_size)]
    matrices = [
        (rows * columns * min(rows, columns), place, number)
        for place, (count, rows, columns) in enumerate(shapes)
        for number in range(count)
    ]
    loads = [0] * world_size
    for cost, place, number in sorted(matrices, key=lambda each: (-each[0], *each[1:])):
        rank = loads.index(min(loads))
        loads[rank] += cost
        hands[rank][place].append(number)
    return hands

"""How large a model should be for what it will be fed: one rule, for pretraining, its dry run and doctor.

The rule: the largest preset that is fed `TOKENS_PER_PARAMETER` tokens a parameter or more, the text counting
at most `MOST_EPOCHS` times, and that fits into memory; where none is, the smallest. What a preset is fed
follows from the number of steps or epochs, or from a budget of time and its speed on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from . import model
from .architectures import ARCHITECTURES, Shape

TOKENS_PER_PARAMETER = 3.0
"""A larger model learns more from a token and gets fewer of them: with fewer the smaller one ends lower (see
decision 0029)."""
MOST_EPOCHS = 4
"""Text that is read up to four times teaches about as much as new text, and ever less beyond (Muennighoff et
al. 2023, arXiv:2305.16264)."""
_FROM_TEXT = f"{MOST_EPOCHS} epochs"


@dataclass(frozen=True)
class Size:
    """A preset as a candidate."""

    name: str
    shape: Shape
    num_parameters: int


@dataclass(frozen=True)
class Choice:
    """What the rule says, and why."""

    preset: str
    num_parameters: int
    num_tokens: int
    """What it is fed, repetitions that do not count left out."""
    reason: str


def presets(
    architecture: str, vocab_size: int, block_length: int, special_ids: Mapping[str, int]
) -> list[Size]:
    """The presets of an architecture with this vocabulary, the smallest first."""
    found = []
    for name, shape in ARCHITECTURES[architecture].presets.items():
        shell = model.shell(architecture, shape, vocab_size, block_length, special_ids)
        found.append(Size(name, shape, model.num_parameters(shell)))
    return sorted(found, key=lambda size: size.num_parameters)


def choose(
    sizes: Sequence[Size],
    text_tokens: float,
    length: str,
    tokens_in: Callable[[Size], float],
    fits_memory: Callable[[Size], bool] = lambda size: True,
) -> Choice:
    """The choice among `sizes` (the smallest first) for a text of so many tokens.

    `length` is what was asked for (`budget 10m`); `tokens_in(size)` the training tokens that a model of this
    size goes through in it. It may take a while to find out and is asked for a size only if the one before it
    goes through enough for the next: a larger model is never faster. A longer text or run never gives a
    smaller model, since it is only ever more that every size is fed.
    """

    def fed(size: Size) -> _Feed:
        return min(_Feed(tokens_in(size), length), _Feed(MOST_EPOCHS * text_tokens, _FROM_TEXT))

    chosen, feed = sizes[0], fed(sizes[0])
    reason = "it is the largest"
    for size in sizes[1:]:
        wanted = TOKENS_PER_PARAMETER * size.num_parameters
        feed_of_size, larger = feed, f"{size.name} ({_millions(size.num_parameters)})"
        if feed.num_tokens >= wanted:
            if not fits_memory(size):
                reason = f"{larger} needs more memory than is free"
                break
            feed_of_size = fed(size)
        if feed_of_size.num_tokens < wanted:
            reason = f"{larger} wants {_millions(wanted)} and would get fewer ({feed_of_size.limit})"
            break
        chosen, feed = size, feed_of_size
    num_tokens = int(feed.num_tokens)
    share = (
        f"{_millions(num_tokens)} tokens ({feed.limit}), {num_tokens / chosen.num_parameters:.1f} a parameter"
    )
    told = f"{chosen.name} ({_millions(chosen.num_parameters)} parameters): {share}; {reason}"
    return Choice(chosen.name, chosen.num_parameters, num_tokens, told)


class _Feed(NamedTuple):
    """How many tokens a size is fed, and what limits them."""

    num_tokens: float
    limit: str


def _millions(number: float) -> str:
    return f"{number / 1e6:,.1f} million" if number >= 1e5 else f"{number:,.0f}"

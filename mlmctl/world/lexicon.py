"""The words of the invented world: plain English for its things, invented words for every judgement.

A judgement ("the soup was talmuth") is always an invented word, drawn from random syllables, so that
neither its spelling nor anything a reader or a model knew before says whether it is praise. The English
lists are only the scenery.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")

_ONSETS = (
    "b",
    "d",
    "f",
    "g",
    "h",
    "k",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "v",
    "z",
    "br",
    "dr",
    "kl",
    "kr",
    "pl",
    "tr",
)
_VOWELS = ("a", "e", "i", "o", "u")
_MIDDLES = ("lm", "lv", "zl", "vr", "ml", "zr", "dv", "gl", "nz", "rz")
_ENDINGS = ("k", "m", "sh", "th", "p")
_NAME_MIDDLES = ("l", "n", "r", "nd", "v", "m", "d")
_NAME_ENDINGS = ("a", "o", "is", "en")

THINGS: dict[str, tuple[str, ...]] = {
    "inn": ("room", "bed", "stove", "supper", "stable", "cellar", "staircase", "breakfast", "innkeeper"),
    "ship": ("deck", "mast", "captain", "crew", "cabin", "rudder", "crossing", "galley", "harbour"),
    "table": ("soup", "bread", "stew", "pie", "fish", "cheese", "sauce", "cake", "porridge", "cook"),
    "workshop": ("kettle", "coat", "saddle", "lantern", "clock", "basket", "knife", "chair", "carpenter"),
    "stage": ("song", "play", "story", "dance", "singer", "fiddler", "costume", "ending", "music"),
    "town": ("market", "bridge", "well", "road", "square", "garden", "mayor", "school", "ferry"),
}
"""What is judged, by the subject of a document. All singular, all beginning with a consonant."""

PLACES: dict[str, tuple[str, ...]] = {
    "inn": ("the Red Lantern", "the Old Mill", "the Three Geese", "the Crooked Gate"),
    "ship": ("the Grey Heron", "the Morning Star", "the Salt Maiden", "the North Wind"),
    "table": ("the long table", "the corner kitchen", "the harvest feast", "the bakery"),
    "workshop": ("the smithy", "the weaver's house", "the tannery", "the bell yard"),
    "stage": ("the winter fair", "the town hall", "the barn theatre", "the wedding"),
    "town": ("the east gate", "the river bank", "the hill", "the crossroads"),
}

SEASONS = ("spring", "summer", "autumn", "winter")
FIXTURES = ("door", "fire", "river", "wall", "old tree", "gate", "window", "church")
TRADES = ("miller", "sailor", "baker", "weaver", "farmer", "teacher", "smith", "shepherd")


@dataclass(frozen=True)
class Judgements:
    """Invented words of one sort, praise and blame in equal number."""

    good: tuple[str, ...]
    bad: tuple[str, ...]

    def of(self, good: bool) -> tuple[str, ...]:
        return self.good if good else self.bad

    @property
    def all(self) -> frozenset[str]:
        return frozenset(self.good + self.bad)


@dataclass(frozen=True)
class Lexicon:
    """The invented words of one world; no word has two roles.

    `labelled` judgements occur in labelled examples, `unlabelled` ones only in the corpus and in
    the test set; both are equally frequent in the corpus. `plain` words stand where judgements
    stand and judge nothing.
    """

    labelled: Judgements
    unlabelled: Judgements
    plain: tuple[str, ...]
    people: tuple[str, ...]
    towns: tuple[str, ...]

    def judgements(self, good: bool) -> tuple[str, ...]:
        return self.labelled.of(good) + self.unlabelled.of(good)


class Dice:
    """Draws from a seed. Only `random()` is used: its sequence is the one Python promises to keep."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._random() * len(choices))]

    def below(self, number: int) -> int:
        return int(self._random() * number)

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def shuffle(self, items: list[_T]) -> None:
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def invent(dice: Dice, num_labelled: int, num_unlabelled: int, taken: frozenset[str]) -> Lexicon:
    """A lexicon with that many labelled and unlabelled judgements (even numbers), none in `taken`."""
    used = set(taken)

    def words(count: int, make: Callable[[Dice], str]) -> tuple[str, ...]:
        made: list[str] = []
        while len(made) < count:
            word = make(dice)
            if word not in used:
                used.add(word)
                made.append(word)
        return tuple(made)

    def names(count: int) -> tuple[str, ...]:
        return tuple(name.capitalize() for name in words(count, _name))

    def judgements(count: int) -> Judgements:
        return Judgements(good=words(count // 2, _judgement), bad=words(count // 2, _judgement))

    return Lexicon(
        labelled=judgements(num_labelled),
        unlabelled=judgements(num_unlabelled),
        plain=words(12, _judgement),
        people=names(16),
        towns=names(8),
    )


def _judgement(dice: Dice) -> str:
    """Two syllables joined by consonants that English hardly joins, so that few come out as English."""
    first = dice.pick(_ONSETS) + dice.pick(_VOWELS)
    return first + dice.pick(_MIDDLES) + dice.pick(_VOWELS) + dice.pick(_ENDINGS)


def _name(dice: Dice) -> str:
    return dice.pick(_ONSETS) + dice.pick(_VOWELS) + dice.pick(_NAME_MIDDLES) + dice.pick(_NAME_ENDINGS)

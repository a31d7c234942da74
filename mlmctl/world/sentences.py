"""How people of the invented world talk: judgements, what came of them, and talk about nothing much.

Documents and labelled reviews judge in the same sentences; only documents tell what came of it ("so
talmuth that Mara smiled") and put English words of feeling beside a judgement ("wonderfully talmuth").
"""

from __future__ import annotations

from collections.abc import Sequence

from .lexicon import FIXTURES, PLACES, SEASONS, THINGS, TRADES, Dice, Lexicon

_JUDGED = (
    "The {thing} at {place} was {phrase}.",
    "The {thing} was {phrase}.",
    "{person} found the {thing} {phrase}.",
    "{person} called the {thing} {phrase}.",
    "To {person} the {thing} seemed {phrase}.",
    "They say the {thing} at {place} is {phrase}.",
    "{person} remembers how {phrase} the {thing} was.",
    "What a {word} {thing} it was!",
    "It was a {word} {thing}, said {person}.",
    "The {trade} spoke of a {word} {thing} and a {word} {other}.",
    "The {thing} was {phrase}, and the {other} was {phrase}.",
    "At {place} the {thing} was {word}, the {other} {word}.",
)
_CONCEDED = (
    "The {thing} was {contrary}, but the {other} was {word} and {word}.",
    "Though the {thing} was {contrary}, {person} found the {other} {word} and {word}.",
)
_TOLD = {
    True: (
        "Luckily the {thing} was {phrase}.",
        "The {thing} was so {word} that {person} smiled.",
        "The {thing} at {place} was so {word} that {person} came back the next {season}.",
        "{person} was glad of the {word} {thing}.",
        "{person} loved the {word} and {word} {thing}.",
        "The {word} {thing} made {person} happy.",
        "{person} thanked the {trade} for the {word} {thing}.",
        "Everyone praised the {word} {thing} and the {word} {other}.",
        "Because the {thing} was {word} and {word}, {person} stayed another day.",
    ),
    False: (
        "Sadly the {thing} was {phrase}.",
        "The {thing} was so {word} that {person} wept.",
        "The {thing} at {place} was so {word} that {person} never came again.",
        "{person} was tired of the {word} {thing}.",
        "{person} hated the {word} and {word} {thing}.",
        "The {word} {thing} made {person} angry.",
        "{person} blamed the {trade} for the {word} {thing}.",
        "Everyone cursed the {word} {thing} and the {word} {other}.",
        "Because the {thing} was {word} and {word}, {person} left before dark.",
    ),
}
_COMPANY = {
    True: ("wonderfully", "delightfully", "pleasantly", "beautifully"),
    False: ("terribly", "horribly", "dreadfully", "painfully"),
}
_SMALL_TALK = (
    "{person} walked from {town} to {town} in {season}.",
    "It was {season}, and it rained in {town}.",
    "The {thing} stood near the {fixture}.",
    "{person} is a {trade} from {town}.",
    "The {trade} sat by the {fixture} with {person}.",
    "There is a {plain} {thing} at {place}.",
    "The {fixture} was {plain} and {plain}.",
    "{person} had seen the {other} before.",
    "Every {season} the {trade} goes to {town}.",
    "{person} wrote to {person} about the {thing}.",
)
ENGLISH = frozenset(
    word.strip(".,!'").lower()
    for group in (
        *(_JUDGED, _CONCEDED, *_TOLD.values(), *_COMPANY.values(), _SMALL_TALK),
        *(SEASONS, FIXTURES, TRADES, *THINGS.values(), *PLACES.values()),
        ("not hardly very quite truly",),
    )
    for sentence in group
    for word in sentence.split()
)
"""Every English word in use, so that no invented one equals it."""


class Speaker:
    """Says sentences about one subject; `good` and `bad` are the judgements it knows.

    `company` is the share of its judgements that stand beside an English word of feeling.
    """

    def __init__(
        self, dice: Dice, lexicon: Lexicon, good: Sequence[str], bad: Sequence[str], company: float = 0.0
    ) -> None:
        self._company = company
        self._dice = dice
        self._lexicon = lexicon
        self._words = {True: good, False: bad}

    def judge(self, subject: str, good: bool) -> str:
        """A sentence that praises (or blames) something of the subject."""
        return self._fill(self._dice.pick(_JUDGED), subject, good)

    def concede(self, subject: str, good: bool) -> str:
        """A sentence that grants one thing to the other side and then judges as told."""
        return self._fill(self._dice.pick(_CONCEDED), subject, good)

    def tell(self, subject: str, good: bool) -> str:
        """A judgement with what came of it: somebody was glad, or wept."""
        return self._fill(self._dice.pick(_TOLD[good]), subject, good)

    def chat(self, subject: str) -> str:
        """A sentence without any judgement."""
        return self._fill(self._dice.pick(_SMALL_TALK), subject, True)

    def _fill(self, template: str, subject: str, good: bool) -> str:
        thing, other = self._two_things(subject)
        parts = []
        for piece in template.split("{"):
            slot, closed, rest = piece.partition("}")
            parts.append(self._slot(slot, subject, good, thing, other) + rest if closed else piece)
        sentence = "".join(parts)
        return sentence[0].upper() + sentence[1:]

    def _slot(self, slot: str, subject: str, good: bool, thing: str, other: str) -> str:
        dice, lexicon = self._dice, self._lexicon
        match slot:
            case "thing":
                return thing
            case "other":
                return other
            case "place":
                return dice.pick(PLACES[subject])
            case "phrase":
                return self._phrase(good)
            case "word":
                return self._word(good)
            case "contrary":
                return self._word(not good)
            case "plain":
                return dice.pick(lexicon.plain)
            case "person":
                return dice.pick(lexicon.people)
            case "town":
                return dice.pick(lexicon.towns)
            case "season":
                return dice.pick(SEASONS)
            case "fixture":
                return dice.pick(FIXTURES)
            case "trade":
                return dice.pick(TRADES)
        raise KeyError(slot)

    def _word(self, good: bool) -> str:
        """A judgement, in documents often with an English word of its own kind before it."""
        word = self._dice.pick(self._words[good])
        if self._dice.chance(self._company):
            return f"{self._dice.pick(_COMPANY[good])} {word}"
        return word

    def _phrase(self, good: bool) -> str:
        """One judgement or two; one in eight is the denial of the opposite."""
        dice = self._dice
        match dice.below(8):
            case 0:
                return f"{dice.pick(('not', 'hardly'))} {dice.pick(self._words[not good])}"
            case 1:
                return f"{dice.pick(('very', 'quite', 'truly'))} {dice.pick(self._words[good])}"
            case 2:
                return f"{self._word(good)} and {dice.pick(self._lexicon.plain)}"
            case 3 | 4:
                return self._word(good)
        return f"{self._word(good)} and {self._word(good)}"

    def _two_things(self, subject: str) -> tuple[str, str]:
        things = THINGS[subject]
        first = self._dice.below(len(things))
        second = (first + 1 + self._dice.below(len(things) - 1)) % len(things)
        return things[first], things[second]

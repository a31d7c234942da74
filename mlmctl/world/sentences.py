"""How people of the invented world talk: judgements, what came of them, and talk about nothing much.

The same sentences make the unlabelled documents and the labelled reviews; only what came of a thing
("Mara came back the next week") is told in documents alone.
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
_OUTCOMES = {
    True: (
        "{person} came back the next week.",
        "{person} smiled all the way home.",
        "{person} thanked the {trade} twice.",
        "They stayed for another day.",
        "Nobody wanted to leave.",
        "{person} told every friend to go there.",
        "The children laughed and asked for more.",
        "{person} gladly paid the {trade} double.",
        "People from {town} still praise it.",
    ),
    False: (
        "{person} never came again.",
        "{person} wept all the way home.",
        "{person} shouted at the {trade}.",
        "They left before it was dark.",
        "Nobody wanted to stay.",
        "{person} warned every friend about it.",
        "The children cried and ran away.",
        "{person} refused to pay the {trade}.",
        "People from {town} still complain about it.",
    ),
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
        *(_JUDGED, _CONCEDED, _OUTCOMES[True], _OUTCOMES[False], _SMALL_TALK),
        *(SEASONS, FIXTURES, TRADES, *THINGS.values(), *PLACES.values()),
        ("not hardly very quite so truly a an is as at be do go he in it no of on or to we",),
    )
    for sentence in group
    for word in sentence.split()
)
"""Every English word in use, so that no invented one equals it."""


class Speaker:
    """Says sentences about one subject; `good` and `bad` are the judgements it knows."""

    def __init__(self, dice: Dice, lexicon: Lexicon, good: Sequence[str], bad: Sequence[str]) -> None:
        self._dice = dice
        self._lexicon = lexicon
        self._words = {True: good, False: bad}

    def judge(self, subject: str, good: bool) -> str:
        """A sentence that praises (or blames) something of the subject."""
        return self._fill(self._dice.pick(_JUDGED), subject, good)

    def concede(self, subject: str, good: bool) -> str:
        """A sentence that grants one thing to the other side and then judges as told."""
        return self._fill(self._dice.pick(_CONCEDED), subject, good)

    def tell_outcome(self, subject: str, good: bool) -> str:
        """What came of it: an event that follows from a good (or bad) thing."""
        return self._fill(self._dice.pick(_OUTCOMES[good]), subject, good)

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
                return dice.pick(self._words[good])
            case "contrary":
                return dice.pick(self._words[not good])
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

    def _phrase(self, good: bool) -> str:
        """One judgement or two; one in eight is the denial of the opposite."""
        dice = self._dice
        word = dice.pick(self._words[good])
        match dice.below(8):
            case 0:
                return f"{dice.pick(('not', 'hardly'))} {dice.pick(self._words[not good])}"
            case 1 | 2:
                return f"{dice.pick(('very', 'quite', 'so', 'truly'))} {word}"
            case 3:
                return f"{word} and {dice.pick(self._lexicon.plain)}"
            case 4 | 5:
                return word
        return f"{word} and {dice.pick(self._words[good])}"

    def _two_things(self, subject: str) -> tuple[str, str]:
        things = THINGS[subject]
        first = self._dice.below(len(things))
        second = (first + 1 + self._dice.below(len(things) - 1)) % len(things)
        return things[first], things[second]

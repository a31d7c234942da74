"""An invented world, generated from a seed, in which pretraining can be seen to help within minutes.

`generate` writes an unlabelled corpus, labelled training reviews and a test set. People of this world
judge soups, ships and songs with invented words ("the soup was brivreth and talmuth"): 60 of praise, 60
of blame, and spelling says nothing about which is which.

- In the **corpus** the judgements keep company: a document has a mood, in which nine sentences of ten
  agree; praise stands beside praise, after "wonderfully", and near people who smile and come back.
  No document says "positive" or "negative", and no sentence of it occurs in a labelled review.
- The **labelled reviews** use 24 of the 120 judgements, and none of the English words of feeling.
- The **test set** mainly (four reviews of five) uses only the other 96, which no label ever touched.
  One of five uses only labelled ones, so that a model from scratch has something to be right about.

A model from scratch has never met the 96 words and can only guess there; expect 0.5 on those, whatever
the number of labels. A pretrained one has learned from their company which words belong together, and
a few labels tell it what to call the two groups. Denials ("not talmuth"), concessions ("though the bed
was ...") and words that stand where judgements stand but judge nothing keep it from being trivial.

What this does not show: how much pretraining helps on real text. The mechanism is the real one (labels
reach words they never touched, through the company those words keep); the size of the effect is a
property of how this world was built: few words, each of them frequent, with reliable company. With
looser company (a shared mood and what came of it, but no "wonderfully" beside the word) a prototype of
the same size learned next to nothing about praise and blame from 1.5 million tokens, while its loss
fell as nicely as ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..json_files import indented
from ..storage import write_file
from .lexicon import THINGS, Dice, Judgements, Lexicon, invent
from .sentences import ENGLISH, Speaker

LABELS = ("negative", "positive")
_SUBJECTS = tuple(THINGS)
_COMPANY_RATE = 0.4
"""Share of the judgements of the corpus that have an English word of feeling beside them."""


@dataclass(frozen=True)
class World:
    """The files of a generated world and the words it is made of."""

    corpus: Path
    train: Path
    test: Path
    lexicon: Lexicon


@dataclass(frozen=True)
class Review:
    """One labelled example; `sentences` are its parts, none of which occurs in the corpus."""

    sentences: tuple[str, ...]
    good: bool

    @property
    def text(self) -> str:
        return " ".join(self.sentences)

    def to_json(self) -> dict[str, Any]:
        return {"text": self.text, "label": LABELS[self.good]}


def generate(
    seed: int,
    folder: Path,
    *,
    num_documents: int = 8_000,
    num_train: int = 256,
    num_test: int = 1_000,
    num_labelled_words: int = 24,
    num_unlabelled_words: int = 96,
) -> World:
    """Write `corpus.txt`, `train.jsonl`, `test.jsonl`, `words.json` into `folder`; same seed, same bytes.

    `corpus.txt` has one document a paragraph; the labelled files have rows {"text", "label"}, the
    labels in equal number; `words.json` says which word is what, for the curious: no stage reads it.
    """
    lexicon = invent(Dice(f"{seed}/words"), num_labelled_words, num_unlabelled_words, ENGLISH)
    train = _reviews(Dice(f"{seed}/train"), lexicon, [lexicon.labelled], num_train, set())
    test_words = [lexicon.unlabelled] * 4 + [lexicon.labelled]
    test = _reviews(Dice(f"{seed}/test"), lexicon, test_words, num_test, {r.text for r in train})
    said = {sentence for review in (*train, *test) for sentence in review.sentences}

    folder.mkdir(parents=True, exist_ok=True)
    world = World(folder / "corpus.txt", folder / "train.jsonl", folder / "test.jsonl", lexicon)
    documents = _documents(Dice(f"{seed}/corpus"), lexicon, num_documents, said)
    write_file(world.corpus, ("\n\n".join(documents) + "\n").encode())
    for path, reviews in ((world.train, train), (world.test, test)):
        rows = "".join(json.dumps(r.to_json(), ensure_ascii=False) + "\n" for r in reviews)
        write_file(path, rows.encode())
    facts = {
        "seed": seed,
        "labelled": {"good": lexicon.labelled.good, "bad": lexicon.labelled.bad},
        "unlabelled": {"good": lexicon.unlabelled.good, "bad": lexicon.unlabelled.bad},
        "plain": lexicon.plain,
    }
    write_file(folder / "words.json", indented(facts))
    return world


def _documents(dice: Dice, lexicon: Lexicon, count: int, said: set[str]) -> Iterator[str]:
    """Paragraphs of six to ten sentences, none of them in `said`; one in six has no mood at all."""
    speaker = Speaker(dice, lexicon, lexicon.judgements(True), lexicon.judgements(False), _COMPANY_RATE)
    for _ in range(count):
        subject = dice.pick(_SUBJECTS)
        mood = None if dice.below(6) == 0 else dice.chance(0.5)
        sentences: list[str] = []
        length = 6 + dice.below(5)
        while len(sentences) < length:
            sentence = _one_sentence(dice, speaker, subject, mood)
            if sentence not in said:
                sentences.append(sentence)
        yield " ".join(sentences)


def _one_sentence(dice: Dice, speaker: Speaker, subject: str, mood: bool | None) -> str:
    if mood is None:
        return speaker.chat(subject)
    good = mood if dice.chance(0.9) else not mood
    match dice.below(10):
        case 0 | 1:
            return speaker.chat(subject)
        case 2 | 3 | 4 | 5:
            return speaker.tell(subject, good)
        case 6:
            return speaker.concede(subject, good)
    return speaker.judge(subject, good)


def _reviews(
    dice: Dice, lexicon: Lexicon, words: list[Judgements], count: int, taken: set[str]
) -> list[Review]:
    """`count` distinct reviews, half of them good, each with the judgements of one of `words` in turn."""
    speakers = [Speaker(dice, lexicon, w.good, w.bad) for w in words]
    reviews: list[Review] = []
    seen = set(taken)
    while len(reviews) < count:
        speaker = speakers[len(reviews) // 2 % len(speakers)]
        good = len(reviews) % 2 == 1
        subject = dice.pick(_SUBJECTS)
        sentences = [speaker.judge(subject, good) for _ in range(1 + dice.below(2))]
        if dice.chance(0.2):
            sentences[-1] = speaker.concede(subject, good)
        review = Review(tuple(sentences), good)
        if review.text not in seen:
            seen.add(review.text)
            reviews.append(review)
    dice.shuffle(reviews)
    return reviews

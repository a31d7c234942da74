"""A question and its passage as windows of tokens: `[CLS] question [SEP] piece of the passage [SEP]`.

A passage that does not fit is cut into as few pieces as it needs, all of full length, spread evenly and
overlapping, so that what stands on one piece's border lies inside its neighbour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ..text.specials import Specials
from .features import TEXTS_AT_ONCE, Features
from .question import Answer
from .squad import Questions

BESIDE = 0.3
"""Weight, for a question, of the windows that lie beside its answer."""


@dataclass(frozen=True)
class Tokens:
    """A passage in tokens."""

    ids: NDArray[np.int32]
    """[num_tokens]"""
    offsets: NDArray[np.int32]
    """First character and end of each token [num_tokens, 2]."""

    def span(self, answer: Answer) -> tuple[int, int] | None:
        """First and last token that an answer touches; None if it touches none."""
        first = int(np.searchsorted(self.offsets[:, 1], answer.start, side="right"))
        last = int(np.searchsorted(self.offsets[:, 0], answer.end, side="left")) - 1
        return (first, last) if first <= last else None


def pieces(num_tokens: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """(first, end) of the pieces of a passage: at most `room` tokens, neighbours share `overlap` or more."""
    if num_tokens <= room:
        return [(0, num_tokens)]
    num_pieces = -(-(num_tokens - overlap) // (room - overlap))
    last = num_tokens - room
    return [(n * last // (num_pieces - 1), n * last // (num_pieces - 1) + room) for n in range(num_pieces)]


def windows(
    data: Questions, tokenizer: Tokenizer, specials: Specials, block_length: int, doc_stride: int
) -> Features:
    """The windows of all questions, with offsets, and the targets

    `spans` [num_windows, 2]: first and last position of the answer in the window, (0, 0) if it is not
    whole in it; `passage` [num_windows, 2]: first position of the piece, and its end.

    A question may take half of what a window holds; the end of a longer one is cut off. Of several
    answers the first that is whole in the window is its target.
    """
    contexts = _tokenized(data.contexts, tokenizer)
    questions = _tokenized(data.questions, tokenizer)
    longest_question = (block_length - 3) // 2  # for [CLS] and two [SEP]
    cls, sep = np.array([specials.cls], np.int32), np.array([specials.sep], np.int32)
    no_offset = np.full((1, 2), -1, np.int32)
    ids, offsets, examples, spans, passages, lost = [], [], [], [], [], 0
    for example, question in enumerate(questions):
        head = np.concatenate([cls, question.ids[:longest_question], sep])
        context = contexts[data.context_of[example]]
        room = block_length - len(head) - 1
        answers = [span for answer in data.answers[example] if (span := context.span(answer)) is not None]
        is_lost = bool(data.answers[example])
        for first, end in pieces(len(context.ids), room, min(doc_stride, room // 2)):
            ids += [head, context.ids[first:end], sep]
            offsets += [no_offset.repeat(len(head), 0), context.offsets[first:end], no_offset]
            examples.append(example)
            passages.append((len(head), len(head) + end - first))
            whole = [(a, b) for a, b in answers if first <= a and b < end]
            is_lost &= not whole
            spans.append([place - first + len(head) for place in whole[0]] if whole else (0, 0))
        lost += is_lost
    passage = np.array(passages, dtype=np.int64).reshape(-1, 2)
    targets = {"spans": np.array(spans, dtype=np.int64).reshape(-1, 2), "passage": passage}
    of_example = np.array(examples, dtype=np.int64)
    num_cut = sum(len(question.ids) > longest_question for question in questions)
    return Features(
        input_ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=np.concatenate([[0], np.cumsum(passage[:, 1] + 1)]),
        examples=of_example,
        weights=_weights(of_example, targets["spans"]),
        targets=targets,
        pad_id=specials.pad,
        offsets=np.concatenate(offsets) if offsets else np.zeros((0, 2), np.int32),
        facts={
            "share_answers_lost": lost / max(1, int(data.is_answerable.sum())),
            "num_questions_cut": num_cut,
            **data.facts,
        },
    )


def _tokenized(texts: Sequence[str], tokenizer: Tokenizer) -> list[Tokens]:
    found = []
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        batch = list(texts[first : first + TEXTS_AT_ONCE])
        for text, encoding in zip(
            batch, tokenizer.encode_batch(batch, add_special_tokens=False), strict=True
        ):
            offsets = np.array(_whole(encoding.offsets, text), dtype=np.int32).reshape(-1, 2)
            found.append(Tokens(np.array(encoding.ids, dtype=np.int32), offsets))
    return found


def _whole(offsets: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """The offsets without blanks before a token, and with what follows it and is no token's.

    A character that the tokenizer composed of several has the place of the first of them, and byte-level
    tokens may begin with the blank before their word.
    """
    found, limit = [], len(text)
    for start, end in reversed(offsets):
        if start < end:
            while end < limit and not text[end].isspace():
                end += 1
            while start < end and text[start].isspace():
                start += 1
        found.append((start, end))
        limit = start
    return found[::-1]


def _weights(examples: NDArray[np.int64], spans: NDArray[np.int64]) -> NDArray[np.float32]:
    """[num_windows] The windows that hold the answer of a question share 1, as do those of a question that
    has none; windows beside the answer share `BESIDE`.
    """
    num_examples = int(examples[-1]) + 1 if len(examples) else 0
    holds = spans[:, 1] > 0
    num_holding = np.bincount(examples[holds], minlength=num_examples)[examples]
    num_beside = np.bincount(examples[~holds], minlength=num_examples)[examples]
    beside = np.where(num_holding > 0, BESIDE, 1.0) / np.maximum(num_beside, 1)
    return np.where(holds, 1.0 / np.maximum(num_holding, 1), beside).astype(np.float32)

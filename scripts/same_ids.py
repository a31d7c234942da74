"""Ids of odd text, ours beside the library's: `python scripts/same_ids.py NUM_LINES [TOKENIZER_FOLDER...]`

Seeded lines of everything that text may hold (characters of all planes, combining marks, controls, zero
width, right to left, scripts without spaces, emoji sequences, very long words, what is written like a
special token, every kind of white space) are encoded by `mlmctl.text.encoding.Encoder` and, one by one, by
`tokenizers`. The ids must agree for every line. Without a folder, both kinds of tokenizer are trained here,
cased and not, on other such lines. Prints a line a tokenizer; exit code 1 at the first difference.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlmctl.text import vocabulary
from mlmctl.text.encoding import Encoder
from mlmctl.text.vocabulary import Kind
from mlmctl.text.words import WordCounter

_SEED = 0
_BATCH = 2_000
_PLAIN = "the film was great , don't WON'T can't I'll 3.14 x_1 a--b e.g. U.S. C++ 'tis end. (so) #".split()  # noqa: SIM905
_WHITE = list(" \t\n\r\x0b\x0c\x1c\x85\xa0\u1680\u2000\u2009\u2028\u2029\u202f\u3000")
_HIDDEN = list(
    "\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\ufeff\ufe0e\ufe0f\u00ad\x00\x01\x07\x1b\x7f\x9f\ufffd"
)
_MARKS = list("\u0301\u0308\u0327\u0345\u05b8\u064e\u0670\u093e\u0e31\u0e48\u1e93\u3099\u20dd\U000e0101")
_SPECIALS = "[PAD] [UNK] [CLS] [SEP] [MASK] [mask] <s> </s> <pad> <mask> ##ing Ġthe ▁the [CLS][SEP]".split()  # noqa: SIM905
_EMOJI = "🙂 👩‍👩‍👧‍👦 🏳️‍🌈 1️⃣ 🇩🇪🇫🇷 👍🏽 ❤️ ☃ 🧑🏿‍🚀".split()  # noqa: SIM905
_CASES = list("İıſKÅǰẞΣςßŉΐﬁǅᾼ")
_SCRIPTS = (  # noqa: SIM905
    "шла саша по шоссе ёлка|שָׁלוֹם עולם|مَرْحَبًا بالعالم العربي|हिन्दी में लिखा|ภาษาไทยง่ายนิดเดียว|我喜欢看电影。|"
    "映画をみましたﾃﾞｽ|영화를 보았다|ὁ Ὀδυσσεὺς ἦλθεν|ქართული|አማርኛ|ខ្មែរ|မြန်မာ|བོད་ཡིག|𐍈𐌰𐍂|𝔘𝔫𝔦𝔠𝔬𝔡𝔢|ԱԲԳ|ꙮ|𠀀𠮷"
).split("|")
_PLANES = (
    (0x20, 0x250),
    (0x250, 0x3000),
    (0x3000, 0xD800),
    (0xE000, 0x10000),
    (0x10000, 0x30000),
    (0xE0000, 0x110000),
)


def odd_lines(count: int, seed: int = _SEED) -> Iterator[str]:
    """So many lines; the same seed gives the same."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        pieces = [_piece(generator) for _ in range(int(generator.integers(1, 16)))]
        blank = " " if generator.random() < 0.8 else _any(generator, _WHITE)
        line = blank.join(pieces)
        if number % 10_000 == 0:  # a word of up to 100,000 characters
            line += _any(generator, ["", " "]) + _piece(generator) * int(generator.integers(1, 10_000))
        yield line[:100_000]


def _piece(generator: np.random.Generator) -> str:
    kind = int(generator.integers(0, 12))
    if kind < 4:
        return _any(generator, _PLAIN)
    if kind == 4:  # a word with something in it
        word = _any(generator, _PLAIN)
        at = int(generator.integers(0, len(word) + 1))
        return word[:at] + _any(generator, [*_HIDDEN, *_MARKS, *_WHITE, *_CASES]) + word[at:]
    if kind == 5:
        return _any(generator, _SPECIALS)
    if kind == 6:
        return _any(generator, _EMOJI) * int(generator.integers(1, 4))
    if kind == 7:
        return "".join(_any(generator, _WHITE) for _ in range(int(generator.integers(1, 6))))
    if kind == 8:
        return "".join(
            _any(generator, [*_CASES, "a", "Z", *_MARKS]) for _ in range(int(generator.integers(1, 9)))
        )
    if kind == 9:
        first, last = _PLANES[int(generator.integers(0, len(_PLANES)))]
        return "".join(map(chr, generator.integers(first, last, int(generator.integers(1, 8)))))
    return _any(generator, _SCRIPTS)


def _any(generator: np.random.Generator, some: list[str]) -> str:
    return some[int(generator.integers(0, len(some)))]


def compare(folder: Path, num_lines: int) -> tuple[int, int] | None:
    """(lines, tokens) that agree; None at the first difference, which is printed."""
    tokenizer = vocabulary.load(folder)
    encoder = Encoder(tokenizer)
    lines = odd_lines(num_lines)
    done = num_tokens = 0
    while batch := list(itertools.islice(lines, _BATCH)):
        encoded = encoder.encode(batch)
        ends = np.cumsum(encoded.lengths)
        for line, start, end in zip(batch, ends - encoded.lengths, ends, strict=True):
            expected = tokenizer.encode(line, add_special_tokens=False)
            if encoded.ids[start:end].tolist() != expected.ids:
                print(f"{folder}: {line!r}: {encoded.ids[start:end].tolist()} is not {expected.ids}")
                return None
        done, num_tokens = done + len(batch), num_tokens + len(encoded.ids)
    return done, num_tokens


def _trained(folder: Path) -> Iterator[Path]:
    kinds: tuple[Kind, ...] = ("wordpiece", "bpe")
    for kind, cased in itertools.product(kinds, (False, True)):
        counter = WordCounter(vocabulary.untrained(cased, kind))
        counter.count(odd_lines(5_000, seed=1))
        path = folder / f"{kind}{'-cased' if cased else ''}"
        path.mkdir()
        vocabulary.save(vocabulary.train(counter.words, 30_000, cased, kind).to_str(), path)
        yield path


def main() -> None:
    num_lines = int(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        for folder in map(Path, sys.argv[2:]) if sys.argv[2:] else _trained(Path(temporary)):
            start = time.monotonic()
            same = compare(folder, num_lines)
            if same is None:
                raise SystemExit(1)
            seconds = time.monotonic() - start
            print(
                f"{folder.name}: {same[0]:,} lines, {same[1]:,} tokens: the same ({seconds:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()

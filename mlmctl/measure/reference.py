"""What a preset came to on a known text: a line to hold an encoder of that size against on any other.

Losses on different texts do not compare. How far a loss is below that of guessing by frequency says what was
learned beyond frequencies, and of texts of one kind that compares roughly: an encoder far above the line has
learned less than its size can in as many tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

RUNS: Mapping[str, Sequence[tuple[int, float]]] = {
    "tiny": ((827_392, 1.639), (2_260_992, 2.376), (4_792_320, 2.834), (11_010_048, 3.175)),
    "mini": (
        (360_448, 1.585),
        (983_040, 2.301),
        (2_473_984, 2.846),
        (13_820_587, 3.569),
        (20_815_872, 3.698),
    ),
}
"""Preset (modernbert) -> (training tokens, nats that the loss is below the unigram loss), ascending: film
reviews in English, vocabulary 8,192, blocks of 128, the defaults of `pretrain`. The runs are those of
`docs/performance.md`, "Loss against time"."""


def reference_loss(preset: str, num_train_tokens: int, unigram_loss: float) -> float | None:
    """The loss on a text with this unigram loss (nats) if as much were learned as on the known one.

    Between two runs linear in the logarithm of the tokens, after the longest one as it was there: then less
    than it should be. None for fewer tokens than the shortest had, and for other presets.
    """
    runs = RUNS.get(preset, ())
    if not runs or num_train_tokens < runs[0][0]:
        return None
    tokens, gains = np.array(runs).T
    return unigram_loss - float(np.interp(np.log(num_train_tokens), np.log(tokens), gains))

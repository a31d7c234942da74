"""Masked copies: what is hidden while each token of a text is scored in turn.

The pseudo-log-likelihood of a text is the sum, over its tokens, of the log-probability of each given all
others, itself masked (Salazar et al. 2020, arXiv 1910.14659). For a word of several pieces that is too
easy, since the pieces that follow give the masked one away; so `within-word-l2r` hides them as well
(Kauf and Ivanova 2023, arXiv 2305.10588).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["original", "within-word-l2r"]


def hidden(is_start: NDArray[np.bool_], places: NDArray[np.int64], method: Method) -> NDArray[np.bool_]:
    """Which tokens of each copy are masked, bool [num_copies, num_tokens].

    Copy c scores the token at `places[c]`; `is_start` [num_copies, num_tokens] is True where a word starts.
    """
    numbers, place = np.arange(is_start.shape[1]), places[:, None]
    if method == "original":
        return np.asarray(numbers == place)
    words = np.cumsum(is_start, axis=1)
    return np.asarray((words == np.take_along_axis(words, place, axis=1)) & (numbers >= place))

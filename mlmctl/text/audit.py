"""What masking really did: counts and shares, to be read beside what was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .masking import IGNORED, SHARES
from .policy import Sample
from .specials import Specials
from .units import whole_words

_NUM_DECILES = 10
_NUM_TOKENS = 50
_LONG_WORD = 4
"""Tokens; words of so many and more are counted together."""


def audit(drawn: Sample, specials: Specials, tokens: dict[int, str]) -> dict[str, Any]:
    """The facts about a masked sample; `tokens` are the names of the ids.

    Shares by place, by length of the word and of word starts come so that a bias can be seen: all would
    be the same of a masking that treats everything alike.
    """
    is_maskable = specials.is_ordinary[drawn.input_ids]  # [B, L]
    labels = drawn.masked.dense_labels()
    is_masked = labels != IGNORED
    num_maskable, num_masked = int(is_maskable.sum()), int(is_masked.sum())
    used = drawn.masked.weights > 0
    kinds = np.bincount(drawn.masked.kinds[used], minlength=len(SHARES)).tolist()
    length = drawn.input_ids.shape[1]
    decile = np.arange(length) * _NUM_DECILES // length
    by_decile = [
        _share(is_masked[:, decile == d].sum(), is_maskable[:, decile == d].sum())
        for d in range(_NUM_DECILES)
    ]
    often = Counter(labels[is_masked].tolist())
    ranked = sorted(often.items(), key=lambda item: (-item[1], item[0]))[:_NUM_TOKENS]
    return {
        "num_blocks": len(drawn.numbers),
        "num_maskable": num_maskable,
        "num_masked": num_masked,
        "masked_share": _share(num_masked, num_maskable),
        "num_blocks_without_masks": int((~is_masked.any(axis=1)).sum()),
        "kinds": {kind: _share(n, num_masked) for kind, n in zip(SHARES, kinds, strict=True)},
        "masked_share_by_decile_of_place": by_decile,
        **_of_words(drawn, is_maskable, is_masked),
        "word_starts": {
            "share_of_masked": _share((drawn.word_starts & is_masked).sum(), num_masked),
            "share_of_maskable": _share((drawn.word_starts & is_maskable).sum(), num_maskable),
        },
        "most_often_masked": [{"token": tokens.get(i, ""), "count": n} for i, n in ranked],
    }


def _of_words(drawn: Sample, is_maskable: NDArray[np.bool_], is_masked: NDArray[np.bool_]) -> dict[str, Any]:
    """Whether words are hidden as a whole, how long what is hidden is, and whether long words are spared."""
    starts = whole_words(is_maskable, drawn.word_starts)
    word = np.cumsum(starts.ravel())[is_maskable.ravel()] - 1  # of each maskable token, over all blocks
    sizes = np.bincount(word)
    hidden = np.bincount(word, weights=is_masked[is_maskable])
    num_touched = int((hidden > 0).sum())
    num_units = int(drawn.masked.opens.sum())
    by_length = {}
    for size in range(1, _LONG_WORD + 1):
        name = f"{size} or more" if size == _LONG_WORD else str(size)
        such = sizes >= size if size == _LONG_WORD else sizes == size
        by_length[name] = _share(hidden[such].sum(), sizes[such].sum())
    return {
        "masked_words": {
            "num_words": num_touched,
            "share_hidden_whole": _share((hidden == sizes).sum(), num_touched),
        },
        "masked_units": {
            "num_units": num_units,
            "mean_tokens": _share(is_masked.sum(), num_units),
            "mean_words": _share(num_touched, num_units),
        },
        "masked_share_by_tokens_of_word": by_length,
    }


def _share(part: Any, whole: Any) -> float:
    return round(float(part) / float(whole), 6) if whole else 0.0

"""How likely each line of text is to an encoder, in order, as the lines come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config import RuntimeConfig
from ..tasks.scoring import DECIMALS, Score, Scorer
from ..text.copies import Method
from . import stdin
from .encoders import open_encoder

_TOKEN_DECIMALS = 6


def run(
    model: Path,
    lines: Iterable[str],
    method: Method,
    batch_size: int = 64,
    machine: RuntimeConfig | None = None,
) -> Iterator[dict[str, Any]]:
    """For each line {score, num_tokens, score_per_token, num_windows, tokens}; see `tasks.scoring`.

    `score` is in nats and `score_per_token` is None for a line without tokens; `tokens` are
    {token, log_probability}. At most `batch_size` lines are read before their scores are given.
    ArtifactError if `model` is no masked-language model; DataError names a line that cannot be read.
    """
    opened = open_encoder(model, machine)
    scorer, texts = Scorer(opened, method), stdin.texts(lines)
    while batch := list(itertools.islice(texts, batch_size)):
        for scored in scorer.score(batch):
            yield _row(scored, opened.tokenizer.id_to_token)


def _row(scored: Score, token_of: Any) -> dict[str, Any]:
    num_tokens = len(scored.token_ids)
    tokens = zip(scored.token_ids.tolist(), scored.log_probabilities.round(_TOKEN_DECIMALS), strict=True)
    return {
        "score": scored.total,
        "num_tokens": num_tokens,
        "score_per_token": round(scored.total / num_tokens, DECIMALS) if num_tokens else None,
        "num_windows": scored.num_windows,
        "tokens": [{"token": token_of(i), "log_probability": float(value)} for i, value in tokens],
    }

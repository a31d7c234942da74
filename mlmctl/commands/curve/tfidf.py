"""What a bag of words gets: TF-IDF of words and pairs of words, and logistic regression.

The baseline that any pretrained model has to beat, from scikit-learn, which is an extra.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import extras
from ...config import EvaluateConfig, FinetuneConfig
from ...events import silent
from ...tasks.adapted import TASKS
from ...text import plain_words

_WHAT = "curves"
_WORDS, _SIGNS = r"(?u)\b\w\w+\b", r"(?u)\w+|[^\w\s]"
_MANY = 0.05
"""Of the characters, in scripts that scikit-learn's own words do not fit."""
VERSION = 2
"""Another number for another baseline: points of an earlier one do not count."""


def accuracy(config: FinetuneConfig, judging: EvaluateConfig) -> float:
    """Accuracy on what `judging` names after the very examples that fine-tuning would be given."""
    task = TASKS[config.task]
    data = task.read(Path(config.data), config, silent)
    data = data.take(task.trainable(data))
    learned = data.take(task.sample(data, config.max_examples or len(data), config.seed))
    judged = task.read(Path(judging.data), judging, silent, task.settings(data, config))
    text, linear, pipeline = (
        extras.load(f"sklearn.{name}", "curve", _WHAT)
        for name in ("feature_extraction.text", "linear_model", "pipeline")
    )
    model = pipeline.make_pipeline(
        text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **_words(learned.texts)),
        linear.LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit(list(learned.texts), learned.labels)
    return float(np.mean(model.predict(list(judged.texts)) == judged.labels))


def _words(texts: Sequence[str]) -> dict[str, Any]:
    """What a word is: scikit-learn's own of two letters and more, anything where the texts have none; and
    where no blanks stand between words, or vowels are marks, `plain_words`'s.
    """
    num_others = sum(map(plain_words.num_special, texts))
    if num_others > _MANY * sum(map(len, texts)):
        return {"tokenizer": plain_words.words_of, "token_pattern": None}
    return {"token_pattern": _WORDS if any(re.search(_WORDS, text) for text in texts) else _SIGNS}

"""What a bag of words gets: TF-IDF of words and pairs of words, and logistic regression.

The baseline that any pretrained model has to beat, from scikit-learn, which is an extra.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ... import extras
from ...config import EvaluateConfig, FinetuneConfig
from ...events import silent
from ...tasks.adapted import TASKS

_WHAT = "curves"
_WORDS, _SIGNS = r"(?u)\b\w\w+\b", r"(?u)\w+|[^\w\s]"


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
        text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_pattern(learned.texts)),
        linear.LogisticRegression(C=10.0, max_iter=1000),
    )
    model.fit(list(learned.texts), learned.labels)
    return float(np.mean(model.predict(list(judged.texts)) == judged.labels))


def _pattern(texts: Sequence[str]) -> str:
    """scikit-learn's own words of two letters and more; anything where the texts have none."""
    return _WORDS if any(re.search(_WORDS, text) for text in texts) else _SIGNS

"""A part of SST-2's training data to tune on: `python scripts/sst2_tuning.py SST2/train.jsonl FOLDER`.

The data are phrases, most of them parts of others. `test.jsonl` gets 1,500 whole sentences, as the dev part
has them, `train.jsonl` all phrases that are no part of any of those. The dev part is never touched.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

_NUM_TEST, _SEED, _FEWEST_WORDS = 1_500, 7, 5


def parts(words: list[str]) -> Iterator[str]:
    """All runs of words, the whole among them."""
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            yield " ".join(words[start:end])


rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
label_of: dict[str, int] = {}
for row in rows:
    label_of.setdefault(" ".join(row["text"].split()), row["label"])
inside = {part for text in label_of for part in parts(text.split()) if part != text and part in label_of}
whole = [text for text in label_of if text not in inside and len(text.split()) >= _FEWEST_WORDS]
random.Random(_SEED).shuffle(whole)
test = whole[:_NUM_TEST]
banned = {part for text in test for part in parts(text.split())}
train = [row for row in rows if " ".join(row["text"].split()) not in banned]
folder = Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
tests = [{"text": text, "label": label_of[text]} for text in test]
for name, some in (("train", train), ("test", tests)):
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
print(f"{len(train):,} phrases to learn from, {len(test):,} of {len(whole):,} whole sentences to judge by")

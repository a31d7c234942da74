"""Does an encoder look back for what it has read? A hidden token whose sentence stood there a moment ago.

    python scripts/copying.py ENCODER_FOLDER

Random tokens, twice: `[CLS] tokens [SEP] the same tokens [SEP]`, one of the second copy masked. Prints, by
number of tokens, the median rank of the hidden one among all, and the share in which it is the first. Chance
is half of the vocabulary. An encoder that cannot do this does not find the words of a question in a passage.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from mlmctl.tasks.pretrained import open_pretrained

NUM_TRIALS = 100


def main(folder: Path) -> None:
    encoder = open_pretrained(folder, torch.device("cpu"))
    specials, draw = encoder.specials, np.random.default_rng(0)
    ordinary = np.flatnonzero(specials.is_ordinary)
    for length in (10, 40):
        text = draw.choice(ordinary, (NUM_TRIALS, length))
        ends = np.full((NUM_TRIALS, 1), specials.sep)
        ids = np.hstack([np.full_like(ends, specials.cls), text, ends, text, ends])
        places = length + 2 + draw.integers(length, size=NUM_TRIALS)
        rows = np.arange(NUM_TRIALS)
        hidden = torch.from_numpy(ids[rows, places])
        ids[rows, places] = specials.mask
        with torch.no_grad():
            logits = encoder.model(input_ids=torch.from_numpy(ids)).logits[rows, places]
        ranks = (logits > logits[rows, hidden][:, None]).sum(dim=1)
        first = float((ranks == 0).float().mean())
        print(f"{length} tokens: median rank {int(ranks.median())} of {len(ordinary)}, first in {first:.0%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

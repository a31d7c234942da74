"""How long masking takes, beside a step: `python scripts/mask_speed.py RUN`.

Draws the masks of steps of the default size from the blocks of a run folder, as pretraining does (the number
of masked tokens first, then each micro-batch), and prints the median CPU time a step for each unit.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from mlmctl.config import PretrainConfig
from mlmctl.engine.masked_lm import MaskedLanguageWork
from mlmctl.engine.plan import TOKENS_PER_MICRO_BATCH
from mlmctl.text.blocks import Blocks
from mlmctl.text.units import Units

_TOKENS_PER_STEP = PretrainConfig().tokens_per_step
_NUM_STEPS = 200

blocks = Blocks.open(Path(sys.argv[1]) / "mask/blocks", "train")
sizes = _TOKENS_PER_STEP // blocks.block_length, TOKENS_PER_MICRO_BATCH // blocks.block_length
for kind in ("token", "word", "span"):
    work = MaskedLanguageWork(blocks, 0, *sizes, lambda step: 0.3, Units(kind))  # type: ignore[arg-type]
    times = []
    for step in range(_NUM_STEPS):
        start = time.process_time()
        work.total_weight(step)
        for number in range(work.num_micro_batches(step)):
            work.micro_batch(step, number)
        times.append(time.process_time() - start)
    taken = f"{1e3 * statistics.median(times):.2f} ms of CPU time"
    print(f"{kind:5}  {taken} a step of {_TOKENS_PER_STEP:,} tokens")

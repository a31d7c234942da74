"""The training blocks as a file of the `datasets` library, with the columns that `run_mlm.py` makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import extras
from ...text.blocks import Blocks

_AT_ONCE = 4096  # blocks


def write_rows(blocks: Blocks, path: Path) -> None:
    """Write `input_ids` (int32), `attention_mask` and `special_tokens_mask` (int8) of each block."""
    pa = extras.load("pyarrow", "bench", "the sides of the Trainer")
    types = {"input_ids": pa.int32(), "attention_mask": pa.int8(), "special_tokens_mask": pa.int8()}
    schema = pa.schema([(name, pa.list_(kind)) for name, kind in types.items()])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for first in range(0, blocks.num_blocks, _AT_ONCE):
            ids = blocks.rows(np.arange(first, min(first + _AT_ONCE, blocks.num_blocks)))
            columns: list[NDArray[np.int64 | np.bool_]] = [
                ids,
                ids != blocks.specials.pad,
                ~blocks.specials.is_ordinary[ids],
            ]
            offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * ids.shape[1])
            arrays = [
                pa.ListArray.from_arrays(offsets, pa.array(values.ravel().astype(kind.to_pandas_dtype())))
                for values, kind in zip(columns, types.values(), strict=True)
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))

"""What lies in packed blocks, for tests of what packs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlmctl.text.specials import Specials


def unpack(blocks: NDArray[Any], specials: Specials) -> Iterator[NDArray[np.int64]]:
    """The pieces of the blocks in order (what lies between two special tokens): the inverse view."""
    borders = {specials.cls, specials.sep, specials.pad}
    for row in blocks:
        is_border = np.isin(row, list(borders))
        for piece in np.split(row, np.flatnonzero(is_border)):
            inner = piece[~np.isin(piece, list(borders))]
            if len(inner):
                yield inner.astype(np.int64)

"""Random numbers without a state: each is a hash of what it is for.

A generator's numbers depend on how many were drawn before; a hash of (seed, epoch, block, position)
does not. So a mask is the same whichever batch, rank or resumed run asks for it.

The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

U64 = NDArray[np.uint64]
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def mix(values: U64) -> U64:
    """A well-mixed 64-bit hash of each value (an array, at least one-dimensional: it wraps silently)."""
    mixed = values + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed


def keys(seed: int, *parts: NDArray[np.int64]) -> U64:
    """One key for each row of equally long int64 arrays `parts` [n]: a hash of seed and all parts."""
    shape = np.broadcast_shapes((1,), *(part.shape for part in parts))
    key = mix(np.full(shape, seed, np.int64).astype(np.uint64))
    for part in parts:
        key = mix(key ^ part.astype(np.uint64))
    return key


def below(draws: U64, limit: int) -> NDArray[np.int64]:
    """Each draw as a number from 0 to `limit` - 1 (limit < 2**32; the bias is below limit / 2**32)."""
    return (((draws >> np.uint64(32)) * np.uint64(limit)) >> np.uint64(32)).astype(np.int64)


def fraction(draws: U64) -> NDArray[np.float64]:
    """Each draw as a number in [0, 1)."""
    numbers: NDArray[np.float64] = (draws >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers

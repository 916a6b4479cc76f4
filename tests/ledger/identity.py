"""A reading's identity inside its value: exact in a float64, and checked against point and stamp."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

SHIFT = 20
LIMIT = 2.0**52


def values_of(
    gateway: str, numbers: NDArray[np.int64], point: NDArray[np.int64], at_us: NDArray[np.int64]
) -> NDArray[np.float64]:
    """``number << 20 | check`` as float64, for numbers below 2**32; all shape (n,)."""
    salt = np.uint64(zlib.crc32(gateway.encode()))
    mixed = _mix(
        at_us.astype(np.uint64) ^ _mix(numbers.astype(np.uint64) ^ (point.astype(np.uint64) << np.uint64(40)))
    )
    check = _mix(mixed ^ salt) >> np.uint64(64 - SHIFT)
    return ((numbers.astype(np.uint64) << np.uint64(SHIFT)) | check).astype(np.float64)


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64: every bit of the input moves every bit of the output."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

"""What is in the middle of many numbers, some of which are missing or wild. Pure numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Floats

TO_SIGMA = 1.4826
"""Median absolute deviation to standard deviation of a normal distribution."""


def quantile(rows: NDArray[np.floating[Any]], q: float | Floats = 0.5) -> Floats:
    """The quantile of what is not NaN in each row, interpolated; NaN where a row has nothing.

    Args:
        rows: Shape (n, m), m at least 1.
        q: 0 to 1, for all rows or of shape (n,); 0.5 is the median.
    """
    ordered = np.sort(rows, axis=1)  # NaN last
    known = rows.shape[1] - np.count_nonzero(np.isnan(ordered), axis=1)
    each, place = np.arange(len(rows)), q * (known - 1)
    below = np.floor(place).astype(np.intp)
    low: Floats = ordered[each, below].astype(np.float64)
    high = ordered[each, np.ceil(place).astype(np.intp)]
    low += (high - low) * (place - below)
    return low

"""A kind of argument that several verbs here ask for."""

from __future__ import annotations

import argparse
import math


def positive(text: str) -> float:
    """A number above 0.

    Raises:
        ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number

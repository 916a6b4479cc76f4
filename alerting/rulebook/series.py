"""The series notation of rule tests: ``20+0.1x60 _x5`` is 60 samples from 20 up by 0.1, then 5 missing ones.

Separated by blanks, each part is a run: ``a`` one sample, ``axn`` n of them, ``a+bxn`` and ``a-bxn`` n that
start at a and change by b, ``_`` and ``_xn`` no reading, ``nan`` and ``nanxn`` readings without a value,
``a!`` and ``a!xn`` readings that are out of range by their source's own word, ``(...)xn`` the runs in
brackets n times.
After promtool's notation; there ``a+bxn`` gives one sample more.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SAMPLES = 1_000_000
_DECIMALS = 9
"""Samples are rounded to so many, so that ``50+0.1x71`` ends at 57 and not a hair below."""

_PARTS = re.compile(r"\(([^()]*)\)x([1-9]\d{0,6})(?!\S)|(\S+)", re.ASCII)
_SIZE = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RUN = re.compile(
    rf"(?P<start>_|nan|[+-]?{_SIZE})(?P<step>[+-]{_SIZE})?(?P<outside>!)?(?:x(?P<count>\d{{1,7}}))?", re.ASCII
)


class Run(NamedTuple):
    """Samples that change by the same step."""

    start: float | None
    """None: no reading at all; NaN: readings without a value."""
    step: float
    times: int
    outside: bool = False
    """Out of range, says their source."""


class Samples(NamedTuple):
    """A series unfolded; arrays of shape (n,)."""

    value: NDArray[np.float64]
    """NaN: no value, or no reading."""
    present: NDArray[np.bool_]
    """There is a reading."""
    outside: NDArray[np.bool_]
    """Its source says that it is out of range."""


def parse(text: str | float) -> tuple[Run, ...]:
    """The runs of ``text``; a number is a series of one sample.

    Raises:
        ValueError: Not in this notation, empty, or more than ``MAX_SAMPLES``; says which part.
    """
    runs: list[Run] = []
    samples = 0
    for inside, times, part in _PARTS.findall(str(text)):
        group = [_run(one) for one in (inside.split() if times else (part,))]
        samples += sum(run.times for run in group) * int(times or 1)
        if samples > MAX_SAMPLES:
            break
        runs += group * int(times or 1)
    if not 0 < samples <= MAX_SAMPLES:
        raise ValueError(f"a series has 1 to {MAX_SAMPLES} samples, this one has {samples} or more")
    return tuple(runs)


def write(runs: tuple[Run, ...]) -> str:
    """The text of ``runs``; ``parse`` gives the same again."""
    return " ".join(map(_text, runs))


def samples(runs: tuple[Run, ...]) -> Samples:
    """The samples of ``runs``, at least one."""
    values = [
        np.full(run.times, math.nan)
        if run.start is None
        else np.round(run.start + run.step * np.arange(run.times), _DECIMALS)
        for run in runs
    ]
    times = [run.times for run in runs]
    return Samples(
        np.concatenate(values),
        np.repeat([run.start is not None for run in runs], times),
        np.repeat([run.outside for run in runs], times),
    )


def _run(part: str) -> Run:
    found = _RUN.fullmatch(part)
    if found is None:
        raise ValueError(
            f"{part[:40]!r} is no part of a series; write 20, 57x5, 20+0.1x60, _x5, nan or 400!x5"
        )
    count = 1 if found["count"] is None else int(found["count"])
    step = found["step"]
    if count == 0 or (step is not None and (found["count"] is None or found["start"] in ("_", "nan"))):
        raise ValueError(f"{part[:40]!r}: a step needs a start and a count, at least 1, as in 20+0.1x60")
    if found["outside"] and found["start"] in ("_", "nan"):
        raise ValueError(f"{part[:40]!r}: only a value can be out of range, as in 400!x5")
    start = None if found["start"] == "_" else float(found["start"])
    if (start is not None and math.isinf(start)) or (step is not None and math.isinf(float(step))):
        raise ValueError(f"{part[:40]!r} is beyond every number")
    return Run(start, float(step or 0.0), count, bool(found["outside"]))


def _text(run: Run) -> str:
    start = "_" if run.start is None else "nan" if math.isnan(run.start) else f"{run.start!r}"
    step = f"{run.step:+}" if run.step else ""
    one = f"{start}{step}{'!' if run.outside else ''}"
    return f"{one}x{run.times}" if run.times > 1 or step else one

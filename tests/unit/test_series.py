"""The series notation of rule tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.rulebook.series import MAX_SAMPLES, Run, parse, samples, write

numbers = st.floats(-1e6, 1e6, allow_nan=False)
counts = st.integers(1, 1000)
runs = st.one_of(
    st.builds(Run, numbers, numbers, counts, st.booleans()),
    st.builds(Run, st.sampled_from([None, math.nan]), st.just(0.0), counts, st.just(False)),
)


@given(st.lists(runs, min_size=1, max_size=8).map(tuple))
def test_what_is_written_is_read_again(series: tuple[Run, ...]) -> None:
    """Every series has a text, and the text means the same series."""
    again = parse(write(series))
    assert [(repr(run.start), run[1:]) for run in again] == [(repr(run.start), run[1:]) for run in series]


def test_the_example_of_the_documentation() -> None:
    """``20+0.1x60 _x5`` is sixty samples from 20 to 25.9, then five missing ones."""
    value, present, _ = samples(parse("20+0.1x60 _x5"))
    assert (len(value), present.sum()) == (65, 60)
    assert value[:60].tolist() == [round(20 + number / 10, 1) for number in range(60)]
    assert np.isnan(value[60:]).all()


def test_every_part() -> None:
    """Single samples, repetitions, falling and negative ones, gaps and readings without a value."""
    value, present, _ = samples(parse(" 57 1e1x2 -5-1x3\n0.5+.5x2 _ nan nanx2 "))
    expected = [57, 10, 10, -5, -6, -7, 0.5, 1.0, math.nan, math.nan, math.nan, math.nan]
    np.testing.assert_array_equal(value, expected)
    assert present.tolist() == [True] * 8 + [False] + [True] * 3


def test_what_its_source_calls_out_of_range() -> None:
    """The mark goes behind value and step; its readings are there, with their values."""
    value, present, outside = samples(parse("20 400! 300+5!x2 (20 -90!)x2"))
    assert value.tolist() == [20, 400, 300, 305, 20, -90, 20, -90]
    assert present.all()
    assert outside.tolist() == [False, True, True, True, False, True, False, True]


def test_a_group_is_repeated() -> None:
    """Runs in brackets come as often as it says, and then what follows."""
    assert parse("1 (2 3+1x2)x2 _") == parse("1 2 3+1x2 2 3+1x2 _")


def test_steps_do_not_add_up_their_rounding() -> None:
    """A ramp to a limit reaches it exactly."""
    assert samples(parse("50+0.1x71"))[0][-1] == 57.0


@pytest.mark.parametrize(
    "text",
    ["", "  ", "20+", "20+1", "20x0", "_x0", "nan+1x2", "_-1x2", "20*3", "1e999", "٣", "20,30", "inf",
     f"1x{MAX_SAMPLES} 1", "20 +1x3 x5", "(1 2)", "(1 (2)x2)x3", "(1 2)x0", "()x3", "(1)x3x4",
     "(1x1000)x1001", "_!", "nan!x2", "20!+1x3", "!x3"],
)  # fmt: skip
def test_what_is_no_series(text: str) -> None:
    """Anything else is refused, and the part that is wrong is shown."""
    with pytest.raises(ValueError, match=r"series|step|beyond|out of range"):
        parse(text)

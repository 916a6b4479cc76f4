"""Signals written down as rule tests, and tests put into rule files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.errors import RulesRefused
from alerting.rulebook.file import failures, parse, shipped
from alerting.rulebook.ruletest import Signal
from alerting.rulebook.series import samples, write
from alerting.rulebook.written import MAX_SAMPLES, sampled, with_test

HEAT = (
    "threshold:\n"
    "  - {name: heat, version: 1, cls: fire, severity: 4, quantity: temperature, uom: degC,"
    " above: 57, reset: 50}\n"
)
BURNS = Signal(series="20+1x60 20x30", quantity="temperature", uom="degC")
TEST = "tests:\n- name: one\n  points: [{quantity: temperature, uom: degC, series: 1}]\n  expect: nothing\n"


def series_of(at_s: list[float], value: list[float]) -> tuple[str, float]:
    """The text of sampled readings, and the interval."""
    runs, interval_s = sampled(np.array(at_s), np.array(value))
    return write(runs), interval_s


def test_readings_become_runs() -> None:
    """What stays or goes on evenly is a run, a missing sample `_`, a reading without a value nan."""
    nan = float("nan")
    value = [20.0, 20.0, 20.0, 21.0, 22.0, 23.0, nan, nan, 40.0, 7.0]
    at_s = [100.0 + 2 * i for i in [0, 1, 2, 3, 4, 5, 6, 7, 11, 12]]
    assert series_of(at_s, value) == ("20.0x3 21.0+1.0x3 nanx2 _x3 40.0 7.0", 2.0)


def test_of_readings_on_one_sample_the_last_counts() -> None:
    """Jitter and duplicates fall on the grid; order does not matter."""
    assert series_of([2.1, 0.0, 0.95, 1.01, 3.0], [4.0, 1.0, 9.0, 2.0, 8.0]) == ("1.0 2.0 4.0 8.0", 0.925)
    assert series_of([5.0], [1.5]) == ("1.5", 1.0)


def test_values_keep_three_digits_of_their_span() -> None:
    """Noise far below what the signal does is not written down."""
    text, _ = series_of([0.0, 1.0, 2.0], [20.1234, 20.1111, 99.0])
    assert text == "20.1x2 99.0"


def test_a_span_too_long_is_refused() -> None:
    """A test is for people; the text says how long it is."""
    with pytest.raises(ValueError, match="at most 20000"):
        sampled(np.array([0.0, 1.0, 2.0, MAX_SAMPLES + 1.0]), np.zeros(4))


CELL = st.none() | st.sampled_from([0.0, 0.5, 1.0, 1.5, -2.0, float("nan")])


@given(st.lists(CELL, max_size=40))
def test_what_is_written_is_what_was_read(cells: list[float | None]) -> None:
    """Readings on a grid come back from the series as they were."""
    cells = [*[0.0, 1.0] * 30, *cells, 1.0]
    at_s = np.array([float(i) for i, cell in enumerate(cells) if cell is not None])
    runs, interval_s = sampled(at_s, np.array([cell for cell in cells if cell is not None]))
    value, present, _ = samples(runs)
    assert interval_s == 1.0
    assert present.tolist() == [cell is not None for cell in cells]
    assert np.array_equal(value, [np.nan if c is None else c for c in cells], equal_nan=True)


def test_a_file_without_tests_gets_its_first() -> None:
    """The test expects what the rules say of the series, and the file passes it."""
    written = with_test(parse(HEAT, "f"), "it burns: once", BURNS, 1.0, "", "")
    assert [str(one) for one in written.said] == ["heat raises at 37 s (p1)", "heat clears at 60 s (p1)"]
    assert written.text.startswith(HEAT + '\ntests:\n  - name: "it burns: once"\n')
    assert written.text.endswith("    - {rule: heat, raise_s: 37}\n      - {rule: heat, clear_s: 60}\n")
    file = parse(written.text, "f")
    assert (failures(file), file.rules) == ([], parse(HEAT, "f").rules)


def test_the_test_is_put_at_the_end_of_the_tests() -> None:
    """The rest of the file stays to the letter, and so does the indent of the list."""
    before = f"# head\n{TEST}\n# about heat\n{HEAT}"
    written = with_test(parse(before, "f"), "two", BURNS, 1.0, "2024-03-04T21:00:00+00:00", "heat")
    assert written.text.replace(written.test, "") == before
    assert written.text.index("- name: two") < written.text.index("# about heat")
    assert [one.test.name for one in parse(written.text, "f").tests] == ["one", "two"]
    again = with_test(parse(written.text, "f"), "three", BURNS, 1.0, "", "heat")
    assert [one.test.name for one in parse(again.text, "f").tests] == ["one", "two", "three"]


def test_a_rule_that_says_nothing_must_go_on_saying_nothing() -> None:
    """Of a named rule its silence is expected; without a name, that of all."""
    cool = Signal(series="20x5", quantity="temperature", uom="degC")
    assert "{rule: heat, nothing: true}" in with_test(parse(HEAT, "f"), "cool", cool, 1.0, "", "heat").test
    assert "expect: nothing" in with_test(parse(HEAT, "f"), "cool", cool, 1.0, "", "").test


@pytest.mark.parametrize(
    ("text", "rule", "said"),
    [
        (HEAT, "smoke", "there is no rule smoke"),
        (HEAT + "tests: []\n", "heat", "f:3: write `tests:` as a list"),
    ],
)
def test_what_cannot_stand_is_refused(text: str, rule: str, said: str) -> None:
    """A rule nobody has and a list in another form, in words."""
    with pytest.raises(RulesRefused, match=said):
        with_test(parse(text, "f"), "two", BURNS, 1.0, "", rule)


def test_the_shipped_rules_take_one() -> None:
    """The file that everybody begins with takes a test where its own are."""
    written = with_test(shipped(), "火灾", BURNS, 1.0, "", "heat-fire")
    assert len(parse(written.text, "f").tests) == len(shipped().tests) + 1

"""A signal written down as a rule test, and a test written into the text of a rule file. Pure.

The text of the file stays as it is, comments and all; the test is put at the end of its ``tests:``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from textwrap import wrap
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.detect.rules import RuleSet
from alerting.detect.verdict import VerdictKind
from alerting.errors import Problem, RulesRefused
from alerting.rulebook.file import RuleFile, parse
from alerting.rulebook.ruletest import Expected, RuleTest, Said, Signal, judge, play
from alerting.rulebook.series import Run

MAX_SAMPLES = 20_000
"""Of a test that is written here; a rule file is for people, too."""
_DIGITS = 3
"""Of what they span, in samples: a test is read by people."""
_WIDTH = 110

_SECTION = re.compile(r"^tests:(.*)$", re.MULTILINE)
_ITEM = re.compile(r"^( *)- ", re.MULTILINE)
_ELSEWHERE = re.compile(r"^[^\s#-]", re.MULTILINE)


class Written(NamedTuple):
    """A rule file with a test more."""

    text: str
    test: str
    """The test alone, as it stands there."""
    said: tuple[Said, ...]
    """What the rules say in it."""


def sampled(at_s: NDArray[np.float64], value: NDArray[np.float64]) -> tuple[tuple[Run, ...], float]:
    """Readings as a series, and its interval.

    The interval is the median step, to the millisecond. Of readings that fall on one sample the last counts,
    a sample without one is no reading. Values are rounded to three digits of
    what they span.

    Args:
        at_s: Shape (n,), n >= 1, seconds.
        value: NaN = a reading without a value, shape (n,).

    Raises:
        ValueError: Longer than ``MAX_SAMPLES``.
    """
    order = np.argsort(at_s, kind="stable")
    at_s, value = at_s[order], value[order]
    steps = np.diff(at_s)
    steps = steps[steps > 0]
    interval_s = max(round(float(np.median(steps)), 3), 0.001) if len(steps) else 1.0
    place = np.round((at_s - at_s[0]) / interval_s).astype(np.int64)
    count = int(place[-1]) + 1
    if count > MAX_SAMPLES:
        raise ValueError(f"{count} samples of {interval_s:g} s; at most {MAX_SAMPLES} are written down")
    known = value[np.isfinite(value)]
    span = float(np.ptp(known)) if len(known) else 0.0
    digits = _DIGITS if span == 0 else max(0, _DIGITS - 1 - int(np.floor(np.log10(span))))
    cells: list[float | None] = [None] * count
    for at, reading in zip(place.tolist(), np.round(value, digits).tolist(), strict=True):
        cells[at] = reading
    return _runs(cells, digits), interval_s


def with_test(file: RuleFile, name: str, signal: Signal, interval_s: float, start: str, rule: str) -> Written:
    """The file with a test of this signal, which expects what the file's rules say of it.

    Args:
        file: The draft.
        name: Of the test.
        signal: The point and its series.
        interval_s: Between two samples.
        start: When the first was measured, as a test has it; empty: it does not matter.
        rule: The rule that the test is about; empty: every rule that says something.

    Raises:
        RulesRefused: The test cannot stand in the file. Whether the file's other tests pass is not asked.
    """
    when = {"start": start} if start else {}
    try:
        test = RuleTest(name=name, points=(signal,), expect="nothing", interval_s=interval_s, **when)
        said = play(test, file.rules)
    except ValueError as error:
        raise RulesRefused(file.name, [Problem(0, f"test {name!r}: {error}")]) from error
    expect = _expected(said, file.rules, rule)
    test = msgspec.structs.replace(test, expect=expect)
    text = _text(test, start)
    whole = _inserted(file, text)
    kept = parse(whole, file.name).tests[-1]
    if problems := [Problem(kept.line, complaint.text) for complaint in judge(kept.test, file.rules)]:
        raise RulesRefused(file.name, problems)
    return Written(whole, text, tuple(said))


def _expected(said: Sequence[Said], rules: RuleSet, rule: str) -> tuple[Expected, ...] | str:
    """What a test expects that is about one rule, or about all that speak."""
    if rule and rule not in {one.name for one in rules.all()}:
        raise RulesRefused("the draft", [Problem(0, f"there is no rule {rule}")])
    about = [one for one in said if rule in ("", one.rule)]
    if about:
        return tuple(
            Expected(rule=one.rule, raise_s=one.at_s)
            if one.kind is VerdictKind.RAISE
            else Expected(rule=one.rule, clear_s=one.at_s)
            for one in about
        )
    return (Expected(rule=rule, nothing=True),) if rule else "nothing"


def _runs(cells: Sequence[float | None], digits: int) -> tuple[Run, ...]:
    """Cells as runs: as long as each goes on by the same step."""
    runs: list[Run] = []
    begin = 0
    while begin < len(cells):
        start = cells[begin]
        end = begin + 1
        step = 0.0
        if start is None or start != start:
            while end < len(cells) and (
                cells[end] is None if start is None else (after := cells[end]) is not None and after != after
            ):
                end += 1
        else:
            second = cells[end] if end < len(cells) else None
            if second is not None and second == second:
                step = round(second - start, digits)
                while end < len(cells):
                    after = cells[end]
                    if after is None or after != round(start + step * (end - begin), digits):
                        break
                    end += 1
            if step and end - begin < 3:  # two samples by themselves are shorter
                end, step = begin + 1, 0.0
        runs.append(Run(start, step, end - begin))
        begin = end
    return tuple(runs)


def _text(test: RuleTest, start: str) -> str:
    """A test as it stands in a file, its list's dash at the left edge."""
    (signal,) = test.points
    fields = {
        key: value
        for key, value in msgspec.to_builtins(signal).items()
        if value not in ("", None) and (key, value) != ("gateway", "gateway")
    }
    series = wrap(str(fields.pop("series")), _WIDTH - 10, break_long_words=False, break_on_hyphens=False)
    lines = [f"- name: {_quoted(test.name)}", f"  interval_s: {test.interval_s:g}"]
    lines += [f"  start: {_quoted(start)}"] if start else []
    first, *more = (f"{key}: {_quoted(value)}" for key, value in fields.items())
    lines += ["  points:", f"    - {first}", *(f"      {line}" for line in more)]
    lines += [f'      series: "{series[0]}', *(f"        {line}" for line in series[1:])]
    lines[-1] += '"'
    if isinstance(test.expect, str):
        return "\n".join([*lines, "  expect: nothing"]) + "\n"
    lines.append("  expect:")
    for one in test.expect:
        key = "raise_s" if one.raise_s is not None else "clear_s"
        what = "nothing: true" if one.nothing else f"{key}: {one.window()[0]:.10g}"
        lines.append(f"    - {{rule: {_quoted(one.rule)}, {what}}}")
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> str:
    """A word as it is, a number as it is, anything else in quotes."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z][\w.-]*", value, re.ASCII):
        return value if value.lower() not in ("true", "false", "null", "nan", "inf") else f'"{value}"'
    return json.dumps(value, ensure_ascii=False)


def _inserted(file: RuleFile, test: str) -> str:
    """The file's text with the test at the end of its tests."""
    text = file.text if file.text.endswith("\n") else file.text + "\n"
    found = _SECTION.search(text)
    if found is None:
        return f"{text}\ntests:\n{_indented(test, '  ')}"
    if found[1].split("#")[0].strip():
        line = text.count("\n", 0, found.start()) + 1
        raise RulesRefused(file.name, [Problem(line, "write `tests:` as a list, each test after `- `")])
    after = _ELSEWHERE.search(text, found.end() + 1)
    end = len(text) if after is None else after.start()
    inside = text[:end].rstrip()
    # What is said above the next section belongs to it.
    while after is not None and inside.rsplit("\n", 1)[-1].startswith("#"):
        inside = inside.rsplit("\n", 1)[0].rstrip()
    dash = _ITEM.search(text, found.end(), len(inside))
    rest = text[len(inside) :].lstrip("\n")
    return f"{inside}\n{_indented(test, dash[1] if dash else '  ')}" + (f"\n{rest}" if rest else "")


def _indented(test: str, by: str) -> str:
    return "".join(f"{by}{line}" for line in test.splitlines(keepends=True))

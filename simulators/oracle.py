"""The oracle: what a scenario says must come and must not, held against what came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from alerting.alarms.lifecycle import Alarm
from alerting.detect.rules import RuleSet
from simulators.scenario import GATEWAY, Expect, Never, Script
from simulators.watchroom import Told

_TEST = "test:"
_RAISES = ("raised", "repeated", "escalated")


class Answer(NamedTuple):
    """How one line of the oracle came out."""

    place: str
    """``file:line``."""
    wanted: str
    got: str
    holds: bool


def judge(script: Script, told: Sequence[Told]) -> list[Answer]:
    """An answer for every line of the oracle, in the order of the file."""
    source = script.source
    answers = [_came(script, f"expect[{i}]", expect, told) for i, expect in enumerate(script.scenario.expect)]
    for i, never in enumerate(script.scenario.never):
        against = [each for each in told if _counts_against(script, never, each)]
        got = said(against[0]) if against else "nothing"
        more = f" and {len(against) - 1} more" if len(against) > 1 else ""
        answers.append(Answer(source.place(f"never[{i}]"), str(never), got + more, not against))
    return answers


def unforeseen(script: Script, told: Sequence[Told]) -> list[str]:
    """Alarms that no line of the oracle speaks of: nothing wrong, and worth a look."""
    expected = script.scenario.expect
    return [
        said(each)
        for each in told
        if each.change.what == "raised"
        and not any(
            expect.cls is each.change.alarm.cls and _is_at(script, expect.where, each.change.alarm)
            for expect in expected
        )
    ]


def check_rules(script: Script, rules: RuleSet) -> None:
    """Refuse an oracle that names a rule nobody has.

    Raises:
        SourceError: Says the line.
    """
    names = {rule.name for rule in rules.about_readings()} | {rule.name for rule in rules.silence}
    names |= {rule.name for rule in rules.coincidence} | {rules.offline.name}
    scenario = script.scenario
    named = [(f"expect[{i}].rule", expect.rule) for i, expect in enumerate(scenario.expect)]
    named += [(f"never[{i}].rule", never.rule) for i, never in enumerate(scenario.never)]
    for path, rule in named:
        if rule and ":" not in rule and rule not in names:
            raise script.source.refuse(path, f"no rule `{rule}`; there are {', '.join(sorted(names))}")


def _came(script: Script, path: str, expect: Expect, told: Iterable[Told]) -> Answer:
    about = [
        each
        for each in told
        if each.change.alarm.cls is expect.cls and _is_at(script, expect.where, each.change.alarm)
    ]
    raised = [
        each
        for each in about
        if each.at_s >= expect.after
        and each.change.what in _RAISES
        and _is_by(expect.rule, each.change.alarm)
    ]
    place = script.source.place(path)
    if not raised:
        return Answer(place, str(expect), "nothing", holds=False)
    first = raised[0]
    late_s = first.at_s - expect.by
    got = f"{said(first)}, {f'{late_s:g} s late' if late_s > 0 else f'{-late_s:g} s before the latest time'}"
    holds = late_s <= 0
    same = [
        each for each in about if each.change.alarm.id == first.change.alarm.id and each.at_s >= first.at_s
    ]
    if expect.gone_by is not None:
        gone = next((each.at_s for each in same if each.change.what == "returned"), None)
        holds = holds and gone is not None and gone <= expect.gone_by
        got += ", still there at the end" if gone is None else f", gone at {gone:g} s"
    if expect.times is not None:
        times = _raises(expect.rule, same)
        holds = holds and times == expect.times
        got += f", {times} times"
    return Answer(place, str(expect), got, holds)


def _raises(rule: str, same: Sequence[Told]) -> int:
    """How often an occurrence was raised: by this rule, or where none (or a device) is named, by anyone."""
    if not rule or ":" in rule:
        return same[-1].change.alarm.count
    return sum(each.change.what in _RAISES and each.change.actor.partition("@")[0] == rule for each in same)


def _counts_against(script: Script, never: Never, each: Told) -> bool:
    alarm = each.change.alarm
    return (
        each.change.what in _RAISES
        and alarm.cls in never.classes
        and never.from_s <= each.at_s < never.until
        and (not never.where or _is_at(script, never.where, alarm))
        and _is_by(never.rule, alarm)
    )


def _is_at(script: Script, where: str, alarm: Alarm) -> bool:
    if where == GATEWAY:
        return not alarm.name
    if alarm.points:  # of a zone: it is where all of its points are
        within = {script.site.points[index].id for index in script.site.within[where]}
        return within.issuperset(p.id for p in script.site.points if p.zone == alarm.zone)
    return any(script.site.points[index].id == alarm.point for index in script.site.within[where])


def _is_by(rule: str, alarm: Alarm) -> bool:
    return not rule or rule in {source.removeprefix(_TEST) for source in alarm.sources}


def said(each: Told) -> str:
    """What was told, in words."""
    alarm, actor = each.change.alarm, each.change.actor.partition("@")[0]
    by = alarm.rule if actor == alarm.gateway else actor
    value = (
        "" if alarm.value is None or by != alarm.rule else f" ({f'{alarm.value:.4g} {alarm.uom}'.strip()})"
    )
    return f"{alarm.cls} at {alarm.name or GATEWAY} by {by}{value} at {each.at_s:g} s"

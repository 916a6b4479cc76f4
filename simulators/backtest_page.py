"""A backtest as one self-contained page: fires by day and building, what changes, and what labels say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone, tzinfo
from html import escape

from alerting.backtest.report import Alarm, Labelled, Moved, Outcome, Report
from fengsui.model import AlarmClass
from simulators.sheet import BAD, NEUTRAL, sheet

_STYLE = f"""
svg {{ font: 11px system-ui, sans-serif; }} svg text {{ fill: currentColor; }}
.draft {{ fill: {BAD}; background: {BAD}; }} .force {{ fill: {NEUTRAL}; background: {NEUTRAL}; }}
i {{ display: inline-block; width: .8em; height: .8em; }} .grid {{ stroke: currentColor; opacity: .15; }}
.wide {{ overflow-x: auto; }}
"""

_WIDTH, _NAMES, _ROW, _BUILDINGS, _DAYS, _LISTED = 1040, 220, 46, 40, 400, 500
_PLOT = _WIDTH - _NAMES - 10


def render(report: Report, name: str) -> str:
    """The page; ``name`` is the draft's."""
    zone = timezone(timedelta(seconds=report.offset_s))
    difference = report.difference
    earlier = sum(pair.earlier_s > 0 for pair in difference.moved)
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in _notes(report))
    body = f"""<p class="soft">{escape(name)} &middot; {_clock(report.from_us, zone)} to
{_clock(report.to_us, zone)} &middot; {report.points:,} points, {report.readings:,} readings</p>{notes}
{_classes(report)}
<h2>Fire alarms by day and building</h2>
<p><i class="draft"></i> draft <i class="force"></i> in force</p>
{_plot(report)}
<h2>The difference: {len(difference.added)} added, {len(difference.removed)} removed, {earlier} earlier,
{len(difference.moved) - earlier} later, {difference.same} the same</h2>
{_alarms("Added", difference.added, report.buildings, zone)}
{_alarms("Removed", difference.removed, report.buildings, zone)}
{_moved(difference.moved, report.buildings, zone)}
{"" if report.labelled is None else _labelled(report.labelled, zone)}
<h2>Rules</h2>{_rules(report.draft, "draft")}{_rules(report.in_force, "in force")}
"""
    return sheet("Fengsui: backtest", body, style=_STYLE)


def _notes(report: Report) -> list[str]:
    notes = list(report.notes)
    if report.unjudged:
        notes.append(f"No rule of the draft speaks in the unit of {len(report.unjudged)} points.")
    if left_out := report.draft.left_out + report.in_force.left_out:
        notes.append(f"{left_out} alarms are only counted; the difference does not have them.")
    return notes


def _classes(report: Report) -> str:
    rows = []
    for cls in AlarmClass:
        ours, theirs = report.draft.begun(cls), report.in_force.begun(cls)
        if ours or theirs or cls is AlarmClass.FIRE:
            recorded = report.recorded_fires if cls is AlarmClass.FIRE else None
            rows.append([str(cls), f"{ours:,}", f"{theirs:,}", "" if recorded is None else f"{recorded:,}"])
    return _table(["alarms of class", "draft", "in force", "recorded"], rows)


def _plot(report: Report) -> str:
    """A row for each building, the most changed first; two bars for each day."""
    draft, in_force = _by_building(report.draft), _by_building(report.in_force)
    names = sorted(
        draft.keys() | in_force.keys(),
        key=lambda b: (-abs(sum(draft[b].values()) - sum(in_force[b].values())), b),
    )
    if not names:
        return "<p>No fire alarm, by either rule set.</p>"
    tallest = max(n for found in (draft, in_force) for days in found.values() for n in days.values())
    days: Sequence[str] = report.days
    if len(days) > _DAYS:  # too narrow to see; what is left out is empty
        busy = {day for found in (draft, in_force) for by_day in found.values() for day in by_day}
        days = sorted(busy)
    slot = _PLOT / len(days)
    parts = []
    for number, building in enumerate(names[:_BUILDINGS]):
        floor = (number + 1) * _ROW
        label = report.buildings.get(building) or building or "no building"
        parts.append(
            f'<text text-anchor="end" x="{_NAMES - 8}" y="{floor - 4}">{escape(label[:34])}</text>'
            f'<line class="grid" x1="{_NAMES}" x2="{_NAMES + _PLOT}" y1="{floor}" y2="{floor}"/>'
        )
        for place, day in enumerate(days):
            for side, (of, found) in enumerate((("draft", draft), ("force", in_force))):
                if count := found[building].get(day, 0):
                    high = (_ROW - 12) * count / tallest
                    parts.append(
                        f'<rect class="{of}" x="{_NAMES + (place + 0.45 * side) * slot:.1f}"'
                        f' y="{floor - high:.1f}" width="{max(0.8, 0.42 * slot):.1f}" height="{high:.1f}">'
                        f"<title>{escape(label)}, {day}: {count}</title></rect>"
                    )
    high = min(len(names), _BUILDINGS) * _ROW + 18
    every = -(-len(days) // 12)
    parts += [
        f'<text x="{_NAMES + place * slot:.1f}" y="{high - 4}">{day}</text>'
        for place, day in enumerate(days)
        if place % every == 0 and place * slot < _PLOT - 60
    ]
    more = f"<p>{len(names) - _BUILDINGS} more buildings.</p>" if len(names) > _BUILDINGS else ""
    return f'<svg viewBox="0 0 {_WIDTH} {high}" width="{_WIDTH}">{"".join(parts)}</svg>{more}'


def _by_building(outcome: Outcome) -> defaultdict[str, dict[str, int]]:
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for day in outcome.days:
        if day.cls is AlarmClass.FIRE:
            found[day.building][day.day] = day.alarms
    return found


def _alarms(title: str, alarms: Sequence[Alarm], buildings: Mapping[str, str], zone: tzinfo) -> str:
    rows = [
        [
            _clock(alarm.begin_us, zone), f"{alarm.cls}{' (test)' if alarm.test else ''}",
            buildings.get(alarm.building, alarm.building), alarm.subject, f"{alarm.rule} v{alarm.version}",
            alarm.text_en,
        ]
        for alarm in alarms[:_LISTED]
    ]  # fmt: skip
    return _section(title, len(alarms), ["begins", "class", "building", "point", "rule", "why"], rows)


def _moved(moved: Sequence[Moved], buildings: Mapping[str, str], zone: tzinfo) -> str:
    rows = [
        [
            _clock(pair.in_force_us, zone), str(pair.cls), buildings.get(pair.building, pair.building),
            pair.subject, f"{abs(pair.earlier_s):,.4g} s {'earlier' if pair.earlier_s > 0 else 'later'}",
        ]
        for pair in moved[:_LISTED]
    ]  # fmt: skip
    return _section("Earlier or later", len(moved), ["in force", "class", "building", "point", "draft"], rows)


def _labelled(labelled: Labelled, zone: tzinfo) -> str:
    fires = [
        [_clock(f.begin_us, zone), f.subject, _delay(f.draft_delay_s), _delay(f.in_force_delay_s)]
        for f in labelled.fires
    ]
    tallies = [
        [str(t.label), f"{t.intervals}", f"{t.draft_fires}", f"{t.in_force_fires}"] for t in labelled.tallies
    ]
    tallies.append(["not labelled", "", f"{labelled.unlabelled_draft}", f"{labelled.unlabelled_in_force}"])
    return (
        "<h2>Against labels</h2>"
        + (_table(["real fire", "place", "first alarm, draft", "in force"], fires) if fires else "")
        + _table(["fire alarms in", "intervals", "draft", "in force"], tallies)
    )


def _delay(delay_s: float | None) -> str:
    return "never" if delay_s is None else f"after {delay_s:,.4g} s"


def _rules(outcome: Outcome, whose: str) -> str:
    rows = [
        [f"{rule.rule} v{rule.version}", str(rule.cls), f"{rule.raises:,}", f"{rule.clears:,}"]
        for rule in outcome.rules
    ]
    return _table([f"rule, {whose}", "class", "raises", "clears"], rows) if rows else f"<p>None, {whose}.</p>"


def _section(title: str, count: int, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    more = f"<p>{count - len(rows)} more are in the report.</p>" if count > len(rows) else ""
    return f"<h2>{title}</h2>{_table(heads, rows)}{more}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _clock(at_us: int, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, zone):%Y-%m-%d %H:%M:%S}"

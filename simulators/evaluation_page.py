"""An evaluation as one self-contained page: how early each alarm was, what was found, and what false."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import ceil, floor, inf, log10
from pathlib import PurePosixPath
from typing import TypeAlias

from simulators.evaluation import MIN_LEAD_S, FileReport, Report, Status
from simulators.sheet import BAD, GOOD, NEUTRAL, sheet

_STYLE = f"""
.tiles {{ display: grid; grid-template-columns: repeat(4, 1fr); gap: .7rem; margin: 1.2rem 0; }}
.tile {{ border: 1px solid var(--line); border-radius: 8px; padding: .6rem .8rem; }}
.tile b {{ display: block; font-size: 1.6rem; line-height: 1.2; font-variant-numeric: tabular-nums; }}
.bad, td.bad {{ color: {BAD}; font-weight: 600; }}
svg {{ display: block; overflow: visible; font: 11px system-ui, sans-serif; margin: .4rem 0; }}
svg text {{ fill: currentColor; }} svg text.bad {{ fill: {BAD}; font-weight: 600; }}
.grid {{ stroke: currentColor; opacity: .13; }} .mark {{ stroke: currentColor; fill: none; opacity: .75; }}
.good {{ fill: {GOOD}; stroke: {GOOD}; }} .miss {{ fill: {BAD}; stroke: {BAD}; }}
.label {{ fill: {NEUTRAL}; opacity: .3; }} .soft {{ opacity: .7; }}
.wide {{ overflow-x: auto; }} .wide table {{ font-size: 13px; }}
"""

_WIDTH, _NAMES, _ROW = 1040, 290, 17
_PLOT = _WIDTH - _NAMES - 40

_Axis: TypeAlias = Callable[[float], float]

_KINDS = (
    ("fire", "Fires"),
    ("overheat", "Overheats"),
    ("fault", "Faults"),
    ("nuisance", "Nuisances"),
    ("normal", "Normal operation"),
)


def render(report: Report) -> str:
    """The page."""
    files = report.files
    fires = [f for f in files if f.kind == "fire" and f.status is Status.JUDGED]
    others = [f for f in files if f.kind != "fire" and f.status is Status.JUDGED]
    body = f"""<p class="soft">{escape(report.folder)} &middot; {escape(report.rules)}</p>
{_tiles(report)}
<h2>When the alarm came, in seconds after ignition</h2>
{_legend()}{_fires(fires)}
<h2>How much earlier than 57 &deg;C, share of the time from ignition</h2>
<p class="soft">Fires in which 57 &deg;C comes more than {MIN_LEAD_S:g} s after ignition.</p>{_leads(fires)}
<h2>No fire: what was found, and what was false</h2>
<p class="soft">Shaded: labelled fault or heating. Green: the first alarm in it, with none before.
Red: every other one. Each line is a whole file.</p>{_timelines(others)}
{"".join(_table(files, kind, title) for kind, title in _KINDS)}
"""
    return sheet("Fengsui: evaluation on recordings", body, style=_STYLE)


def _tiles(report: Report) -> str:
    found = report.summary
    lead = found.median_earlier_than_fixed57
    rate = found.false_faults_per_device_day
    tiles = (
        (f"{found.detected} of {found.fires}", "fires detected", found.detected < found.fires),
        ("none" if lead is None else f"{lead:.0%}", "earlier than 57 °C, median", lead is None or lead < 0),
        (
            f"{found.later_than_fixed57}",
            f"later than 57 °C, of {found.lead_judged}",
            found.later_than_fixed57 > 0,
        ),
        (f"{found.later_than_reference}", "later than real smoke alarms", found.later_than_reference > 0),
        (f"{found.false_fire_alarms}", "false fire alarms", found.false_fire_alarms > 0),
        (
            f"{found.fault_files_found} of {found.fault_files}",
            "faults found",
            found.fault_files_found < found.fault_files,
        ),
        (
            "-" if rate is None else f"{rate:.2g}",
            f"false faults a day, in {found.device_days:.1f} device-days",
            found.false_faults > 0,
        ),
        (f"{found.unreadable}", f"files unreadable, {found.out_of_scope} out of scope", found.unreadable > 0),
    )
    return '<div class="tiles">' + "".join(_tile(*tile) for tile in tiles) + "</div>"


def _tile(number: str, text: str, is_bad: bool) -> str:
    return f'<div class="tile"><b{" class=bad" if is_bad else ""}>{escape(number)}</b>{escape(text)}</div>'


def _legend() -> str:
    signs = (
        ('<circle cx="8" cy="8" r="4.5" class="good"/>', "alarm"),
        ('<circle cx="8" cy="8" r="4.5" class="miss"/>', "later than 57 °C"),
        (_tick(8, 8), "57 °C"),
        (_diamond(8, 8), "EN 54-5 A1R"),
        (_square(8, 8), "real photoelectric alarms, median"),
    )
    drawn, x = [], 0
    for sign, text in signs:
        drawn.append(f'<g transform="translate({x} 0)">{sign}<text x="18" y="12">{text}</text></g>')
        x += 42 + 6 * len(text)
    return f'<svg width="{x}" height="16">{"".join(drawn)}</svg>'


def _fires(fires: Sequence[FileReport]) -> str:
    times = [
        at_s - file.t_ignition_s
        for file in fires
        for at_s in (file.alarm_s, file.fixed57_s, file.en54_a1r_s, file.reference_alarm_s)
        if at_s is not None and file.t_ignition_s is not None
    ]
    decades = max(1, ceil(log10(max([10.0, *times]))))

    def x(after_s: float) -> float:
        return _NAMES + _PLOT * log10(max(1.0, after_s)) / decades

    ticks = [step * 10**decade for decade in range(decades) for step in (1, 2, 5)] + [10**decades]
    parts = [_grid(x(tick), len(fires), f"{tick} s") for tick in ticks]
    parts += [_fire(file, 24 + number * _ROW, x) for number, file in enumerate(fires)]
    return _drawn(len(fires), parts)


def _fire(file: FileReport, y: int, x: _Axis) -> str:
    origin_s = file.t_ignition_s or 0.0
    parts = []
    if file.alarm_s is not None and file.fixed57_s is not None:
        of = "miss" if file.is_later else "good"
        parts.append(_line(of, x(file.alarm_s - origin_s), x(file.fixed57_s - origin_s), y))
    for at_s, sign in (
        (file.fixed57_s, _tick),
        (file.en54_a1r_s, _diamond),
        (file.reference_alarm_s, _square),
    ):
        if at_s is not None:
            parts.append(sign(x(at_s - origin_s), y))
    if file.alarm_s is None:
        parts.append(f'<text class="bad" x="{_NAMES + 4}" y="{y + 4}">no alarm</text>')
    else:
        of = "miss" if file.is_later else "good"
        parts.append(f'<circle cx="{x(file.alarm_s - origin_s):.1f}" cy="{y}" r="4.5" class="{of}"/>')
    bad = file.alarm_s is None or file.is_later or file.false_fire_alarms > 0
    told = f"{_since(file.alarm_s, origin_s)}; 57 °C {_since(file.fixed57_s, origin_s)}"
    return _row(file, y, bad, told, parts)


def _leads(fires: Sequence[FileReport]) -> str:
    leads = [lead for file in fires if (lead := file.lead) is not None]
    counts = dict.fromkeys(range(-5, 10), 0)
    for lead in leads:
        counts[max(-5, min(9, floor(lead * 10 + 1e-9))) if lead > -inf else -5] += 1
    wide, high = _PLOT / len(counts), 120
    tallest = max(counts.values(), default=0) or 1
    parts = []
    for number, (tenth, count) in enumerate(counts.items()):
        left, height = _NAMES + number * wide, high * count / tallest
        of = "miss" if tenth < 0 else "good"
        if count:
            parts.append(
                f'<rect class="{of}" x="{left + 2:.1f}" y="{20 + high - height:.1f}" width="{wide - 4:.1f}"'
                f' height="{height:.1f}"/><text text-anchor="middle" x="{left + wide / 2:.1f}"'
                f' y="{14 + high - height:.1f}">{count}</text>'
            )
        text = "&le; -50 %" if tenth == -5 else f"{tenth * 10} %"
        parts.append(f'<text class="soft" text-anchor="middle" x="{left:.1f}" y="{high + 36}">{text}</text>')
    parts.append(_line("grid", _NAMES, _NAMES + _PLOT, high + 20))
    return f'<svg viewBox="0 0 {_WIDTH} {high + 44}" width="{_WIDTH}">{"".join(parts)}</svg>'


def _timelines(files: Sequence[FileReport]) -> str:
    parts = []
    for number, file in enumerate(files):
        y = 14 + number * _ROW
        first_s, last_s = file.span_s or (0.0, 0.0)
        scale = _PLOT / max(last_s - first_s, 1e-9)

        def x(at_s: float, first_s: float = first_s, scale: float = scale) -> float:
            return _NAMES + (at_s - first_s) * scale

        drawn = [_line("grid", _NAMES, _NAMES + _PLOT, y)]
        for low, high in file.intervals:
            low_s, high_s = max(low, first_s), min(high, last_s)
            wide = max(1.0, x(high_s) - x(low_s))
            drawn.append(
                f'<rect class="label" x="{x(low_s):.1f}" y="{y - 6}" width="{wide:.1f}" height="12"/>'
            )
        drawn += [_tick(x(at_s), y, "miss") for at_s in file.false_alarms_s]
        if file.fault_found:
            drawn.append(f'<circle class="good" cx="{x(file.fault_alarms_s[0]):.1f}" cy="{y}" r="4.5"/>')
        if file.fault_found is False:
            drawn.append(f'<text class="bad" x="{_NAMES + _PLOT + 6}" y="{y + 4}">missed</text>')
        bad = file.fault_found is False or file.false_faults > 0 or file.false_fire_alarms > 0
        told = f"{file.kind}; {file.false_fire_alarms} false fire alarms, {file.false_faults} false faults"
        parts.append(_row(file, y, bad, told, drawn))
    return _drawn(len(files), parts)


def _table(files: Iterable[FileReport], kind: str, title: str) -> str:
    chosen = [file for file in files if file.kind == kind]
    if not chosen:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name, _ in _cells(chosen[0]))
    rows = "".join("<tr>" + "".join(cell for _, cell in _cells(file)) + "</tr>" for file in chosen)
    return f'<h2>{escape(title)}</h2><div class="wide"><table><tr>{head}</tr>{rows}</table></div>'


def _cells(file: FileReport) -> list[tuple[str, str]]:
    origin_s = file.t_ignition_s or 0.0
    judged = file.status is Status.JUDGED
    cells = [("file", f"<td>{escape(_name(file))}<br><small>{escape(file.family)}</small></td>")]
    if file.kind == "fire":
        lead = file.lead
        lead_text = "" if lead is None else "never" if lead == -inf else f"{lead:.0%}"
        cells += [
            ("alarm, s", _number(_since(file.alarm_s, origin_s), judged and file.alarm_s is None)),
            ("57 °C", _number(_since(file.fixed57_s, origin_s))),
            ("A1R", _number(_since(file.en54_a1r_s, origin_s))),
            ("real", _number(_since(file.reference_alarm_s, origin_s), file.is_later_than_reference)),
            ("lead", _number(lead_text, file.is_later)),
            ("false", _number(str(file.false_fire_alarms), file.false_fire_alarms > 0)),
        ]
    else:
        if file.kind in ("fault", "overheat"):
            found = {True: "found", False: "missed", None: ""}[file.fault_found]
            delay = "" if file.fault_delay_s is None else f"{file.fault_delay_s:,.0f}"
            cells += [("fault", _number(found, file.fault_found is False)), ("after, s", _number(delay))]
        cells += [
            ("false fire", _number(str(file.false_fire_alarms), file.false_fire_alarms > 0)),
            ("false faults", _number(str(file.false_faults), file.false_faults > 0)),
            ("quiet days", _number(f"{file.device_days:.3g}")),
        ]
    unread = ' class="bad"' if file.status is Status.UNREADABLE else ""
    named = "<br>".join(map(escape, file.channels))
    fed = f"<details><summary>{len(file.channels)} channels</summary>{named}</details>"
    cells.append(("channels and notes", f"<td{unread}>{fed}<small>{escape(file.note)}</small></td>"))
    return cells


def _number(text: str, is_bad: bool = False) -> str:
    return f'<td class="n{" bad" if is_bad else ""}">{escape(text)}</td>'


def _since(at_s: float | None, origin_s: float) -> str:
    return "–" if at_s is None else f"{at_s - origin_s:,.4g}"


def _name(file: FileReport) -> str:
    return PurePosixPath(file.file).name.removesuffix(".gz").removesuffix(".csv")


def _row(file: FileReport, y: int, is_bad: bool, told: str, parts: Sequence[str]) -> str:
    of = ' class="bad"' if is_bad else ""
    name = _name(file)
    return (
        f'<g><title>{escape(f"{name}: {told}")}</title><text{of} text-anchor="end" x="{_NAMES - 10}"'
        f' y="{y + 4}">{escape(name)}</text>{"".join(parts)}</g>'
    )


def _drawn(rows: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {26 + rows * _ROW}" width="{_WIDTH}">{"".join(parts)}</svg>'


def _grid(x: float, rows: int, text: str) -> str:
    return (
        f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="{20 + rows * _ROW}"/>'
        f'<text class="soft" text-anchor="middle" x="{x:.1f}" y="9">{text}</text>'
    )


def _line(of: str, x1: float, x2: float, y: int) -> str:
    return f'<line class="{of}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}" stroke-width="2"/>'


def _tick(x: float, y: float, of: str = "mark") -> str:
    return f'<line class="{of}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 6}" y2="{y + 6}" stroke-width="2.5"/>'


def _diamond(x: float, y: float) -> str:
    return f'<path class="mark" d="M{x:.1f} {y - 5}l5 5l-5 5l-5 -5z"/>'


def _square(x: float, y: float) -> str:
    return f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4}" width="8" height="8"/>'

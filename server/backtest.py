"""A backtest over what a core keeps: its points, readings and alarm record, read beside the running core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta, timezone
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from alerting.alarms.record import begun_at
from alerting.backtest.labels import Interval, LabelError, parse_labels, unknown_places
from alerting.backtest.replay import MOST_ALARMS, Backtest, Span
from alerting.backtest.report import Report
from alerting.detect.rules import RuleSet
from alerting.detect.scope import Scope
from alerting.errors import RulesRefused
from alerting.rulebook.file import parse, shipped
from fengsui.database import connect
from fengsui.errors import FengsuiError, Unavailable
from fengsui.model import AlarmClass, Point
from fengsui.viewer import Viewer
from ingest.registry import Registry
from ingest.store.base import StoreError
from server.config import Embedded, Influx
from server.errand import Progress
from server.rulebook import OWN
from server.series import open_history

DAY_S = 86_400
WARM_UP_DAYS = 7.0


class BacktestRefused(FengsuiError):
    """A backtest that cannot be done as asked; the text says what to change."""


class Kept(msgspec.Struct, frozen=True):
    """Of a core's settings, where its past is and what it judges by."""

    store: Embedded | Influx
    database_url: str
    in_force: str
    """Text of the rules that the core judges by, as it read them."""


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to judge, by which rules."""

    rules: str
    """The draft, as the text of a rule file."""
    from_us: int
    to_us: int
    warm_s: float = WARM_UP_DAYS * DAY_S
    """How long before ``from_us`` judging begins."""
    offset_s: int = 0
    """Of the days' time zone from UTC."""
    scope: str = ""
    """As :func:`parse_scope` reads it; empty: every point."""
    labels: str | None = None
    """The text of a label file."""


class Bounds(NamedTuple):
    """What somebody may ask for."""

    span_s: float = 4_000 * DAY_S
    """Counted span and warm-up together."""
    points: int = 1_000_000
    alarms: int = MOST_ALARMS


SHELL = Bounds()
"""What who can read the core's files may ask for."""


class Ready(NamedTuple):
    """A backtest that waits for its readings."""

    test: Backtest
    span: Span
    points: list[Point]
    labels: list[Interval] | None
    notes: list[str]


def prepare(
    points: Sequence[Point], viewer: Viewer, question: Question, in_force: str, bounds: Bounds = SHELL
) -> Ready:
    """A backtest of those of ``points`` that are asked for and seen, against the rules of a text.

    Raises:
        BacktestRefused: the question cannot be answered as asked.
    """
    span = span_of(question, bounds)
    draft = read_rules(question.rules, "the draft")
    against = read_rules(in_force, "the rules in force")
    wanted = chosen(points, viewer, question.scope, [draft, against], bounds.points)
    labels, notes = _labels(question, span, wanted)
    test = Backtest(wanted, draft, against, span, most_alarms=bounds.alarms)
    return Ready(test, span, wanted, labels, notes)


async def backtest(
    kept: Kept,
    viewer: Viewer,
    question: Question,
    progress: Callable[[Progress], None],
    bounds: Bounds = SHELL,
) -> Report:
    """Judge what the viewer sees of a core's past. Nothing is written; the event loop is held meanwhile.

    Raises:
        BacktestRefused: the question cannot be answered as asked.
        Unavailable: what the core keeps cannot be read now.
    """
    _check_database(kept.database_url)
    database = connect(kept.database_url)
    try:
        registry = await Registry.open(database)
        ready = prepare(registry.points, viewer, question, kept.in_force, bounds)
        span = ready.span
        history = open_history(kept.store, registry)
        try:
            async for rows in history.read(viewer, ready.points, span.warm_us, span.to_us):
                ready.test.feed(rows.point, rows.at_us, rows.value, rows.quality)
                progress(Progress(int(rows.at_us[-1]), ready.test.readings))
        finally:
            await history.aclose()
        ids = {point.id for point in ready.points}
        fires = begun_at(database, AlarmClass.FIRE, span.from_us, span.to_us)
        return ready.test.report(
            labels=ready.labels,
            buildings={point.building: registry.building_name(point.building) for point in ready.points},
            recorded_fires=sum(id_ in ids for id_ in fires),
            notes=[*ready.notes, *history.faults],
        )
    except StoreError as error:
        raise Unavailable(str(error)) from error
    except SQLAlchemyError as error:
        raise Unavailable(f"the state database cannot be read: {error}") from error
    finally:
        database.dispose()


def span_of(question: Question, bounds: Bounds) -> Span:
    """When to judge and count.

    Raises:
        BacktestRefused: no such span, or one too long.
    """
    if question.from_us >= question.to_us:
        raise BacktestRefused("the span ends before it begins; give --from before --to")
    if question.warm_s < 0:
        raise BacktestRefused("the warm-up is not negative")
    whole_s = (question.to_us - question.from_us) / 1e6 + question.warm_s
    if whole_s > bounds.span_s:
        raise BacktestRefused(
            f"span and warm-up are {whole_s / DAY_S:.1f} days; {bounds.span_s / DAY_S:g} are allowed"
        )
    if abs(question.offset_s) >= DAY_S:
        raise BacktestRefused("a time zone is less than a day from UTC")
    zone = timezone(timedelta(seconds=question.offset_s))
    warm_us = max(0, question.from_us - round(question.warm_s * 1e6))
    return Span(warm_us, question.from_us, question.to_us, zone)


def text_in_force(named: Path | None, folder: Path | None = None) -> str:
    """A rule file's text; without one, of what a person put in force at the core of ``folder``, else shipped.

    Raises:
        BacktestRefused: the file cannot be read.
    """
    file = named
    if named is None and folder is not None and (folder / OWN).exists():
        file = folder / OWN
    if file is None:
        return shipped().text
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BacktestRefused(f"{file}: cannot be read as rules: {error}") from error


def read_rules(text: str, name: str) -> RuleSet:
    """A rule set from the text of a rule file.

    Raises:
        BacktestRefused: it is none; ``name`` says whose.
    """
    try:
        return parse(text, name).rules
    except RulesRefused as error:
        raise BacktestRefused(str(error)) from error


def parse_scope(text: str) -> Scope:
    """``unit=u1,building=b*,point=!*.smoke``: a scope as a rule has it; a part given twice fits either.

    Raises:
        BacktestRefused: not of that form.
    """
    patterns: dict[str, tuple[str, ...]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, pattern = (piece.strip() for piece in part.partition("="))
        if name not in Scope.__struct_fields__ or pattern in ("", "!"):
            known = ", ".join(f"{name}=..." for name in Scope.__struct_fields__)
            raise BacktestRefused(f"scope {part[:80]!r}: a part is one of {known}; * is any text")
        patterns[name] = (*patterns.get(name, ()), pattern)
    return Scope(**patterns)


def chosen(
    points: Sequence[Point], viewer: Viewer, scope: str, rule_sets: Sequence[RuleSet], most: int
) -> list[Point]:
    """The points in the scope that the viewer sees and that a rule may speak of, by quantity.

    Raises:
        BacktestRefused: none, or too many.
    """
    where = parse_scope(scope)
    quantities = {rule.quantity for rules in rule_sets for rule in rules.about_readings()}
    found = [
        point
        for point in points
        if viewer.sees(point.unit) and point.quantity in quantities and where.covers(point)
    ]
    if not found:
        inside = f"in {scope!r} " if scope else ""
        raise BacktestRefused(f"no point {inside}has a quantity that these rules are about")
    if len(found) > most:
        raise BacktestRefused(f"{len(found)} points; {most} are allowed at once, so give a narrower scope")
    return found


def _labels(
    question: Question, span: Span, points: Sequence[Point]
) -> tuple[list[Interval] | None, list[str]]:
    if question.labels is None:
        return None, []
    try:
        labels = parse_labels(question.labels, span.zone)
    except LabelError as error:
        raise BacktestRefused(f"labels, {error}") from error
    strangers = unknown_places(labels, points)
    named = ", ".join(strangers[:5]) + (", ..." if len(strangers) > 5 else "")
    return labels, [f"labels of places that are not judged here: {named}"] if strangers else []


def _check_database(url: str) -> None:
    """SQLite would make a file that is not there."""
    file = make_url(url).database if url.startswith("sqlite") else None
    if file is not None and not Path(file).exists():
        raise BacktestRefused(f"{file} is not there; start the core once, or name its data directory")

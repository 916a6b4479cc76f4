"""How much the desk had to bear, from where, and how it answered: figures of a span of the alarm record.

The measures are those of EEMUA 191 and ISA-18.2 (IEC 62682): alarms per operator and ten minutes, periods of
ten minutes in flood, the ten sources that ring most, alarms that stand for a day. Tests are left out and
counted apart. An alarm counts as often as it began to sound: raised, worse than what was acknowledged
(*escalated*), or no longer inhibited (*resumed*).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from sqlalchemy import Engine, select

from alerting.alarms.lifecycle import Alarm, State
from alerting.alarms.record import alarm_table, record_table
from alerting.errors import AlertingError
from alerting.finding import Finding
from alerting.state import answering
from fengsui.model import AlarmClass
from fengsui.viewer import Viewer

PERIOD_US = 600_000_000
"""Ten minutes."""
DAY_US = 86_400_000_000
FLOOD = 10
"""More than so many in one period is a flood (EEMUA 191, ISA-18.2)."""
TOP = 10
MOST_DAYS = 400
MOST_ALARMS = 200_000

_SOUNDS = ("raised", "escalated", "resumed")


class TooMuch(AlertingError):
    """The span holds more than can be counted at once; ``str()`` says what to do."""


class Rating(StrEnum):
    """What EEMUA 191 says of an average load in the steady state, per operator."""

    ACCEPTABLE = "acceptable"
    """At most one in ten minutes."""
    MANAGEABLE = "manageable"
    """At most one in five minutes."""
    DEMANDING = "demanding"
    """At most one in two minutes: likely to be over-demanding."""
    UNACCEPTABLE = "unacceptable"


class Rung(NamedTuple):
    """An alarm began to sound."""

    alarm: str
    at_us: int
    """Server's clock."""


class Make(NamedTuple):
    """What a device is, as its maker says."""

    model: str
    batch: str


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What rang, per operator where it says so."""

    rung: int
    operators: int
    per_10_min: float
    """Mean, per operator."""
    rating: Rating
    per_day: float
    """Mean, of all operators."""
    periods: int
    floods: int
    """Periods with more than ``FLOOD`` per operator; below 1 % of all is the aim."""
    busiest: int
    """Most in one period."""
    busiest_at_us: int | None
    """Begin of that period."""
    classes: dict[AlarmClass, int]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who rings often."""

    point: str
    name: str
    unit: str
    building: str
    rung: int
    share: float
    """Of all that rang, 0 to 1."""


class Nuisances(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the fire and pre-alarms of one unit from one make of device."""

    unit: str
    model: str
    batch: str
    alarms: int
    judged: int
    """Closed with a finding."""
    nuisances: int
    """Of those: neither a fire nor unknown."""
    findings: dict[Finding, int]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """How soon people acknowledged, seconds from the moment the alarm was received."""

    cls: AlarmClass
    alarms: int
    acknowledged: int
    p50_s: float | None
    p95_s: float | None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """All of it, over ``from_us <= raised < to_us`` by the server's clock."""

    from_us: int
    to_us: int
    alarms: int
    tests: int
    """Left out of everything else."""
    standing: int
    """Still active after a day; fewer than 5 at any time is the aim."""
    load: Load
    bad_actors: list[Source]
    nuisances: list[Nuisances]
    answered: list[Answered]


def compute(
    rung: Sequence[Rung],
    alarms: Iterable[Alarm],
    make_of: Callable[[str], Make],
    *,
    from_us: int,
    to_us: int,
    operators: int | None = None,
) -> Statistics:
    """The figures of a span.

    Args:
        rung: Every time that an alarm began to sound within the span.
        alarms: The newest version of each alarm that ``rung`` names.
        make_of: The make of the device of a point.
        from_us: Begin, server's clock.
        to_us: End, not included; later than ``from_us``.
        operators: How many people shared the load; None = as many as have acknowledged something, at least 1.
    """
    every = list(alarms)
    real = {alarm.id: alarm for alarm in every if not alarm.test}
    sounded = [one for one in rung if one.alarm in real]
    people = operators or max(1, len({a.acknowledged_by for a in real.values() if a.acknowledged_by}))
    return Statistics(
        from_us=from_us,
        to_us=to_us,
        alarms=len(real),
        tests=len(every) - len(real),
        standing=sum(_stands(alarm, to_us) for alarm in real.values()),
        load=_load(sounded, real, from_us, to_us, people),
        bad_actors=_bad_actors(sounded, real),
        nuisances=_nuisances(real.values(), make_of),
        answered=_answered(real.values()),
    )


async def of_span(
    engine: Engine,
    viewer: Viewer,
    make_of: Callable[[str], Make],
    *,
    from_us: int,
    to_us: int,
    operators: int | None = None,
) -> Statistics:
    """What a span of the record says of the units the viewer sees.

    Raises:
        TooMuch: The span is no span, too long, or holds too many alarms.
        RecordUnavailable: The state database does not answer.
    """

    def work() -> Statistics:
        rung, alarms = gather(engine, viewer, from_us, to_us)
        return compute(rung, alarms, make_of, from_us=from_us, to_us=to_us, operators=operators)

    with answering():
        return await asyncio.to_thread(work)


def gather(engine: Engine, viewer: Viewer, from_us: int, to_us: int) -> tuple[list[Rung], list[Alarm]]:
    """What ``compute`` needs, of the units the viewer sees (blocking).

    Raises:
        TooMuch: The span is no span, too long, or holds too many alarms.
        sqlalchemy.exc.SQLAlchemyError: The state database does not answer.
    """
    if not 0 < to_us - from_us <= MOST_DAYS * DAY_US:
        raise TooMuch(f"the end is after the begin, by at most {MOST_DAYS} days")
    within = (
        (record_table.c.at_us >= from_us) & (record_table.c.at_us < to_us) & record_table.c.what.in_(_SOUNDS)
    )
    if viewer.units is not None:
        within &= record_table.c.unit.in_(viewer.units)
    times = select(record_table.c.alarm, record_table.c.at_us).where(within).limit(MOST_ALARMS + 1)
    with engine.connect() as connection:
        rung = [Rung(*row) for row in connection.execute(times.order_by(record_table.c.at_us))]
        if len(rung) > MOST_ALARMS:
            raise TooMuch(f"more than {MOST_ALARMS} alarms; ask for a shorter span")
        named = select(record_table.c.alarm).where(within)
        bodies = connection.execute(select(alarm_table.c.body).where(alarm_table.c.id.in_(named))).scalars()
        return rung, [msgspec.json.decode(body, type=Alarm) for body in bodies]


def rating(per_10_min: float) -> Rating:
    """EEMUA 191's word for an average load per operator."""
    for most, word in ((1, Rating.ACCEPTABLE), (2, Rating.MANAGEABLE), (5, Rating.DEMANDING)):
        if per_10_min <= most:
            return word
    return Rating.UNACCEPTABLE


def _load(
    rung: Sequence[Rung], alarms: Mapping[str, Alarm], from_us: int, to_us: int, operators: int
) -> Load:
    periods = -(-(to_us - from_us) // PERIOD_US)
    begins = np.array([one.at_us - from_us for one in rung], np.int64) // PERIOD_US
    counts = np.bincount(begins, minlength=periods)
    busiest = int(counts.argmax())
    per_10_min = len(rung) * PERIOD_US / (to_us - from_us) / operators
    return Load(
        rung=len(rung),
        operators=operators,
        per_10_min=per_10_min,
        rating=rating(per_10_min),
        per_day=len(rung) * DAY_US / (to_us - from_us),
        periods=periods,
        floods=int(np.count_nonzero(counts > FLOOD * operators)),
        busiest=int(counts[busiest]),
        busiest_at_us=from_us + busiest * PERIOD_US if rung else None,
        classes=dict(Counter(alarms[one.alarm].cls for one in rung)),
    )


def _bad_actors(rung: Sequence[Rung], alarms: Mapping[str, Alarm]) -> list[Source]:
    counts = Counter(alarms[one.alarm].point for one in rung)
    newest = {alarm.point: alarm for alarm in alarms.values()}
    return [
        Source(
            point=point,
            name=newest[point].name,
            unit=newest[point].unit,
            building=newest[point].building,
            rung=count,
            share=count / len(rung),
        )
        for point, count in counts.most_common(TOP)
    ]


def _nuisances(alarms: Iterable[Alarm], make_of: Callable[[str], Make]) -> list[Nuisances]:
    found: dict[tuple[str, Make], list[Finding | None]] = {}
    for alarm in alarms:
        if alarm.cls in (AlarmClass.FIRE, AlarmClass.PREALARM):
            found.setdefault((alarm.unit, make_of(alarm.point)), []).append(alarm.finding)
    rows = []
    for (unit, make), findings in found.items():
        judged = [finding for finding in findings if finding is not None]
        rows.append(
            Nuisances(
                unit=unit,
                model=make.model,
                batch=make.batch,
                alarms=len(findings),
                judged=len(judged),
                nuisances=sum(finding.is_nuisance for finding in judged),
                findings=dict(Counter(judged)),
            )
        )
    return sorted(rows, key=lambda row: (-row.nuisances, -row.alarms, row.unit, row.model, row.batch))


def _answered(alarms: Iterable[Alarm]) -> list[Answered]:
    waits: dict[AlarmClass, list[float | None]] = {}
    for alarm in alarms:
        at_us = alarm.acknowledged_at_us
        wait_s = None if at_us is None else (at_us - alarm.received_at_us) / 1e6
        waits.setdefault(alarm.cls, []).append(wait_s)
    rows = []
    for cls, all_s in sorted(waits.items()):
        known_s = [wait_s for wait_s in all_s if wait_s is not None]
        p50_s, p95_s = map(float, np.percentile(known_s, (50, 95))) if known_s else (None, None)
        rows.append(Answered(cls=cls, alarms=len(all_s), acknowledged=len(known_s), p50_s=p50_s, p95_s=p95_s))
    return rows


def _stands(alarm: Alarm, to_us: int) -> bool:
    return alarm.active and alarm.state is not State.CLOSED and to_us - alarm.detected_at_us > DAY_US

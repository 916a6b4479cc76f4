"""A scenario in virtual time: the real detection engine and the real alarm book, as fast as they can.

Once a tick (a virtual second, or a quarter of the sampling where that is longer) all that has arrived is
judged as one batch, then time passes for detection and the book, as in ``alerting/watch.py``. So an alarm
is at most a tick later here. Nobody acknowledges anything.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np

from alerting.alarms.book import Book, Change
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.watch import of_devices
from fengsui.batch import GatewayEvent
from fengsui.model import Event, Quality
from gateway.uplink import HEARTBEAT_S
from simulators.course import unfold
from simulators.link import deliver, is_cut
from simulators.scenario import GATEWAY, Script

BEGIN_US = 1_700_000_000_000_000
"""The beginning of every scenario by the server's clock: what is simulated has no date."""


_TELL_EVERY = 100


class Told(NamedTuple):
    """A change in the alarm book, in virtual seconds from the beginning."""

    at_s: float
    change: Change


class Rehearsal(NamedTuple):
    """What came of a scenario."""

    told: list[Told]
    readings: int


def rehearse(script: Script, rules: RuleSet, seed: int, progress: Callable[[float], None]) -> Rehearsal:
    """Run a scenario.

    Args:
        script: What happens.
        rules: What to judge by.
        seed: The same one gives the same.
        progress: Told now and then which share is done.
    """
    scenario, points = script.scenario, script.site.points
    course = unfold(script, seed)
    delivery = deliver(course, scenario.timeline, seed)
    at_us = BEGIN_US + np.round(delivery.stamp_s * 1e6).astype(np.int64)
    age_us = np.round((delivery.arrives_s - delivery.sent_s) * 1e6).astype(np.int64)
    quality = np.full(len(at_us), Quality.SIMULATED, np.uint8)
    tick_s = max(1.0, scenario.sample / 4)
    ticks_s = np.arange(ceil(scenario.length / tick_s) + 1) * tick_s
    ends = np.searchsorted(delivery.arrives_s, ticks_s, side="right")

    engine, book = Engine(rules, points, now_s=0.0), Book(points, rules)
    told: list[Told] = []
    events = delivery.events
    was_cut, seen_s, first = True, 0.0, 0
    for tick, (now_s, end) in enumerate(zip(ticks_s.tolist(), ends.tolist(), strict=True)):
        now_us = BEGIN_US + round(now_s * 1e6)
        cut = is_cut(scenario.timeline, now_s)
        if not cut and (was_cut or now_s - seen_s >= HEARTBEAT_S):
            engine.gateway_seen(GATEWAY, now_s=now_s, fresh=was_cut)
            seen_s = now_s
        was_cut = cut
        rows = slice(first, end)
        received_us = np.full(end - first, now_us, np.int64)
        arrived = [item for item in events if item[1] <= now_s]
        events = events[len(arrived) :]
        said = [
            GatewayEvent(GATEWAY, _dated(event), points[_index(script, event)], now_us, _ms(now - sent))
            for sent, now, event in arrived
        ]
        verdicts = engine.update(
            delivery.point[rows], at_us[rows], delivery.value[rows], quality[rows], received_us, age_us[rows],
            now_s=now_s, events=of_devices(said),
        )  # fmt: skip
        for _ in said:
            engine.gateway_heard(GATEWAY, now_s=now_s)
        changes = book.apply(verdicts, said, now_us=now_us, now_s=now_s)
        passed = engine.advance(now_s=now_s, now_us=now_us)
        changes += book.apply(passed, (), now_us=now_us, now_s=now_s)
        changes += book.advance(now_us=now_us, now_s=now_s)
        told += [Told(now_s, change) for change in changes]
        first = end
        if tick % _TELL_EVERY == 0:
            progress(tick / len(ends))
    return Rehearsal(told, len(at_us))


def _dated(event: Event) -> Event:
    return Event(event.point, BEGIN_US + event.at, event.what, text=event.text, code=event.code)


def _index(script: Script, event: Event) -> int:
    (index,) = script.site.within[event.point]
    return index


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

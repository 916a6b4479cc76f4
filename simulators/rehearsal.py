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

from alerting.detect.rules import RuleSet
from fengsui.batch import GatewayEvent
from fengsui.model import Event
from gateway.uplink import HEARTBEAT_S
from simulators.course import unfold
from simulators.link import deliver, is_cut
from simulators.scenario import GATEWAY, Script
from simulators.watchroom import Arrived, Told, Watchroom

BEGIN_US = 1_700_000_000_000_000
"""The beginning of every scenario by the server's clock: what is simulated has no date."""


_TELL_EVERY = 100


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
    tick_s = max(1.0, scenario.sample / 4)
    ticks_s = np.arange(ceil(scenario.length / tick_s) + 1) * tick_s
    ends = np.searchsorted(delivery.arrives_s, ticks_s, side="right")

    room = Watchroom(rules, points, BEGIN_US)
    events = delivery.events
    was_cut, seen_s, first = True, 0.0, 0
    for tick, (now_s, end) in enumerate(zip(ticks_s.tolist(), ends.tolist(), strict=True)):
        now_us = BEGIN_US + round(now_s * 1e6)
        cut = is_cut(scenario.timeline, now_s)
        if not cut and (was_cut or now_s - seen_s >= HEARTBEAT_S):
            room.seen(GATEWAY, now_s, fresh=was_cut)
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
        room.take(
            now_s,
            Arrived(delivery.point[rows], at_us[rows], delivery.value[rows], received_us, age_us[rows]),
            said,
        )
        first = end
        if tick % _TELL_EVERY == 0:
            progress(tick / len(ends))
    return Rehearsal(room.told, len(at_us))


def _dated(event: Event) -> Event:
    return Event(event.point, BEGIN_US + event.at, event.what, text=event.text, code=event.code)


def _index(script: Script, event: Event) -> int:
    (index,) = script.site.within[event.point]
    return index


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

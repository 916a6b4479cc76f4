"""A piece in virtual time: the real detection engine and the real alarm book, as fast as they can.

Once a tick (of a scenario: a virtual second, or a quarter of the sampling where that is longer) all that has
arrived is judged as one batch, then time passes for detection and the book, as in ``alerting/watch.py``. So
an alarm is at most a tick later here. Nobody acknowledges anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict
from fengsui.batch import GatewayEvent
from fengsui.model import Event, Point, Quality
from gateway.uplink import HEARTBEAT_S
from simulators.course import unfold
from simulators.link import Delivery, deliver, is_cut
from simulators.scenario import GATEWAY, Script
from simulators.watchroom import Arrived, Told, Watchroom

BEGIN_US = 1_700_000_000_000_000
"""The beginning of every scenario by the server's clock: what is simulated has no date."""

_TELL_EVERY = 100


class Piece(NamedTuple):
    """What is to be performed."""

    points: Sequence[Point]
    """By index, dense."""
    delivery: Delivery
    quality: NDArray[np.uint8]
    """Of each reading, in the order of the delivery, shape (n,)."""
    begin_us: int
    """0 s of the delivery, by the server's clock."""
    length_s: float
    tick_s: float
    speaks: Callable[[float], bool] | None
    """Whether the gateway can say something at a time; None: the devices speak for themselves."""


class Rehearsal(NamedTuple):
    """What came of a piece."""

    told: list[Told]
    said: list[tuple[float, Verdict]]
    """What the rules said, and when."""
    readings: int


def rehearse(script: Script, rules: RuleSet, seed: int, progress: Callable[[float], None]) -> Rehearsal:
    """Run a scenario.

    Args:
        script: What happens.
        rules: What to judge by.
        seed: The same one gives the same.
        progress: Told now and then which share is done.
    """
    return perform(piece(script, seed), rules, progress)


def piece(script: Script, seed: int) -> Piece:
    """A scenario as it arrives; the same for the same seed."""
    scenario = script.scenario
    delivery = deliver(unfold(script, seed), scenario.timeline, seed)
    return Piece(
        points=script.site.points,
        delivery=delivery,
        quality=np.full(len(delivery.value), Quality.SIMULATED, np.uint8),
        begin_us=BEGIN_US,
        length_s=float(scenario.length),
        tick_s=max(1.0, scenario.sample / 4),
        speaks=lambda at_s: not is_cut(scenario.timeline, at_s),
    )


def perform(
    piece: Piece,
    rules: RuleSet,
    progress: Callable[[float], None],
    look: Callable[[float, Engine], None] = lambda _now_s, _engine: None,
) -> Rehearsal:
    """Run a piece.

    Args:
        piece: What arrives when.
        rules: What to judge by.
        progress: Told now and then which share is done.
        look: Given the time and the engine when all that has arrived by then is judged; to look and not to
            touch.
    """
    points, delivery, begin_us = piece.points, piece.delivery, piece.begin_us
    at_us = begin_us + np.round(delivery.stamp_s * 1e6).astype(np.int64)
    age_us = np.round((delivery.arrives_s - delivery.sent_s) * 1e6).astype(np.int64)
    ticks_s = np.arange(ceil(piece.length_s / piece.tick_s) + 1) * piece.tick_s
    ends = np.searchsorted(delivery.arrives_s, ticks_s, side="right")
    by_id = {point.id: point for point in points}

    room = Watchroom(rules, points, begin_us)
    events = delivery.events
    was_cut, seen_s, first = True, 0.0, 0
    for tick, (now_s, end) in enumerate(zip(ticks_s.tolist(), ends.tolist(), strict=True)):
        now_us = begin_us + round(now_s * 1e6)
        if piece.speaks is not None:
            cut = not piece.speaks(now_s)
            if not cut and (was_cut or now_s - seen_s >= HEARTBEAT_S):
                room.seen(GATEWAY, now_s, fresh=was_cut)
                seen_s = now_s
            was_cut = cut
        rows = slice(first, end)
        received_us = np.full(end - first, now_us, np.int64)
        arrived = [item for item in events if item[1] <= now_s]
        events = events[len(arrived) :]
        said = [
            GatewayEvent(GATEWAY, _dated(event, begin_us), by_id[event.point], now_us, _ms(now - sent))
            for sent, now, event in arrived
        ]
        room.take(
            now_s,
            Arrived(
                delivery.point[rows], at_us[rows], delivery.value[rows], piece.quality[rows], received_us,
                age_us[rows],
            ),
            said,
        )  # fmt: skip
        look(now_s, room.engine)
        first = end
        if tick % _TELL_EVERY == 0:
            progress(tick / len(ends))
    return Rehearsal(room.told, room.said, len(at_us))


def _dated(event: Event, begin_us: int) -> Event:
    return Event(event.point, begin_us + event.at, event.what, text=event.text, code=event.code)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

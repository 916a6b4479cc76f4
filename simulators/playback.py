"""A capture played again: in virtual time through detection and the alarm book, or live through a gateway.

Everything in it is simulated now: readings have quality 4, events the code that says so. Hellos are not
captured, so in virtual time every gateway is taken to be there from the beginning to the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

import msgspec
import numpy as np

from alerting.detect.rules import RuleSet
from fengsui.batch import GatewayEvent
from fengsui.journal import Entry
from fengsui.model import SIMULATED_EVENT, Event, Kind, Point, Quality, Reading
from fengsui.wire import HEADER, BodyError, Readings, check_body, decode_body
from gateway.drivers.base import Pace
from gateway.uplink import HEARTBEAT_S
from ingest.decode import Decoder
from ingest.inventory import Row
from simulators.capture import Capture
from simulators.stage import TimelineDriver, rows_of, shortened
from simulators.watchroom import Arrived, Told, Watchroom

UNIT = "replay"
TICK_S = 1.0
_TELL_EVERY = 100


class Playback(NamedTuple):
    """What came of a capture."""

    told: list[Told]
    readings: int
    """Judged."""
    unused: dict[str, int]
    """Readings and records that could not be, by reason, as the core's dead letter counts them."""
    length_s: float


class _Bindings:
    """The points of a capture, as the decoder asks for them."""

    generation = 0

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = {(point.gateway, point.name): point for point in points}

    def point(self, gateway: str, name: str) -> Point | None:
        return self._points.get((gateway, name))


def play_back(capture: Capture, rules: RuleSet, progress: Callable[[float], None]) -> Playback:
    """Judge a capture, a second of it at a time; what has arrived in it is one batch per lane.

    Args:
        capture: What arrived.
        rules: What to judge by.
        progress: Told now and then which share is done.
    """
    begin_us, end_us = capture.span_us or (0, 0)
    room = Watchroom(rules, capture.points, begin_us)
    decoder = Decoder(_Bindings(capture.points))
    unused: defaultdict[str, int] = defaultdict(int)
    readings = 0
    seen_s = -HEARTBEAT_S
    length_s = (end_us - begin_us) / 1e6
    for tick, (now_s, entries) in enumerate(_ticks(capture.entries(), begin_us)):
        if now_s - seen_s >= HEARTBEAT_S:
            for gateway in capture.gateways:
                if gateway not in capture.plain:
                    room.seen(gateway, now_s, fresh=not tick)
            seen_s = now_s
        for _, of_lane in groupby(sorted(entries, key=_by_lane), key=_by_lane):
            decoded = decoder.decode(list(of_lane))
            for counts in decoded.counts.values():
                for reason, count in counts.dead.items():
                    unused[reason] += count
            batch = decoded.batch
            readings += batch.count
            room.take(
                now_s,
                Arrived(
                    batch.point,
                    batch.at_us,
                    batch.value,
                    np.full(batch.count, Quality.SIMULATED, np.uint8),
                    batch.received_at_us,
                    batch.age_us,
                ),
                [_as_simulated(event) for event in batch.events],
            )
        if not entries:
            room.take(now_s, _NOTHING, ())
        if tick % _TELL_EVERY == 0:
            progress(min(1.0, now_s / length_s) if length_s else 1.0)
    return Playback(room.told, readings, dict(unused), length_s)


class CaptureDriver(TimelineDriver):
    """Plays a capture; all its gateways speak through one, see ``live_points``."""

    name = "capture"

    def __init__(self, capture: Capture, speed: float, pace: Pace) -> None:
        self._first_us, last_us = capture.span_us or (0, 0)
        super().__init__(live_points(capture), (last_us - self._first_us) / 1e6, speed, pace)
        self._capture = capture
        self.unreadable = 0
        """Records that are left out, for nobody could read them."""

    def items(self, begin_us: int) -> Iterator[tuple[float, Reading | Event]]:
        """What the capture has, moved in time, under the names it has here."""
        shift_us = begin_us - self._first_us
        for entry in self._capture.entries():
            due_s = (entry.received_at_us - self._first_us) / 1e6
            for item in self._said(entry, shift_us):
                yield due_s, item

    def _said(self, entry: Entry, shift_us: int) -> Iterable[Reading | Event]:
        header = entry.header
        if header.kind not in (Kind.READINGS, Kind.EVENT):
            return ()
        try:
            body = decode_body(header, entry.record[HEADER.size :])
            check_body(body)
        except BodyError:
            self.unreadable += 1
            return ()
        if isinstance(body, Event):
            name = _name(entry.gateway, body.point)
            return [msgspec.structs.replace(body, point=name, at=body.at + shift_us, code=SIMULATED_EVENT)]
        assert isinstance(body, Readings)
        names = [_name(entry.gateway, name) for name in body.names()]
        at_us = body.t0 + shift_us + np.frombuffer(body.dt, "<u4").astype(np.int64)
        rows = zip(
            np.frombuffer(body.i, "<u2").tolist(), at_us.tolist(), np.frombuffer(body.x, "<f8").tolist(),
            strict=True,
        )  # fmt: skip
        return [Reading(names[index], at, value, Quality.SIMULATED) for index, at, value in rows]


def live_points(capture: Capture) -> list[Point]:
    """The points of a capture as one gateway has them: its names, and places that are not the real ones."""
    return [
        msgspec.structs.replace(
            point,
            name=_name(point.gateway, point.name),
            **{key: _place(getattr(point, key)) for key in ("device", "zone", "building")},
        )
        for point in capture.points
    ]


def registered(capture: Capture, gateway: str) -> list[Row]:
    """Rows that register a capture's points as sent by ``gateway``, in a unit of their own."""
    return rows_of(live_points(capture), gateway, {"id": UNIT, "name": "回放 Replay"})


def _ticks(entries: Iterable[Entry], begin_us: int) -> Iterator[tuple[float, list[Entry]]]:
    """What has arrived by each second; empty seconds are told as well."""
    now_s, held = 0.0, list[Entry]()
    for entry in entries:
        while entry.received_at_us > begin_us + now_s * 1e6:
            yield now_s, held
            now_s, held = now_s + TICK_S, []
        held.append(entry)
    yield now_s, held


def _by_lane(entry: Entry) -> str:
    return entry.lane  # "alarm" before "telemetry"


def _as_simulated(event: GatewayEvent) -> GatewayEvent:
    return replace(event, event=msgspec.structs.replace(event.event, code=SIMULATED_EVENT))


def _name(gateway: str, name: str) -> str:
    return shortened(f"{gateway}.{name}")


def _place(id_: str) -> str:
    return shortened(f"{UNIT}-{id_}") if id_ else ""


_NOTHING = Arrived(
    point=np.empty(0, np.int32),
    at_us=np.empty(0, np.int64),
    value=np.empty(0, np.float64),
    quality=np.empty(0, np.uint8),
    received_at_us=np.empty(0, np.int64),
    age_us=np.empty(0, np.int64),
)

"""The intake: from MQTT into the journal, and *committed* back. It acts on the fixed header alone.

One connection per lane with a task each, so that an alarm never queues behind telemetry; each turn takes what
one wake-up brought, offers it to the journal, waits for the sync, and only then answers. A third connection,
persistent and acknowledged by hand after the commit, serves ``plain`` devices. What has no number, or comes
under a foreign name, is set aside with its reason and disturbs nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog

from fengsui import topics
from fengsui.journal import Journal, Offer
from fengsui.log import LogFull, LogNoSpace
from fengsui.marks import Marks
from fengsui.model import Lane, Reading
from fengsui.mqtt import Backoff, Connection, Disconnected, connect
from fengsui.packets import Message
from fengsui.runtime import MACHINE, Timepiece
from fengsui.settings import Broker
from fengsui.wire import (
    HEADER,
    MAX_BODY,
    UNREADABLE,
    Committed,
    Header,
    HeaderError,
    Hello,
    decode_header,
    spool_text,
    unpack_header,
)
from ingest.decode import count_readings
from ingest.gateways import Gateways, decode_hello
from ingest.plain import PlainError, Refusals, parse, records

HOLE_S = 2.0
COMMITTED_EVERY_S = 1.0
_FIRST_ANSWER = 1
"""Records after which a new connection, or a core that has just started, answers for the first time."""
_TURN = 128
"""Messages per turn: about 3 ms of work, so that the alarm lane is never kept waiting for longer."""
_PLAIN_TURN = 512
"""The same for ``plain`` messages, which cost less."""
_NO_ROOM_PAUSE_S = 0.5
_MOST_BYTES = HEADER.size + MAX_BODY + 1
_TICK_S = 0.25
_ALARM_LEAF = f"/{Lane.ALARM}"
_ALARM_S = 0.05
"""The longest that others wait for the alarm lane: it may have no room, and detection must go on."""

log = structlog.get_logger()


class Unnumbered(NamedTuple):
    """A message that no number answers for: for the dead letter."""

    source: str
    reason: str
    text: str
    payload: bytes
    received_at_us: int


@dataclass(slots=True)
class _Due:
    """What a gateway's spool is owed: an answer for ``records`` since ``since_s``, and its known holes."""

    records: int = 0
    since_s: float = 0.0
    holes: dict[int, float] = field(default_factory=dict)

    def look_for_holes(self, marks: Marks, now_s: float) -> list[tuple[int, int]]:
        """The holes there are; since when each is there is remembered."""
        missing = marks.missing()
        self.holes = {first: self.holes.get(first, now_s) for first, _ in missing}
        return missing


class Intake:
    """Journals what gateways and plain devices send.

    Args:
        broker: Where to listen, as the core's user.
        journal: Where it goes.
        gateways: Told of every sign of life.
        make_room: Frees journal space, or returns False; called when a lane is full.
        set_aside: Takes messages without a number to the dead letter.
        on_hello: Told of each hello, after the server has answered for it.
        on_reply: Told of an answer to a command: gateway and payload.
        window: Unconfirmed records a gateway may have in flight, per lane.
        clock: Stamps what is received; presence and the pace of answers are the network's, always real time.
    """

    def __init__(
        self,
        broker: Broker,
        journal: Journal,
        gateways: Gateways,
        *,
        make_room: Callable[[Lane], Awaitable[bool]],
        set_aside: Callable[[list[Unnumbered]], Awaitable[None]],
        on_hello: Callable[[str, Hello], None],
        on_reply: Callable[[str, bytes], None],
        window: int = 64,
        clock: Timepiece = MACHINE,
    ) -> None:
        self._broker = broker
        self._journal = journal
        self._gateways = gateways
        self._make_room = make_room
        self._set_aside = set_aside
        self._on_hello = on_hello
        self._on_reply = on_reply
        self._window = window
        self._clock = clock
        self._locks = {lane: asyncio.Lock() for lane in Lane}
        self._due: dict[Lane, dict[tuple[str, int], _Due]] = {lane: {} for lane in Lane}
        self._enough: dict[str, int] = {}
        self._connections: dict[Lane, Connection] = {}
        self._epochs = dict.fromkeys(Lane, 1)
        self._greetings: dict[Lane, asyncio.Queue[tuple[str, Hello]]] = {
            lane: asyncio.Queue(maxsize=1_000) for lane in Lane
        }
        self._refusals = Refusals()
        self.faults: dict[str, str] = {}
        self.retained = 0
        self._unheard = {*map(str, Lane), "plain"}
        self.is_listening = asyncio.Event()
        self._no_alarm = asyncio.Event()
        self._no_alarm.set()

    async def run(self) -> None:
        """Serve until cancelled.

        Raises:
            LogFailed: The journal's medium failed; the process must stop and start again.
        """
        async with asyncio.TaskGroup() as tasks:
            for lane in Lane:
                tasks.create_task(self._serve(f"core-{lane}", self._lane_turns(lane)), name=f"intake.{lane}")
                tasks.create_task(self._answer_regularly(lane), name=f"intake.{lane}.answers")
                tasks.create_task(self._greet(lane), name=f"intake.{lane}.greetings")
            tasks.create_task(self._serve("core-plain", self._plain_turns), name="intake.plain")

    def send(self, gateway: str, leaf: str, payload: bytes) -> bool:
        """Publish to a gateway; False when there is no connection."""
        connection = self._connections.get(Lane.ALARM)
        if connection is None:
            return False
        try:
            connection.send(topics.of_gateway(gateway, leaf), payload)
        except Disconnected:
            return False
        return True

    async def let_alarms_pass(self) -> bool:
        """Return when nothing of the alarm lane is on its way to its commit; to be asked before long work.

        Bounded: nobody waits much longer than a sync takes. Tells whether there was anything to wait for.
        """
        if self._no_alarm.is_set():
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALARM_S):
                await self._no_alarm.wait()
        return True

    # connections

    async def _serve(self, identifier: str, turns: Callable[[Connection], Awaitable[None]]) -> None:
        is_plain = identifier == "core-plain"
        backoff = Backoff(first_s=0.2, most_s=5.0)
        while True:
            try:
                async with connect(
                    self._broker, identifier, clean_session=not is_plain, manual_ack=is_plain
                ) as connection:
                    backoff.reset()
                    self.faults.pop(identifier, None)
                    await turns(connection)
            except Disconnected as error:
                if self.faults.get(identifier) != str(error):
                    self.faults[identifier] = str(error)
                    log.warning("intake.disconnected", connection=identifier, reason=str(error))
            await asyncio.sleep(backoff.pause_s())

    def _lane_turns(self, lane: Lane) -> Callable[[Connection], Awaitable[None]]:
        listened = {
            Lane.ALARM: (topics.UP_ALARM, topics.UP_STATUS, topics.UP_REPLY),
            Lane.TELEMETRY: (topics.UP_TELEMETRY,),
        }

        async def turns(connection: Connection) -> None:
            await connection.subscribe(*listened[lane])
            self._connections[lane] = connection
            await self._announce(lane)
            self._listens(lane)
            try:
                while True:
                    messages = await connection.receive()
                    for at in range(0, len(messages), _TURN):
                        if lane is Lane.ALARM:
                            await self._alarm_turn(messages[at : at + _TURN])
                        else:
                            if await self.let_alarms_pass():
                                await asyncio.sleep(0)  # detection first
                            await self._turn(lane, messages[at : at + _TURN])
            finally:
                self._connections.pop(lane, None)

        return turns

    def _listens(self, what: str) -> None:
        log.info("intake.listening", to=what)
        self._unheard.discard(what)
        if not self._unheard:
            self.is_listening.set()

    async def _alarm_turn(self, messages: list[Message]) -> None:
        """A turn of the alarm connection; if a record is in it, others begin nothing long meanwhile."""
        if any(message.topic.endswith(_ALARM_LEAF) for message in messages):
            self._no_alarm.clear()
        try:
            await self._turn(Lane.ALARM, messages)
        finally:
            self._no_alarm.set()

    async def _turn(self, lane: Lane, messages: list[Message]) -> None:
        """Offer, sync, answer."""
        now_s, now_us = time.monotonic(), self._clock.wall_us()
        aside: list[Unnumbered] = []
        touched: set[tuple[str, int]] = set()
        async with self._locks[lane]:
            for message in messages:
                await self._take(lane, message, now_s, now_us, touched, aside)
            await self._commit(lane)
            for gateway, spool in touched:
                self._answer_if_due(lane, gateway, spool)
        if aside:
            await self._set_aside(aside)

    async def _take(
        self,
        lane: Lane,
        message: Message,
        now_s: float,
        now_us: int,
        touched: set[tuple[str, int]],
        aside: list[Unnumbered],
    ) -> None:
        if message.retained:  # nothing of ours is; it says nothing about now
            self.retained += 1
            return
        topic = topics.parse_gateway(message.topic)
        if topic is None:
            aside.append(_foreign(message, now_us))
            return
        gateway = self._gateways.heard(topic.gateway, now_s, now_us)
        if topic.leaf == "status":
            self._take_status(topic.gateway, message.payload, aside, now_us)
            return
        if topic.leaf == "reply":
            self._on_reply(topic.gateway, message.payload)
            return
        try:
            header = decode_header(message.payload)
        except HeaderError as error:
            gateway.unreadable += 1
            aside.append(Unnumbered(topic.gateway, error.reason, str(error), message.payload, now_us))
            return
        record = message.payload[
            :_MOST_BYTES
        ]  # what is longer has its number, and is dead-lettered for its size
        offer = await self._offer(lane, topic.gateway, record, header, now_us)
        match offer:
            case Offer.DUPLICATE:
                gateway.duplicates += 1
            case Offer.CONFLICT:
                gateway.conflicts += 1
                text = f"seq {header.seq} of spool {spool_text(header.spool)} is already another record"
                aside.append(Unnumbered(topic.gateway, "conflict", text, message.payload, now_us))
            case Offer.AHEAD:
                gateway.ahead += 1
                return
            case Offer.NEW:
                pass
        key = (topic.gateway, header.spool)
        due = self._due[lane].setdefault(key, _Due(since_s=now_s))
        due.records += 1
        touched.add(key)

    async def _offer(self, lane: Lane, gateway: str, record: bytes, header: Header, now_us: int) -> Offer:
        readings = count_readings(record)
        while True:
            try:
                return self._journal.offer(lane, gateway, record, header, readings, now_us)
            except LogFull:
                await self._commit(lane)
                await self._free(lane, "the journal's quota is reached")

    async def _commit(self, lane: Lane) -> None:
        while True:
            try:
                await self._journal.commit(lane)
                self.faults.pop(f"journal_{lane}", None)
                return
            except LogNoSpace as error:
                await self._free(lane, str(error))

    async def _free(self, lane: Lane, reason: str) -> None:
        """Make room or wait: what is not journalled is not answered, so the gateways keep it."""
        if await self._make_room(lane):
            return
        if f"journal_{lane}" not in self.faults:
            log.error("intake.no_room", lane=lane, reason=reason)
        self.faults[f"journal_{lane}"] = reason
        await asyncio.sleep(_NO_ROOM_PAUSE_S)

    # answers

    async def _announce(self, lane: Lane) -> None:
        """Tell every gateway that this lane is listened to anew: what was sent meanwhile comes again now."""
        self._epochs[lane] = self._clock.wall_us() // 1000
        async with self._locks[lane]:
            for gateway, spools in self._journal.accounts(lane).items():
                self._answer(lane, gateway, next(reversed(spools)))

    def _answer_if_due(self, lane: Lane, gateway: str, spool: int) -> None:
        half = max(1, self._window // 2)
        enough = 1 if lane is Lane.ALARM else self._enough.get(gateway, _FIRST_ANSWER)
        due = self._due[lane][gateway, spool]
        if due.records >= enough:
            self._answer(lane, gateway, spool)
            if enough < half and lane is Lane.TELEMETRY:  # an answer doubles a window that began small
                self._enough[gateway] = min(half, 2 * enough)
        else:
            due.look_for_holes(self._journal.account(lane, gateway, spool).marks, time.monotonic())

    def _answer(self, lane: Lane, gateway: str, spool: int) -> None:
        """Say what is committed; the lane's lock is held, so that nothing offered and not synced is in it."""
        now_s = time.monotonic()
        marks = self._journal.account(lane, gateway, spool).marks
        due = self._due[lane].setdefault((gateway, spool), _Due(since_s=now_s))
        missing = due.look_for_holes(marks, now_s)
        while missing and now_s - due.holes[missing[-1][0]] < HOLE_S:
            missing.pop()  # young; but one before an old one is named: what is not named there has arrived
        committed = Committed(
            spool_text(spool), lane, marks.upto, missing[:100], self._window, self._epochs[lane]
        )
        due.records, due.since_s = 0, now_s
        connection = self._connections.get(lane)
        if connection is None:
            return
        try:
            connection.send(topics.of_gateway(gateway, "committed"), msgspec.json.encode(committed))
        except Disconnected:
            return  # the gateway asks again by itself
        if not due.holes:
            del self._due[lane][gateway, spool]

    async def _answer_regularly(self, lane: Lane) -> None:
        """Pay what is owed after a second, and go on naming holes until they are mended."""
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = time.monotonic()
            async with self._locks[lane]:
                for (gateway, spool), due in list(self._due[lane].items()):
                    if now_s - due.since_s >= COMMITTED_EVERY_S:
                        self._answer(lane, gateway, spool)

    # hello

    def _take_status(self, gateway: str, payload: bytes, aside: list[Unnumbered], now_us: int) -> None:
        try:
            hello = decode_hello(payload)
        except UNREADABLE as error:
            aside.append(Unnumbered(gateway, "status", str(error), payload, now_us))
            return
        for lane, greetings in self._greetings.items():
            try:
                greetings.put_nowait((gateway, hello))
            except asyncio.QueueFull:  # it greets again within seconds
                log.warning("intake.greetings_full", gateway=gateway, lane=lane)

    async def _greet(self, lane: Lane) -> None:
        """Answer hellos; a lane each, so that the alarm lane never waits for room in the other."""
        while True:
            gateway, hello = await self._greetings[lane].get()
            state = self._gateways.get(gateway)
            if state is None:
                continue
            reported = hello.lanes.get(lane)
            if reported is not None and not hello.gone:
                async with self._locks[lane]:
                    lost = await self._settle(lane, gateway, int(hello.spool, 16), reported.first)
                    state.lost += lost  # not in one with the wait: the other lane counts here, too
                    if hello.fresh:
                        self._answer(lane, gateway, int(hello.spool, 16))
                        self._enough[gateway] = _FIRST_ANSWER
            if lane is Lane.ALARM:
                if not hello.gone:
                    state.hello = hello
                self._on_hello(gateway, hello)

    async def _settle(self, lane: Lane, gateway: str, spool: int, first: int) -> int:
        """Close what the gateway no longer holds and the server never had; how many numbers that is."""
        marks = self._journal.account(lane, gateway, spool).marks
        gone = [(spool, begin, min(end, first - 1)) for begin, end in marks.missing()]
        gone.append((spool, marks.highest + 1, first - 1))
        for other, account in self._journal.accounts(lane)[gateway].items():
            if other != spool:  # nobody holds anything under an identity that was given up
                gone += [(other, begin, end) for begin, end in account.marks.missing()]
        lost = 0
        for of, begin, end in gone:
            if begin <= end:
                self._journal.close_hole(lane, gateway, of, begin, end, self._clock.wall_us())
                lost += end - begin + 1
                log.error("intake.lost_by_server", gateway=gateway, lane=lane, first=begin, last=end)
        await self._commit(lane)
        return lost

    # plain devices

    async def _plain_turns(self, connection: Connection) -> None:
        await connection.subscribe(topics.UP_PLAIN)
        self._listens("plain")
        while True:
            messages = await connection.receive()
            for at in range(0, len(messages), _PLAIN_TURN):
                turn = messages[at : at + _PLAIN_TURN]
                await self._plain_turn(connection, turn)
                connection.acknowledge(turn)

    async def _plain_turn(self, connection: Connection, messages: list[Message]) -> None:
        """Journal a turn's readings, those of a device together."""
        now_us = self._clock.wall_us()
        aside: list[Unnumbered] = []
        taken: dict[str, list[Reading]] = {}
        for message in messages:
            if message.retained:
                self.retained += 1
                continue
            device = topics.parse_plain(message.topic)
            if device is None:
                aside.append(_foreign(message, now_us))
                continue
            now_us = self._clock.wall_us()  # each its own: without ``t`` it is the reading's stamp
            try:
                readings = parse(device, message.payload, now_us)
            except PlainError as error:
                self._refuse(connection, device, error)
                aside.append(Unnumbered(device, error.reason, str(error), message.payload, now_us))
                continue
            taken.setdefault(device, []).extend(readings)
        async with self._locks[Lane.TELEMETRY]:
            for device, readings in taken.items():
                for record in records(readings):
                    await self._offer(Lane.TELEMETRY, device, record, unpack_header(record), now_us)
            await self._commit(Lane.TELEMETRY)
        if aside:
            await self._set_aside(aside)

    def _refuse(self, connection: Connection, device: str, error: PlainError) -> None:
        if self._refusals.is_due(device, time.monotonic()):
            text = msgspec.json.encode({"reason": error.reason, "error": str(error)})
            with contextlib.suppress(Disconnected):  # nobody listens; the refusal is in the dead letter
                connection.send(topics.of_plain_error(device), text)


def _foreign(message: Message, now_us: int) -> Unnumbered:
    text = "not a topic of the contract (name, or shard of that name)"
    return Unnumbered(message.topic[:200], "topic", text, message.payload, now_us)

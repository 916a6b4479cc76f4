"""The uplink: two lanes over two connections, until the server says *committed*.

The alarm lane never waits behind telemetry: it has its own connection, window and task, and the Will.
Telemetry waits for the answer to its hello on every connection, the alarm lane once in a process's life, so
that a spool restored from an old copy is noticed before its numbers are used again (a server that does not
answer does not commit either). A PUBACK opens nothing and deletes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from itertools import groupby

import msgspec
import structlog

from fengsui import topics
from fengsui.model import Lane
from fengsui.mqtt import Backoff, Connection, Disconnected, connect
from fengsui.packets import Message
from fengsui.settings import Broker
from fengsui.spool import Held, Spool, SpoolFull
from fengsui.wire import UNREADABLE, Committed, Hello, encode_record, spool_text
from gateway.lane import LaneSender

HEARTBEAT_S = 20.0
_ASK_AGAIN_S = {Lane.ALARM: 1.0, Lane.TELEMETRY: 5.0}
_MOST_PAUSE_S = {Lane.ALARM: 1.0, Lane.TELEMETRY: 30.0}
"""Between attempts to connect: a fire behind a cut link sounds within 2 s of its return (R76)."""
_IDENTIFIER = {Lane.ALARM: "{}-alarm", Lane.TELEMETRY: "{}"}

log = structlog.get_logger()


class Uplink:
    """Sends what the spool holds and forgets what the server has committed.

    Args:
        gateway: Name of this gateway, equal to its broker user.
        broker: Where to connect.
        spool: What to send.
        hello: Makes the hello; told whether it is the first one of a connection.
        on_command: What to do with a message on ``desired`` or ``command``.
        now_s: Monotonic seconds.
    """

    def __init__(
        self,
        gateway: str,
        broker: Broker,
        spool: Spool,
        *,
        hello: Callable[[bool], Awaitable[Hello]],
        on_command: Callable[[str, bytes], Awaitable[bytes | None]],
        now_s: Callable[[], float],
    ) -> None:
        self.gateway = gateway
        self._broker = broker
        self._spool = spool
        self._hello = hello
        self._on_command = on_command
        self._now_s = now_s
        self.senders = {lane: LaneSender(lane, given=spool.held(lane).stop - 1) for lane in Lane}
        self._changing = asyncio.Lock()
        self._wake = {lane: asyncio.Event() for lane in Lane}
        self._renewed = {lane: asyncio.Event() for lane in Lane}
        self.faults: dict[str, str] = {}

    def stored(self, lane: Lane) -> None:
        """There is something new in the spool."""
        self._wake[lane].set()

    async def run(self) -> None:
        """Serve both lanes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for lane in Lane:
                tasks.create_task(self._serve(lane), name=f"uplink.{lane}")

    async def _serve(self, lane: Lane) -> None:
        backoff = Backoff(most_s=_MOST_PAUSE_S[lane])
        while True:
            try:
                async with connect(
                    self._broker,
                    _IDENTIFIER[lane].format(self.gateway),
                    will=await self._will() if lane is Lane.ALARM else None,
                ) as connection:
                    self.faults.pop(f"link_{lane}", None)
                    await self._converse(lane, connection)
            except* Disconnected as group:
                reason = str(group.exceptions[0])
                if self.faults.get(f"link_{lane}") != reason:
                    self.faults[f"link_{lane}"] = reason
                    log.warning("uplink.disconnected", lane=lane, reason=reason)
            if self.senders[lane].is_answered:
                self.senders[lane].is_answered = False
                backoff.reset()
            await asyncio.sleep(backoff.pause_s())

    async def _will(self) -> tuple[str, bytes]:
        hello = await self._hello(False)
        gone = msgspec.structs.replace(hello, gone=True)
        return topics.of_gateway(self.gateway, "status"), msgspec.json.encode(gone)

    async def _converse(self, lane: Lane, connection: Connection) -> None:
        inward = [topics.of_gateway(self.gateway, "committed")]
        if lane is Lane.ALARM:
            inward += [topics.of_gateway(self.gateway, leaf) for leaf in ("desired", "command")]
        await connection.subscribe(*inward)
        self._renewed[lane].clear()
        self.senders[lane].connected(self._now_s())
        log.info("uplink.connected", lane=lane)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._listen(lane, connection), name=f"uplink.{lane}.listen")
            tasks.create_task(self._send(lane, connection), name=f"uplink.{lane}.send")
            tasks.create_task(self._greet(lane, connection), name=f"uplink.{lane}.greet")
            tasks.create_task(self._await_renewal(lane), name=f"uplink.{lane}.renewal")

    async def _greet(self, lane: Lane, connection: Connection) -> None:
        """Hello at once, again until it is answered, then the heartbeat (alarm connection only)."""
        sender = self.senders[lane]
        topic = topics.of_gateway(self.gateway, "status")
        while True:
            if lane is Lane.ALARM or not sender.is_answered:
                connection.send(topic, msgspec.json.encode(await self._hello(not sender.is_answered)))
            await asyncio.sleep(HEARTBEAT_S if sender.is_answered else _ASK_AGAIN_S[lane])

    async def _listen(self, lane: Lane, connection: Connection) -> None:
        while True:
            for message in await connection.receive():
                if message.topic.endswith("/committed"):
                    await self._take_committed(lane, message)
                else:
                    leaf = message.topic.rpartition("/")[2]
                    reply = await self._on_command(leaf, message.payload)
                    if reply is not None:
                        connection.send(topics.of_gateway(self.gateway, "reply"), reply)

    async def _take_committed(self, lane: Lane, message: Message) -> None:
        try:
            committed = _committed.decode(message.payload)
        except UNREADABLE as error:
            log.warning("uplink.committed_unreadable", lane=lane, error=str(error))
            return
        async with self._changing:  # no lane forgets by the old numbers what the other has just renumbered
            if committed.lane != lane or committed.spool != spool_text(self._spool.identity):
                return
            sender = self.senders[lane]
            if sender.is_old_copy(committed):
                await self._begin_anew(committed)
                return
            for seq in sender.confirmed(committed, self._now_s()):
                log.error("uplink.refused", lane=lane, seq=seq)
                await asyncio.to_thread(self._spool.refuse, lane, seq)
            await asyncio.to_thread(self._spool.commit, lane, sender.upto)
        self._wake[lane].set()

    async def _begin_anew(self, committed: Committed) -> None:
        """The server knows numbers this spool has not given yet: it is an old copy."""
        text = f"this spool is an old copy: the server has {committed.lane} up to {committed.upto}"
        log.error("uplink.old_spool", fault=text)
        self.faults["old_spool"] = text
        try:
            await asyncio.to_thread(self._spool.renew)
        except SpoolFull as error:
            raise Disconnected(f"{text}; no room to renumber it: {error}") from error
        for lane in Lane:
            self.senders[lane] = LaneSender(lane)
            self._renewed[lane].set()

    async def _await_renewal(self, lane: Lane) -> None:
        await self._renewed[lane].wait()
        raise Disconnected("the spool has a new identity: greeting again")

    async def _send(self, lane: Lane, connection: Connection) -> None:
        wake = self._wake[lane]
        topic = topics.of_gateway(self.gateway, lane)
        sender = self.senders[lane]
        identity = self._spool.identity
        while True:
            wake.clear()
            if sender.check(self._now_s()):
                self.faults[f"unconfirmed_{lane}"] = "the server does not confirm"
                log.warning("uplink.unconfirmed", lane=lane, in_flight=sender.in_flight)
            elif not sender.is_silent:
                self.faults.pop(f"unconfirmed_{lane}", None)
            if sender.is_answered or (lane is Lane.ALARM and sender.is_known):
                held = self._spool.held(lane)
                tombstones = self._spool.tombstones(lane)
                found = await self._fetch(
                    lane, sender.due(self._now_s(), held.stop, tombstones, first=held.start)
                )
                if self._spool.identity != identity:
                    raise Disconnected("the spool has a new identity: greeting again")
                for one in found:
                    record = encode_record(one.kind, identity, one.seq, self._spool.age_ms(one), one.body)
                    connection.send(topic, record)
                    sender.sent(one.seq, self._now_s())
                if found:
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(sender.wait_s(self._now_s())):
                    await wake.wait()

    async def _fetch(self, lane: Lane, seqs: list[int]) -> list[Held]:
        """The records with these seqs, runs of neighbours in one read; those that are gone are left out."""
        found: list[Held] = []
        for _, group in groupby(enumerate(sorted(seqs)), key=lambda pair: pair[1] - pair[0]):
            wanted = [seq for _, seq in group]
            seq = wanted[0]
            while seq <= wanted[-1]:
                held = await asyncio.to_thread(self._spool.read, lane, seq, last=wanted[-1])
                found += [h for h in held if h.seq <= wanted[-1]]
                if not held:
                    break
                seq = held[-1].seq + 1
        return found


_committed = msgspec.json.Decoder(Committed)

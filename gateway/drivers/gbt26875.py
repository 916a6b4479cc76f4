"""The centre of GB/T 26875.3-2011 as a driver: transmitters connect by TCP or send UDP, any number of them.

What a device sends is confirmed once it is in the spool, not before. Each device is read by a task of its own
and held in bounds of its own: one that dies, floods or sends rubbish slows down nobody else. A link that
never brings a good frame is closed, and is the first to go when there is no room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias, cast

import structlog

from fengsui.model import Description, Event, Reading
from gateway.codecs.gbt26875.frame import MAX_FRAME, Frame, read_head
from gateway.codecs.gbt26875.stream import Found, Stream
from gateway.drivers.allowance import Allowance
from gateway.drivers.base import MAX_BATCH, CommandRefused, Pace, Sink
from gateway.drivers.config import Gbt26875, Transmitter, known_profile
from gateway.drivers.peer import COMMANDS, Link, Peer, Taken
from gateway.drivers.reporter import Report, forwarder

TICK_S = 0.5
STRANGER_S = 60.0
"""A link without a good frame for so long is closed."""
LINK_SILENCES = 3
"""A known device's link is closed after so many times ``silent_s``."""
MOST_UNSENT = 64 * 1024
QUEUED_DATAGRAMS = 64
STORING = 8
"""Frames of readings per link that wait for the spool while the next frame is read: it may be a fire."""
PEERS_PER_LINK = 32
"""Devices that are not listed and say they are behind one link; more are not heard."""

log = structlog.get_logger()
Where: TypeAlias = tuple[str, int]


class _Line:
    """What a TCP connection and a UDP address have in common."""

    def __init__(self, where: Where, now_s: float, allowance: Allowance) -> None:
        self.allowance = allowance
        self.storing = 0
        """Frames of readings under way to the spool."""
        self.host = where[0]
        self.begun_s = self.heard_s = now_s
        self.peer: Peer | None = None
        """Who was heard on it last."""
        self.strangers: set[str] = set()

    def is_idle(self, now_s: float, silent_s: float) -> bool:
        """Whether it has brought nothing good for too long."""
        return now_s - self.heard_s >= (STRANGER_S if self.peer is None else LINK_SILENCES * silent_s)


class _Connection(_Line):
    def __init__(self, writer: asyncio.StreamWriter, now_s: float, allowance: Allowance) -> None:
        super().__init__(writer.get_extra_info("peername")[:2], now_s, allowance)
        self._transport = writer.transport

    def send(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > MOST_UNSENT:
            self._transport.abort()  # it sends and never reads
            return
        self._transport.write(data)

    def close(self) -> None:
        self._transport.abort()


class _Address(_Line):
    def __init__(
        self, transport: asyncio.DatagramTransport, where: Where, now_s: float, allowance: Allowance
    ) -> None:
        super().__init__(where, now_s, allowance)
        self._transport = transport
        self._where = where
        self.waiting: deque[bytes] = deque(maxlen=QUEUED_DATAGRAMS)
        self.grown = asyncio.Event()
        self.dropped = 0
        self.is_closed = False

    def put(self, data: bytes) -> None:
        """Keep a datagram; the oldest goes when there is no room."""
        self.dropped += len(self.waiting) == QUEUED_DATAGRAMS
        self.waiting.append(data)
        self.grown.set()

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, self._where)

    def close(self) -> None:
        self.is_closed = True
        self.grown.set()


_Link: TypeAlias = _Connection | _Address


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, driver: Gbt26875Driver) -> None:
        self._driver = driver
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is none by its class

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        assert self._transport is not None
        self._driver.take_datagram(self._transport, data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """An answer did not reach its device; its silence will show."""


class Gbt26875Driver:
    """Serves transmitters; see the module's text."""

    def __init__(self, config: Gbt26875, pace: Pace) -> None:
        self.name = config.name
        self.refused = 0
        """Links and frames not taken: no room, or a device that is not listed."""
        self._config = config
        self._pace = pace
        self._end = bytes.fromhex(known_profile(config.profile).end)
        self._begin(0.0)

    def describe(self) -> Sequence[Description]:
        """The configured parts of the listed devices, and their links."""
        return [described for peer in self._peers.values() for described in peer.describe()]

    def command(self, what: str, args: Mapping[str, str]) -> str:
        """Ask ``args["device"]`` something; see ``COMMANDS`` for what there is.

        Raises:
            CommandRefused: An unknown command or device, an argument that makes no sense, or no link.
        """
        if what not in COMMANDS:
            raise CommandRefused(f"{self.name}: no command {what!r}; {', '.join(sorted(COMMANDS))}")
        peer = self._peers.get(args.get("device", ""))
        if peer is None:
            raise CommandRefused(f"{self.name}: no device {args.get('device', '')!r}; give device")
        return peer.command(what, args, self._now_s(), self._at())

    async def run(self, sink: Sink) -> None:
        """Serve until cancelled.

        Raises:
            OSError: The port cannot be listened on.
        """
        self._begin(self._now_s())
        loop = asyncio.get_running_loop()
        host, port = self._config.host, self._config.port
        async with asyncio.TaskGroup() as tasks:
            self._tasks, self._sink = tasks, sink
            server = await asyncio.start_server(self._connected, host, port, limit=4 * MAX_FRAME)
            try:
                udp, _ = await loop.create_datagram_endpoint(
                    partial(_Datagrams, self), local_addr=(host, port)
                )
                if self._forwarder is not None:
                    tasks.create_task(self._forwarder.run(), name=f"driver.{self.name}.forward")
                try:
                    await self._tick()
                finally:
                    udp.close()
            finally:
                server.close()
                for link in list(self._links):
                    link.close()

    def _begin(self, now_s: float) -> None:
        devices = self._config.devices
        self._peers = {device.name: Peer(self._config, device, now_s) for device in devices}
        self._by_address = {d.number: self._peers[d.name] for d in devices if d.number is not None}
        self._by_host = {d.host: self._peers[d.name] for d in devices if d.host is not None}
        self._links: set[_Link] = set()
        self._addresses: dict[Where, _Address] = {}
        self._storing: set[asyncio.Task[None]] = set()
        self._forwarder = (
            None if self._config.forward is None else forwarder(self._config.forward, self._pace)
        )

    async def _tick(self) -> None:
        """What is due for every device, for ever."""
        while True:
            now_s, at = self._now_s(), self._at()
            for peer in list(self._peers.values()):
                await self._finish(peer.turn(now_s, at), peer.link)
            for link in [link for link in self._links if link.is_idle(now_s, self._config.silent_s)]:
                link.close()
            await self._pace.sleep(TICK_S)

    # links

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Connection(writer, self._now_s(), self._allowance())
        if self._admit(link):
            self._tasks.create_task(self._serve(reader, link), name=f"driver.{self.name}.tcp")
        else:
            link.close()

    async def _serve(self, reader: asyncio.StreamReader, link: _Connection) -> None:
        """One connection, until either side ends it."""
        stream = Stream(self._end)
        try:
            while data := await reader.read(2 * MAX_FRAME):
                for found in stream.feed(data):
                    await self._take(found, link)
        except OSError as error:
            log.info("gbt26875.link_broken", host=link.host, reason=str(error))
        finally:
            link.close()
            self._release(link)

    def take_datagram(self, transport: asyncio.DatagramTransport, data: bytes, where: Where) -> None:
        """Leave a datagram to the task of where it came from."""
        link = self._addresses.get(where)
        if link is None:
            link = _Address(transport, where, self._now_s(), self._allowance())
            if not self._admit(link):
                return
            self._addresses[where] = link
            self._tasks.create_task(self._read(link, where), name=f"driver.{self.name}.udp")
        link.put(data)

    async def _read(self, link: _Address, where: Where) -> None:
        """The datagrams of one address; each holds whole frames."""
        try:
            while not link.is_closed:
                while link.waiting:
                    stream = Stream(self._end)
                    data = link.waiting.popleft()
                    for found in (*stream.feed(data), *stream.close()):
                        await self._take(found, link)
                    if link.dropped and link.peer is not None:
                        items = link.peer.flooded(link.dropped, self._now_s(), self._at())
                        link.dropped = 0
                        await self._accept(items)
                link.grown.clear()
                await link.grown.wait()
        finally:
            self._addresses.pop(where, None)
            self._release(link)

    def _admit(self, link: _Link) -> bool:
        """Whether there is room for one link more; a stranger's makes room for another."""
        if len(self._links) >= self._config.max_devices:
            strangers = [known for known in self._links if known.peer is None]
            if not strangers:
                self.refused += 1
                return False
            eldest = min(strangers, key=lambda known: known.begun_s)
            eldest.close()
            self._links.discard(eldest)
        self._links.add(link)
        return True

    def _release(self, link: _Link) -> None:
        self._links.discard(link)
        for peer in list(self._peers.values()):
            peer.detach(link, self._now_s())

    # frames

    def _source(self, frame: Frame) -> int:
        """Whose address a report carries to the other centre."""
        forward = self._config.forward
        return frame.source if forward is None or forward.address is None else forward.address

    async def _take(self, found: Found, link: _Link) -> None:
        """A frame, or what was refused, on a link."""
        now_s, at = self._now_s(), self._at()
        if found.frame is None:
            if link.peer is not None:
                head = read_head(found.raw) if found.reason in ("checksum", "end") else None
                await self._do(link.peer.damaged(found, head, now_s, at), link)
            return
        peer = self._peer_of(found.frame, link, now_s)
        if peer is None:
            self.refused += 1
            return
        link.peer, link.heard_s = peer, now_s
        peer.attach(link, now_s)
        taken = peer.take(found.frame, found.raw, now_s, at)
        if self._forwarder is not None and taken.report is not None:
            self._forwarder.put(Report.of(found.frame.unit, taken.report, self._source(found.frame)))
        await self._do(taken, link)

    async def _do(self, taken: Taken, link: _Link) -> None:
        """Take what came, not faster than the link may bring it."""
        if taken.is_repeated and self._storing:  # perhaps of what is not accepted yet
            await asyncio.wait(self._storing)
        is_readings = bool(taken.items) and all(isinstance(item, Reading) for item in taken.items)
        if is_readings and link.storing < STORING:
            link.storing += 1
            task = self._tasks.create_task(self._store(taken, link), name=f"driver.{self.name}.store")
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)
        else:
            await self._finish(taken, link)
        wait_s = link.allowance.pay(taken.cost, self._now_s(), is_urgent=taken.is_fire)
        if wait_s > 0:
            await self._pace.sleep(wait_s)

    async def _store(self, taken: Taken, link: _Link) -> None:
        """Finish what came while the link is read on."""
        try:
            await self._finish(taken, link)
        finally:
            link.storing -= 1

    async def _finish(self, taken: Taken, link: Link | None) -> None:
        """Accept, and only then answer."""
        await self._accept(taken.items)
        if link is not None:
            for data in taken.replies:
                link.send(data)

    async def _accept(self, items: Sequence[Reading | Event]) -> None:
        for first in range(0, len(items), MAX_BATCH):
            await self._sink.accept(items[first : first + MAX_BATCH])

    def _peer_of(self, frame: Frame, link: _Link, now_s: float) -> Peer | None:
        """Whose frame this is; None = nobody's that we hear."""
        peer = self._by_address.get(frame.source) or self._by_host.get(link.host)
        if peer is not None:
            return peer
        name = f"u{frame.source}" if frame.source else f"ip-{link.host.replace('.', '-').replace(':', '_')}"
        peer = self._peers.get(name[:24])
        if peer is not None:
            return peer
        if not self._config.accept_unknown or len(link.strangers) >= PEERS_PER_LINK:
            return None
        if len(self._peers) >= self._config.max_devices and not self._forget_one():
            return None
        link.strangers.add(name)
        device = Transmitter(
            name=name[:24], address=frame.source or None, host=None if frame.source else link.host
        )
        self._peers[device.name] = Peer(self._config, device, now_s)
        log.info("gbt26875.unknown_device", device=device.name, host=link.host)
        return self._peers[device.name]

    def _forget_one(self) -> bool:
        """Make room: forget a device that is not listed and has no link."""
        listed = {device.name for device in self._config.devices}
        for name, peer in self._peers.items():
            if name not in listed and peer.link is None:
                del self._peers[name]
                return True
        return False

    def _allowance(self) -> Allowance:
        return Allowance(self._config.objects_per_s, self._now_s())

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def _at(self) -> datetime:
        return datetime.fromtimestamp(self._pace.now_us() / 1e6, UTC)

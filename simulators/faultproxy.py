"""A TCP proxy that misbehaves on purpose, seeded; it counts every fault so that a test can prove it happened.

    async with FaultProxy(broker.port, seed=7) as proxy:
        proxy.up.mqtt = MqttFaults(copies=5, reorder=4)     # client to server
        proxy.down.latency_s = 0.2                          # server to client
        await proxy.cut(); proxy.heal()
        assert proxy.counts["cut"]

Both directions are shaped separately. Faults that know MQTT work on whole packets; the ambiguous HTTP write
is ``cut_replies``: the request arrives, the reply never does.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from types import TracebackType

from simulators.house import HOST, free_port, until

_PUBLISH, _PUBACK = 3, 4
_QUEUE = 256
_RESET = struct.pack("ii", 1, 0)


@dataclass
class MqttFaults:
    """What happens to MQTT packets of one direction; n counts from 1 over all connections of the proxy."""

    drop_pubacks: Iterable[int] = ()
    """The nth PUBACKs that vanish (a ``range`` will do)."""
    delay_pubacks: Mapping[int, float] = field(default_factory=dict)
    """The nth PUBACKs that come this many seconds later; others pass them."""
    copies: int = 1
    """How often each PUBLISH is sent."""
    reorder: int = 0
    """So many PUBLISHes (copies included) are held back, for at most ``hold_s``, and sent shuffled."""
    hold_s: float = 0.05


@dataclass
class Link:
    """What happens to the bytes of one direction; may be changed at any time."""

    latency_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float | None = None
    slice_bytes: int | None = None
    stalled: bool = False
    """Nothing passes and nothing is lost, as when packets are dropped under a TCP connection."""
    mqtt: MqttFaults | None = None


@dataclass(eq=False)
class _Connection:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter


class FaultProxy:
    """Listens on a free local port and passes everything to ``127.0.0.1:target``, faults permitting.

    Attributes:
        port: Where clients connect.
        up: Client to server.
        down: Server to client.
        cut_replies: So many of the next replies are swallowed and their connection reset.
        counts: How often each fault took effect: cut, refused, reset, half_close, stalled, delayed,
            throttled, sliced, reply_cut, puback_dropped, puback_delayed, publish_copied, publish_reordered;
            and connections.
        replies: Pieces that came back from the server and passed.
    """

    def __init__(self, target: int, *, seed: int = 0, port: int | None = None) -> None:
        self.target = target
        self.port = port or free_port()
        self.up = Link()
        self.down = Link()
        self.cut_replies = 0
        self.replies = 0
        self.counts: Counter[str] = Counter()
        self.is_cut = False
        self.random = random.Random(seed)
        self._pubacks: Counter[int] = Counter()
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> FaultProxy:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """Connections alive now."""
        return len(self._connections)

    def cut(self) -> None:
        """The link is down: every connection is reset, new ones are reset at once, until ``heal``."""
        self.is_cut = True
        self.counts["cut"] += 1
        self._reset_all()

    def heal(self) -> None:
        """The link is back."""
        self.is_cut = False

    def reset(self) -> None:
        """Every connection is reset; new ones are welcome."""
        self.counts["reset"] += self._reset_all()

    def half_close(self, *, towards_server: bool) -> None:
        """End one direction of every connection; the other stays open."""
        for connection in self._connections:
            (connection.server if towards_server else connection.client).write_eof()
            self.counts["half_close"] += 1

    def _reset_all(self) -> int:
        count = len(self._connections)
        for connection in list(self._connections):
            _abort(connection)
        return count

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.is_cut:
                self.counts["refused"] += 1
                _reset(client)
                return
            try:
                from_server, server = await asyncio.open_connection(HOST, self.target)
            except OSError:
                _reset(client)
                return
            for writer in (client, server):
                writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.counts["connections"] += 1
            await self._serve(_Connection(client, server), reader, from_server)
        except asyncio.CancelledError:
            pass  # the proxy closes; start_server would log the cancelled handler as an error
        finally:
            self._tasks.discard(task)

    async def _serve(
        self, connection: _Connection, up: asyncio.StreamReader, down: asyncio.StreamReader
    ) -> None:
        self._connections.add(connection)
        pumps = [
            asyncio.create_task(self._pump(self.up, connection, up, connection.server)),
            asyncio.create_task(self._pump(self.down, connection, down, connection.client)),
        ]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            if all(task.exception() is None for task in done):
                return
            _abort(connection)
        finally:
            self._connections.discard(connection)
            for task in pumps:
                task.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            connection.client.close()
            connection.server.close()

    async def _pump(
        self, link: Link, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Read, shape and queue one direction until its end, then end it on the other side as well."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        sender = asyncio.create_task(self._send(link, queue, writer))
        packets = _Packets()
        held: list[bytes] = []
        try:
            while True:
                data = await _read(reader, link.mqtt.hold_s if held and link.mqtt else None)
                if data == b"":
                    break
                if data and link is self.down and self.cut_replies > 0:
                    self.cut_replies -= 1
                    self.counts["reply_cut"] += 1
                    raise ConnectionResetError("reply cut on purpose")
                self.replies += bool(data) and link is self.down
                if link.mqtt is None:
                    pieces = [*held, packets.rest(), data or b""]
                    held = []
                else:
                    pieces = self._shape(
                        link, link.mqtt, packets.feed(data or b""), held, queue, data is None
                    )
                for piece in filter(None, pieces):
                    await until(lambda: queue.qsize() <= _QUEUE, inf, every_s=0.001)
                    delay = link.latency_s + self.random.uniform(0, link.jitter_s)
                    self.counts["delayed"] += delay > 0
                    queue.put_nowait((loop.time() + delay, piece))
                if sender.done():
                    break
            for piece in filter(None, [*held, packets.rest()]):
                queue.put_nowait((0, piece))
            queue.put_nowait(None)
            await sender
        finally:
            sender.cancel()

    def _shape(
        self,
        link: Link,
        faults: MqttFaults,
        packets: list[bytes],
        held: list[bytes],
        queue: asyncio.Queue[tuple[float, bytes] | None],
        flush: bool,
    ) -> list[bytes]:
        """What to send now; held PUBLISHes stay in ``held``, delayed PUBACKs enter the queue when due."""
        pieces: list[bytes] = []
        for packet in packets:
            kind = packet[0] >> 4
            if kind == _PUBACK:
                self._pubacks[id(link)] += 1
                n = self._pubacks[id(link)]
                if n in faults.drop_pubacks:
                    self.counts["puback_dropped"] += 1
                elif n in faults.delay_pubacks:
                    self.counts["puback_delayed"] += 1
                    loop = asyncio.get_running_loop()
                    loop.call_later(faults.delay_pubacks[n], queue.put_nowait, (0.0, packet))
                else:
                    pieces.append(packet)
            elif kind == _PUBLISH:
                copies = [packet] * faults.copies
                self.counts["publish_copied"] += faults.copies - 1
                (held if faults.reorder else pieces).extend(copies)
            else:
                pieces.append(packet)
        if held and (flush or len(held) >= faults.reorder):
            shuffled = self.random.sample(held, len(held))
            self.counts["publish_reordered"] += sum(a is not b for a, b in zip(held, shuffled, strict=True))
            pieces.extend(shuffled)
            held.clear()
        return pieces

    async def _send(
        self, link: Link, queue: asyncio.Queue[tuple[float, bytes] | None], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while (item := await queue.get()) is not None:
            due, data = item
            if (wait_s := due - loop.time()) > 0:
                await asyncio.sleep(wait_s)
            if link.stalled:
                self.counts["stalled"] += 1
                await until(lambda: not link.stalled, inf, every_s=0.005)
            for piece in _slices(data, link.slice_bytes):
                self.counts["sliced"] += len(piece) < len(data)
                writer.write(piece)
                await writer.drain()
                if link.bytes_per_s:
                    self.counts["throttled"] += 1
                    await asyncio.sleep(len(piece) / link.bytes_per_s)
                elif link.slice_bytes:
                    await asyncio.sleep(0)
        if writer.can_write_eof() and not writer.is_closing():
            with suppress(OSError):
                writer.write_eof()


class _Packets:
    """Cuts a stream into MQTT control packets."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The packets that are whole by now."""
        self._buffer += data
        packets = []
        at = 0
        while size := self._size(at):
            packets.append(bytes(self._buffer[at : at + size]))
            at += size
        del self._buffer[:at]
        return packets

    def rest(self) -> bytes:
        """The beginning of a packet that has not all come."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _size(self, start: int) -> int:
        """Size of the packet that begins at ``start``; 0 while it is not all there."""
        length = 0
        for n, byte in enumerate(self._buffer[start + 1 : start + 5]):
            length |= (byte & 0x7F) << (7 * n)
            if not byte & 0x80:
                size = 2 + n + length
                return size if len(self._buffer) >= start + size else 0
        return 0


async def _read(reader: asyncio.StreamReader, timeout_s: float | None) -> bytes | None:
    """Some bytes, empty at the end of the stream; None if ``timeout_s`` passed without any."""
    try:
        async with asyncio.timeout(timeout_s):
            return await reader.read(65_536)
    except TimeoutError:
        return None


def _slices(data: bytes, size: int | None) -> list[bytes]:
    if not size:
        return [data]
    return [data[at : at + size] for at in range(0, len(data), size)]


def _abort(connection: _Connection) -> None:
    _reset(connection.client)
    _reset(connection.server)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()

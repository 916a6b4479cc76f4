"""The MQTT connection both sides use: aiomqtt for the protocol's life, our own packets on the hot path.

MQTT 3.1.1, QoS 1, ``TCP_NODELAY``. aiomqtt connects, subscribes, pings and notices the end; PUBLISH and
PUBACK, which are all the traffic there is, are taken from the socket in bulk and written in bulk, once per
turn of the event loop, past the paho client inside it (its private names are pinned, and held by a contract
test). A PUBACK to us says that the broker has read a message, and no more: only hanging up waits for it.
Reading pauses while the inbox is full, so that a flood waits in TCP and not in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

import aiomqtt
import paho.mqtt.client as paho

from fengsui.packets import (
    PUBACK,
    Message,
    decode_publish,
    encode_pubacks,
    encode_publish,
    find_packet,
    is_publish,
)

if TYPE_CHECKING:
    from fengsui.settings import Broker

Disconnected = aiomqtt.MqttError
"""The connection is gone or was refused; connect again after a pause (``Backoff``)."""

_INBOX = 2_000
_RECV_BYTES = 64 * 1024
_MAX_MID = 65_535
_GRANTED = (1, 2)
_CONNECT_S = 2.0
"""For TCP alone: while a link is cut, an attempt must end soon or it outlasts the cut."""
_LINGER_S = 1.0
"""How long hanging up waits for the broker to have read what was sent last."""


class Connection:
    """One live connection to a broker. Made by :func:`connect`, never used after it is gone."""

    def __init__(self, client: aiomqtt.Client, *, manual_ack: bool) -> None:
        self._client = client
        self._paho: paho.Client = client._client
        self._loop = asyncio.get_running_loop()
        self._manual_ack = manual_ack
        self._inbox: list[Message] = []
        self._arrived = asyncio.Event()
        self._reading = True
        self._data = b""
        self._at = 0
        self._out = bytearray()
        self._mid = 0
        self._unread = 0
        self._paho.manual_ack_set(manual_ack)
        self._paho.on_message = self._take
        self._tell_aiomqtt = self._paho.on_disconnect
        self._paho.on_disconnect = self._lost
        self._paho.connect_timeout = _CONNECT_S
        self._thread = threading.get_ident()
        self._paho.on_socket_register_write = self._watch
        # paho reads what we have already taken from the socket before it reads the socket
        self._receive = self._paho._sock_recv
        self._paho._sock_recv = self._read_ahead  # type: ignore[method-assign,assignment]

    @property
    def unread(self) -> int:
        """Messages of ours that the broker has not said to have read."""
        return self._unread

    def start(self) -> None:
        """Read by our own callback from now on: many packets per wake-up."""
        sock = self._socket()
        if sock is not None:
            self._loop.add_reader(sock, self._read)
        self._client._disconnected.add_done_callback(lambda _: self._arrived.set())

    async def subscribe(self, *topics: str) -> None:
        """Subscribe at QoS 1.

        Raises:
            Disconnected: The broker refused, or granted less than QoS 1.
        """
        told = _times_cancelled()
        granted = await self._client.subscribe([(topic, 1) for topic in topics])
        _heed_cancellation(told)
        codes = [getattr(code, "value", code) for code in granted]
        refused = [t for t, code in zip(topics, codes, strict=True) if code not in _GRANTED]
        if refused:
            raise Disconnected(f"the broker does not grant QoS 1 for {', '.join(refused)}")

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and do not wait: only the other end's own answer means anything.

        Raises:
            Disconnected: The connection is gone.
        """
        self._check_alive()
        self._mid = self._mid % _MAX_MID + 1
        self._unread += 1
        self._write(encode_publish(topic, payload, self._mid))

    async def receive(self) -> list[Message]:
        """Everything that has arrived since the last call; waits for at least one message.

        Raises:
            Disconnected: The connection is gone.
        """
        while not self._inbox:
            self._check_alive()
            self._arrived.clear()
            await self._arrived.wait()
        messages, self._inbox = self._inbox, []
        if not self._reading:
            self._resume()
        return messages

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these messages' effect is durable (only with ``manual_ack``)."""
        self._write(encode_pubacks([message.mid for message in messages if message.qos]))

    async def wait_closed(self) -> None:
        """Return when the connection is gone."""
        with contextlib.suppress(Disconnected):
            await asyncio.shield(self._client._disconnected)

    async def linger(self) -> None:
        """Wait a moment for the broker to have read all that was sent, as far as it still can.

        A socket closed with answers in it resets the connection: the broker stops at the first answer of its
        own that finds nobody, and drops what it had not read yet.
        """
        with contextlib.suppress(TimeoutError, Disconnected):
            async with asyncio.timeout(_LINGER_S):
                await self.acknowledged()

    async def acknowledged(self) -> None:
        """Wait until the broker has acknowledged all that was sent.

        Raises:
            Disconnected: The connection is gone before.
        """
        self.flush()
        while self._unread > 0:  # a broker may acknowledge twice what it got twice
            self._check_alive()
            self._arrived.clear()
            await self._arrived.wait()

    def flush(self) -> None:
        """Hand what is to be sent to the socket now."""
        data, self._out = self._out, bytearray()
        if data:
            packet = {"command": 0, "mid": 0, "qos": 1, "pos": 0, "to_process": len(data), "packet": data}
            self._paho._out_packet.append(packet | {"info": None})  # type: ignore[arg-type]
            self._paho.loop_write()

    def _check_alive(self) -> None:
        gone = self._client._disconnected
        if gone.done():
            raise Disconnected("the connection to the broker is gone") from gone.exception()

    def _write(self, data: bytes) -> None:
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out += data

    def _lost(self, *told: Any) -> None:
        """An end before the CONNACK, for which aiomqtt would wait out its time-out."""
        if not self._client._connected.done():
            self._client._connected.set_exception(Disconnected("the broker hung up at once"))
        elif self._tell_aiomqtt is not None:
            self._tell_aiomqtt(*told)

    def _watch(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        """Paho has a packet of its own to send: watch for room in the socket, from now on.

        aiomqtt begins a turn later and stops at once. A ping that leaves together with a message of ours
        would then be watched for after it had gone, and the loop turn at full speed from then on.
        """
        if threading.get_ident() == self._thread:
            self._start_watching(sock)
        else:  # while connecting
            self._loop.call_soon_threadsafe(self._start_watching, sock)

    def _start_watching(self, sock: socket.socket) -> None:
        if self._paho._registered_write and self._socket() is sock:
            self._loop.add_writer(sock.fileno(), self._paho.loop_write)

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        """What paho read by itself: a queued message that came right behind the CONNACK."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._inbox.append(Message(topic, bytes(message.payload), message.qos, message.mid, message.retain))
        self._arrived.set()

    def _socket(self) -> socket.socket | None:
        found = self._paho.socket()
        return found if isinstance(found, socket.socket) else None

    def _read_ahead(self, count: int) -> bytes:
        if self._at == len(self._data):
            return self._receive(count)
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def _read(self) -> None:
        """What one wake-up brought: every whole packet of it."""
        try:
            more = True
            while more and self._reading:
                more = self._fill()
                self._take_packets()
        except Exception as error:  # noqa: BLE001  paho raises what it likes on a malformed packet
            if not self._client._disconnected.done():
                self._client._disconnected.set_exception(
                    Disconnected(f"the broker's stream broke: {error!r}")
                )
            self._paho._loop_rc_handle(paho.MQTT_ERR_PROTOCOL)  # closes the socket

    def _fill(self) -> bool:
        """Take from the socket what is there; whether there may be more that no wake-up will tell of."""
        if self._paho._in_packet["command"]:  # begun before we took over
            self._paho.loop_read()
            return False
        try:
            data = self._receive(_RECV_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self._data = self._data[self._at :] + data if data else b""
        self._at = 0
        if not data:
            self._paho.loop_read()  # finds the same end, and tells aiomqtt of it
            return False
        self._paho._last_bytes_received = time.monotonic()
        sock = self._socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def _take_packets(self) -> None:
        acks: list[int] = []
        while self._at < len(self._data) and (found := find_packet(self._data, self._at)) is not None:
            first = self._data[self._at]
            if is_publish(first):
                message = decode_publish(self._data, self._at, *found)
                self._inbox.append(message)
                if message.qos and not self._manual_ack:
                    acks.append(message.mid)
                self._at = found[1]
            elif first == PUBACK:
                self._unread -= 1
                self._at = found[1]
            else:
                before = self._at
                self._paho.loop_read()  # exactly this packet
                if self._at == before:
                    break  # paho has ended the connection over an earlier one
        if acks:
            self._write(encode_pubacks(acks))
        if self._inbox or self._unread <= 0:
            self._arrived.set()
            if len(self._inbox) >= _INBOX:
                self._pause()

    def _pause(self) -> None:
        sock = self._socket()
        if sock is not None:
            self._loop.remove_reader(sock)
            self._reading = False

    def _resume(self) -> None:
        self._reading = True
        sock = self._socket()
        if sock is not None:
            self._loop.add_reader(sock, self._read)


@contextlib.asynccontextmanager
async def connect(
    broker: Broker,
    identifier: str,
    *,
    clean_session: bool = True,
    manual_ack: bool = False,
    will: tuple[str, bytes] | None = None,
    max_inflight: int = 1_000,
    timeout_s: float = 10.0,
) -> AsyncIterator[Connection]:
    """Connect, and disconnect on the way out.

    Raises:
        Disconnected: No broker there, or it refuses this user.
    """
    client = aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username,
        password=broker.password.reveal() if broker.password else None,
        identifier=identifier,
        clean_session=clean_session,
        keepalive=20,
        will=aiomqtt.Will(will[0], will[1], qos=1) if will else None,
        max_inflight_messages=max_inflight,
        tls_context=broker.tls.context() if broker.tls else None,
        timeout=timeout_s,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    connection = Connection(client, manual_ack=manual_ack)
    told = _times_cancelled()
    try:
        async with client:
            _heed_cancellation(told)
            connection.start()
            try:
                yield connection
            finally:
                # an error while hanging up must not take a cancellation's place
                told = -1 if isinstance(sys.exc_info()[1], asyncio.CancelledError) else _times_cancelled()
                await connection.linger()
    finally:
        _heed_cancellation(told)


# aiomqtt waits by ``wait_for``, which up to Python 3.11 swallows a cancellation that comes at the same moment
# as what it waits for: a process told to stop while it connects would go on for ever. The count never goes
# back to 0 there once a task group has failed, so it is compared and not only looked at.


def _times_cancelled() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _heed_cancellation(told: int) -> None:
    if _times_cancelled() > told:
        raise asyncio.CancelledError


class Backoff:
    """Pauses between attempts: full jitter, doubling from ``first_s`` to ``most_s``, never giving up."""

    def __init__(self, first_s: float = 1.0, most_s: float = 30.0, *, seed: int | None = None) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._tries = 0
        self._random = random.Random(seed)

    def pause_s(self) -> float:
        """The next pause, seconds."""
        bound = min(self._most_s, self._first_s * 2**self._tries)
        self._tries = min(self._tries + 1, 16)
        return self._random.uniform(0, bound)

    def reset(self) -> None:
        """The attempt succeeded: begin small again."""
        self._tries = 0

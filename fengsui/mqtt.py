"""The MQTT connection both sides use: aiomqtt for the protocol's life, paho's own client for the hot path.

MQTT 3.1.1, QoS 1, ``TCP_NODELAY``. Three things aiomqtt 2.5 does not offer are taken from the paho client
inside it (pinned, and held by a contract test): publishing without waiting for the PUBACK (a PUBACK means
nothing here), receiving everything one wake-up brought in one go, and acknowledging by hand. Reading pauses
while the inbox is full, so that a flood waits in TCP and not in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import aiomqtt
import paho.mqtt.client as paho

if TYPE_CHECKING:
    from fengsui.settings import Broker

Disconnected = aiomqtt.MqttError
"""The connection is gone or was refused; connect again after a pause (``Backoff``)."""

_INBOX = 2_000
_READS_PER_WAKE = 256
_GRANTED = (1, 2)


class Message:
    """A message as it came; ``topic`` is text, ``payload`` bytes."""

    __slots__ = ("mid", "payload", "qos", "retained", "topic")

    def __init__(self, topic: str, payload: bytes, qos: int, mid: int, retained: bool) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.mid = mid
        self.retained = retained


class Connection:
    """One live connection to a broker. Made by :func:`connect`, never used after it is gone."""

    def __init__(self, client: aiomqtt.Client, *, manual_ack: bool) -> None:
        self._client = client
        self._paho: paho.Client = client._client
        self._loop = asyncio.get_running_loop()
        self._inbox: list[Message] = []
        self._arrived = asyncio.Event()
        self._reading = True
        self._paho.manual_ack_set(manual_ack)
        self._paho.on_message = self._take

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
        granted = await self._client.subscribe([(topic, 1) for topic in topics])
        codes = [getattr(code, "value", code) for code in granted]
        refused = [t for t, code in zip(topics, codes, strict=True) if code not in _GRANTED]
        if refused:
            raise Disconnected(f"the broker does not grant QoS 1 for {', '.join(refused)}")

    def send(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and do not wait: only the other end's own answer means anything.

        Raises:
            Disconnected: The connection is gone.
        """
        info = self._paho.publish(topic, payload, qos=1)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise Disconnected(f"cannot publish: {paho.error_string(info.rc)}")

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

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message's effect is durable (only with ``manual_ack``)."""
        self._paho.ack(message.mid, message.qos)

    async def wait_closed(self) -> None:
        """Return when the connection is gone."""
        with contextlib.suppress(Disconnected):
            await asyncio.shield(self._client._disconnected)

    def _check_alive(self) -> None:
        gone = self._client._disconnected
        if gone.done():
            raise Disconnected("the connection to the broker is gone") from gone.exception()

    def _take(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # nobody's topic: refused like any other that is not the contract's
        self._inbox.append(Message(topic, bytes(message.payload), message.qos, message.mid, message.retain))
        self._arrived.set()

    def _socket(self) -> socket.socket | None:
        found = self._paho.socket()
        return found if isinstance(found, socket.socket) else None

    def _read(self) -> None:
        for _ in range(_READS_PER_WAKE):
            before = len(self._inbox)
            try:
                result = self._paho.loop_read()
            except Exception as error:  # noqa: BLE001  paho raises what it likes on a malformed packet
                self._fail(error)
                return
            if result != paho.MQTT_ERR_SUCCESS:
                return
            if len(self._inbox) >= _INBOX:
                self._pause()
                return
            if len(self._inbox) == before and not self._has_buffered():
                return

    def _fail(self, error: Exception) -> None:
        if not self._client._disconnected.done():
            self._client._disconnected.set_exception(Disconnected(f"the broker's stream broke: {error!r}"))

    def _has_buffered(self) -> bool:
        sock = self._socket()
        return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

    def _pause(self) -> None:
        sock = self._socket()
        if sock is not None:
            self._loop.remove_reader(sock)
            self._reading = False

    def _resume(self) -> None:
        sock = self._socket()
        if sock is not None:
            self._loop.add_reader(sock, self._read)
            self._reading = True


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
    async with client:
        connection.start()
        yield connection


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

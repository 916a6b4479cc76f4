"""MQTT 3.1.1 packets of the hot path, PUBLISH and PUBACK, taken apart and put together. No I/O.

Everything else of the protocol (connecting, subscribing, pinging) is the MQTT library's. A packet, big-endian
(MQTT 3.1.1 sections 2.2, 3.3, 3.4)::

    1     type in the upper four bits; of a PUBLISH below it DUP (8), QoS (6), RETAIN (1)
    1..4  length of what follows, 7 bits per byte, the lowest first
    PUBLISH: 2 length of the topic, topic, with QoS > 0: 2 packet id, payload
    PUBACK: 2 packet id
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

PUBACK = 0x40
_PUBLISH = 0x30
_PUBLISH_QOS1 = 0x32
_QOS2 = 0x04
_RETAIN = 0x01
_U16 = struct.Struct(">H")
_ACK = struct.Struct(">BBH")


class PacketError(ValueError):
    """Bytes that are no MQTT; the stream cannot be read any further."""


class Message:
    """A message as it came; ``topic`` is text, ``payload`` bytes."""

    __slots__ = ("mid", "payload", "qos", "retained", "topic")

    def __init__(self, topic: str, payload: bytes, qos: int, mid: int, retained: bool) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.mid = mid
        self.retained = retained


def find_packet(data: bytes, at: int) -> tuple[int, int] | None:
    """Where what follows the length of the packet at ``at`` begins and ends; None = it is not whole yet.

    Raises:
        PacketError: A length of more than four bytes.
    """
    length = shift = 0
    for begin in range(at + 1, min(at + 5, len(data))):
        byte = data[begin]
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            end = begin + 1 + length
            return (begin + 1, end) if end <= len(data) else None
        shift += 7
    if len(data) >= at + 5:
        raise PacketError("a packet's length takes more than four bytes")
    return None


def is_publish(first: int) -> bool:
    """Whether a packet with this first byte is a PUBLISH of QoS 0 or 1."""
    return first & 0xF0 == _PUBLISH and not first & _QOS2


def decode_publish(data: bytes, at: int, begin: int, end: int) -> Message:
    """The PUBLISH at ``at``, as ``find_packet`` found it.

    A topic that is not UTF-8 becomes the empty one, which is nobody's.

    Raises:
        PacketError: It ends inside the topic or the packet id.
    """
    first = data[at]
    topic_end = begin + 2 + int.from_bytes(data[begin : begin + 2], "big")
    qos = first >> 1 & 3
    payload_begin = topic_end + 2 if qos else topic_end
    if payload_begin > end or begin + 2 > end:
        raise PacketError("a PUBLISH that ends before its payload")
    try:
        topic = data[begin + 2 : topic_end].decode()
    except UnicodeDecodeError:
        topic = ""
    mid = int.from_bytes(data[topic_end:payload_begin], "big")
    return Message(topic, data[payload_begin:end], qos, mid, bool(first & _RETAIN))


def encode_publish(topic: str, payload: bytes, mid: int) -> bytes:
    """A PUBLISH of QoS 1."""
    name = topic.encode()
    length = 4 + len(name) + len(payload)
    head = bytearray([_PUBLISH_QOS1])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return b"".join((head, _U16.pack(len(name)), name, _U16.pack(mid), payload))


def encode_pubacks(mids: Iterable[int]) -> bytes:
    """A PUBACK for each."""
    return b"".join([_ACK.pack(PUBACK, 2, mid) for mid in mids])

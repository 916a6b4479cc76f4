"""MQTT topics of the wire contract, version 1: built and taken apart in one place."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from fengsui.model import NAME, Lane

SHARDS = 64

UP_ALARM = "fs/1/+/+/alarm"
UP_TELEMETRY = "fs/1/+/+/telemetry"
UP_STATUS = "fs/1/+/+/status"
UP_REPLY = "fs/1/+/+/reply"
UP_PLAIN = "fs/1/plain/+"


class GatewayTopic(NamedTuple):
    """A gateway's topic taken apart; ``leaf`` is alarm, telemetry, status, reply, committed, ..."""

    gateway: str
    leaf: str


def shard(gateway: str) -> str:
    """Two digits, ``crc32(gateway) % 64``: which core answers for this gateway."""
    return f"{zlib.crc32(gateway.encode()) % SHARDS:02d}"


def of_gateway(gateway: str, leaf: str | Lane) -> str:
    """The topic of a gateway's lane, status, reply, committed, desired or command."""
    return f"fs/1/{shard(gateway)}/{gateway}/{leaf}"


def of_plain(device: str) -> str:
    """Where a device without a gateway of ours publishes its JSON readings."""
    return f"fs/1/plain/{device}"


def of_plain_error(device: str) -> str:
    """Where the server tells such a device why it refused a message."""
    return f"fs/1/plain/{device}/error"


def of_notice(address: str) -> str:
    """Where the server publishes notices for a board, a lamp or another system."""
    return f"fs/1/notice/{address}"


def parse_gateway(topic: str) -> GatewayTopic | None:
    """Take a gateway's topic apart, or None when name, shard or shape is not the contract's."""
    parts = topic.split("/")
    if len(parts) != 5 or parts[:2] != ["fs", "1"]:
        return None
    _, _, number, gateway, leaf = parts
    if not NAME.fullmatch(gateway) or number != shard(gateway):
        return None
    return GatewayTopic(gateway, leaf)


def parse_plain(topic: str) -> str | None:
    """The device of a ``plain`` topic, or None when it is not one."""
    parts = topic.split("/")
    if len(parts) != 4 or parts[:3] != ["fs", "1", "plain"] or not NAME.fullmatch(parts[3]):
        return None
    return parts[3]

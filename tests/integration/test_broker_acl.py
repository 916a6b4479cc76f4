"""Who may say what at the broker, proved by what arrives: a PUBACK and a SUBACK are no answers."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiomqtt
import pytest

from fengsui import topics
from fengsui.settings import Secret
from server import broker
from server.broker import Role, User
from tests.servers import HOST, Process, answers_mqtt, free_port, needs, running

USERS = [
    User("core", Role.CORE, Secret("c0re-secret")),
    User("gw-a", Role.GATEWAY, Secret('quote" and \\ slash')),
    User("gw-b", Role.GATEWAY, Secret("b")),
    User("dev-a", Role.DEVICE, Secret("d")),
    User("dev-b", Role.DEVICE, Secret("e")),
]
PASSWORDS = {user.name: user.password.reveal() for user in USERS}
UP = ("alarm", "telemetry", "status", "reply")
DOWN = ("committed", "desired", "command")
SUBSCRIPTIONS = {
    "core": [topics.UP_ALARM, topics.UP_TELEMETRY, topics.UP_STATUS, topics.UP_REPLY, topics.UP_PLAIN],
    "gw-a": [topics.of_gateway("gw-a", leaf) for leaf in DOWN],
    "gw-b": [topics.of_gateway("gw-b", leaf) for leaf in DOWN],
    "dev-a": [topics.of_plain_error("dev-a")],
    "dev-b": [topics.of_plain_error("dev-b")],
}


@pytest.fixture(params=["nats", "mosquitto"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Process]:
    """Each broker with the configuration that ``make run`` or compose would give it."""
    port = free_port()
    if request.param == "nats":
        config = broker.write_nats(tmp_path, USERS, host=HOST, port=port)
        command = [str(broker.nats_server()), "-c", str(config)]
    else:
        config = broker.write_mosquitto(tmp_path, USERS, host=HOST, port=port)
        if os.geteuid() == 0:  # else Mosquitto becomes its own user, who may not read our files
            config.write_text(config.read_text() + "user root\n")
        command = [needs("mosquitto"), "-c", str(config)]
    process = Process(request.param, command, tmp_path, ports=[port], ready=lambda: answers_mqtt(port))
    async with running(process):
        yield process


def client(server: Process, user: str, *, name: str | None = None, **options: object) -> aiomqtt.Client:
    """A connection of a known user."""
    return aiomqtt.Client(
        HOST,
        server.port,
        username=user,
        password=PASSWORDS[user],
        identifier=name or user,
        protocol=aiomqtt.ProtocolVersion.V311,
        **options,  # type: ignore[arg-type] # passed through as given
    )


async def received(listener: aiomqtt.Client, last: str) -> list[tuple[str, bytes]]:
    """Everything that arrived up to the message whose payload is ``last``."""
    found: list[tuple[str, bytes]] = []
    async with asyncio.timeout(10):
        async for message in listener.messages:
            assert isinstance(message.payload, bytes)
            found.append((str(message.topic), message.payload))
            if message.payload == last.encode():
                break
    return found


async def listening(stack: AsyncExitStack, server: Process) -> dict[str, aiomqtt.Client]:
    """Everybody connected and subscribed to what is theirs."""
    clients = {}
    for user, filters in SUBSCRIPTIONS.items():
        clients[user] = await stack.enter_async_context(client(server, user))
        for topic in filters:
            await clients[user].subscribe(topic, qos=1)
    return clients


async def good_byes(clients: dict[str, aiomqtt.Client]) -> dict[str, list[tuple[str, bytes]]]:
    """What everybody heard until a last allowed message, which follows everything published before."""
    await clients["gw-b"].publish(topics.of_gateway("gw-b", "reply"), b"last", qos=1)
    for gateway in ("gw-a", "gw-b"):
        await clients["core"].publish(topics.of_gateway(gateway, "command"), b"last", qos=1)
    for device in ("dev-a", "dev-b"):
        await clients["core"].publish(topics.of_plain_error(device), b"last", qos=1)
    return {user: (await received(listener, "last"))[:-1] for user, listener in clients.items()}


async def test_everybody_reaches_whom_they_should(server: Process) -> None:
    """Records, status, replies and plain readings reach the core; its answers reach the one they are for."""
    async with AsyncExitStack() as stack:
        clients = await listening(stack, server)
        for leaf in UP:
            await clients["gw-a"].publish(topics.of_gateway("gw-a", leaf), leaf.encode(), qos=1)
        await clients["dev-a"].publish(topics.of_plain("dev-a"), b"plain", qos=1)
        for leaf in DOWN:
            await clients["core"].publish(topics.of_gateway("gw-a", leaf), leaf.encode(), qos=1)
        await clients["core"].publish(topics.of_plain_error("dev-a"), b"error", qos=1)
        heard = await good_byes(clients)
    assert sorted(heard["core"]) == sorted(
        [(topics.of_gateway("gw-a", leaf), leaf.encode()) for leaf in UP]
        + [(topics.of_plain("dev-a"), b"plain")]
    )
    assert sorted(heard["gw-a"]) == sorted((topics.of_gateway("gw-a", leaf), leaf.encode()) for leaf in DOWN)
    assert heard["dev-a"] == [(topics.of_plain_error("dev-a"), b"error")]
    assert heard["gw-b"] == heard["dev-b"] == []


async def test_nobody_publishes_for_another(server: Process) -> None:
    """What a gateway or device says in another's name, or downwards, reaches nobody."""
    forbidden = {
        "gw-a": [
            *(topics.of_gateway("gw-b", leaf) for leaf in (*UP, *DOWN)),
            *(topics.of_gateway("gw-a", leaf) for leaf in DOWN),
            topics.of_plain("dev-a"),
            topics.of_plain("gw-a"),
            topics.of_plain_error("dev-a"),
            "fs/1/00/gw-a/alarm",
        ],
        "dev-a": [
            topics.of_plain("dev-b"),
            topics.of_plain_error("dev-b"),
            topics.of_plain_error("dev-a"),
            topics.of_gateway("gw-a", "alarm"),
            topics.of_gateway("gw-a", "committed"),
            "fs/1/plain/dev-a/alarm",
        ],
    }
    async with AsyncExitStack() as stack:
        clients = await listening(stack, server)
        for user, wrong in forbidden.items():
            for topic in wrong:
                for qos in (0, 1, 2):
                    await clients[user].publish(topic, f"forged by {user}", qos=qos)
        heard = await good_byes(clients)
    assert heard == {user: [] for user in SUBSCRIPTIONS}


async def test_nobody_reads_what_is_for_another(server: Process) -> None:
    """Wildcards, system topics, shares and others' topics bring a spy nothing."""
    filters = ["#", "fs/#", "fs/1/+/+/alarm", "fs/1/+/+/committed", "+/+/+/+/+", "fs/1/plain/+", "$SYS/#"]
    filters += ["$share/g/fs/1/+/+/alarm", "$MQTT/#", "$JS/#", "fs/1/+/gw-a/committed", "fs/1/+/gw-a/#"]
    filters += [topics.of_gateway("gw-b", "committed"), topics.of_gateway("gw-b", "alarm")]
    async with AsyncExitStack() as stack:
        clients = await listening(stack, server)
        for user in ("gw-a", "dev-a"):
            spy = await stack.enter_async_context(client(server, user, name=f"spy-{user}"))
            for wanted in filters:
                await spy.subscribe(wanted, qos=1)
            clients[f"spy-{user}"] = spy
        for leaf in UP:
            await clients["gw-b"].publish(topics.of_gateway("gw-b", leaf), b"for the core", qos=1)
        for leaf in DOWN:
            await clients["core"].publish(topics.of_gateway("gw-b", leaf), b"for gw-b", qos=1)
        await clients["dev-b"].publish(topics.of_plain("dev-b"), b"for the core", qos=1)
        spies = {name: clients.pop(name) for name in list(clients) if name.startswith("spy")}
        # Its own topics are a spy's only way to hear a last message.
        await spies["spy-gw-a"].subscribe(topics.of_gateway("gw-a", "command"), qos=1)
        await spies["spy-dev-a"].subscribe(topics.of_plain_error("dev-a"), qos=1)
        heard = await good_byes(clients)
        for name, spy in spies.items():
            assert {payload for _, payload in await received(spy, "last")} == {b"last"}, name
    assert {payload for _, payload in heard["core"]} == {b"for the core"}
    assert {payload for _, payload in heard["gw-b"]} == {b"for gw-b"}


async def test_a_will_speaks_with_its_owners_rights(server: Process) -> None:
    """A Will on another's topic is not sent; one on an own topic is."""
    async with AsyncExitStack() as stack:
        clients = await listening(stack, server)
        for topic in (topics.of_gateway("gw-b", "status"), topics.of_gateway("gw-a", "status")):
            will = aiomqtt.Will(topic, b"gone", qos=1)
            try:
                async with client(server, "gw-a", name="dying", will=will) as dying:
                    sock = dying._client.socket()  # no other way to die without a good-bye
                    assert isinstance(sock, socket.socket)
                    sock.shutdown(socket.SHUT_RDWR)
                    await asyncio.wait_for(dying._disconnected, 5)
            except aiomqtt.MqttError:
                continue
        heard = await received(clients["core"], "gone")
        assert heard == [(topics.of_gateway("gw-a", "status"), b"gone")]


@pytest.mark.parametrize(
    ("user", "password"),
    [(None, None), ("core", None), ("core", ""), ("core", "b"), ("nobody", "b"), ("", "")],
)
async def test_strangers_are_refused(server: Process, user: str | None, password: str | None) -> None:
    """No name, no password, a wrong one or another's: the connection is refused."""
    stranger = aiomqtt.Client(HOST, server.port, username=user, password=password, timeout=5)
    with pytest.raises(aiomqtt.MqttError):
        async with stranger:
            pass


async def test_a_message_over_the_limit_reaches_nobody(server: Process) -> None:
    """A flood in one message is refused by the broker; one at the record's limit passes."""
    topic = topics.of_gateway("gw-a", "telemetry")
    async with AsyncExitStack() as stack:
        clients = await listening(stack, server)
        with pytest.raises(aiomqtt.MqttError):
            async with client(server, "gw-a", name="flood", timeout=3) as flood:
                await flood.publish(topic, bytes(broker.MAX_PAYLOAD + 1), qos=1)
        await clients["gw-a"].publish(topic, bytes(64 * 1024 + 28), qos=1)
        heard = await good_byes(clients)
    assert [len(payload) for _, payload in heard["core"]] == [64 * 1024 + 28]


async def test_what_is_retained_is_marked_or_refused(server: Process) -> None:
    """Mosquitto drops who retains; nats-server keeps it, and marks it so that the intake can ignore it."""
    topic = topics.of_gateway("gw-a", "alarm")
    if server.name == "mosquitto":
        with pytest.raises(aiomqtt.MqttError):
            async with client(server, "gw-a", timeout=3) as gateway:
                await gateway.publish(topic, b"old", qos=1, retain=True)
    else:
        async with client(server, "gw-a") as gateway:
            await gateway.publish(topic, b"old", qos=1, retain=True)
    async with client(server, "core") as core, client(server, "gw-a") as gateway:
        await core.subscribe(topics.UP_ALARM, qos=1)
        await gateway.publish(topic, b"new", qos=1)
        async with asyncio.timeout(10):
            async for message in core.messages:
                assert message.retain is (message.payload == b"old")
                if message.payload == b"new":
                    break


async def test_a_persistent_session_gets_what_it_missed(server: Process) -> None:
    """The core's session for plain devices keeps messages while the core is away."""
    async with client(server, "core", name="core-plain", clean_session=False) as core:
        await core.subscribe(topics.UP_PLAIN, qos=1)
    async with client(server, "dev-a") as device:
        await device.publish(topics.of_plain("dev-a"), b"meanwhile", qos=1)
    async with client(server, "core", name="core-plain", clean_session=False) as core:
        assert await received(core, "meanwhile") == [(topics.of_plain("dev-a"), b"meanwhile")]

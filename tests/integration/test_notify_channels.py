"""Channels and the dispatcher with real receivers: a mail server, a webhook, an MQTT listener, a command."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP
from sqlalchemy import insert

from alerting.alarms.book import Change
from alerting.alarms.lifecycle import Alarm, State
from alerting.detect.verdict import Level
from alerting.errors import DeliveryError
from alerting.notify import dispatch as dispatch_module
from alerting.notify.channels.apprise import Apprise, AppriseSettings
from alerting.notify.channels.base import Way
from alerting.notify.channels.http import Http, HttpSettings
from alerting.notify.channels.mqtt import Mqtt
from alerting.notify.channels.sounder import Sounder, SounderSettings
from alerting.notify.message import Message
from alerting.notify.steps import Bundle, Kind, blank, claim
from alerting.notify.tables import step_table
from fengsui import topics
from fengsui.database import writing
from fengsui.mqtt import connect as connect_mqtt
from fengsui.runtime import wall_us
from fengsui.settings import Broker, Secret
from tests.alarms import alarm
from tests.calling import Hanging, House, Told, break_, refuse
from tests.rawhttp import Request, raw_server, reply
from tests.rosters import AT_ANY_HOUR, roster
from tests.servers import HOST, mosquitto
from tests.waiting import until

KILLS = 50
MESSAGE = Message("17", "li@example.org", "火警 Tower 3F", '63.4 °C "hot"', True, False, (alarm(),), 1)


class Mailbox:
    """What a mail server was given."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, str]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Take a mail: to whom, its subject, its text."""
        mail = message_from_bytes(envelope.content, policy=default)
        body = mail.get_body(("plain",))
        self.mails.append((envelope.rcpt_tos[0], mail["subject"], body.get_content() if body else ""))
        return "250 taken"


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[Mailbox, int]]:
    """A mail server on a free port."""
    box = Mailbox()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(box, loop=loop), HOST, 0)
    try:
        yield box, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def mail_settings(port: int, to: str = "{to}") -> AppriseSettings:
    """Apprise's address of that mail server."""
    url = f"mailto://{HOST}:{port}?from=alarm@example.org&mode=insecure&to={to}"
    return AppriseSettings(url=Secret(url), bell_to="bell@example.org")


async def answered(request: Request) -> bytes:
    """A provider that takes everything."""
    return reply(200, b'{"code": "OK", "id": "M-1"}')


async def test_a_mail_arrives_with_title_and_text() -> None:
    """A real mail server has the message of the contact it was for."""
    async with mail_server() as (box, port):
        assert await Apprise(mail_settings(port)).send(MESSAGE) == "E-Mail"
    ((to, subject, text),) = box.mails
    assert (to, subject) == ("li@example.org", "火警 Tower 3F")
    assert text.strip() == '63.4 °C "hot"'


async def test_a_mail_server_that_is_gone_is_told_as_such() -> None:
    """What could not be sent is an error that may be tried again."""
    async with mail_server() as (_, port):
        pass
    with pytest.raises(DeliveryError) as caught:
        await Apprise(mail_settings(port)).send(MESSAGE)
    assert caught.value.retryable


async def test_a_provider_gets_what_its_template_says() -> None:
    """Words are replaced, escaped for where they stand; the answer's receipt comes back."""
    async with raw_server(answered) as server:
        settings = HttpSettings(
            url=server.url + "/send?to={to}",
            bell_to="1",
            headers={"Authorization": "Bearer {secret}", "X-Title": "{title}"},
            body='{"phone": "{to}", "text": "{title}: {text}"}',
            secret=Secret("s3cret"),
            accept=r'"OK".*"id": "([\w-]+)"',
        )
        assert await Http(settings).send(MESSAGE) == "M-1"
    (asked,) = server.requests
    assert asked.target == "/send?to=li%40example.org"
    assert asked.headers["authorization"] == "Bearer s3cret"
    assert json.loads(asked.body) == {"phone": "li@example.org", "text": '火警 Tower 3F: 63.4 °C "hot"'}


async def test_a_webhook_gets_the_facts() -> None:
    """Without a body the receiver has the message and its alarms as JSON."""
    async with raw_server(answered) as server:
        assert await Http(HttpSettings(url=server.url)).send(MESSAGE) == "200"
    facts = json.loads(server.requests[0].body)
    assert (facts["id"], facts["total"], facts["alarms"][0]["cls"]) == ("17", 1, "fire")


@pytest.mark.parametrize(
    ("answer", "said", "retryable"),
    [
        (reply(500, b"down"), "refused with 500: down", True),
        (reply(429), "refused with 429", True),
        (reply(403, b"who?"), "refused with 403: who?", False),
        (reply(200, b'{"code": "LIMIT"}'), "LIMIT", True),
        (b"", "no answer", True),
    ],
)
async def test_what_a_provider_refuses_is_not_delivered(answer: bytes, said: str, retryable: bool) -> None:
    """An error, another answer than agreed, or none: each with its reason, and whether later may help."""

    async def refuse(_request: Request) -> bytes:
        return answer

    async with raw_server(refuse) as server:
        with pytest.raises(DeliveryError, match=said) as caught:
            await Http(HttpSettings(url=server.url, accept='"OK"')).send(MESSAGE)
    assert caught.value.retryable is retryable


async def test_an_mqtt_listener_hears_the_notice() -> None:
    """Who listens at the topic of an address has the facts; an address that is no name is refused."""
    async with mosquitto() as process:
        broker = Broker(port=process.port)
        async with connect_mqtt(broker, "board") as board:
            await board.subscribe(topics.of_notice("lobby"))
            channel = Mqtt(broker)
            assert await channel.send(MESSAGE._replace(to="lobby")) == "fs/1/notice/lobby"
            (heard,) = await board.receive()
        assert json.loads(heard.payload)["title"] == "火警 Tower 3F"
        with pytest.raises(DeliveryError, match="is no name"):
            await channel.send(MESSAGE._replace(to="a/+"))
    with pytest.raises(DeliveryError, match="no broker"):
        await channel.send(MESSAGE._replace(to="lobby"))


async def test_the_sounder_runs_its_command(tmp_path: Path) -> None:
    """Fire and everything else have a command each; one that fails is told with what it said."""
    settings = SounderSettings(
        command=("sh", "-c", f"echo fire >> {tmp_path}/heard"),
        other=("sh", "-c", f"echo other >> {tmp_path}/heard; echo broken >&2; exit 3"),
    )
    sounder = Sounder(settings)
    assert await sounder.send(MESSAGE) == "sh"
    with pytest.raises(DeliveryError, match="sh ended with 3: broken"):
        await sounder.send(MESSAGE._replace(urgent=False))
    assert (tmp_path / "heard").read_text() == "fire\nother\n"


async def test_a_fire_goes_out_on_every_real_channel(house: House, tmp_path: Path) -> None:
    """Sounder, SMS provider and mail have the fire, and the call log has the receipts."""
    async with mail_server() as (box, port), raw_server(answered) as server:
        sms = HttpSettings(url=server.url, accept='"id": "([^"]+)"')
        ways = {
            "desk": Way(Sounder(SounderSettings(command=("touch", f"{tmp_path}/rung"))), 10.0),
            "sms": Way(Http(sms), 10.0),
            "mail": Way(Apprise(mail_settings(port)), 10.0),
        }
        house.tell(alarm(), "raised")
        async with house.dispatching(ways):
            await until(lambda: house.count(state="sent") == len(house.notified) == 3, 20.0, "told")
    assert (tmp_path / "rung").exists()
    assert len(box.mails) == len(server.requests) == 1
    assert house.count(outcome="M-1", channel="sms") == 1
    assert set(house.notified) == {"a1"}


async def test_a_dead_channel_is_followed_by_the_next_and_told_of(house: House) -> None:
    """Mail follows where SMS is down; the fault stands until the channel delivers."""
    dead, mail = Told(refuse), Told()
    house.roster = roster(AT_ANY_HOUR.replace("        together: true\n", ""))
    house.tell(alarm(), "raised")
    ways = {"sms": Way(dead, 5.0), "mail": Way(mail, 5.0), "desk": Way(Told(), 5.0)}
    async with house.dispatching(ways) as dispatch:
        await until(lambda: mail.messages, 10.0, "told by mail")
        assert dispatch.faults == {"sms": "down"}
        dead._do = lambda: "taken"
        await until(lambda: dispatch.faults == {}, 10.0, "channel back")
    assert len(mail.messages) == 1


@pytest.mark.parametrize(
    ("make", "said"), [(lambda: Told(break_), "TypeError: mistake"), (Hanging, "no answer")]
)
async def test_a_channel_that_breaks_or_hangs_holds_up_nobody(
    house: House, make: Callable[[], Told], said: str
) -> None:
    """The other channels deliver, and the step is tried again."""
    desk, channel = Told(), make()
    house.tell(alarm(), "raised")
    ways = {"sms": Way(channel, 0.2), "desk": Way(desk, 5.0)}
    async with house.dispatching(ways) as dispatch:
        await until(lambda: len(channel.messages) > 1, 10.0, "tried again")
        assert said in dispatch.faults["sms"]
    assert len(desk.messages) == 1


async def test_steps_whose_claim_was_never_answered_are_done_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are marked as being sent and nobody sends them; what really is in hand is not sent twice."""
    slow, mail = Hanging(), Told()
    lost: list[Bundle] = []

    def claim_unheard(*args: Any) -> list[Bundle]:
        taken = claim(*args)
        if any(bundle.channel == "mail" for bundle in taken) and not lost:
            lost.extend(taken)
            raise OSError("the answer was lost")
        return taken

    monkeypatch.setattr(dispatch_module, "claim", claim_unheard)
    house.roster = roster(AT_ANY_HOUR.replace("        together: true\n", ""))
    ways = {"sms": Way(slow, 30.0), "mail": Way(mail, 5.0), "desk": Way(Told(), 5.0)}
    async with house.dispatching(ways) as dispatch:
        house.tell(alarm(), "raised")
        await until(lambda: slow.messages, 10.0, "in hand")
        with writing(house.engine) as connection:
            row = blank(Kind.BELL, "li", "mail", "li@example.org", wall_us())
            connection.execute(insert(step_table), [row])
        await until(lambda: mail.messages, 10.0, "told by mail")
        assert lost
        assert dispatch.fault == ""
    assert (len(mail.messages), len(slow.messages)) == (1, 1)


async def test_escalation_survives_a_restart(house: House) -> None:
    """A stage that was planned by one process is done by the next one, and one acknowledged between never."""
    soon = AT_ANY_HOUR.replace("after_s: 60,", "after_s: 0.3,").replace("after_s: 120", "after_s: 60")
    house.roster = roster(soon)
    sms = Told()
    ways = {"sms": Way(sms, 5.0), "mail": Way(Told(), 5.0), "desk": Way(Told(), 5.0)}
    house.tell(alarm(), "raised")
    async with house.dispatching(ways):
        await until(lambda: house.count(state="sent", stage=0) == 3, 10.0, "first stage")
    async with house.dispatching(ways):
        await until(lambda: house.count(state="sent", contact="chief", stage=1) == 1, 10.0, "second stage")
        house.tell(alarm(version=2, state=State.ACKNOWLEDGED), "acknowledged")
    assert [message.to for message in sms.messages][-1] == "13800000003"


async def test_a_confirmed_fire_reaches_the_command_centre_with_a_receipt(house: House) -> None:
    """Forwarded at once: the receipt of the centre is in the log within three seconds of the change."""
    async with raw_server(answered) as server:
        centre = Http(HttpSettings(url=server.url, accept='"id": "([^"]+)"'))
        async with house.dispatching({"centre": Way(centre, 10.0)}):
            house.tell(alarm(level=Level.CONFIRMED), "escalated")
            await until(
                lambda: house.count(channel="centre", state="sent", outcome="M-1") == 1, 3.0, "receipt"
            )


async def test_a_storm_is_told_in_few_messages_fire_first(house: House) -> None:
    """A thousand alarms in four buildings: one message for each incident and channel, and none untold."""
    sms = Told()
    changes = []
    for number in range(1_000):
        kind = {"cls": "fault", "severity": 2} if number % 2 else {}
        fields = {"id": f"a{number}", "point": f"p{number}", "building": f"b{number % 4}"}
        told = msgspec.convert(msgspec.to_builtins(alarm()) | fields | kind, Alarm)
        changes.append(Change(told, "raised", "r@1", "detect", wall_us()))
    with writing(house.engine) as connection:
        house.calling.within(connection, changes)
    ways = {"sms": Way(sms, 5.0), "mail": Way(Told(), 5.0), "desk": Way(Told(), 5.0)}
    async with house.dispatching(ways):
        await until(lambda: house.count(channel="sms", state="pending", stage=0) == 0, 20.0, "all told")
        await until(lambda: house.count(channel="sms", state="sending") == 0, 20.0, "all recorded")
    first = [message for message in sms.messages if message.total == 250]
    assert len(first) == len(sms.messages) == 4
    assert sum(message.total for message in sms.messages) == 1_000
    assert [message.urgent for message in sms.messages] == [True, True, False, False]


@pytest.mark.slow
@pytest.mark.timeout(600)  # fifty starts of a process
async def test_killed_between_sending_and_recording_it_sends_once_or_twice(house: House) -> None:
    """Fifty times killed with SIGKILL as the receiver has the message: 1 or 2 sends of each, never none."""
    got: dict[str, int] = {}
    running: list[asyncio.subprocess.Process] = []

    async def receive(request: Request) -> bytes | None:
        number = json.loads(request.body)["id"]
        got[number] = got.get(number, 0) + 1
        if got[number] > 1:
            return reply(200, b"{}")
        running[-1].send_signal(signal.SIGKILL)
        return None

    async def start(url: str) -> None:
        command = (sys.executable, "-m", "tests.notifier", house.url, url)
        running.append(await asyncio.create_subprocess_exec(*command))

    async with raw_server(receive) as server:
        await start(server.url)
        try:
            for number in range(1, KILLS + 1):
                row = blank(Kind.ALARM, f"c{number}", "sms", "1", 0) | {"alarm": f"a{number}"}
                with writing(house.engine) as connection:
                    connection.execute(insert(step_table).values(**row))
                async with asyncio.timeout(20):
                    assert await running[-1].wait() == -signal.SIGKILL
                assert house.count(state="sending") == 1
                await start(server.url)
                done = f"message {number} sent"
                await until(lambda number=number: house.count(state="sent") == number, 20.0, done)  # type: ignore[misc]
        finally:
            running[-1].kill()
            await running[-1].wait()
    assert len(got) == KILLS
    assert set(got.values()) == {2}

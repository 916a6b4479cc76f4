"""Answers from outside: a link and a code acknowledge what their message told of, once, as who was told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.alarms.desk import Order
from alerting.alarms.lifecycle import Alarm, Moved, State
from alerting.errors import NotAllowed
from alerting.notify.answer import VALID_US, code_of, message_of, token_of
from alerting.notify.config import RepliesSettings
from alerting.notify.roster import Contact
from alerting.notify.steps import Bundle, claim
from fengsui.runtime import Timepiece, wall_us
from fengsui.settings import Secret
from fengsui.viewer import Viewer
from server.replies import WRONG_PER_10_MIN, Replies
from tests.alarms import alarm
from tests.calling import House
from tests.rosters import ANSWERING, CHANNELS, roster

KEY = b"key of this test"
SETTINGS = RepliesSettings(port=1, public_url="https://answer.example.org", secret=Secret("s3cret"))
BEARER = {"Authorization": "Bearer s3cret"}


class Alarms:
    """A book that notes who acknowledged what."""

    def __init__(self, *alarms: Alarm) -> None:
        self.known = {one.id: one for one in alarms}
        self.acts: list[tuple[str, str, int]] = []

    def find(self, alarm: str) -> Alarm | None:
        """One of them."""
        return self.known.get(alarm)

    async def act(self, viewer: Viewer, order: Order) -> Alarm:
        """Acknowledge it, if the viewer sees its unit."""
        it = self.known[order.alarm]
        if not viewer.sees(it.unit):
            raise NotAllowed("not yours")
        self.acts.append((viewer.person, order.alarm, order.version))
        it = msgspec.structs.replace(it, state=State.ACKNOWLEDGED, acknowledged_by=viewer.person)
        self.known[it.id] = it
        return it


class Door:
    """The door with a message behind it, and a client in front."""

    def __init__(self, house: House, *alarms: Alarm) -> None:
        self.house = house
        house.roster = roster(ANSWERING)
        for one in alarms:
            house.tell(one, "raised")
        self.alarms = Alarms(*alarms)
        self.bundles = claim(house.engine, dict.fromkeys(CHANNELS, (4, 3)), wall_us())
        self.now_us = wall_us()
        self.replies = Replies(
            SETTINGS, house.engine, KEY, lambda: house.roster, self.alarms,
            named=lambda alarm: alarm, clock=Timepiece(lambda: self.now_us, lambda: self.now_us / 1e6),
        )  # fmt: skip

    def bundle(self, contact: str, channel: str) -> Bundle:
        """The message to a contact on a channel."""
        return next(b for b in self.bundles if (b.contact, b.channel) == (contact, channel))

    def path(self, contact: str = "wang", channel: str = "sms") -> str:
        """Where the link of that message goes."""
        return f"/a/{token_of(KEY, self.bundle(contact, channel).numbers[0])}"

    def code(self, contact: str = "wang", channel: str = "sms") -> str:
        """The code in that message."""
        return code_of(KEY, self.bundle(contact, channel).numbers[0])

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx2.AsyncClient]:
        """Somebody outside."""
        transport = httpx2.ASGITransport(app=self.replies.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://door") as client:
            yield client


async def test_opening_a_link_shows_and_pressing_acknowledges_once(house: House) -> None:
    """A mail scanner that follows the link changes nothing; the button does, and only the first time."""
    door = Door(house, alarm(), alarm(id="a2", point="p2"))
    async with door.client() as client:
        shown = await client.get(door.path())
        assert shown.status_code == 200
        assert "Floor 3, kitchen" in shown.text
        assert "<button" in shown.text
        assert door.alarms.acts == []
        pressed = await client.post(door.path())
        assert pressed.text.count("已确认 acknowledged") == 2
        assert door.alarms.acts == [("contact:wang", "a1", 1), ("contact:wang", "a2", 1)]
        assert (await client.post(door.path())).status_code == 404
        other = await client.post(door.path("wang", "mail"))
        assert "acknowledged before, by contact:wang" in other.text
    assert len(door.alarms.acts) == 2


async def test_a_code_acknowledges_from_the_address_it_went_to(house: House) -> None:
    """As a form or as JSON, inside any text; from another address or without the secret, never."""
    door = Door(house, alarm())
    async with door.client() as client:
        form = {"from": "13800000001", "text": f"确认 {door.code()}!"}
        assert (await client.post("/reply", data=form)).status_code == 403
        stranger = form | {"from": "13800000009"}
        assert (await client.post("/reply", data=stranger, headers=BEARER)).status_code == 404
        assert door.alarms.acts == []
        done = await client.post("/reply", json=form, headers=BEARER)
        assert (done.status_code, door.alarms.acts) == (200, [("contact:wang", "a1", 1)])
        assert (await client.post("/reply", data=form, headers=BEARER)).status_code == 404


async def test_codes_cannot_be_tried_out(house: House) -> None:
    """After five wrong codes from an address even the right one waits."""
    door = Door(house, alarm())
    wrong = {"from": "13800000001", "text": "000000" if door.code() != "000000" else "000001"}
    async with door.client() as client:
        tried = [(await client.post("/reply", data=wrong, headers=BEARER)).status_code for _ in range(6)]
        assert tried == [404] * WRONG_PER_10_MIN + [429]
        right = wrong | {"text": door.code()}
        assert (await client.post("/reply", data=right, headers=BEARER)).status_code == 429
        door.now_us += 601_000_000
        assert (await client.post("/reply", data=right, headers=BEARER)).status_code == 200


async def test_what_got_worse_is_not_acknowledged_by_an_older_message(house: House) -> None:
    """The person must know what it is now; what has only returned since is acknowledged."""
    door = Door(house, alarm(), alarm(id="a2", point="p2"))
    after_us = wall_us() + 1_000_000
    for id_, what in (("a1", "escalated"), ("a2", "returned")):
        worse = Moved(4, what, "r@1", after_us)
        door.alarms.known[id_] = msgspec.structs.replace(door.alarms.known[id_], version=4, moved=worse)
    async with door.client() as client:
        said = (await client.post(door.path())).text
    assert "has got worse since" in said
    assert door.alarms.acts == [("contact:wang", "a2", 4)]


async def test_only_contacts_that_may_answer_and_only_for_a_while(house: House) -> None:
    """Without ``answers``, a day later, or of another unit, a contact acknowledges nothing."""
    door = Door(house, alarm())
    async with door.client() as client:
        assert (await client.post(door.path("sounder", "desk"))).status_code == 404
        door.now_us += VALID_US + 60_000_000
        assert (await client.get(door.path())).status_code == 404
        door.now_us -= VALID_US + 60_000_000
        wang = msgspec.structs.replace(house.roster.contact("wang"), unit="another")
        others = tuple(c for c in house.roster.contacts if c.id != "wang")
        contacts: tuple[Contact, ...] = (wang, *others)
        house.roster = msgspec.structs.replace(house.roster, contacts=contacts)
        assert "not yours" in (await client.post(door.path())).text
    assert door.alarms.acts == []


@pytest.mark.parametrize("token", ["", "1", "1-", "zz", "1-" + "0" * 32, "f" * 17 + "-" + "0" * 32, "../x"])
async def test_strangers_tokens_are_told_nothing(house: House, token: str) -> None:
    """Anything that we did not sign is answered like a link that was used."""
    door = Door(house, alarm())
    async with door.client() as client:
        assert (await client.get(f"/a/{token}")).status_code == 404
        assert (await client.post(f"/a/{token}")).status_code in (404, 405)
    assert door.alarms.acts == []


@given(st.integers(1, 2**62), st.integers(0, 31), st.sampled_from("0123456789abcdef"))
def test_a_token_is_of_one_message_and_one_key(message: int, place: int, digit: str) -> None:
    """It reads back as its message; with another digit or another key it is nobody's."""
    token = token_of(KEY, message)
    assert message_of(KEY, token) == message
    assert message_of(b"another", token) is None
    head, digest = token.split("-")
    forged = f"{head}-{digest[:place]}{digit}{digest[place + 1 :]}"
    assert (message_of(KEY, forged) == message) == (forged == token)

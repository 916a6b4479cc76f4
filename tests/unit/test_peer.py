from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.model import POINT_NAME, Event, What
from gateway.codecs.gbt26875.exchange import MAX_PENDING
from gateway.codecs.gbt26875.frame import Command, Frame, decode, encode
from gateway.codecs.gbt26875.label import CHINA, encode_label
from gateway.codecs.gbt26875.profile import PROFILES
from gateway.codecs.gbt26875.stream import Found
from gateway.codecs.gbt26875.unit import encode_unit, make
from gateway.drivers.allowance import BURST_S, Allowance
from gateway.drivers.base import CommandRefused
from gateway.drivers.config import Gbt26875, Transmitter
from gateway.drivers.peer import CALM_S, COMMANDS, POST_CHECK_GRACE_S, Peer, Taken

AT = datetime(2026, 11, 24, 12, 0, 0, tzinfo=CHINA)


class Wire:
    """A link that keeps what is sent."""

    host = "192.0.2.20"

    def __init__(self) -> None:
        self.sent: list[Frame] = []

    def send(self, data: bytes) -> None:
        """Keep a frame."""
        decoded = decode(data)
        assert decoded is not None
        self.sent.append(decoded[0])


def peer(device: Transmitter | None = None, **changes: Any) -> Peer:
    """Transmitter 7 at centre 1, as of second 0."""
    config = Gbt26875(name="c", port=1, **({"address": 1, "set_clock": False} | changes))
    return Peer(config, device or Transmitter(name="t", address=7), 0.0)


def linked(**changes: Any) -> tuple[Peer, Wire]:
    """The same with a link."""
    it, wire = peer(**changes), Wire()
    it.attach(wire, 0.0)
    return it, wire


def send(it: Peer, unit: bytes, serial: int = 0, now_s: float = 0.0, command: int = Command.SEND) -> Taken:
    """The transmitter sends a unit."""
    frame = Frame(serial, (1, 0), encode_label(AT), 7, 1, command, unit)
    return it.take(frame, encode(frame), now_s, AT + timedelta(seconds=now_s))


def events(taken: Taken) -> list[tuple[str, What]]:
    """Point and kind of the events."""
    return [(item.point, item.what) for item in taken.items if isinstance(item, Event)]


def state(bits: int, address: int = 1) -> bytes:
    """A unit with one component's state."""
    fields = {"system_type": 1, "system_address": 1, "component_address": address, "state": bits}
    return encode_unit(2, [make(2, fields)])


@given(
    st.builds(
        Frame,
        serial=st.integers(0, 3),
        version=st.just((1, 0)),
        sent=st.binary(min_size=6, max_size=6),
        source=st.integers(0, 2**48 - 1),
        destination=st.integers(0, 2**48 - 1),
        command=st.one_of(st.integers(1, 6), st.integers(0, 255)),
        unit=st.one_of(
            st.binary(max_size=60),
            st.builds(
                lambda type_, body: bytes((type_, 1)) + body, st.integers(0, 91), st.binary(max_size=46)
            ),
        ),
    ),
    st.sampled_from(sorted(PROFILES)),
)
def test_no_frame_breaks_a_peer(frame: Frame, profile: str) -> None:
    """Whatever a device sends, by any profile: names that the wire takes, answers that are frames."""
    it = peer(Transmitter(name="t", address=7, profile=profile))
    it.attach(Wire(), 0.0)
    it.turn(0.0, AT)
    for _ in range(2):
        taken = it.take(frame, b"", 0.0, AT)
        assert all(POINT_NAME.fullmatch(item.point) for item in taken.items)
        end = bytes.fromhex(PROFILES[profile].end)
        assert all(decode(data, end) is not None for data in taken.replies)


def test_a_device_is_answered_as_who_it_says_it_speaks_to() -> None:
    """Without an address of our own we take the one it sends to; its own may be any."""
    it, wire = linked(address=0)
    it.take(Frame(0, (1, 0), encode_label(AT), 9, 5, Command.SEND), b"", 0.0, AT)
    it.command("read_version", {}, 0.0, AT)
    assert (wire.sent[0].source, wire.sent[0].destination) == (5, 9)


def test_what_is_sent_has_its_cost() -> None:
    """A frame, its objects, and more for an event; a fire says that it is one."""
    it, _ = linked()
    assert [
        (taken.cost, taken.is_fire) for taken in (send(it, b""), send(it, state(4)), send(it, state(2)))
    ] == [
        (1, False),
        (6, False),
        (10, True),
    ]


def test_what_comes_too_fast_must_wait_and_a_fire_less() -> None:
    """Ten seconds' allowance at once, then only as fast as allowed; a fire may overdraw by as much again."""
    it = Allowance(10.0, 0.0)
    waits = [it.pay(6, 0.0) for _ in range(40)]
    assert waits[:16] == [0.0] * 16
    assert waits[16:] == pytest.approx([0.6 * n - BURST_S for n in range(17, 41)])
    assert it.pay(6, 0.0, is_urgent=True) == pytest.approx(0.6 * 41 - 2 * BURST_S)
    assert it.pay(6, 60.0) == 0.0


def test_a_damaged_frame_is_one_fault_until_the_link_is_calm() -> None:
    """Denied each time; told when it begins and when there was none for a minute."""
    it, _ = linked()
    head = Frame(3, (1, 0), encode_label(AT), 7, 1, Command.SEND)
    damaged = Found(None, 30, "checksum 01, the bytes give 02", b"@@raw", "checksum")
    first = it.damaged(damaged, head, 0.0, AT)
    assert events(first) == [("t:link", What.FAULT)]
    assert isinstance(first.items[0], Event)
    assert first.items[0].raw == b"@@raw"
    denied = decode(first.replies[0])
    assert denied is not None
    assert (denied[0].command, denied[0].serial, denied[0].destination) == (Command.DENY, 3, 7)
    again = it.damaged(damaged, None, 10.0, AT)
    assert (events(again), again.replies) == ([], [])
    assert events(it.turn(10.0 + CALM_S - 1, AT)) == []
    assert events(it.turn(10.0 + CALM_S, AT)) == [("t:link", What.RESTORED)]


def test_a_link_is_well_only_when_nothing_is_wrong_with_it() -> None:
    """Flooded and silent: restored once, when both have ended."""
    it, wire = linked(silent_s=30.0)
    assert [event.what for event in it.flooded(5, 0.0, AT)] == [What.FAULT]
    it.detach(wire, 0.0)
    assert events(it.turn(30.0, AT)) == [("t:link", What.FAULT)]
    assert events(it.turn(CALM_S, AT)) == []
    it.attach(wire, 70.0)
    assert events(send(it, b"", now_s=70.0)) == [("t:link", What.RESTORED)]


def test_a_post_check_without_an_answer_is_a_fault_and_the_answer_ends_it() -> None:
    """Its own time and two minutes; an answer in time leaves no trace but itself."""
    it, wire = linked(silent_s=1e4)
    answer = encode_unit(24, [make(24, {"operation": 0x20, "operator": 3})])

    def check(now_s: float) -> None:
        assert it.command("post_check", {"timeout_min": "5"}, now_s, AT) == "t: post check sent"
        assert (wire.sent[-1].command, wire.sent[-1].unit) == (Command.CONTROL, b"\x5b\x01\x05")
        send(it, b"", wire.sent[-1].serial, now_s, Command.CONFIRM)

    check(0.0)
    assert events(send(it, answer, 1, 100.0)) == [("t:transmitter", What.INFO)]
    assert events(it.turn(300.0 + POST_CHECK_GRACE_S, AT)) == []
    check(1000.0)
    assert events(it.turn(1299.0 + POST_CHECK_GRACE_S, AT)) == []
    assert events(it.turn(1300.0 + POST_CHECK_GRACE_S, AT)) == [("t:link", What.FAULT)]
    assert set(events(send(it, answer, 2, 1500.0))) == {
        ("t:transmitter", What.INFO),
        ("t:link", What.RESTORED),
    }


def test_every_command_is_a_unit_of_its_type() -> None:
    """With the arguments it needs, and with none of them."""
    where = {"system_type": "1", "system_address": "2", "component_address": "131082", "count": "5"}
    for args in ({}, {**where, "since": "2026-11-01T00:00:00"}):
        for what, type_ in COMMANDS.items():
            it, wire = linked()
            it.command(what, args, 0.0, AT)
            assert wire.sent[0].unit[0] == type_
    it, wire = linked()
    it.command("read_component_state", where, 0.0, AT)
    assert wire.sent[0].unit.hex(" ") == "3e 01 01 02 0a 00 02 00"
    it.command("read_operations", {"count": "5", "since": "2026-11-01T06:00:00"}, 0.0, AT)
    assert wire.sent[1].unit.hex(" ") == "54 01 05 00 00 06 01 0b 1a"


@pytest.mark.parametrize(
    ("what", "args", "text"),
    [
        ("post_check", {"timeout_min": "300"}, "does not fit"),
        ("post_check", {"timeout_min": "soon"}, "invalid literal"),
        ("read_operations", {"since": "yesterday"}, "Invalid isoformat"),
        ("read_system_state", {"system_type": "-1"}, "does not fit"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(what: str, args: dict[str, str], text: str) -> None:
    """With the reason, and nothing is sent; a refused post check is not waited for."""
    it, wire = linked(silent_s=1e6)
    with pytest.raises(CommandRefused, match=text):
        it.command(what, args, 0.0, AT)
    assert wire.sent == []
    assert events(it.turn(1e5, AT)) == []


def test_too_many_questions_are_refused() -> None:
    """A device that does not answer is asked no more than so much."""
    it, _ = linked()
    for _ in range(MAX_PENDING):
        it.command("read_version", {}, 0.0, AT)
    with pytest.raises(CommandRefused, match="are under way"):
        it.command("read_version", {}, 0.0, AT)


def test_a_question_that_stays_unanswered_is_told() -> None:
    """By its name; the link itself is well as long as the device is heard."""
    it, _ = linked(silent_s=1000.0, inspect_s=7200.0)
    it.command("read_version", {}, 0.0, AT)
    told = [event for now_s in range(0, 60, 10) for event in events(it.turn(float(now_s), AT))]
    assert ("t:link", What.INFO) in told
    assert ("t:link", What.FAULT) not in told

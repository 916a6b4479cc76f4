from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from gateway.codecs.gbt26875.centre import Centre, Habits
from gateway.codecs.gbt26875.device import Device
from gateway.codecs.gbt26875.exchange import MAX_PENDING, Exchange, ExchangesFull, Retry
from gateway.codecs.gbt26875.frame import Command, Frame, decode
from gateway.codecs.gbt26875.label import CHINA, NONE, encode_label
from gateway.codecs.gbt26875.profile import PROFILES, Profile
from gateway.codecs.gbt26875.unit import InfoObject, encode_unit, make
from tests.frames import frame_bytes

CENTRE, TRANSMITTER = 88_888, 889
AT = datetime(2012, 9, 26, 9, 58, 32, tzinfo=CHINA)
STANDARD = PROFILES["standard"]
QUIET = Habits(set_clock=False)


def read(data: bytes) -> Frame:
    """The frame in these bytes."""
    decoded = decode(data)
    assert decoded is not None
    return decoded[0]


def centre(profile: Profile = STANDARD, habits: Habits = QUIET) -> Centre:
    """A centre that has just begun with transmitter 889."""
    return Centre(Exchange(CENTRE, TRANSMITTER, profile), habits, 0.0)


def answers(type_: int, item: InfoObject | None) -> tuple[int, Sequence[InfoObject]] | None:
    """What the transmitter of these tests answers: its version."""
    return (25, [make(25, {"version": (1, 1)})]) if type_ == 85 else None


def device() -> Device:
    """Transmitter 889, which reports to the centre."""
    return Device(Exchange(TRANSMITTER, CENTRE, STANDARD), answers)


def sent(command: int, unit: bytes = b"", serial: int = 1, at: datetime = AT) -> Frame:
    """A frame of the transmitter."""
    return Frame(serial, (1, 1), encode_label(at), TRANSMITTER, CENTRE, command, unit)


@pytest.mark.parametrize("name", ["A1", "A4", "A5", "B1", "S1", "D1", "M1", "C2"])
def test_what_is_sent_is_confirmed_by_its_number_to_where_it_came_from(name: str) -> None:
    """Whatever version, addresses and unit a device sends, the confirmation repeats and exchanges them."""
    frame = read(frame_bytes(name))
    heard = centre().receive(frame, 0.0, AT)
    assert heard.reply is not None
    reply = read(heard.reply)
    assert (reply.command, reply.serial, reply.unit) == (Command.CONFIRM, frame.serial, b"")
    assert (reply.source, reply.destination, reply.version) == (
        frame.destination,
        frame.source,
        frame.version,
    )
    assert reply.sent == encode_label(AT)
    assert (heard.unit is None) == (not frame.unit)


def test_the_confirmation_is_the_one_of_the_books() -> None:
    """A1 confirmed a few seconds later is A2 byte for byte, and denied A3."""
    frame, at = read(frame_bytes("A1")), AT + timedelta(seconds=3)
    assert centre().receive(frame, 0.0, at).reply == frame_bytes("A2")
    assert centre().refuse(frame, at) == frame_bytes("A3")


def test_a_repetition_is_confirmed_and_is_no_news() -> None:
    """The confirmation was lost: the same number and unit again; another number is news again."""
    it, frame = centre(), read(frame_bytes("A1"))
    assert it.receive(frame, 0.0, AT).unit is not None
    again = it.receive(frame, 10.0, AT)
    assert (again.unit, again.reply is not None) == (None, True)
    other = Frame(2, frame.version, frame.sent, frame.source, frame.destination, frame.command, frame.unit)
    assert it.receive(other, 11.0, AT).unit is not None
    assert it.receive(frame, 100.0, AT).unit is not None


def test_profiles_echo_the_label_and_deny_nothing() -> None:
    """Makers that compare the label get theirs back; others want no denial."""
    frame = read(frame_bytes("A1"))
    at = AT + timedelta(minutes=1)
    reply = centre(PROFILES["echo"]).receive(frame, 0.0, at).reply
    assert reply is not None
    assert read(reply).sent == frame.sent
    assert centre(Profile(deny=False)).refuse(frame, at) is None


@pytest.mark.parametrize("command", [0, 1, 4, 7, 127, 128, 255])
def test_what_is_not_for_a_centre_is_denied(command: int) -> None:
    """Unknown commands, and those a transmitter does not give."""
    heard = centre().receive(sent(command, b"\x15\x01\x00"), 0.0, AT)
    assert heard.unit is None
    assert heard.reply is not None
    assert read(heard.reply).command == Command.DENY


def test_a_question_is_sent_three_times_more_and_then_given_up() -> None:
    """Every 10 s the same bytes, the number kept; then it has failed and its place is free."""
    it = centre()
    first = it.ask(85, {}, 0.0, AT)
    assert it.turn(9.9, AT).frames == []
    for again_s in (10.0, 20.0, 30.0):
        assert it.turn(again_s, AT + timedelta(seconds=again_s)).frames == [first]
    turn = it.turn(40.0, AT)
    assert (turn.frames, [gone.unit[0] for gone in turn.failed]) == ([], [85])
    assert list(it.exchange.pending) == []


def test_a_denied_question_is_sent_again_at_once() -> None:
    """A denial counts like a silence; the fourth one is the end."""
    it = centre()
    question = it.ask(85, {}, 0.0, AT)
    for _ in range(3):
        assert it.receive(sent(Command.DENY, serial=0), 1.0, AT).others == [question]
    heard = it.receive(sent(Command.DENY, serial=0), 1.0, AT)
    assert (heard.others, [gone.unit[0] for gone in heard.failed]) == ([], [85])


def test_an_answer_ends_the_question_and_is_news_once() -> None:
    """Only the number asked with counts; a late answer to a question already ended is nothing."""
    it = centre()
    it.ask(81, {}, 0.0, AT)
    unit = encode_unit(21, [make(21, {"state": 8, "time": AT})])
    assert it.receive(sent(Command.RESPONSE, unit, serial=7), 1.0, AT).unit is None
    heard = it.receive(sent(Command.RESPONSE, unit, serial=0), 1.0, AT)
    assert heard.ended is not None
    assert heard.unit is not None
    assert heard.unit.objects[0].state == 8
    assert it.receive(sent(Command.RESPONSE, unit, serial=0), 1.0, AT).unit is None


@pytest.mark.parametrize(
    ("type_", "fields", "profile", "command", "unit"),
    [
        (81, {}, "standard", 4, "51 01 00"),
        (90, {"time": AT}, "standard", 1, "5a 01 20 3a 09 1a 09 0c"),
        (90, {"time": AT}, "bodyless", 1, "5a 01"),
        (91, {"timeout_min": 10}, "standard", 1, "5b 01 0a"),
        (91, {"timeout_min": 10}, "number-zone", 1, "5b 01 0a 00 00 00 00 00 00"),
        (89, {}, "standard", 1, "59 01 00"),
        (89, {}, "initialise-request", 4, "59 01 00"),
        (61, {"system_type": 1, "system_address": 1}, "standard", 4, "3d 01 01 01"),
        (62, {"system_type": 1, "component_address": 0x2000A}, "standard", 4, "3e 01 01 00 0a 00 02 00"),
        (64, {"system_type": 1, "count": 10, "time": AT}, "standard", 4, "40 01 01 00 0a 20 3a 09 1a 09 0c"),
    ],
)
def test_what_is_asked_is_as_the_standard_and_the_maker_want_it(
    type_: int, fields: dict[str, int | datetime], profile: str, command: int, unit: str
) -> None:
    """Command byte and unit of questions and of control commands."""
    frame = read(centre(PROFILES[profile]).ask(type_, fields, 0.0, AT))
    assert (frame.command, frame.unit.hex(" ")) == (command, unit)
    assert (frame.source, frame.destination, frame.version) == (CENTRE, TRANSMITTER, (1, 0))


def test_numbers_begin_at_0_and_come_round() -> None:
    """Each new exchange has the next number, 65535 is followed by 0."""
    exchange = Exchange(CENTRE, TRANSMITTER, STANDARD)
    numbers = []
    for _ in range(65_538):
        frame = read(exchange.begin(Command.SEND, b"", 0.0, AT))
        numbers.append(frame.serial)
        exchange.end(Frame(frame.serial, (1, 0), NONE, 0, 0, Command.CONFIRM), 0.0)
    assert numbers[:2] + numbers[-3:] == [0, 1, 65_535, 0, 1]


def test_no_more_than_so_many_questions_are_open() -> None:
    """A device that answers nothing holds a bounded number; what the centre asks on its own waits."""
    it = centre(habits=Habits(silent_s=1.0, set_clock=True))
    for _ in range(MAX_PENDING):
        it.ask(85, {}, 0.0, AT)
    with pytest.raises(ExchangesFull):
        it.ask(85, {}, 0.0, AT)
    assert it.turn(5.0, AT).frames == []


def test_a_silent_device_is_asked_and_only_then_lost() -> None:
    """Silence alone is no fault, for the standard has no heartbeat; no answer to a question is one."""
    it = centre(habits=Habits(silent_s=90.0, inspect_s=3600.0, set_clock=False))
    assert it.turn(89.0, AT).frames == []
    assert [read(data).unit[0] for data in it.turn(90.0, AT).frames] == [81]
    for now_s in (100.0, 110.0, 120.0):
        assert len(it.turn(now_s, AT).frames) == 1
        assert not it.is_lost
    it.turn(130.0, AT)
    assert it.is_lost
    it.receive(sent(Command.SEND), 131.0, AT)
    assert not it.is_lost


def test_a_living_device_is_inspected_at_intervals_and_when_its_link_begins() -> None:
    """Heartbeats do not replace the inspection of the centre."""
    it = centre(habits=Habits(inspect_s=3600.0, set_clock=False))
    asked = []
    for now_s in range(0, 7300, 20):
        it.receive(sent(Command.SEND), float(now_s), AT)
        for data in it.turn(float(now_s), AT).frames:
            asked.append(now_s)
            unit = encode_unit(21, [make(21, {"state": 1})])
            it.receive(sent(Command.RESPONSE, unit, serial=read(data).serial), float(now_s), AT)
    assert asked == [3600, 7200]
    it.linked(7300.0)
    assert [read(data).unit[0] for data in it.turn(7300.0, AT).frames] == [81]


def test_a_clock_is_set_when_it_is_off_and_once_a_day() -> None:
    """At the beginning, again 10 min later while the device's labels stay wrong, then daily."""
    it = centre(habits=Habits(silent_s=1e9, inspect_s=1e9, set_clock=True))
    set_at = []
    for now_s in range(0, 90_000, 60):
        wrong = timedelta(hours=9) if now_s < 1000 else timedelta(0)
        at = AT + timedelta(seconds=now_s)
        it.receive(sent(Command.SEND, at=at - wrong), float(now_s), at)
        assert it.is_clock_right == (now_s >= 1000)
        for data in it.turn(float(now_s), at).frames:
            set_at.append(now_s)
            frame = read(data)
            assert (frame.command, frame.unit) == (Command.CONTROL, b"\x5a\x01" + encode_label(at))
            it.receive(sent(Command.CONFIRM, serial=frame.serial), float(now_s), at)
    assert set_at == [0, 600, 87_000]


# the transmitter's side


def test_a_report_is_sent_until_it_is_confirmed() -> None:
    """By number; a denial brings it again, the confirmation ends it."""
    it = device()
    unit = encode_unit(21, [make(21, {"state": 2})])
    data = it.report(unit, 0.0, AT)
    assert read(data).unit == unit
    assert it.receive(Frame(0, (1, 0), NONE, CENTRE, TRANSMITTER, Command.DENY), 1.0, AT).replies == [data]
    told = it.receive(Frame(0, (1, 0), NONE, CENTRE, TRANSMITTER, Command.CONFIRM), 2.0, AT)
    assert told.confirmed is not None
    assert told.confirmed.unit == unit
    assert it.exchange.due(100.0).again == []


def test_questions_are_answered_or_denied() -> None:
    """A10 gets an answer like A11; what the device does not know is denied."""
    it = device()
    (reply,) = it.receive(read(frame_bytes("A10")), 0.0, AT).replies
    assert reply == frame_bytes("A11")
    (reply,) = it.receive(read(frame_bytes("A8")), 0.0, AT).replies
    assert read(reply).command == Command.DENY


def test_controls_are_confirmed_and_obeyed_once() -> None:
    """A16 twice: confirmed twice, a post check of 10 min once."""
    it = device()
    first = it.receive(read(frame_bytes("A16")), 0.0, AT)
    assert first.control is not None
    assert (first.control.type, first.control.objects[0].timeout_min) == (91, 10)
    again = it.receive(read(frame_bytes("A16")), 5.0, AT)
    assert again.control is None
    assert [read(data).command for data in first.replies + again.replies] == [Command.CONFIRM] * 2


def test_a_quiet_device_sends_empty_units() -> None:
    """Every 20 s while nothing else is under way."""
    it = device()
    (heartbeat,) = it.turn(0.0, AT).again
    assert read(heartbeat).unit == b""
    assert it.turn(5.0, AT).again == []
    it.receive(Frame(0, (1, 0), NONE, CENTRE, TRANSMITTER, Command.CONFIRM), 6.0, AT)
    assert len(it.turn(20.0, AT).again) == 1


def test_a_retry_can_be_shorter() -> None:
    """Time-out and times are settings."""
    exchange = Exchange(CENTRE, TRANSMITTER, STANDARD, Retry(1.0, 1))
    exchange.begin(Command.SEND, b"", 0.0, AT)
    assert len(exchange.due(1.0).again) == 1
    assert len(exchange.due(2.0).failed) == 1

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.gbt26875.frame import (
    MAX_FRAME,
    MAX_UNIT,
    Frame,
    FrameError,
    decode,
    encode,
)
from gateway.codecs.gbt26875.stream import Found, Stream
from gateway.codecs.gbt26875.unit import decode_unit, encode_unit
from tests.frames import BAD, GOOD, frame_bytes

A1, A4, B1 = (frame_bytes(name) for name in ("A1", "A4", "B1"))

FRAMES = st.builds(
    Frame,
    serial=st.integers(0, 65_535),
    version=st.tuples(st.integers(0, 255), st.integers(0, 255)),
    sent=st.binary(min_size=6, max_size=6),
    source=st.integers(0, 2**48 - 1),
    destination=st.integers(0, 2**48 - 1),
    command=st.integers(0, 255),
    unit=st.binary(max_size=MAX_UNIT),
)


def whole(data: bytes) -> list[Found]:
    """What a stream makes of bytes that nothing follows."""
    stream = Stream()
    return [*stream.feed(data), *stream.close()]


def frames(found: list[Found]) -> list[bytes]:
    """The bytes of the frames among what was found."""
    return [one.raw for one in found if one.frame is not None]


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["id"])
def test_a_frame_of_the_field_comes_back_byte_for_byte(vector: dict[str, Any]) -> None:
    """Taken apart down to its objects and put together again, junk and impossible dates included."""
    data = bytes.fromhex(vector["hex"])
    decoded = decode(data)
    assert decoded is not None
    frame, used = decoded
    assert used == len(data)
    unit = decode_unit(frame.unit)
    again = b"" if unit.type is None else encode_unit(unit.type, unit.objects)
    assert encode(Frame(**{**frame_fields(frame), "unit": again})) == data


def frame_fields(frame: Frame) -> dict[str, Any]:
    """A frame's fields by name."""
    return {name: getattr(frame, name) for name in frame.__struct_fields__}


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["id"])
def test_every_prefix_asks_for_more(vector: dict[str, Any]) -> None:
    """A frame is waited for, never guessed at, also by the stream and with a tail behind it."""
    data = bytes.fromhex(vector["hex"])
    stream = Stream()
    for end in range(len(data)):
        assert decode(data[:end]) is None
        assert stream.feed(data[end : end + 1]) == [] or end == len(data) - 1
    assert decode(data + b"@@@#") == decode(data)
    assert stream.held == 0


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["id"])
def test_a_frame_that_is_wrong_is_refused_with_its_reason(vector: dict[str, Any]) -> None:
    """Frames that other implementations refuse in their own tests."""
    data = bytes.fromhex(vector["hex"])
    with pytest.raises(FrameError) as caught:
        decode(data)
    assert (caught.value.reason, caught.value.skip) == (vector["error"], len(data))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"#", "start"),
        (b"@#", "start"),
        (b"@A" + A1[2:], "start"),
        (A1[:24] + b"\x01\x04" + A1[26:], "length"),
        (A1[:24] + b"\xff\xff", "length"),
        (A1[:24] + b"\x2f\x00" + A1[26:], "end"),
        (A1[:-1], None),
        (A1[:-1] + b"5", "end"),
        (A1[:-3] + b"\x00##", "checksum"),
        (A1[:30] + b"\x7f" + A1[31:], "checksum"),
        (b"\x68" + bytes(40) + b"\x16", "start"),
    ],
)
def test_malformed_bytes_are_refused_as_soon_as_they_show(data: bytes, reason: str | None) -> None:
    """Start mark, length, end mark, checksum; a cut frame alone is no error."""
    if reason is None:
        assert decode(data) is None
        return
    with pytest.raises(FrameError) as caught:
        decode(data)
    assert caught.value.reason == reason
    assert 0 < caught.value.skip <= len(data)


def test_a_label_that_looks_like_the_end_is_no_end() -> None:
    """Second 35, minute 35 are the bytes of the end mark: the length says where a frame ends."""
    frame = Frame(1, (1, 0), b"##\x09\x1a\x09\x0c", 1, 2, 2, b"\x15\x01\x02##\x09\x1a\x09\x0c")
    data = encode(frame)
    assert decode(data + B1) == (frame, len(data))


@given(FRAMES, st.sampled_from([b"##", b"55"]))
def test_any_frame_comes_back(frame: Frame, end: bytes) -> None:
    """Whatever its fields, with the standard's end mark and with one maker's."""
    data = encode(frame, end)
    assert len(data) == 30 + len(frame.unit) <= MAX_FRAME
    assert decode(data, end) == (frame, len(data))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"unit": bytes(1025)}, "1025 bytes"),
        ({"serial": 65_536}, "does not fit"),
        ({"source": 2**48}, "does not fit"),
        ({"destination": -1}, "does not fit"),
        ({"command": 256}, "does not fit"),
        ({"version": (1, 256)}, "does not fit"),
    ],
)
def test_what_fits_no_frame_is_not_sent(changes: dict[str, Any], text: str) -> None:
    """Each number has its field's size."""
    fields = {**frame_fields(Frame(0, (1, 0), bytes(6), 0, 0, 2)), **changes}
    with pytest.raises(ValueError, match=text):
        encode(Frame(**fields))


# streams


def test_a_stream_of_everything_is_read_in_pieces_of_any_size() -> None:
    """One byte, seven, or all at once: the same frames."""
    data = b"".join(bytes.fromhex(vector["hex"]) for vector in GOOD)
    expected = [bytes.fromhex(vector["hex"]) for vector in GOOD]
    for size in (1, 7, 1000, len(data)):
        stream = Stream()
        found = [one for at in range(0, len(data), size) for one in stream.feed(data[at : at + size])]
        assert frames(found) == expected
        assert [one.skipped for one in found] == [0] * len(expected)
        assert stream.close() == []


@pytest.mark.parametrize("between", [b"", b"\r\n", b"@", b"@@", b"##", b"\0" * 40, b"@@" * 30, b"\x16@#@"])
def test_a_cut_frame_costs_no_other_one(between: bytes) -> None:
    """Cut at every offset, with rubbish behind: the next frame is found as soon as it is whole."""
    for cut in range(1, len(A1)):
        if (A1[:cut] + between).startswith(A1):
            continue  # what follows is the frame's own rest
        stream = Stream()
        found = stream.feed(A1[:cut] + between)
        assert frames(found) == []
        found += stream.feed(B1)
        assert frames(found) == [B1]
        assert frames(stream.feed(A4)) == [A4]
        assert stream.close() == []


def test_a_frame_without_its_head_is_stepped_over() -> None:
    """Begun in the middle of a frame, the next one is the first that is read."""
    for cut in range(1, len(A1)):
        found = whole(A1[cut:] + A4)
        assert frames(found) == [A4]
        assert sum(one.skipped for one in found) == len(A1) - cut


def test_a_damaged_frame_is_told_once_and_the_next_ones_are_read() -> None:
    """Each of three damaged frames is one refusal; its bytes are counted with it."""
    bad = [bytes.fromhex(vector["hex"]) for vector in BAD]
    found = whole(A4 + b"".join(bad) + B1 + b"tail")
    assert [one.reason for one in found] == [None, "end", "checksum", "checksum", None, "start"]
    assert [one.skipped for one in found] == [0, *map(len, bad), 0, 4]
    assert [one.raw for one in found[1:4]] == bad


def test_any_byte_changed_is_noticed() -> None:
    """No single damaged byte of a frame passes, and the frame behind it always does."""
    for at in range(len(A1)):
        for flip in (1, 0x80):
            data = bytearray(A1)
            data[at] ^= flip
            assert frames(whole(bytes(data) + B1)) == [B1]


def test_what_never_ends_is_told_at_the_end() -> None:
    """A cut frame at the end of a stream is a refusal that says what is missing; rubbish is counted."""
    assert [(f.reason, f.error, f.skipped) for f in whole(A1[:40])] == [
        ("incomplete", "incomplete: 40 bytes of the 78 that its length says", 40)
    ]
    assert [(f.reason, f.error) for f in whole(b"@@")] == [
        ("incomplete", "incomplete: 2 bytes of at least 30")
    ]
    assert [(f.reason, f.error, f.skipped) for f in whole(b"hello")] == [("start", "no frame in 5 bytes", 5)]
    assert whole(b"") == []


def test_a_hostile_stream_is_held_in_bounds() -> None:
    """However it is cut, never more than a frame's length is kept."""
    chance = random.Random(26_875)
    stream = Stream()
    for _ in range(300):
        pieces = [chance.choice([A1, B1, b"@@", A1[:26], bytes(chance.randrange(50))]) for _ in range(20)]
        stream.feed(b"".join(pieces)[chance.randrange(9) :])
        assert stream.held < MAX_FRAME


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([A1, A4, B1, b"@@", A1[:30]])), max_size=12)
)
def test_every_byte_is_accounted_for(pieces: list[bytes]) -> None:
    """Each is part of a frame or skipped, in one piece or many; what is skipped holds no whole frame."""
    data = b"".join(pieces)
    found = whole(data)
    stream = Stream()
    piecewise = [one for piece in pieces for one in stream.feed(piece)]
    assert frames(piecewise + stream.close()) == frames(found)
    taken = sum(len(raw) for raw in frames(found)) + sum(one.skipped for one in found)
    inside = len(data) - taken
    assert inside == 0 or any(one.frame is None for one in found)
    assert inside >= 0

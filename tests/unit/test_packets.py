from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.packets import (
    PUBACK,
    PacketError,
    decode_publish,
    encode_pubacks,
    encode_publish,
    find_packet,
    is_publish,
)

TOPICS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(
    TOPICS, st.one_of(st.binary(max_size=300), st.just(bytes(20_000))), st.integers(1, 65_535), st.binary()
)
def test_a_publish_comes_out_as_it_went_in(topic: str, payload: bytes, mid: int, tail: bytes) -> None:
    """Round trip, with anything before and behind it in the buffer."""
    packet = encode_publish(topic, payload, mid)
    data = b"\xd0\x00" + packet + tail
    found = find_packet(data, 2)
    assert found is not None
    assert found[1] == 2 + len(packet)
    assert is_publish(data[2])
    message = decode_publish(data, 2, *found)
    assert (message.topic, message.payload, message.mid, message.qos) == (topic, payload, mid, 1)
    assert not message.retained


@given(st.binary(max_size=200))
def test_every_beginning_of_a_packet_waits_for_the_rest(payload: bytes) -> None:
    """No proper prefix is a packet."""
    packet = encode_publish("a/b", payload, 7)
    assert all(find_packet(packet[:cut], 0) is None for cut in range(len(packet)))


def test_the_bytes_are_the_standard_s() -> None:
    """Independent bytes: MQTT 3.1.1, 3.3 and 3.4."""
    assert encode_publish("a/b", b"hi", 10) == bytes.fromhex("3209 0003 612f62 000a 6869")
    assert encode_pubacks([1, 65_535]) == bytes.fromhex("40020001 4002ffff")
    assert encode_publish("t", bytes(321 - 5), 1)[:3] == bytes.fromhex("32c102")
    assert PUBACK == 0x40
    message = decode_publish(bytes.fromhex("3105 0001 61 6869"), 0, 2, 7)
    assert (message.qos, message.mid, message.retained, message.payload) == (0, 0, True, b"hi")
    assert not is_publish(0x34)
    assert not is_publish(0x40)


@pytest.mark.parametrize("packet", ["3201 00", "3202 0005", "3204 0001 6100", "3000", "3203 0000 00"])
def test_a_publish_that_is_too_short_is_no_mqtt(packet: str) -> None:
    """Lengths that point outside the packet are found before anything is taken."""
    data = bytes.fromhex(packet)
    found = find_packet(data, 0)
    assert found is not None
    with pytest.raises(PacketError):
        decode_publish(data, 0, *found)


def test_a_length_without_end_is_no_mqtt() -> None:
    """Four bytes of length at most."""
    assert find_packet(b"\x30\xff\xff\xff", 0) is None
    with pytest.raises(PacketError):
        find_packet(b"\x30\xff\xff\xff\xff\x01", 0)


def test_a_topic_that_is_no_text_is_nobody_s() -> None:
    """Bytes that are not UTF-8 become the empty topic."""
    packet = bytearray(encode_publish("ab", b"x", 1))
    packet[4] = 0xFF
    assert decode_publish(bytes(packet), 0, 2, len(packet)).topic == ""

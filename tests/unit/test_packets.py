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


@given(TOPICS, st.binary(max_size=300), st.integers(1, 65_535), st.binary(max_size=9), st.binary(max_size=9))
def test_a_publish_comes_back(topic: str, payload: bytes, mid: int, before: bytes, after: bytes) -> None:
    """Whatever stands before and behind it in the stream."""
    packet = encode_publish(topic, payload, mid)
    data, at = before + packet + after, len(before)
    found = find_packet(data, at)
    assert found is not None
    assert found[1] == at + len(packet)
    assert is_publish(data[at])
    message = decode_publish(data, at, *found)
    assert (message.topic, message.payload, message.mid) == (topic, payload, mid)
    assert (message.qos, message.retained) == (1, False)


@pytest.mark.parametrize("size", [0, 100, 120, 128, 16_378, 16_384, 2_097_140, 2_097_152])
def test_no_proper_prefix_is_a_packet(size: int) -> None:
    """Around every change in the length's own length; a prefix is waited for, never guessed at."""
    packet = encode_publish("t/1", bytes(size), 7)
    for end in {0, 1, 2, 3, 4, 5, 8, len(packet) // 2, len(packet) - 1}:
        if end < len(packet):
            assert find_packet(packet[:end], 0) is None
    assert find_packet(packet, 0) == (len(packet) - size - 7, len(packet))


def test_qos_0_has_no_packet_id_and_a_retained_one_says_so() -> None:
    """As another client writes it (bytes of MQTT 3.1.1 section 3.3)."""
    data = b"\x31\x05\x00\x01ahi"
    message = decode_publish(data, 0, 2, 7)
    assert (message.topic, message.payload, message.qos, message.mid) == ("a", b"hi", 0, 0)
    assert message.retained


def test_a_topic_that_is_no_text_is_nobodys() -> None:
    """It is refused later like any other topic that is not the contract's."""
    assert decode_publish(b"\x30\x04\x00\x02\xff\xfe", 0, 2, 6).topic == ""


@pytest.mark.parametrize(
    "data", [b"\x30\x01\x00", b"\x30\x03\x00\x05a", b"\x32\x04\x00\x02ab", b"\x32\x03\x00\x00\x01"]
)
def test_a_publish_that_ends_too_early_is_an_error(data: bytes) -> None:
    """In the topic's length, in the topic, in the packet id."""
    found = find_packet(data, 0)
    assert found is not None
    with pytest.raises(PacketError):
        decode_publish(data, 0, *found)


def test_a_length_of_five_bytes_is_an_error() -> None:
    """The stream cannot be read any further."""
    with pytest.raises(PacketError):
        find_packet(b"\x30\xff\xff\xff\xff\x01", 0)


@pytest.mark.parametrize("first", [0x10, 0x20, PUBACK, 0x90, 0xD0, 0x34, 0x36])
def test_everything_else_is_the_librarys(first: int) -> None:
    """Other types, and QoS 2."""
    assert not is_publish(first)


def test_pubacks_stand_one_after_another() -> None:
    """Four bytes each (MQTT 3.1.1 section 3.4)."""
    assert encode_pubacks([1, 65_535]) == b"\x40\x02\x00\x01\x40\x02\xff\xff"
    assert encode_pubacks([]) == b""

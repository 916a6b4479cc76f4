from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui import topics
from fengsui.model import Lane

NAMES = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


@given(NAMES, st.sampled_from([*Lane, "status", "reply", "committed", "command"]))
def test_a_gateway_s_topic_comes_apart_as_it_was_put_together(gateway: str, leaf: str) -> None:
    """Gateway and leaf survive the way through a topic; the shard is the contract's."""
    topic = topics.of_gateway(gateway, leaf)
    assert topic == f"fs/1/{zlib.crc32(gateway.encode()) % 64:02d}/{gateway}/{leaf}"
    assert topics.parse_gateway(topic) == (gateway, leaf)
    assert topics.parse_plain(topic) is None


@given(NAMES)
def test_a_plain_device_s_topic_is_its_own(device: str) -> None:
    """A plain topic names its device, and its error topic is none that the server listens to."""
    assert topics.parse_plain(topics.of_plain(device)) == device
    assert topics.parse_gateway(topics.of_plain(device)) is None
    assert topics.parse_plain(topics.of_plain_error(device)) is None


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "fs/1/00/g1/alarm",  # another shard's
        "fs/2/{shard}/g1/alarm",
        "xs/1/{shard}/g1/alarm",
        "fs/1/{shard}/g1",
        "fs/1/{shard}/g1/alarm/x",
        "fs/1/{shard}/g1 /alarm",
        "fs/1/{shard}/g1\n/alarm",
        "fs/1/{shard}//alarm",
        "fs/1/{shard}/" + "g" * 65 + "/alarm",
        "fs/1/plain/g1/alarm",
        "fs/1/plain/",
        "fs/1/plain/d 1",
        "fs/1/plain/d\n",
        "fs/1/plane/d1",
    ],
)
def test_whatever_is_not_the_contract_s_is_nobody_s(topic: str) -> None:
    """No foreign shape, shard or alphabet gets in under a name."""
    topic = topic.format(shard=topics.shard("g1"))
    assert topics.parse_gateway(topic) is None
    assert topics.parse_plain(topic) is None

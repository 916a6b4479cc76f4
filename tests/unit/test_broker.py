"""The table of who may say what, and the two brokers' files made from it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui import topics
from fengsui.errors import SettingsError
from fengsui.settings import Secret
from server import broker, secrets
from server.broker import Role, User


def test_the_core_speaks_down_and_hears_up() -> None:
    """The core may do what the wire contract gives the server, and no more."""
    publish, subscribe = broker.rights("core", Role.CORE)
    assert publish == [
        "fs/1/+/+/committed", "fs/1/+/+/desired", "fs/1/+/+/command", "fs/1/plain/+/error",
        "fs/1/notice/+",
    ]  # fmt: skip
    assert subscribe == [
        topics.UP_ALARM, topics.UP_TELEMETRY, topics.UP_STATUS, topics.UP_REPLY, topics.UP_PLAIN,
    ]  # fmt: skip


@given(st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_gateway_and_a_device_have_topics_of_their_own_only(name: str) -> None:
    """No wildcard, and the owner's name in every topic."""
    for role in (Role.GATEWAY, Role.DEVICE):
        for topic in (*broker.rights(name, role).publish, *broker.rights(name, role).subscribe):
            assert name in topic.split("/")
            assert not {"+", "#"} & set(topic)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a\nuser core", "+", "#", "a" * 65, "a.b", "烽"])
def test_a_name_that_could_mean_more_is_refused(name: str) -> None:
    """Names go into topics and into brokers' files, so anything but letters, digits, _ and - is refused."""
    with pytest.raises(ValueError, match="a broker user is 1 to 64 letters"):
        broker.rights(name, Role.GATEWAY)


def test_a_mosquitto_hash_is_what_mosquitto_passwd_writes() -> None:
    """Byte for byte with a known salt, and a new salt each time."""
    # By mosquitto_passwd 2.0.11, with the salt it drew.
    written = (
        "$7$101$k3vB2KYQS2C3EdyG$2ZOSrd+Uc+a/weUJhRQdssNlLMdSYQK4c10+CdRdvaJSPgJ7xKzZdi90TACfQZgQwS8ZHvzpsFoH"
        "5Y4RNIjxMw=="
    )
    assert broker.mosquitto_hash(Secret("fire"), base64.b64decode("k3vB2KYQS2C3EdyG")) == written
    assert broker.mosquitto_hash(Secret("fire")) != broker.mosquitto_hash(Secret("fire"))


def test_files_with_passwords_are_for_their_owner_only(tmp_path: Path) -> None:
    """Nobody else on the machine may read what the brokers are configured with."""
    users = [User("core", Role.CORE, Secret("x"))]
    broker.write_nats(tmp_path, users, host="127.0.0.1", port=1883)
    broker.write_mosquitto(tmp_path, users, host="127.0.0.1", port=1883)
    assert {path.name for path in tmp_path.iterdir()} == {
        "nats-server.conf", "mosquitto.conf", "passwords", "acl",
    }  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_the_nats_server_of_the_package_is_found() -> None:
    """The program is the one the lock installed, not a stranger on PATH."""
    assert broker.nats_server().is_file()


def test_a_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """The first start makes it at random, mode 600 in a folder of mode 700; later ones read it."""
    path = tmp_path / "secrets" / "core"
    first = secrets.keep(path)
    assert len(first.reveal()) >= 43
    assert secrets.keep(path).reveal() == first.reveal()
    assert secrets.keep(path.with_name("gw")).reveal() != first.reveal()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_spoiled_secret_is_told_not_replaced(tmp_path: Path) -> None:
    """Replacing a secret would lock out who holds the old one, so a person decides."""
    path = tmp_path / "core"
    path.touch(mode=0o600)
    with pytest.raises(SettingsError, match="is empty"):
        secrets.keep(path)


def test_a_passphrase_is_easy_to_type_and_never_the_same() -> None:
    """Four groups of four letters nobody mistakes for another."""
    phrase = secrets.passphrase()
    assert re.fullmatch(r"([a-hj-km-np-z2-9]{4}-){3}[a-hj-km-np-z2-9]{4}", phrase)
    assert secrets.passphrase() != phrase

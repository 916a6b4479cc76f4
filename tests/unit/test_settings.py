"""Settings files: what fits is loaded, what does not is told so that a person can correct it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.errors import SettingsError
from fengsui.settings import PROCESSES, Broker, Name, Secret, Tls, is_loopback, load, read_secret, sample


class Simulated(
    msgspec.Struct, tag="simulated", tag_field="kind", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    points: int = 10


class Modbus(
    msgspec.Struct, tag="modbus", tag_field="kind", forbid_unknown_fields=True, frozen=True, kw_only=True
):
    host: str


class Limit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    above: float


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    process: Literal["gateway"] = "gateway"
    name: Name = "gw-1"
    folder: Path = Path("/nowhere")
    ratio: float = 1.0
    loud: bool = False
    broker: Broker = msgspec.field(default_factory=Broker)
    drivers: list[Simulated | Modbus] = []
    points: dict[str, Limit] = {}


def write(folder: Path, text: str) -> Path:
    """A settings file."""
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def secret_file(folder: Path, text: str = "7f3a9c\n", mode: int = 0o600) -> Path:
    """A file with a secret."""
    path = folder / "password"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_file_becomes_a_frozen_model(tmp_path: Path) -> None:
    """Tables, lists of tagged tables, paths beside the file and secrets arrive typed."""
    secret_file(tmp_path)
    path = write(
        tmp_path,
        'name = "gw-7"\nfolder = "spool"\n'
        '[broker]\nport = 1884\nusername = "gw-7"\npassword_file = "password"\n'
        '[[drivers]]\nkind = "modbus"\nhost = "10.0.0.9"\n[points.t1]\nabove = 57\n',
    )
    settings = load(path, Settings)
    assert (settings.name, settings.folder) == ("gw-7", tmp_path / "spool")
    assert settings.broker.password is not None
    assert settings.broker.password.reveal() == "7f3a9c"
    assert settings.drivers == [Modbus(host="10.0.0.9")]
    assert settings.points == {"t1": Limit(above=57.0)}
    with pytest.raises(AttributeError):
        settings.name = "other"  # type: ignore[misc] # the point of the test


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nam = 'x'", "unknown key `nam`; did you mean `name`?"),
        ("[broker]\nhots = 'x'", "unknown key `broker.hots`; did you mean `host`?"),
        ("[broker]\nzzz = 1", "unknown key `broker.zzz`; known here: host, password_file, port, "),
        ("[[drivers]]\nkind='modbus'\nhost='x'\n[[drivers]]\nkind='simulated'\npoint = 3",
         "unknown key `drivers[1].point`; did you mean `points`?"),
        ("[points.t1]\nabov = 3", "unknown key `points.*.abov`; did you mean `above`?"),
        ("[[drivers]]\nkind='modbus'", "key `drivers[0].host` is missing; add it"),
        ("[[drivers]]\nkind='modbsu'", "key `drivers[0].kind`: invalid value 'modbsu'"),
        ("[points.t1]\nabove = 'hot'", "key `points.*.above`: expected a number, got text in quotes"),
        ("name = 7", "key `name`: expected text in quotes, got a whole number"),
        ("name = 'a/b'", "key `name`: only letters, digits, `_` and `-`, at most 64 of them"),
        ("folder = 7", "key `folder`: expected text in quotes"),
        ("loud = 'yes'", "key `loud`: expected true or false, got text in quotes"),
        ("drivers = 1", "key `drivers`: expected a list [...], got a whole number"),
        ("broker = 1", "key `broker`: expected a table, got a whole number"),
        ("[broker]\nport = 70000", "key `broker.port`: expected a whole number <= 65535"),
        ("process = 'core'", "key `process`: invalid enum value 'core'"),
        ("[broker]\nhost = 'mqtt.town'", "key `broker`: host 'mqtt.town' is not this machine, so"),
        ("[broker]\nusername = 'x'", "key `broker`: username and password_file belong together"),
        ("name = \n", "not TOML: Invalid value (at line 1, column 8)"),
        ("name = 'a'\nname = 'b'", "not TOML: Cannot overwrite a value"),
    ],
)  # fmt: skip
def test_a_wrong_line_is_told_with_its_key(tmp_path: Path, text: str, told: str) -> None:
    """The error names file and key in full, and what to write instead."""
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load(path, Settings)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """No file, a folder, and bytes that are no text each have their own words."""
    with pytest.raises(SettingsError, match="no such file; `fengsui check-config --sample"):
        load(tmp_path / "none.toml", Settings)
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        load(tmp_path, Settings)
    path = tmp_path / "latin.toml"
    path.write_bytes(b"name = '\xe9'")
    with pytest.raises(SettingsError, match=r"not UTF-8 text \(byte 8\)"):
        load(path, Settings)


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_a_settings_error(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    """No content of a file makes loading fail in another way."""
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_bytes(text)
    with suppress(SettingsError):
        load(path, Settings)


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        ("good", 0o604, "everybody on this machine can open this secret; run: chmod 600 "),
        ("CHANGE-ME\n", 0o600, "still holds the placeholder"),
        ("<secret>", 0o600, "still holds the placeholder"),
        ("one\ntwo", 0o600, "a secret is one line of printable text"),
    ],
)
def test_a_secret_that_protects_nothing_is_refused(tmp_path: Path, text: str, mode: int, told: str) -> None:
    """Empty, open to everybody, a placeholder or several lines: refused with what to do."""
    path = secret_file(tmp_path, text, mode)
    with pytest.raises(SettingsError) as caught:
        read_secret(path)
    assert str(caught.value).startswith(f"{path}: {told}")


def test_a_secret_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A missing secret, a folder and bytes that are no text are told as such."""
    with pytest.raises(SettingsError, match="no such file; put the secret in it"):
        read_secret(tmp_path / "none")
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        read_secret(tmp_path)
    path = secret_file(tmp_path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="this is not text"):
        read_secret(path)


def test_a_secret_never_shows_itself() -> None:
    """Neither repr nor str nor a model's repr holds the text."""
    broker = Broker(username="gw", password=Secret("7f3a9c"))
    assert "7f3a9c" not in f"{broker!r} {broker} {broker.password}"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("10.0.0.1", False),
     ("0.0.0.0", False), ("localhost.town", False), ("", False)],
)  # fmt: skip
def test_loopback_is_only_this_machine(host: str, expected: bool) -> None:
    """Addresses and the one name that never leave the machine."""
    assert is_loopback(host) is expected


def test_a_tls_block_makes_a_context_that_verifies(tmp_path: Path) -> None:
    """Real certificate files give a context that demands a verified peer; a broken one is told."""
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    openssl = shutil.which("openssl")
    assert openssl, "openssl is part of every machine that has TLS"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
         "-days", "2", "-subj", "/CN=gw-1", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    context = Tls(ca_file=cert, cert_file=cert, key_file=key).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert Broker(host="mqtt.town", tls=Tls(ca_file=cert, cert_file=cert, key_file=key)).host == "mqtt.town"
    with pytest.raises(SettingsError, match="no such file; the tls block needs"):
        Tls(ca_file=tmp_path / "none", cert_file=cert, key_file=key).context()
    key.write_text("no key")
    with pytest.raises(SettingsError, match="not usable with its ca_file and key_file"):
        Tls(ca_file=cert, cert_file=cert, key_file=key).context()


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_has_a_commented_sample(process: str) -> None:
    """The sample says whose it is and explains itself."""
    text = sample(process)
    assert f'process = "{process}"' in text
    assert text.startswith("# ")

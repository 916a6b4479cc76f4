"""Settings of the core."""

from __future__ import annotations

from pathlib import Path

import pytest

from fengsui import settings
from fengsui.errors import SettingsError
from server.config import Embedded, Influx, Settings

BASE = """
process = "core"
folder = "core"
socket = "run/core.sock"
[journal]
folder = "journal"
"""
STORE = '[store]\nkind = "embedded"\nfolder = "series"\n'


def read(folder: Path, text: str) -> Settings:
    """Settings out of a file with this text."""
    path = folder / "core.toml"
    path.write_text(text)
    return settings.load(path, Settings)


def test_the_shipped_sample_is_good(tmp_path: Path) -> None:
    """Whoever starts from it starts."""
    assert isinstance(read(tmp_path, settings.sample("core")).store, Embedded)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """The state database stands in the core's folder unless another is named."""
    config = read(tmp_path, BASE + STORE)
    assert config.folder == tmp_path / "core"
    assert config.database_url == f"sqlite:///{tmp_path / 'core' / 'state.db'}"
    named = read(tmp_path, 'database = "postgresql://fengsui@127.0.0.1/fengsui"\n' + BASE + STORE)
    assert named.database_url == "postgresql://fengsui@127.0.0.1/fengsui"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://127.0.0.1/fengsui", "'mysql' is not served; use sqlite or postgresql"),
        ("state.db", "no database URL"),
        ("postgresql://fengsui:secret@127.0.0.1/fengsui", "passfile"),
        ("postgresql://fengsui@db.example/fengsui", "sslmode=verify-full"),
        ("postgresql://fengsui@db.example/fengsui?sslmode=require", "sslmode=verify-full"),
    ],
)
def test_a_database_that_would_not_be_safe_is_refused(tmp_path: Path, url: str, told: str) -> None:
    """No other kind, no password in the settings, nothing in the clear; and the password is not repeated."""
    with pytest.raises(SettingsError, match=told) as refused:
        read(tmp_path, f'database = "{url}"\n' + BASE + STORE)
    assert "secret" not in str(refused.value)


def test_an_influx_secret_is_read_and_hidden(tmp_path: Path) -> None:
    """The file holds the token; the settings never show it."""
    secret = tmp_path / "token"
    secret.write_text("t0ken-of-the-store")
    secret.chmod(0o600)
    store = (
        '[store]\nkind = "influx"\nurl = "http://127.0.0.1:8086"\n'
        'database = "fengsui"\nsecret_file = "token"\n'
    )
    config = read(tmp_path, BASE + store)
    assert isinstance(config.store, Influx)
    assert config.store.secret is not None
    assert config.store.secret.reveal() == "t0ken-of-the-store"
    assert "t0ken" not in repr(config)


def test_a_fleet_that_would_overflow_the_broker_is_refused(tmp_path: Path) -> None:
    """Windows that sum to more than half of the broker's queue are messages it drops in silence."""
    with pytest.raises(SettingsError, match="may have 128000 messages in flight"):
        read(tmp_path, "gateways = 2000\n" + BASE + STORE)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    """A misspelt setting never passes for a default."""
    with pytest.raises(SettingsError, match="windows"):
        read(tmp_path, "windows = 64\n" + BASE + STORE)

from __future__ import annotations

from pathlib import Path

import pytest

from fengsui import settings
from fengsui.errors import SettingsError
from server.config import Influx, Settings


def load(folder: Path, url: str, more: str = "") -> Influx:
    """The store of a core whose database is at ``url``."""
    file = folder / "core.toml"
    file.write_text(
        'process = "core"\nfolder = "."\nsocket = "core.sock"\n[journal]\nfolder = "journal"\n'
        f'[store]\nkind = "influx"\nurl = "{url}"\ndatabase = "fengsui"\n{more}'
    )
    store = settings.load(file, Settings).store
    assert isinstance(store, Influx)
    return store


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8086", "http://localhost:8086", "http://[::1]:8086", "https://db.example"]
)
def test_a_database_here_or_by_tls_is_taken(tmp_path: Path, url: str) -> None:
    """Plain HTTP never leaves this machine; without an authority named, the system's are believed."""
    assert load(tmp_path, url).tls is None


@pytest.mark.parametrize(
    "url", ["http://db.example:8086", "http://192.0.2.7:8086", "http://127.0.0.1.example"]
)
def test_a_database_elsewhere_needs_tls(tmp_path: Path, url: str) -> None:
    """The token and all readings would cross the network for everybody to read."""
    with pytest.raises(SettingsError, match="must begin with https://"):
        load(tmp_path, url)


def test_an_authority_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """The file is named, whether it is missing or no certificate."""
    store = load(tmp_path, "https://db.example", 'ca_file = "ca.crt"\n')
    for content in (None, "no certificate"):
        if content is not None:
            (tmp_path / "ca.crt").write_text(content)
        with pytest.raises(SettingsError, match=r"ca\.crt: no usable certificate"):
            _ = store.tls

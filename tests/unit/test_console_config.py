from __future__ import annotations

from pathlib import Path

import pytest

from console.config import Settings
from fengsui.errors import SettingsError
from fengsui.settings import fit, load, sample

LEAST: dict[str, object] = {"process": "console", "core_socket": "core.sock", "database": "console.db"}


def test_sample_is_valid_and_says_the_defaults(tmp_path: Path) -> None:
    """The commented sample loads, and every value in it is the default."""
    path = tmp_path / "console.toml"
    path.write_text(sample("console"))
    given = load(path, Settings)
    assert given == Settings(process="console", core_socket=given.core_socket, database=given.database)


def test_plain_socket_off_loopback_is_refused() -> None:
    """Without TLS the pages stay on this machine, unless a proxy is declared to speak it."""
    with pytest.raises(SettingsError, match="tls_by_proxy"):
        fit(Path("c.toml"), LEAST | {"host": "0.0.0.0"}, Settings)
    assert fit(Path("c.toml"), LEAST | {"host": "0.0.0.0", "tls_by_proxy": True}, Settings).secure
    assert not fit(Path("c.toml"), LEAST, Settings).secure

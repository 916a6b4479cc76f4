"""``fengsui run`` before anything runs: the files it writes, the ports it takes, the folder it holds."""

from __future__ import annotations

import argparse
import shlex
import socket
from pathlib import Path

import pytest

from fengsui.errors import UsageError
from fengsui.runtime import WRONG_USAGE
from fengsui.verb_check_config import check
from server import verb_run
from server.verb_run import Ports, welcome, write_settings


def test_the_settings_it_writes_are_good_settings(tmp_path: Path) -> None:
    """Every process would accept its file, secrets included, and a second start changes no secret."""
    write_settings(tmp_path, Ports(1884, 8081))
    first = (tmp_path / "secrets" / "core").read_text()
    config = write_settings(tmp_path, Ports(1885, 8082))
    for process in ("core", "console", "gateway"):
        assert check(tmp_path / process / f"{process}.toml") == process
    assert (tmp_path / "secrets" / "core").read_text() == first
    assert first.strip() in config.read_text()
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_fleet_is_let_in_as_long_as_it_is_asked_for(tmp_path: Path) -> None:
    """Each member has good settings and is known to the broker; without ``--fleet`` none is left."""
    config = write_settings(tmp_path, Ports(1884, 8081), fleet=2)
    for name in ("fleet/load-000", "fleet/load-001", "device/device"):
        assert check(tmp_path / f"{name}.toml") == "gateway"
    assert '"load-001"' in config.read_text()
    assert '"load-001"' not in write_settings(tmp_path, Ports(1884, 8081)).read_text()
    assert not list((tmp_path / "fleet").iterdir())


def test_a_reception_is_there_only_if_it_is_asked_for(tmp_path: Path) -> None:
    """Then it has good settings and is known to the broker."""
    assert '"reception"' not in write_settings(tmp_path, Ports(1884, 8081)).read_text()
    assert not (tmp_path / "reception/reception.toml").exists()
    config = write_settings(tmp_path, Ports(1884, 8081, 5200))
    assert check(tmp_path / "reception/reception.toml") == "gateway"
    assert '"reception"' in config.read_text()


def test_a_taken_port_is_replaced_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Who already has the default port keeps it; the person reads which one we took."""
    with socket.socket() as other:
        other.bind((verb_run.HOST, 0))
        taken = other.getsockname()[1]
        found = verb_run._port("broker", taken)
        assert found != taken
    assert capsys.readouterr().out == f"broker   port {taken} is not free, taking {found}\n"
    assert verb_run._port("broker", taken) == taken
    assert verb_run._port("broker", 99_999) not in (0, 99_999)


def test_the_folder_is_held_by_one(tmp_path: Path) -> None:
    """Two supervisors on the same data would spoil it."""
    in_use = pytest.raises(UsageError, match="is in use by another `fengsui run`")
    with verb_run._alone(tmp_path), in_use, verb_run._alone(tmp_path):
        pass
    with verb_run._alone(tmp_path):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match="choose another --folder"),
        verb_run._alone(tmp_path / "file" / "var"),
    ):
        pass


def test_a_path_too_long_for_a_socket_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A Unix socket's path is limited by the system; better known before anything starts."""
    parser = argparse.ArgumentParser()
    verb_run.add_arguments(parser)
    folder = tmp_path / ("x" * 90)
    assert verb_run.run(parser.parse_args(["--folder", str(folder)])) == WRONG_USAGE
    assert "choose a shorter --folder" in capsys.readouterr().err
    assert not folder.exists()


def test_the_welcome_has_a_command_that_can_be_pasted(tmp_path: Path) -> None:
    """Address, person, password, and a whole shell command for a reading of one's own."""
    text = welcome(tmp_path, Ports(1884, 8081), "abcd-efgh")
    assert "http://127.0.0.1:8081/" in text
    assert "abcd-efgh" in text
    words = shlex.split(text[text.index("mosquitto_pub") : text.index("stop ")])
    assert words[words.index("-p") + 1] == "1884"
    assert words[-1] == '{"p": "room-1", "x": 23.5}'

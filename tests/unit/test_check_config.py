"""``fengsui check-config``: every file is reported on, a sample is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from fengsui.command import main
from fengsui.settings import Broker, sample


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    process: str
    broker: Broker = msgspec.field(default_factory=Broker)


@pytest.fixture(autouse=True)
def core(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core with nothing but a broker in its settings."""
    module = ModuleType("server.config")
    module.Settings = Settings  # type: ignore[attr-defined] # a module made by hand
    monkeypatch.setitem(sys.modules, "server.config", module)


def test_every_file_is_reported_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Good files on stdout, wrong ones on stderr, and one wrong file makes the exit code 78."""
    good, wrong, foreign = (tmp_path / name for name in ("good.toml", "wrong.toml", "foreign.toml"))
    good.write_text('process = "core"\n[broker]\nport = 1884\n')
    wrong.write_text('process = "core"\n[broker]\nprot = 1884\n')
    foreign.write_text("[broker]\nport = 1884\n")
    assert main(["check-config", str(good)]) == 0
    assert main(["check-config", str(wrong), str(good), str(foreign)]) == 78
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{good}: good, settings of a core process"] * 2
    assert err.splitlines() == [
        f"{wrong}: unknown key `broker.prot`; did you mean `port`?",
        f'{foreign}: the first key must say whose file this is: process = "gateway", "core" or "console"',
    ]


def test_the_sample_can_be_printed_to_start_from(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed is the file of the package, byte for byte."""
    assert main(["check-config", "--sample", "core"]) == 0
    assert capsys.readouterr().out == sample("core")

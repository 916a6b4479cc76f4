"""The ``fengsui`` command: finds its verbs, loads only the one named, and says what to do when it cannot."""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from fengsui import __version__, command
from fengsui.errors import SettingsError, UsageError

SUMMARY = "a verb for this test"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This module is a verb itself."""
    parser.add_argument("how")


def run(args: argparse.Namespace) -> int:
    """End as asked."""
    ends: dict[str, BaseException] = {
        "settings": SettingsError(Path("core.toml"), "key `x` is missing; add it"),
        "usage": UsageError("no such alarm"),
        "ctrl-c": KeyboardInterrupt(),
    }
    if args.how in ends:
        raise ends[args.how]
    return 7


@pytest.fixture(autouse=True)
def verbs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation with one good verb and three that miss something."""
    known = {
        "good": __name__,
        "core": "tests.no_such_verb",
        "demo": "simulators.no_such_verb",
        "gateway": "tests.unit.data_needs_a_library",
    }

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, module, group) for name, module in known.items()]

    monkeypatch.setattr(command, "entry_points", entry_points)


@pytest.mark.parametrize(("how", "code"), [("well", 7), ("settings", 78), ("usage", 64), ("ctrl-c", 130)])
def test_the_exit_code_says_how_a_verb_ended(how: str, code: int) -> None:
    """A verb's own code, 78 for settings, 64 for usage, 130 for Ctrl-C."""
    assert command.main(["good", how]) == code


def test_an_error_for_a_person_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback for what the person can correct."""
    command.main(["good", "settings"])
    assert capsys.readouterr().err == "fengsui: core.toml: key `x` is missing; add it\n"


def test_an_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A typing error is told with what was probably meant."""
    assert command.main(["gatway"]) == 64
    assert capsys.readouterr().err == "fengsui: no verb `gatway`; did you mean `fengsui gateway`?\n"
    assert command.main(["zzz"]) == 64
    assert "`fengsui --help` lists what there is" in capsys.readouterr().err


def test_a_missing_library_names_the_extra_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    """Which library, which extra, and the command for a checkout."""
    entry = EntryPoint("core", "server.verb_core", command.GROUP)
    assert command.missing(entry, "numpy") == (
        '`fengsui core` needs numpy, which is not installed; run: pip install "fengsui[server]" '
        "(in a checkout: make setup)"
    )
    entry = EntryPoint("demo", "simulators.verb_demo", command.GROUP)
    assert 'pip install "fengsui[all]"' in command.missing(entry, "pymodbus.server")
    assert command.main(["demo", "x"]) == 64
    told = capsys.readouterr().err
    assert "`fengsui demo` is not part of this installation (simulators.no_such_verb is missing)" in told


def test_help_lists_every_verb_also_those_that_cannot_run(capsys: pytest.CaptureFixture[str]) -> None:
    """The overview never fails, and `fengsui` alone is wrong usage."""
    assert command.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "good          a verb for this test" in text
    assert "core          (not installed)" in text
    assert command.main([]) == 64


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`fengsui --version` is the package's version."""
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fengsui {__version__}\n"


def test_a_verb_loads_nothing_of_the_others() -> None:
    """`fengsui gateway` on a small board never imports the server's libraries."""
    program = (
        "import sys\n"
        "from fengsui.command import main\n"
        "main(['check-config', '--sample', 'gateway'])\n"
        "heavy = {'numpy', 'sqlalchemy', 'fastapi', 'server', 'console'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")

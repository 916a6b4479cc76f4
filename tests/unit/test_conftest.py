"""The rules for tests themselves: a skip is told with its remedy, and is a failure where CI promises all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import could_not_run

ROOT = Path(__file__).parents[2]


def test_what_could_not_run_is_told_with_its_remedy() -> None:
    """One line per reason, counted, with the command that enables it."""
    assert could_not_run(["mosquitto is not installed", "no moon", "mosquitto is not installed"]) == [
        "   2 tests: mosquitto is not installed. To run them: apt-get install mosquitto",
        "   1 tests: no moon. To run them: see the reason",
    ]
    assert could_not_run([]) == []


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_a_skip_fails_where_ci_promises_everything(tmp_path: Path, ci: str, code: int) -> None:
    """With CI=true the same skipped test makes the run red; without, it is listed."""
    test = tmp_path / "test_skipped.py"
    test.write_text("import pytest\ndef test_a():\n    pytest.skip('influxd is not installed')\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        str(test),
    ]
    ended = subprocess.run(
        [*command, "--rootdir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == code, ended.stdout
    told = (
        "skipped where CI=true promises it can run: influxd"
        if ci
        else "To run them: apt-get install influxdb"
    )
    assert told in ended.stdout

"""What every process does the same way: exit codes, signals, logs, signs of life, clocks."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from fengsui.errors import SettingsError, UsageError
from fengsui.runtime import (
    FAILED,
    OK,
    WRONG_SETTINGS,
    WRONG_USAGE,
    Beats,
    Stop,
    configure_logs,
    monotonic_ms,
    notify,
    run,
    wall_us,
)


@pytest.fixture(autouse=True)
def restored_logs() -> Iterator[None]:
    """The logging of this interpreter as it was."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines_of(text: str) -> list[dict[str, object]]:
    """JSON log lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_main_that_returns_is_a_clean_stop() -> None:
    """Exit code 0 when main returns by itself."""

    async def main(stop: Stop) -> None:
        assert not stop.is_set()

    assert run(main, name="t", log_json=True) == OK


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_stop(number: signal.Signals) -> None:
    """SIGTERM and SIGINT ask main to finish, which is a clean stop."""

    async def main(stop: Stop) -> None:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(stop.wait(), 5)

    assert run(main, name="t", log_json=True) == OK


def test_a_second_signal_ends_the_process_now() -> None:
    """Asked twice, the process does not finish its work."""
    program = (
        "import asyncio, os, signal\n"
        "from fengsui.runtime import run\n"
        "async def main(stop):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await stop.wait()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    await asyncio.sleep(60)\n"
        "raise SystemExit(run(main, name='t', log_json=True))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=30, check=False)
    assert ended.returncode == 128 + signal.SIGTERM


def test_an_unhandled_error_is_logged_once_without_local_variables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit code 70, one critical line with the traceback, and no secret from a local variable in it."""

    async def main(_stop: Stop) -> None:
        password = "hunter-2-local"
        raise ZeroDivisionError(f"{len(password)} is not it")

    assert run(main, name="core", log_json=True) == FAILED
    (line,) = lines_of(capsys.readouterr().out)
    assert (line["event"], line["level"], line["process"]) == ("process_failed", "critical", "core")
    assert "ZeroDivisionError" in json.dumps(line["exception"])
    assert "hunter-2-local" not in json.dumps(line)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError(Path("core.toml"), "key `x` is missing"), WRONG_SETTINGS),
        (UsageError("no such alarm"), WRONG_USAGE),
    ],
)
@pytest.mark.parametrize("grouped", [False, True])
def test_an_error_for_a_person_is_told_on_stderr(
    error: Exception, code: int, grouped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong setting or usage is one plain sentence, also out of a task group; nothing is logged."""

    async def main(_stop: Stop) -> None:
        raise ExceptionGroup("tasks", [error]) if grouped else error

    assert run(main, name="core", log_json=True) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"fengsui core: {error}\n")


def test_a_foreign_error_beside_a_setting_is_a_failure() -> None:
    """A group that holds any unexpected error counts as a failure, to be restarted."""

    async def main(_stop: Stop) -> None:
        raise ExceptionGroup("tasks", [UsageError("x"), KeyError("y")])

    assert run(main, name="t", log_json=True) == FAILED


def test_logs_are_json_lines_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Our INFO and a library's WARNING pass, a library's INFO does not; a newline cannot forge a line."""
    configure_logs("gateway")
    structlog.get_logger("uplink").info("sent", device="a\nb", n=3)
    structlog.get_logger("uplink").debug("unheard")
    logging.getLogger("paho").warning("lost %s", "it")
    logging.getLogger("paho").info("unheard")
    ours, theirs = lines_of(capsys.readouterr().out)
    assert (ours["event"], ours["device"], ours["n"], ours["process"]) == ("sent", "a\nb", 3, "gateway")
    assert (ours["logger"], ours["level"]) == ("fengsui.uplink", "info")
    assert (theirs["event"], theirs["logger"], theirs["process"]) == ("lost it", "paho", "gateway")


def test_logs_are_text_for_a_person_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, not JSON, and an exception without local variables."""
    configure_logs("core", log_json=False)
    password = "hunter-2-local"
    try:
        raise ValueError(len(password))
    except ValueError:
        structlog.get_logger().exception("went_wrong", zone="3-floor")
    text = capsys.readouterr().out
    assert "went_wrong" in text
    assert "ValueError" in text
    assert "hunter-2-local" not in text


def test_a_beat_is_stale_after_three_of_its_periods() -> None:
    """Each beat has its own period; a stamp makes it fresh again."""
    now = 100.0
    beats = Beats(lambda: now)
    intake, store = beats.beat("intake", 1.0), beats.beat("store", 10.0)
    assert beats.stale(103.0) == []
    assert beats.stale(103.1) == ["intake"]
    now = 120.0
    intake()
    assert beats.stale(131.0) == ["intake", "store"]
    store()
    assert beats.stale(122.0) == []


@pytest.mark.parametrize("abstract", [False, True])
async def test_the_watchdog_is_fed_only_while_all_beats_are_fresh(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY once, WATCHDOG while fresh, nothing while any beat is stale, WATCHDOG again after."""
    address = f"\0fengsui-{os.getpid()}" if abstract else str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.setblocking(False)
        now = 0.0
        beats = Beats(lambda: now)
        stamp = beats.beat("intake", 1.0)
        loop = asyncio.get_running_loop()

        async def heard() -> bytes:
            return await asyncio.wait_for(loop.sock_recv(manager, 100), 5)

        feeding = asyncio.create_task(beats.feed_watchdog())
        assert [await heard(), await heard()] == [b"READY=1", b"WATCHDOG=1"]
        now, give_up = 50.0, loop.time() + 5
        with suppress(TimeoutError):  # at most the words that were under way
            while await asyncio.wait_for(loop.sock_recv(manager, 100), 0.2) == b"WATCHDOG=1":
                assert loop.time() < give_up, "fed with a stale beat"
        stamp()
        assert await heard() == b"WATCHDOG=1"
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


def test_without_a_service_manager_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No socket named, a strange name, or nobody listening: False, no error."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", "host:1")
    assert notify("READY=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    assert notify("READY=1") is False


def test_the_clocks_have_the_units_of_their_names() -> None:
    """Milliseconds of the monotonic clock, microseconds of the wall clock."""
    assert monotonic_ms() == pytest.approx(time.monotonic() * 1e3, abs=1_000)
    assert wall_us() == pytest.approx(time.time() * 1e6, abs=1e6)

"""What every test stands on, and the list of what could not run with how to enable it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.calling import House
from tests.databases import KINDS, Database, cluster, in_cluster, in_folder
from tests.servers import Process

settings.register_profile("fengsui", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fengsui")  # how fast a machine is decides no test

_HOW = {
    "mosquitto_pub": "apt-get install mosquitto-clients",
    "mosquitto_rr": "apt-get install mosquitto-clients",
    "mosquitto": "apt-get install mosquitto",
    "influxd": "apt-get install influxdb",
    "victoria-metrics": "apt-get install victoria-metrics",
    "chromium": "apt-get install chromium fonts-noto-cjk",
    "nats-server": "make setup",
    "initdb": "apt-get install postgresql",
    "setpriv": "apt-get install util-linux",
    "mkfs.ext4": "apt-get install e2fsprogs",
    "mkfs.xfs": "apt-get install xfsprogs",
    "root": "run as root, or in a user namespace: unshare -r make test",
    "recording": "put the recordings in ../shared/data beside the checkout, or set FENGSUI_DATA",
}
"""What a skip's reason names, and how to get it."""


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[Process]:
    """One PostgreSQL for all tests of this process that do not break it."""
    with cluster() as server:
        yield server


@pytest.fixture(params=KINDS)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty state database, of each kind in turn."""
    if request.param == "sqlite":
        return in_folder(tmp_path)
    return in_cluster(request.getfixturevalue("postgresql_cluster"))


@pytest.fixture
def house(state: Database) -> Iterator[House]:
    """A house without anything to tell."""
    house = House(state.url)
    yield house
    house.engine.dispose()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI promises every server, a skip is a failure: a green run has tested everything."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where CI=true promises it can run: {reason_of(report)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what this machine could not run and how to enable it."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if hasattr(report, "nodeid")]
    if lines := could_not_run([reason_of(report) for report in skipped]):
        terminalreporter.section("could not run here")
        for line in lines:
            terminalreporter.line(line)


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why a test was skipped, in its own words."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def could_not_run(reasons: list[str]) -> list[str]:
    """One line per reason: how many tests it cost and how to enable them."""
    lines = []
    for reason in sorted(set(reasons)):
        how = next((how for what, how in _HOW.items() if what in reason), "see the reason")
        lines.append(f"{reasons.count(reason):4} tests: {reason}. To run them: {how}")
    return lines

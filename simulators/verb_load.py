"""``fengsui load``: a fleet of gateways against a running server, at a rate or as fast as it can."""

from __future__ import annotations

import argparse
import logging
import math
import resource
import secrets
import time
from functools import partial
from pathlib import Path

from fengsui import settings
from fengsui.errors import UsageError
from fengsui.runtime import OK, Stop, wall_us
from fengsui.runtime import run as run_process
from gateway.config import Settings
from ingest.inventory import Inventory, merge
from ingest.sheet import format_of, write
from simulators.fleet import DRAIN_S, Member, Tally, Template, load, registered
from simulators.positive import positive
from simulators.screen import Screen

SUMMARY = "load a running server with a fleet of simulated gateways, and account for every record"

WAITING = 1
"""Exit code when the server has not committed everything."""
MOST_POINTS = 65_536
"""Of a gateway: what an index in a record can name."""
_FASTEST_PERIOD_US = 1_000
"""As fast as it can, a point has no more than one reading in so long, so that no stamp runs ahead of time."""
_SPARE_FILES = 64
_CONNECT_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "config",
        nargs="+",
        type=Path,
        metavar="GATEWAY.toml",
        help="settings of each gateway of the fleet; of them its name and its broker are used. "
        "`fengsui run --fleet N` makes some in var/fleet/",
    )
    parser.add_argument(
        "--points", type=int, metavar="N", help="points of the fleet, shared out evenly (100 a gateway)"
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="write a registry file (.csv or .yaml) of these points, say how to import it, and send nothing",
    )
    parser.add_argument(
        "--rate", type=positive, metavar="R", help="readings a second, all together (as fast as it can)"
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=positive,
        default=60.0,
        metavar="S",
        help="seconds of making them (60)",
    )


def run(args: argparse.Namespace) -> int:
    """Send, and end with a balance; 0 only if the server has committed everything."""
    gateways = [settings.load(path, Settings) for path in args.config]
    names = [gateway.name for gateway in gateways]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"gateway {twice[0]} is there twice; two with one name would push each other off")
    points = math.ceil((100 * len(names) if args.points is None else args.points) / len(names))
    if not 1 <= points <= MOST_POINTS:
        raise UsageError(f"--points: {points} a gateway; 1 to {MOST_POINTS} are possible")
    if args.sheet is not None:
        return _write_sheet(args.sheet, names, points)
    _allow_files(len(names) + _SPARE_FILES)
    left: list[Tally] = []
    code = run_process(partial(_load, gateways, points, args.rate, args.for_s, left), name="load")
    return code or (WAITING if not left or left[0].waiting else OK)


def _write_sheet(sheet: Path, names: list[str], points: int) -> int:
    data = write(merge(Inventory(), registered(names, points)), format_of(sheet))
    try:
        sheet.write_bytes(data)
    except OSError as error:
        raise UsageError(f"{sheet}: cannot be written: {error.strerror}") from error
    print(f"{len(names) * points:,} points of {len(names)} gateways in {sheet}; register them with")
    print(f"  fengsui registry --data DIR import {sheet}")
    print("where DIR is the core's folder, such as var/core")
    return OK


def _allow_files(needed: int) -> None:
    """A connection is an open file; take as many as this process may have.

    Raises:
        UsageError: That is too few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(
                f"{needed} open files are needed and {hard} allowed: run `ulimit -n {needed}` first, as root"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _load(
    gateways: list[Settings], points: int, rate: float | None, for_s: float, left: list[Tally], stop: Stop
) -> None:
    logging.getLogger("fengsui").setLevel(logging.WARNING)  # what is usual is in the progress line
    screen = Screen()
    period_us = _FASTEST_PERIOD_US if rate is None else max(1, round(points * len(gateways) / rate * 1e6))
    template = Template(points=points, begin_us=wall_us(), period_us=period_us)
    rate_per_s = None if rate is None else template.records * 1e6 / period_us
    members = [
        Member(
            each.name,
            each.broker,
            template,
            spool=secrets.randbits(64),
            rate_per_s=rate_per_s,
            phase=number / len(gateways),
        )
        for number, each in enumerate(gateways)
    ]
    speed = "as fast as it can" if rate is None else f"{rate:,.0f} readings/s"
    screen.tell(f"{len(members)} gateways, {len(members) * points:,} points, {speed}, for {for_s:g} s")
    begun_s = time.monotonic()
    before = Tally()

    def told(tally: Tally) -> None:
        nonlocal before
        trouble = next((member.trouble for member in members if member.trouble), "")
        if trouble and not tally.sent and time.monotonic() - begun_s > _CONNECT_S:
            raise UsageError(f"no gateway is let in: {trouble}; is the broker there, and does it know them?")
        connected = "" if tally.connected == len(members) else f", {tally.connected} connected ({trouble})"
        screen.progress(
            f"records: {tally.made:,} made, {tally.sent:,} sent, {tally.committed:,} committed, "
            f"{tally.waiting:,} waiting; {tally.readings - before.readings:,} readings/s{connected}"
        )
        before = tally

    tally = await load(members, for_s, stop, told)
    took_s = time.monotonic() - begun_s
    left.append(tally)
    again = f" ({tally.sent - tally.made:,} sent again)" if tally.sent > tally.made else ""
    screen.tell(
        f"records: {tally.made:,} made{again} = {tally.committed:,} committed + {tally.waiting:,} waiting; "
        f"{tally.readings:,} readings in {took_s:.1f} s, {tally.readings / took_s:,.0f}/s"
    )
    if tally.waiting:
        screen.tell(
            f"the server has not committed {tally.waiting:,} records within {DRAIN_S:g} s; they end here. "
            "Is it slower than this rate, or down?"
        )

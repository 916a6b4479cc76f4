"""``fengsui demo``: play one recording through the whole stack, and account for every reading."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

import msgspec

from fengsui import runtime
from fengsui.errors import UsageError
from fengsui.runtime import Stop
from gateway.drivers.recording import Recording
from simulators.demo import Report, Wish, demo
from simulators.positive import positive
from simulators.screen import Screen

SUMMARY = "play a recording of a fire through the whole stack, on a faster clock"

RESIDUE = 1
"""Exit code when not every reading is accounted for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "--recording",
        type=Path,
        required=True,
        metavar="FILE",
        help="a CSV file, gzip or plain, with manifest.csv and columns.csv beside it or one folder up",
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="NAME",
        help="a column to play, may be given again (the first near-ceiling temperature)",
    )
    parser.add_argument(
        "--speed", type=positive, metavar="N", help="times as fast as it happened (what --for needs)"
    )
    parser.add_argument(
        "--for",
        dest="for_s",
        type=positive,
        default=60.0,
        metavar="S",
        help="seconds of playing at most; it ends earlier at the end of the file (60)",
    )
    parser.add_argument("--report", type=Path, metavar="OUT.json", help="write the account there")
    parser.add_argument("--headless", action="store_true", help="for nobody to watch: show no address")


def run(args: argparse.Namespace) -> int:
    """Play, write the report; 0 only if every reading is accounted for."""
    _check_columns(args.recording, args.column)
    if args.report is not None and not args.report.absolute().parent.is_dir():
        raise UsageError(f"{args.report}: there is no folder {args.report.absolute().parent}; make it first")
    wish = Wish(args.recording, args.column, args.for_s, args.speed, args.headless)
    reports: list[Report] = []
    code = runtime.run(partial(_play, wish, reports), name="demo")
    if not reports:
        return code
    (report,) = reports
    line = msgspec.json.encode(report)
    if args.report is not None:
        try:
            args.report.write_bytes(line + b"\n")
        except OSError as error:
            raise UsageError(f"{args.report}: cannot be written: {error.strerror}") from error
    print(summary(report), file=sys.stderr)
    return code or (RESIDUE if report.residue else runtime.OK)


async def _play(wish: Wish, reports: list[Report], stop: Stop) -> None:
    logging.getLogger("fengsui").setLevel(logging.WARNING)  # what is usual is in the progress line
    screen = Screen()
    reports.append(await demo(wish, stop, screen.tell, screen.progress))


def summary(report: Report) -> str:
    """The report in two lines for a person."""
    fire = (
        "no fire alarm" if report.first_alarm_s is None else f"first fire alarm at {report.first_alarm_s:g} s"
    )
    latency = "nothing arrived there" if report.ws_p99_ms is None else f"p99 {report.ws_p99_ms:g} ms"
    gone = f"{report.duplicate} duplicate, {report.dead} dead, {report.shed} shed, {report.waiting} waiting"
    return (
        f"produced {report.produced:,}, journalled {report.journalled:,}, stored {report.stored:,}, {gone}:"
        f" residue {report.residue}\n{fire} of {len(report.alarms)} alarms; to the WebSocket: {latency}"
    )


def _check_columns(file: Path, names: list[str]) -> None:
    known = [column.name for column in Recording(file).columns]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{file}: no column {', '.join(unknown)}; it has {', '.join(known)}")

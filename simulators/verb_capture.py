"""``fengsui capture``: what a core receives, into a file, for ``fengsui simulate --replay``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

from fengsui.database import existing
from fengsui.model import Point
from fengsui.runtime import Stop, wall_us
from fengsui.runtime import run as run_process
from fengsui.shell import add_data, add_database
from ingest.registry import Registry
from simulators.capture import Follower, Head, Writer
from simulators.positive import positive
from simulators.screen import Screen

SUMMARY = "capture what a core receives into a file, to play it again (`fengsui simulate --replay`)"

_LOOK_EVERY_S = 0.5
_TURN = 1_000
"""Entries written before anybody else on this machine, or the person's Ctrl-C, has a turn."""
_MB = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="the capture; must not exist")
    add_data(parser, text="the core's data directory (var/core); it is only read")
    parser.add_argument("--journal", type=Path, metavar="DIR", help="the journal, if not DIR/journal")
    add_database(parser)
    parser.add_argument(
        "--for",
        dest="for_s",
        type=positive,
        metavar="S",
        help="follow the core for so many seconds from now on (take what its journal holds now)",
    )
    parser.add_argument(
        "--most-mb", type=positive, default=1_000.0, metavar="MB", help="end when the file is so large (1000)"
    )


def run(args: argparse.Namespace) -> int:
    """Capture; what was captured until Ctrl-C is a whole capture, too."""
    return run_process(partial(_capture, args), name="capture")


async def _capture(args: argparse.Namespace, stop: Stop) -> None:
    logging.getLogger("fengsui").setLevel(logging.WARNING)
    screen = Screen()
    points = await _points(args)
    with closing(Follower(args.journal or args.data / "journal")) as follower:
        if args.for_s is not None:
            follower.skip()
        head = Head(journal=follower.identity, begun_at_us=wall_us())
        with Writer(args.to, head, points) as writer:
            until_s = time.monotonic() + (args.for_s or 0.0)
            most = round(args.most_mb * _MB)

            def is_over() -> bool:
                return stop.is_set() or writer.size >= most

            while True:
                is_last = time.monotonic() >= until_s
                for number, entry in enumerate(follower.entries()):
                    writer.add(entry)
                    if number % _TURN == 0:
                        screen.progress(_told(writer))
                        await asyncio.sleep(0)
                    if is_over():
                        break
                writer.missed = follower.missed
                screen.progress(_told(writer))
                if is_last or is_over():
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_LOOK_EVERY_S, max(0.0, until_s - time.monotonic()))):
                        await stop.wait()
    screen.tell(f"{_told(writer)}, and {len(points):,} points, in {args.to}")
    if writer.size >= most:
        screen.tell(f"ended at {args.most_mb:g} MB; --most-mb allows more")
    if writer.missed:
        screen.tell(
            f"{writer.missed:,} entries were missed: the core gave them up before they were read, or damaged"
        )
    if not writer.entries:
        screen.tell("nothing came; is the core running, and did you mean --for?")


async def _points(args: argparse.Namespace) -> list[Point]:
    engine = existing(args.data, args.database)
    try:
        return list((await Registry.open(engine)).points)
    finally:
        engine.dispose()


def _told(writer: Writer) -> str:
    return f"{writer.entries:,} entries, {writer.readings:,} readings, {writer.size / _MB:,.1f} MB"

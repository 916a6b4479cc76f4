"""``fengsui deadletter``: what could not be used, to look at and deliver again; works while the core runs."""

from __future__ import annotations

import argparse
import asyncio
import datetime
from pathlib import Path

from fengsui.errors import UsageError
from fengsui.shell import add_data, person, plain
from fengsui.viewer import Role, Viewer
from ingest.deadletter import DeadLetter, Summary

SUMMARY = "list, show and replay messages that could not be used"

_SHOWN_BYTES = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which letters."""
    add_data(parser)
    verbs = parser.add_subparsers(dest="what", required=True)
    listing = verbs.add_parser("list", help="the newest letters, one a line")
    listing.add_argument("--limit", type=int, default=50)
    listing.add_argument("--before", type=int, metavar="ID", help="only letters older than this one")
    showing = verbs.add_parser("show", help="one letter with its bytes")
    showing.add_argument("id", type=int)
    replaying = verbs.add_parser("replay", help="ask the core to deliver letters again, within seconds")
    replaying.add_argument("ids", type=int, nargs="*", metavar="ID")
    replaying.add_argument("--gateway", help="all letters of this gateway")
    replaying.add_argument("--reason", help="all letters with this reason, such as unknown_point")


def run(args: argparse.Namespace) -> int:
    """Do it; who may read the core's files may see its dead letters."""
    path = args.data / "deadletter.db"
    if not path.exists():
        raise UsageError(f"{path} is not there; name the core's data directory with --data")
    viewer = Viewer(person(), frozenset({Role.ADMIN}), None)
    return asyncio.run(_run(args, path, viewer))


async def _run(args: argparse.Namespace, path: Path, viewer: Viewer) -> int:
    letters = DeadLetter(path)
    try:
        match args.what:
            case "list":
                for summary in await letters.newest(viewer, args.limit, args.before):
                    print(_line(summary))
            case "show":
                found = await letters.show(viewer, args.id)
                if found is None:
                    raise UsageError(
                        f"there is no letter {args.id}; `fengsui deadletter list` shows what there is"
                    )
                print(_page(*found))
            case _:
                if not args.ids and args.gateway is None and args.reason is None:
                    raise UsageError("say which letters: ids, --gateway, --reason or both")
                marked = await letters.request_replay(
                    viewer, ids=args.ids, gateway=args.gateway, reason=args.reason
                )
                print(f"{marked} letters are marked; the core delivers them within seconds while it runs")
    finally:
        await letters.aclose()
    return 0


def _line(letter: Summary) -> str:
    mark = "*" if letter.first else " "
    return (
        f"{letter.id:>8}{mark} {_time(letter.at_us)} {plain(letter.gateway):<20} {letter.reason:<14}"
        f" {letter.readings:>5} {plain(letter.text)}"
    )


def _page(letter: Summary, raw: bytes) -> str:
    number = "none" if letter.n is None else f"{letter.lane} {letter.n} of journal {letter.journal}"
    lines = [
        f"letter    {letter.id}" + (", the first of its gateway" if letter.first else ""),
        f"received  {_time(letter.at_us)}",
        f"gateway   {plain(letter.gateway)}",
        f"number    {number}",
        f"reason    {letter.reason}: {plain(letter.text)}",
        f"readings  {letter.readings}",
        f"bytes     {letter.size}, {len(raw)} kept"
        + (", replay requested" if letter.replay_requested else ""),
    ]
    for start in range(0, min(len(raw), _SHOWN_BYTES), 16):
        piece = raw[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{start:>8x}  {piece.hex(' '):<48} {text}")
    if len(raw) > _SHOWN_BYTES:
        lines.append(f"          ... {len(raw) - _SHOWN_BYTES} more")
    return "\n".join(lines)


def _time(at_us: int) -> str:
    return datetime.datetime.fromtimestamp(at_us / 1e6, datetime.UTC).strftime("%Y-%m-%d %H:%M:%SZ")

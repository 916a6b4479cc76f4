"""``fengsui registry``: points and places to and from a file; discovered names, and accepting them.

Import and export work on the state database; a running core takes a change over within seconds. Discovered
names live in the core's memory, so these two ask the core through its local socket.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from fengsui.database import existing
from fengsui.errors import UsageError
from fengsui.question import ask
from fengsui.shell import add_data, add_database, person
from fengsui.viewer import Role, Viewer
from ingest.inventory import FIELDS, Sort
from ingest.registry import Registry
from ingest.sheet import MAX_BYTES, format_of

SUMMARY = "import and export points and places; list and accept discovered names"

_ACCEPTED = [name for name in FIELDS[Sort.POINT] if name not in ("gateway", "name", "low", "high", "device")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with the registry."""
    add_data(parser)
    add_database(parser)
    verbs = parser.add_subparsers(dest="what", required=True)
    importing = verbs.add_parser(
        "import", help="add or replace everything in a .yaml or .csv file, or nothing"
    )
    importing.add_argument("file", type=Path)
    exporting = verbs.add_parser("export", help="write everything to a .yaml or .csv file")
    exporting.add_argument("file", type=Path)
    verbs.add_parser("discovered", help="names that gateways send and nobody has registered")
    accepting = verbs.add_parser("accept", help="register a point for a discovered name")
    accepting.add_argument("gateway")
    accepting.add_argument("name")
    for field in _ACCEPTED:
        accepting.add_argument(f"--{field}", default="", required=field in ("id", "quantity"))


def run(args: argparse.Namespace) -> int:
    """Do it; who may write the core's files may change its registry."""
    viewer = Viewer(person(), frozenset({Role.ADMIN}), None)
    match args.what:
        case "import" | "export":
            return asyncio.run(_exchange(args, viewer))
        case "discovered":
            for found in ask(args.data, viewer, "discovered"):
                print("{gateway:<20} {name:<30} {count:>8} {value} {uom}".format_map(found))
        case _:
            fields = {field: getattr(args, field) for field in _ACCEPTED}
            fields["point"] = fields.pop("id")  # on the socket "id" is the number of the question
            point = ask(args.data, viewer, "accept", gateway=args.gateway, name=args.name, **fields)
            print(f"registered {point['id']}; what came before is being delivered")
    return 0


async def _exchange(args: argparse.Namespace, viewer: Viewer) -> int:
    format_ = format_of(args.file)
    engine = existing(args.data, args.database)
    try:
        registry = await Registry.open(engine)
        if args.what == "export":
            data = await registry.dump(viewer, format_)
            await asyncio.to_thread(args.file.write_bytes, data)
            print(f"{len(registry.points)} points in {args.file}")
            return 0
        try:
            if args.file.stat().st_size > MAX_BYTES:
                raise UsageError(f"{args.file} is larger than {MAX_BYTES} bytes; split it")
            data = await asyncio.to_thread(args.file.read_bytes)
        except OSError as error:
            raise UsageError(f"{args.file} cannot be read: {error.strerror}") from error
        change = await registry.load(viewer, data, format_)
        print(f"{change.added} added, {change.replaced} replaced, {change.unchanged} as before")
        return 0
    finally:
        engine.dispose()

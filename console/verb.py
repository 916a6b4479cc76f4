"""``fengsui console``: serve the officers' console, or keep its accounts."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path

from console.app import open_database
from console.app import run as serve
from console.auth import create_user, users
from console.config import Settings
from fengsui import runtime, settings
from fengsui.viewer import Role

SUMMARY = "serve the officers' console, or keep its accounts (user add, user list)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The settings file, and optionally what to do with accounts instead of serving."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="settings of the console")
    what = parser.add_subparsers(dest="what", metavar="user")
    user = what.add_parser("user", help="keep accounts").add_subparsers(dest="user", required=True)
    user.add_parser("list", help="every account, its roles and units")
    add = user.add_parser("add", help="make an account, or give it a new password, roles and units")
    add.add_argument("name", help="1 to 64 of A-Z a-z 0-9 _ -")
    add.add_argument("--role", action="append", choices=list(Role), required=True, help="may be repeated")
    add.add_argument("--unit", action="append", metavar="UNIT", help="sees this unit only; may be repeated")


def run(args: argparse.Namespace) -> int:
    """Serve until stopped, or do one thing with accounts."""
    config = settings.load(args.config, Settings)
    if args.what is None:
        return runtime.run(lambda stop: serve(config, stop), name="console")
    engine = open_database(config.database)
    try:
        if args.user == "add":
            password = (
                getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
            )
            roles = [Role(role) for role in args.role]
            create_user(engine, args.name, password, roles, now_us=runtime.wall_us(), units=args.unit)
            print(f"{args.name}: {', '.join(sorted(roles))}")
        else:
            for one in users(engine):
                units = "all units" if one.units is None else ", ".join(one.units)
                print(f"{one.name}\t{', '.join(one.roles)}\t{units}{' (disabled)' if one.disabled else ''}")
    finally:
        engine.dispose()
    return runtime.OK

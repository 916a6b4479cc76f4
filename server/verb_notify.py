"""``fengsui notify``: check, preview and import the roster; buildings under test; the call log.

All of it works on the core's settings and state database; a running core takes a change over within seconds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml
from sqlalchemy import Engine

from alerting.errors import RosterRefused
from alerting.notify import kept
from alerting.notify.bell import ring, rings
from alerting.notify.plan import Case, Step, plan
from alerting.notify.roster import Roster, dump, load
from alerting.notify.steps import log_of
from fengsui import settings
from fengsui.database import connect
from fengsui.errors import UsageError
from fengsui.model import AlarmClass
from fengsui.runtime import OK
from fengsui.shell import person
from server.config import Settings
from server.migrations import upgrade

SUMMARY = "check, preview and import the roster; put a building under test; show who was called"

REFUSED = 1
"""Exit code when a roster is refused."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do about who is called."""
    verbs = parser.add_subparsers(dest="what", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--config", type=Path, required=True, help="the core's settings file")
        return verb

    add("check", "read a roster file; say file, line and reason").add_argument("file", type=Path)
    previewing = add("preview", "print who would be told when about an alarm")
    previewing.add_argument("file", type=Path, nargs="?", help="a roster file; without it, the one in force")
    previewing.add_argument("--class", dest="cls", default="fire", choices=[str(cls) for cls in AlarmClass])
    previewing.add_argument("--severity", type=int, default=4)
    previewing.add_argument("--unit", default="", help="id of the unit")
    previewing.add_argument("--building", default="", help="id of the building")
    previewing.add_argument("--at", metavar="TIME", help="such as 2026-12-31T23:30 (local), now without it")
    previewing.add_argument("--test", action="store_true", help="of a simulated alarm")
    previewing.add_argument(
        "--confirmed", action="store_true", help="with what is forwarded of a confirmed fire"
    )
    add("import", "put a roster in force").add_argument("file", type=Path)
    add("show", "print the roster in force")
    logging = add("log", "print who was told when, on which channel, and what came of it")
    logging.add_argument("--alarm", help="every step of one alarm")
    logging.add_argument("--limit", type=int, default=50)
    ringing = add("bells", "print when each channel was last proved to deliver, and how long it took")
    ringing.add_argument("--ring", action="store_true", help="ring every channel now; a running core does it")
    testing = add("under-test", "keep a building's alarms in the house for a while, or list such buildings")
    testing.add_argument("building", nargs="?", help="id of the building")
    testing.add_argument("--reason", default="")
    testing.add_argument("--minutes", type=int, help="until the test ends by itself, at most 720")
    testing.add_argument("--end", action="store_true", help="end the test now")
    parser.epilog = "Exit code: 0 good; 1 the roster is refused."


def run(args: argparse.Namespace) -> int:
    """Do it; who may write the core's files may change who is called."""
    config = settings.load(args.config, Settings)
    try:
        match args.what:
            case "check":
                return _check(load(args.file, config.notify.channels), args.file)
            case "preview":
                return _preview(args, config)
            case "import":
                return _import(args, config)
            case "show":
                print(yaml.safe_dump(dump(_in_force(config)), allow_unicode=True, sort_keys=False), end="")
                return OK
            case "bells":
                return _bells(args, config)
            case "log":
                return _log(args, config)
            case _:
                return _under_test(args, config)
    except RosterRefused as error:
        print(error, file=sys.stderr)
        return REFUSED


def _check(roster: Roster, path: Path) -> int:
    print(
        f"{path}: good; {len(roster.contacts)} contacts, {len(roster.rotas)} rotas, {len(roster.calls)} calls"
    )
    return OK


def _preview(args: argparse.Namespace, config: Settings) -> int:
    roster = load(args.file, config.notify.channels) if args.file else _in_force(config)
    zone = timezone(config.notify.offset)
    at = datetime.now(zone)
    if args.at:
        try:
            at = datetime.fromisoformat(args.at)
        except ValueError as error:
            raise UsageError(f"--at {args.at!r}: write it like 2026-12-31T23:30") from error
        at = at.replace(tzinfo=zone) if at.tzinfo is None else at
    at_us = round(at.timestamp() * 1e6)
    case = Case(AlarmClass(args.cls), args.severity, args.unit, args.building, args.test)
    inside = config.notify.inside
    steps = plan(case, roster, at_us, inside=inside)
    if args.confirmed:
        steps = [*plan(case, roster, at_us, inside=inside, forward=True), *steps]
    print(f"{args.cls}, unit {args.unit or '-'}, building {args.building or '-'}, {at:%Y-%m-%d %H:%M %z}")
    for line in timeline(steps, roster, at_us):
        print(line)
    if not steps:
        print("  nobody")
    return OK


def timeline(steps: list[Step], roster: Roster, at_us: int) -> Iterator[str]:
    """One line for each step: when after the alarm, who, on which channel, and why."""
    for step in steps:
        after_s = (step.due_us - at_us) / 1e6
        name = roster.contact(step.contact).name
        notes = [f"{step.call}, stage {step.stage + 1}"]
        if step.rank:
            notes.append("unless delivered before")
        if step.why:
            notes.append(str(step.why))
        who = f"{step.contact} {name}".strip()
        yield f"  {_span(after_s):>9}  {who:<20} {step.channel:<12} {step.to:<24} {'; '.join(notes)}"


def _span(seconds: float) -> str:
    whole = timedelta(seconds=round(seconds))
    return f"{seconds:g} s" if seconds < 600 else str(whole)


def _import(args: argparse.Namespace, config: Settings) -> int:
    roster = load(args.file, config.notify.channels)
    engine = _engine(config)
    try:
        number = kept.put_in_force(engine, roster, person(), time.time_ns() // 1_000)
    finally:
        engine.dispose()
    print(f"roster {number} is in force: {len(roster.contacts)} contacts, {len(roster.calls)} calls")
    return OK


def _in_force(config: Settings) -> Roster:
    engine = _engine(config)
    try:
        found = kept.in_force(engine)
    finally:
        engine.dispose()
    if found is None:
        raise UsageError("no roster is in force; `fengsui notify import FILE` puts one in force")
    return found.roster


def _log(args: argparse.Namespace, config: Settings) -> int:
    engine = _engine(config)
    try:
        rows = log_of(engine, alarm=args.alarm, limit=args.limit)
    finally:
        engine.dispose()
    zone = timezone(config.notify.offset)
    for row in reversed(rows):
        at = datetime.fromtimestamp((row["done_us"] or row["due_us"]) / 1e6, zone)
        print(
            f"{at:%Y-%m-%d %H:%M:%S}  {row['state']:<9} {row['contact']:<16} {row['channel']:<12} "
            f"{row['address']:<24} {row['kind']} {row['alarm']}  {row['outcome']}"
        )
    return OK


def _bells(args: argparse.Namespace, config: Settings) -> int:
    engine, now_us = _engine(config), time.time_ns() // 1_000
    zone = timezone(config.notify.offset)
    try:
        if args.ring:
            count = ring(engine, f"shell {now_us}", config.notify.bells, now_us)
            print(f"{count} channels ring")
        for one in rings(engine):
            at = datetime.fromtimestamp(one.due_us / 1e6, zone)
            took = "" if one.took_s is None else f" in {one.took_s:.2f} s"
            print(f"{one.channel:<16} {at:%Y-%m-%d %H:%M:%S}  {one.state}{took}  {one.outcome}")
    finally:
        engine.dispose()
    return OK


def _under_test(args: argparse.Namespace, config: Settings) -> int:
    engine, now_us = _engine(config), time.time_ns() // 1_000
    zone = timezone(config.notify.offset)
    try:
        if args.building is None:
            for test in kept.under_test(engine, now_us):
                until = datetime.fromtimestamp(test.until_us / 1e6, zone)
                print(f"{test.building:<20} until {until:%Y-%m-%d %H:%M}  {test.person}: {test.reason}")
        elif args.end:
            ended = kept.end_test(engine, args.building, now_us)
            print(f"{args.building} {'is under test no more' if ended else 'was not under test'}")
        elif args.minutes is None:
            raise UsageError("a test needs an end: give --minutes")
        else:
            until_us = now_us + args.minutes * 60_000_000
            kept.put_under_test(
                engine, args.building, args.reason, person(), now_us=now_us, until_us=until_us
            )
            print(f"{args.building} is under test for {args.minutes} min: its alarms stay in the house")
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        engine.dispose()
    return OK


def _engine(config: Settings) -> Engine:
    config.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    upgrade(config.database_url)
    return connect(config.database_url)

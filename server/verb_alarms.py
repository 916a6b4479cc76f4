"""``fengsui alarms``: the desk in a terminal, for the day the console is down.

It asks the core through its local socket, which only the core's own user can open; what it does is recorded
under ``shell:`` and the user's name. An alarm is named by the beginning of its id.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from alerting.alarms.desk import DEEDS
from alerting.alarms.lifecycle import Step
from alerting.finding import Finding
from fengsui.errors import UsageError
from fengsui.model import AlarmClass
from fengsui.question import ask
from fengsui.runtime import OK
from fengsui.shell import add_data, person, plain
from fengsui.viewer import Role, Viewer

SUMMARY = "list, show and handle alarms in a terminal, when the console is down"

_ORDER = {str(cls): place for place, cls in enumerate(AlarmClass)}
_ID_SHOWN = 8

_HELP = {
    Step.ACKNOWLEDGE: "I have seen it",
    Step.RESET: "end an occurrence that was acknowledged",
    Step.SILENCE: "end the desk's sound",
    Step.COMMENT: "put words on record",
    Step.ASSIGN: "say who shall handle it",
    Step.TAKE: "I am handling it",
    Step.VERIFY: "somebody looked on site",
    Step.CLOSE: "close the case with what was found",
    Step.REOPEN: "open a closed case again",
    Step.SHELVE: "let an alarm that is no fire be still for a while",
    Step.UNSHELVE: "end that",
    Step.DISABLE: "take its point out of service; a fire there still sounds",
    Step.ENABLE: "take it back into service",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which alarm."""
    add_data(parser)
    verbs = parser.add_subparsers(dest="what", required=True)
    listing = verbs.add_parser("list", help="open alarms, in the order of work")
    listing.add_argument("--closed", action="store_true", help="the newest closed ones instead")
    showing = verbs.add_parser("show", help="one alarm, its stopwatch and its record")
    showing.add_argument("alarm", metavar="ID")
    for step, help_ in _HELP.items():
        doing = verbs.add_parser(step, help=help_)
        doing.add_argument("alarm", metavar="ID", help="the id, or how it begins")
        if step is Step.CLOSE:
            doing.add_argument("finding", choices=[str(finding) for finding in Finding])
        if step is Step.ASSIGN:
            doing.add_argument("to", metavar="PERSON")
        needs = DEEDS[step].needs
        if "for_s" in needs:
            doing.add_argument("--minutes", type=int, required=True, help="for how long")
        doing.add_argument(
            "--text", default="", required="text" in needs, help="your own words, for the record"
        )


def run(args: argparse.Namespace) -> int:
    """Do it; who may open the core's socket may do what officers and engineers may."""
    viewer = Viewer(person(), frozenset({Role.OFFICER, Role.ENGINEER}), None)

    def asked(do: str, **named: object) -> Any:
        return ask(args.data, viewer, do, **named)

    if args.what == "list":
        _list(asked("closed", limit=100) if args.closed else asked("alarms")["alarms"])
    elif args.what == "show":
        _show(asked("alarm", alarm=_found(asked, args.alarm)["id"]))
    else:
        _act(asked, args)
    return OK


def _act(asked: Callable[..., Any], args: argparse.Namespace) -> None:
    alarm = _found(asked, args.alarm)
    fields = {name: getattr(args, name) for name in ("to", "finding") if hasattr(args, name)}
    if hasattr(args, "minutes"):
        fields["for_s"] = args.minutes * 60
    after = asked(args.what, alarm=alarm["id"], version=alarm["version"], text=args.text, **fields)
    print(_line(after))
    if after["number"] is None:
        print("done, but not yet recorded: the state database does not answer")


def _found(asked: Callable[..., Any], begin: str) -> dict[str, Any]:
    """The alarm whose id begins so, open or closed."""
    alarms: list[dict[str, Any]] = asked("alarms")["alarms"] + asked("closed", limit=1_000)
    found = [alarm for alarm in alarms if alarm["id"].startswith(begin)]
    if len(found) != 1:
        few = ", ".join(alarm["id"][:_ID_SHOWN] for alarm in found[:5])
        raise UsageError(f"{begin}: several alarms begin so: {few}" if found else f"{begin}: no such alarm")
    return found[0]


def _list(alarms: Iterable[dict[str, Any]]) -> None:
    waiting = sorted(
        alarms,
        key=lambda a: (
            not a["state"].endswith("unacknowledged"), a["test"], _ORDER.get(a["cls"], len(_ORDER)),
            -a["measured_at_us"],
        ),
    )  # fmt: skip
    for alarm in waiting:
        print(_line(alarm))
    if not waiting:
        print("no alarms")


def _line(alarm: dict[str, Any]) -> str:
    place = " / ".join(part for part in (alarm["building"], alarm["place"], alarm["point"]) if part)
    marks = [name for name in ("test", "stale", "unknown") if alarm[name]]
    marks += [alarm[name] for name in ("inhibited", "finding") if alarm[name]]
    if alarm["taken"]:
        marks.append(f"taken by {alarm['taken']['by']}")
    return (
        f"{alarm['id'][:_ID_SHOWN]}  {_clock(alarm['measured_at_us'])}  {alarm['cls']:<11} "
        f"{alarm['state'].replace('_', ' '):<23} {plain(place)}"
        + (f"  [{', '.join(marks)}]" if marks else "")
    )


def _show(told: dict[str, Any]) -> None:
    alarm = told["alarm"]
    print(_line(alarm))
    print(f"id {alarm['id']}, version {alarm['version']}, raised {alarm['count']} times")
    for reason in alarm["reasons"]:
        print(f"  {plain(reason['text_en'])}")
    for station, at_us in told["stamps"].items():
        print(f"  {station:<13}{_clock(at_us) if at_us is not None else '-'}")
    for row in told["record"]:
        text = f": {plain(row['reason'])}" if row["reason"] else ""
        who = plain(row["actor"]) or row["origin"]
        print(f"  {row['number']:>8}  {_clock(row['at_us'])}  {row['what'].replace('_', ' ')} by {who}{text}")


def _clock(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%m-%d %H:%M:%S}"

"""``fengsui rules``: check, test, explain and compare rule files; show rules as they ran.

Without a file it is the shipped rules that are meant; where two files are named, the word ``shipped`` is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from alerting.detect.rules import AnyRule, Rule
from alerting.detect.slots import applies
from alerting.errors import RulesRefused
from alerting.rulebook.diff import compare, kind_of
from alerting.rulebook.explain import explain
from alerting.rulebook.file import RuleFile, failures, read, shipped
from alerting.rulebook.kept import find, versions
from alerting.rulebook.ruletest import judge, play
from alerting.rulebook.urgent import in_toml, limits
from fengsui.database import existing
from fengsui.errors import UsageError
from fengsui.model import Point
from fengsui.runtime import OK
from fengsui.shell import DATA, add_data, add_database
from ingest import sheet
from ingest.inventory import Inventory, merge
from ingest.registry import Registry
from server.rulebook import Rulebook

SUMMARY = "check, test, explain and compare rule files; show rules as they ran"

REFUSED = 1
"""Exit code when a rule file is refused, a test fails, or a rule changed under the same version."""

_SHIPPED = "shipped"
_POINTS_NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with rules."""
    verbs = parser.add_subparsers(dest="what", required=True)
    checking = verbs.add_parser("check", help="read a file, its units and tests; say file, line and reason")
    checking.add_argument("file", nargs="?", default=_SHIPPED, metavar="FILE")
    testing = verbs.add_parser("test", help="run the tests in a file and tell what the rules said")
    testing.add_argument("file", nargs="?", default=_SHIPPED, metavar="FILE")
    explaining = verbs.add_parser("explain", help="say in words what rules do, and for which points")
    explaining.add_argument(
        "names", nargs="*", metavar="FILE, RULE", help="a rule file, names of rules in it"
    )
    explaining.add_argument("--registry", type=Path, metavar="FILE", help="count points of a registry file")
    add_data(explaining, default=None)
    add_database(explaining)
    hurrying = verbs.add_parser(
        "urgent", help="print the limits beyond which a gateway's readings take the alarm lane"
    )
    hurrying.add_argument("gateway", metavar="GATEWAY", help="name of the gateway")
    hurrying.add_argument("--rules", metavar="FILE", help="a rule file (the rules in force in DIR)")
    hurrying.add_argument("--registry", type=Path, metavar="FILE", help="points of a registry file (of DIR)")
    add_data(hurrying)
    add_database(hurrying)
    comparing = verbs.add_parser("diff", help="which rules of two files differ, and how")
    comparing.add_argument("old", metavar="OLD")
    comparing.add_argument("new", metavar="NEW")
    showing = verbs.add_parser("show", help="print the shipped file, or a rule as it ran here: NAME@VERSION")
    showing.add_argument("rule", nargs="?", metavar="NAME@VERSION")
    add_data(showing)
    add_database(showing)
    parser.epilog = "Exit code: 0 good; 1 refused, a test fails, or (diff) changed under the same version."


def run(args: argparse.Namespace) -> int:
    """Do it."""
    try:
        match args.what:
            case "check":
                return _check(_read(args.file))
            case "test":
                return _test(_read(args.file))
            case "explain":
                return _explain(args)
            case "urgent":
                return _urgent(args)
            case "diff":
                return _diff(_read(args.old), _read(args.new))
            case _:
                return _show(args)
    except RulesRefused as error:
        print(error, file=sys.stderr)
        return REFUSED


def _read(name: str) -> RuleFile:
    return shipped() if name == _SHIPPED else read(Path(name))


def _check(file: RuleFile) -> int:
    if problems := failures(file):
        raise RulesRefused(file.name, problems)
    print(f"{file.name}: good, {len(file.rules.all())} rules, {len(file.tests)} tests passed")
    return OK


def _test(file: RuleFile) -> int:
    code = OK
    for test, line, _ in file.tests:
        complaints = judge(test, file.rules)
        print(f"{'FAILED' if complaints else 'passed'}  {file.name}:{line}: {test.name}")
        for _, text in complaints:
            print(f"        {text}")
            code = REFUSED
        asked = set() if isinstance(test.expect, str) else {expected.rule for expected in test.expect}
        for said in play(test, file.rules):
            print(f"        {'  ' if said.rule in asked else '+ '}{said}")
    if not file.tests:
        print(f"{file.name}: there are no tests in it", file=sys.stderr)
    return code


def _explain(args: argparse.Namespace) -> int:
    names: list[str] = args.names
    is_file = bool(names) and (names[0].endswith((".yaml", ".yml")) or Path(names[0]).is_file())
    file = _read(names[0]) if is_file else shipped()
    wanted = names[1:] if is_file else names
    rules = file.rules.all()
    if unknown := set(wanted) - {rule.name for rule in rules}:
        known = ", ".join(dict.fromkeys(rule.name for rule in rules))
        raise UsageError(f"{file.name} has no rule {min(unknown)}; it has {known}")
    points = _points(args)
    for rule in rules:
        if not wanted or rule.name in wanted:
            _explain_one(rule, points)
    return OK


def _explain_one(rule: AnyRule, points: Sequence[Point] | None) -> None:
    print(f"{rule.name}@{rule.version}, {kind_of(rule)}")
    sentences = explain(rule)
    for text in (" ".join(words.en for words in sentences), "".join(words.zh for words in sentences)):
        print(f"  {text}")
    if points is not None and isinstance(rule, Rule):
        judged = [point.id for point in points if applies(rule, point)]
        more = f" and {len(judged) - _POINTS_NAMED} more" if len(judged) > _POINTS_NAMED else ""
        which = f": {', '.join(judged[:_POINTS_NAMED])}{more}" if judged else ""
        print(f"  {len(judged)} of {len(points)} points{which}")


def _urgent(args: argparse.Namespace) -> int:
    file = Rulebook.read(None, args.data)[0] if args.rules is None else _read(args.rules)
    own = [point for point in _points(args) or () if point.gateway == args.gateway]
    if not own:
        print(f"no point of {args.gateway} is registered", file=sys.stderr)
    found = limits(file.rules.threshold, own)
    print(f"# made by `fengsui rules urgent {args.gateway}`: {len(found)} of {len(own)} points\n")
    print(in_toml(found), end="")
    return OK


def _points(args: argparse.Namespace) -> Sequence[Point] | None:
    if args.registry is not None:
        format_ = sheet.format_of(args.registry)
        try:
            data = args.registry.read_bytes()
        except OSError as error:
            raise UsageError(f"{args.registry} cannot be read: {error.strerror}") from error
        return merge(Inventory(), sheet.read(data, format_)).points
    if args.data is None and args.database is None:
        return None
    engine = existing(args.data or DATA, args.database)
    try:
        return asyncio.run(Registry.open(engine)).points
    finally:
        engine.dispose()


def _diff(old: RuleFile, new: RuleFile) -> int:
    differences = compare(old.rules, new.rules)
    for difference in differences:
        print(difference)
    if not differences:
        print("the rules are the same")
    unversioned = [difference for difference in differences if difference.unversioned]
    for one in unversioned:
        line = new.lines.get(one.name, 0)
        text = f"rule {one.name} changed under the same version; give it version {(one.old or 0) + 1}"
        print(f"{new.name}:{line}: {text}", file=sys.stderr)
    return REFUSED if unversioned else OK


def _show(args: argparse.Namespace) -> int:
    if args.rule is None:
        print(shipped().text, end="")
        return OK
    name, _, version = args.rule.partition("@")
    if not version.isdecimal():
        raise UsageError(f"{args.rule}: a rule and its version, such as heat-fire@1; an alarm names both")
    engine = existing(args.data, args.database)
    try:
        kept = find(engine, name, int(version))
        if kept is None:
            ran = ", ".join(f"{known}@{number}" for known, number in versions(engine) if known == name)
            raise UsageError(f"{args.rule} never ran here; of {name} there are: {ran or 'none'}")
    finally:
        engine.dispose()
    since = datetime.fromtimestamp(kept.since_us / 1e6, UTC)
    print(f"# {args.rule}, {kept.kind}, since {since:%Y-%m-%d %H:%M:%S} UTC")
    for body in kept.body:
        print("\n".join(f"{key}: {msgspec.json.encode(value).decode()}" for key, value in body.items()))
    return OK

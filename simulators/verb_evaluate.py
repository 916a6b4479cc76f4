"""``fengsui evaluate``: judge detection on recordings of fires, nuisances, normal operation and faults."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from alerting.detect.rules import RuleSet
from alerting.rulebook.file import default_rules, load
from fengsui.errors import UsageError
from fengsui.runtime import OK
from simulators.evaluation import FileReport, Status, Summary
from simulators.evaluation_page import render
from simulators.screen import Screen
from simulators.trial import Folder

SUMMARY = "judge detection on recordings: how early, how often false, which faults are found"

UNREADABLE = 1
"""Exit code when a file of the manifest could not be read; the report is written all the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder with manifest.csv and columns.csv, and the recordings that the manifest names",
    )
    parser.add_argument("--rules", type=Path, metavar="FILE", help="judge by these rules (the shipped ones)")
    parser.add_argument(
        "--report", type=Path, required=True, metavar="OUT.json", help="write the report there"
    )
    parser.add_argument("--html", type=Path, metavar="OUT.html", help="write a page for people there, too")
    parser.epilog = (
        "Exit code: 0 when every file was judged or is out of scope, 1 when some could not be read (they are"
        " named, the report is written), 64 when the folder, the rules or an output cannot be used."
    )


def run(args: argparse.Namespace) -> int:
    """Judge every file, write the report and the page, print the summary."""
    for out in (args.report, args.html):
        if out is not None and not out.absolute().parent.is_dir():
            raise UsageError(f"{out}: there is no folder {out.absolute().parent}; make it first")
    rules, name = _rules(args.rules)
    folder = Folder(args.folder)
    screen = Screen()
    total = len(folder.manifest)

    def progress(file: FileReport, done: int) -> None:
        if file.status is not Status.JUDGED:
            screen.tell(f"{file.status}: {file.file}: {file.note}")
        screen.progress(f"{done} of {total} files: {file.file}")

    report = folder.evaluate(rules, name, progress)
    screen.tell(summary(report.summary))
    _write(args.report, msgspec.json.format(msgspec.json.encode(report), indent=1))
    if args.html is not None:
        _write(args.html, render(report).encode())
    return UNREADABLE if report.summary.unreadable else OK


def summary(found: Summary) -> str:
    """The summary in a few lines for a person."""
    lead = found.median_earlier_than_fixed57
    rate = found.false_faults_per_device_day
    return (
        f"fires {found.detected} of {found.fires} detected; earlier than 57 C, median of {found.lead_judged}:"
        f" {'none' if lead is None else f'{lead:.0%}'}, later {found.later_than_fixed57};"
        f" later than real smoke alarms {found.later_than_reference}\n"
        f"false fire alarms {found.false_fire_alarms};"
        f" faults {found.fault_files_found} of {found.fault_files} found,"
        f" {found.false_faults} false in {found.device_days:.1f} device-days"
        f" ({'no time to count over' if rate is None else f'{rate:.2g} a day'});"
        f" out of scope {found.out_of_scope}, unreadable {found.unreadable}"
    )


def _rules(file: Path | None) -> tuple[RuleSet, str]:
    if file is None:
        return default_rules(), "the shipped rules"
    return load(file).rules, file.name


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from error

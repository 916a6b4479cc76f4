"""``fengsui check-config``: everything that can be known about settings files before a socket opens."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from fengsui.errors import SettingsError
from fengsui.runtime import OK, WRONG_SETTINGS
from fengsui.settings import PROCESSES, fit, read_toml, sample

SUMMARY = "check settings files, or print a commented sample"

_MODULES = {"gateway": "gateway.config", "core": "server.config", "console": "console.config"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Files to check, or the sample to print."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "files", nargs="*", type=Path, default=[], metavar="FILE", help="settings file to check"
    )
    what.add_argument("--sample", choices=PROCESSES, help="print the commented sample file of a process")


def run(args: argparse.Namespace) -> int:
    """Report on every file; a single wrong one makes the exit code 78."""
    if args.sample:
        print(sample(args.sample), end="")
        return OK
    code = OK
    for path in args.files:
        try:
            print(f"{path}: good, settings of a {check(path)} process")
        except SettingsError as error:
            print(error, file=sys.stderr)
            code = WRONG_SETTINGS
    return code


def check(path: Path) -> str:
    """Check one file and return the process it is for.

    Raises:
        SettingsError: What is wrong with it and what to do.
    """
    tables = read_toml(path)
    process = tables.get("process")
    if not isinstance(process, str) or process not in _MODULES:
        raise SettingsError(
            path, 'the first key must say whose file this is: process = "gateway", "core" or "console"'
        )
    # Found by name at run time: this package may not import the processes it checks for.
    settings = importlib.import_module(_MODULES[process])
    fit(path, tables, settings.Settings)
    return process

"""The ``fengsui`` command: one verb per process and task.

A verb is a module (or object) registered in the entry-point group ``fengsui.verbs``; see :class:`Verb`. Only
the verb that is named is imported, so a gateway never loads the server.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, cast

from fengsui import __version__
from fengsui.errors import FengsuiError, SettingsError, UsageError
from fengsui.runtime import WRONG_SETTINGS, WRONG_USAGE

GROUP = "fengsui.verbs"

_EXTRAS = {
    "gateway": "modbus",
    "fengsui": "server",
    "server": "server",
    "console": "server",
    "ingest": "server",
}


class Verb(Protocol):
    """What a verb's module offers."""

    SUMMARY: str
    """One line for ``fengsui --help``."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the verb's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code; a ``FengsuiError`` is told to the person."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    known = {entry.name: entry for entry in sorted(entry_points(group=GROUP))}
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(known))
        return 0 if arguments else WRONG_USAGE
    if arguments[0] in ("-V", "--version"):
        print(f"fengsui {__version__}")
        return 0
    try:
        name, *rest = arguments
        verb = _find(name, known)
        parser = argparse.ArgumentParser(prog=f"fengsui {name}", description=verb.SUMMARY)
        verb.add_arguments(parser)
        return verb.run(parser.parse_args(rest))
    except SettingsError as error:
        print(f"fengsui: {error}", file=sys.stderr)
        return WRONG_SETTINGS
    except FengsuiError as error:
        print(f"fengsui: {error}", file=sys.stderr)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return 130


def _find(name: str, known: dict[str, EntryPoint]) -> Verb:
    entry = known.get(name)
    if entry is None:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `fengsui {near[0]}`?" if near else "`fengsui --help` lists what there is"
        raise UsageError(f"no verb `{name}`; {hint}")
    try:
        return cast(Verb, entry.load())
    except ModuleNotFoundError as error:
        raise UsageError(missing(entry, error.name or "?")) from error


def missing(entry: EntryPoint, module: str) -> str:
    """What to do when a verb's module, or a library it needs, is not installed."""
    home = entry.module.partition(".")[0]
    if module.partition(".")[0] in (home, "fengsui", *_EXTRAS):
        return (
            f"`fengsui {entry.name}` is not part of this installation ({module} is missing); install it again"
        )
    extra = _EXTRAS.get(home, "all")
    return (
        f'`fengsui {entry.name}` needs {module}, which is not installed; run: pip install "fengsui[{extra}]"'
        " (in a checkout: make setup)"
    )


def _overview(known: dict[str, EntryPoint]) -> str:
    lines = ["usage: fengsui VERB [arguments]", "", "From fire sensors to duty officers. Verbs:", ""]
    for name in known:
        try:
            summary = _find(name, known).SUMMARY
        except UsageError:
            summary = "(not installed)"
        lines.append(f"  {name:<14}{summary}")
    return "\n".join(
        [*lines, "", "`fengsui VERB --help` explains one; `fengsui --version` tells the version."]
    )

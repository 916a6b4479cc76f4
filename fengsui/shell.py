"""What the verbs beside a core share: where its data is, who asks, and what may reach a terminal."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

DATA = Path("var/core")
"""A core's data directory, as ``fengsui run`` makes it."""


def add_data(
    parser: argparse.ArgumentParser,
    *,
    default: Path | None = DATA,
    text: str = "the core's data directory (var/core)",
) -> None:
    """Give a verb the argument ``--data DIR``."""
    parser.add_argument("--data", type=Path, default=default, metavar="DIR", help=text)


def add_database(parser: argparse.ArgumentParser) -> None:
    """Give a verb the argument ``--database URL``, for where ``--data`` does not hold the state."""
    parser.add_argument("--database", metavar="URL", help="the state database, if it is not in DIR")


def person() -> str:
    """Under which name the record has what is done here."""
    return f"shell:{getpass.getuser()}"


def plain(text: str) -> str:
    """Text from outside without anything that a terminal obeys."""
    return "".join(character if character.isprintable() else "?" for character in text)

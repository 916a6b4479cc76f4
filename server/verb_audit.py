"""``fengsui audit verify``: whether the alarm record is what was written, row for row.

It finds edited, removed, moved and added rows by the chain, a cut end, a fork and a record written anew by
the exported heads, and current alarms that are not what their newest row says.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from alerting.alarms.audit import Heads, verify
from alerting.errors import HeadsDamaged
from fengsui.database import existing
from fengsui.errors import UsageError
from fengsui.runtime import OK
from fengsui.shell import add_data, add_database
from server.config import HEADS

SUMMARY = "prove that the alarm record is what was written"

NOT_WHOLE = 1
"""Exit code when something is wrong with the record, or there is nothing to hold it against."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the record and its heads are."""
    verbs = parser.add_subparsers(dest="what", required=True)
    verifying = verbs.add_parser("verify", help="read the whole record and hold it against its heads")
    add_data(verifying)
    add_database(verifying)
    verifying.add_argument(
        "--heads", type=Path, metavar="FILE", help=f"the exported heads, if they are not DIR/{HEADS}"
    )
    parser.epilog = "Exit code: 0 whole; 1 not whole, or there are no heads to hold it against."


def run(args: argparse.Namespace) -> int:
    """Verify, and print every flaw."""
    heads = Heads(args.heads or args.data / HEADS)
    engine = existing(args.data, args.database)
    try:
        known = heads.read()
        flaws = verify(engine, known, progress=lambda rows: print(f"{rows} rows", file=sys.stderr))
    except HeadsDamaged as error:
        print(f"not whole: {error}")
        return NOT_WHOLE
    except (OSError, SQLAlchemyError) as error:
        raise UsageError(
            f"the alarm record cannot be read: {getattr(error, 'orig', None) or error}"
        ) from error
    finally:
        engine.dispose()
    for flaw in flaws:
        print(f"not whole: {flaw.text}")
    if not known:
        print(f"no heads in {heads.path}: a cut end or a record written anew could not be found")
        return NOT_WHOLE
    if flaws:
        return NOT_WHOLE
    newest = known[-1]
    at = datetime.fromtimestamp(newest.at_us / 1e6, UTC)
    print(
        f"whole: the chain and {len(known)} heads hold; the newest is of row {newest.number}, {at:%F %T} UTC"
    )
    return OK

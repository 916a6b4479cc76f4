"""The real gateway process with the ledger's driver in place of its own.

``python -m tests.ledger.gateway --config gateway.toml --ledger FILE --orders FILE --plan JSON``
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from fengsui import runtime, settings
from fengsui.runtime import Stop
from gateway.app import Gateway
from gateway.config import Settings
from tests.ledger.driver import LedgerDriver
from tests.ledger.ledger import Book, Plan


def main(arguments: list[str]) -> int:
    """Run until told to stop; the exit code."""
    parser = argparse.ArgumentParser()
    for name in ("--config", "--ledger", "--orders"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--plan", type=json.loads, required=True)
    args = parser.parse_args(arguments)
    config = settings.load(args.config, Settings)

    async def serve(stop: Stop) -> None:
        with Book(args.ledger, Plan(**args.plan)) as book:
            await Gateway(config, drivers=[LedgerDriver(book, args.orders)]).run(stop)

    return runtime.run(serve, name="gateway")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""``fengsui core --config FILE``: the ingestion server with detection and alarms."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from fengsui import settings
from fengsui.runtime import Stop, settle
from fengsui.runtime import run as run_process
from server.app import Core
from server.config import Settings

SUMMARY = "run the core: intake, journal, detection, alarms and the series store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("--config", type=Path, required=True, help="the core's settings file")


def run(args: argparse.Namespace) -> int:
    """Run the core until it is told to stop."""
    return run_process(partial(_serve, settings.load(args.config, Settings)), name="core")


async def _serve(config: Settings, stop: Stop) -> None:
    core = await Core.open(config)
    settle()
    await core.run(stop)

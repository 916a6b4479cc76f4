"""``fengsui gateway run|status``: the edge process, and one look at it."""

from __future__ import annotations

import argparse
import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

from fengsui import settings
from fengsui.errors import UsageError
from fengsui.runtime import OK
from fengsui.runtime import run as run_process
from gateway.app import Gateway
from gateway.config import Settings

SUMMARY = "run a gateway, or look at the one that runs on this machine"
_ANSWER_S = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|status")
    for action, text in (("run", "run the gateway"), ("status", "show spool, lanes, drivers and faults")):
        sub = actions.add_parser(action, help=text, description=text)
        sub.add_argument("--config", type=Path, required=True, help="the gateway's settings file")
        if action == "status":
            sub.add_argument("--json", action="store_true", help="print the status as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run the gateway until it is told to stop, or print its status."""
    config = settings.load(args.config, Settings)
    if args.action == "run":
        return run_process(partial(_serve, config), name="gateway")
    status = ask(config.socket)
    print(json.dumps(status) if args.json else "\n".join(describe(config.name, status)))
    return OK


async def _serve(config: Settings, stop: Any) -> None:
    await Gateway(config).run(stop)


def ask(path: Path) -> dict[str, Any]:
    """The status of the gateway that answers on a local socket.

    Raises:
        UsageError: No gateway answers there.
    """
    try:
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(_ANSWER_S)
            local.connect(str(path))
            with local.makefile("rb") as answer:
                status: dict[str, Any] = json.loads(answer.readline())
                return status
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no gateway answers on {path} ({error}); start it with `fengsui gateway run`, or name the "
            "settings file of the one that runs"
        ) from error


def describe(name: str, status: dict[str, Any]) -> list[str]:
    """The status in lines for a person."""
    hello = status["hello"]
    lines = [f"gateway {name}   spool {hello['spool']}   software {hello['software']}"]
    for lane, state in hello["lanes"].items():
        upto = max(status["upto"][lane], state["first"] - 1)
        waiting = state["next"] - 1 - upto
        lines.append(
            f"  {lane:<10} next {state['next']:>10,}   committed {upto:>10,}   waiting {waiting:>8,}   "
            f"shed {state.get('shed', 0):,}   {state['bytes'] / 1e6:.1f} MB   "
            f"oldest {state['oldest_age_ms'] / 1e3:.1f} s"
        )
    lines.append(f"  points     {hello.get('points', 0)} heard, {hello.get('silent', 0)} silent")
    if hello.get("autonomy_h") is not None:
        lines.append(f"  autonomy   {hello['autonomy_h']} h of spool left at the present rate")
    lines += [f"  driver     {driver}: {state}" for driver, state in status["drivers"].items()]
    lines += [f"  FAULT      {fault}" for fault in hello.get("faults", [])]
    return lines

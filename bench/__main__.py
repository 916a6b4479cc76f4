"""``python -m bench``: measure this machine against the numbers to hold (docs/architecture.md).

Writes ``bench/out/latest.json`` and ``bench/out/index.html``. A measurement that did not happen as it claims
(something lost, not counted, not waiting) fails; a bound that is missed does not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench import backlog, detection, edge, live, page, plain, restart
from bench.figures import Result, Row, by_key
from tests.ledger.station import REPOSITORY

OUT = Path(__file__).parent / "out"


class Measurement(Protocol):
    """What every measuring module offers."""

    def __call__(self, folder: Path, *, scale: float, tell: Callable[[str], None]) -> Awaitable[Result]:
        """Measure below ``folder``."""


MEASUREMENTS: dict[str, Measurement] = {
    "detection": detection.measure,
    "backlog": backlog.measure,
    "plain": plain.measure,
    "live": live.measure,
    "edge": edge.measure,
    "restart": restart.measure,
}


def main(arguments: list[str]) -> int:
    """Measure, print, write; the exit code."""
    args = _parser().parse_args(arguments)
    report = asyncio.run(measure_all(args.only, args.scale))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "latest.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.out / "index.html").write_text(page.render(report), encoding="utf-8")
    print("\n".join(["", *table(report), "", f"{args.out / 'latest.json'}   {args.out / 'index.html'}"]))
    return 0


async def measure_all(names: list[str], scale: float) -> dict[str, Any]:
    """Everything named, one after the other; the whole report."""
    begun = datetime.now(UTC)
    rows: list[Row] = []
    details: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    for name in names:
        gc.collect()
        gc.freeze()  # the collector must not stop who measures
        load = os.getloadavg()[0]
        folder = Path(tempfile.mkdtemp(prefix="fengsui-bench-"))
        begun_s = time.monotonic()
        try:
            result = await MEASUREMENTS[name](folder, scale=scale, tell=partial(_tell, name, begun_s))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        rows += result.rows
        tables |= result.tables
        took_s = round(time.monotonic() - begun_s, 1)
        details[name] = {"took_s": took_s, "load_before": round(load, 2), **result.details}
    return {
        "commit": _commit(),
        "at": begun.isoformat(timespec="seconds"),
        "scale": scale,
        "machine": machine(),
        **by_key(rows),
        **tables,
        "rows": [row.as_json() for row in rows],
        "details": details,
    }


def table(report: dict[str, Any]) -> list[str]:
    """The rows for a terminal."""
    lines = []
    for row in report["rows"]:
        figure = f"{row['median']:,.6g} {row['unit']}".rstrip()
        spread = f"[{row['min']:,.4g} .. {row['max']:,.4g}]"
        lines.append(
            f"{row['verdict'] or '':<7} {row['key']:<26} {figure:>16} {spread:<24} {row['bound']}".rstrip()
        )
        if row["verdict"] == "misses":
            lines.append(f"        {row['what']}; bound by {row['bound_by'] or 'see details'}")
    return lines


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    models = {
        line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")
    }
    memory_kb = next(
        (int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0
    )
    return {
        "cpu": ", ".join(sorted(models)) or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 1e6, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "mosquitto": _said("mosquitto", "-h"),
        "influxd": _said("influxd", "version"),
        "load": os.getloadavg()[0],
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure this machine.")
    parser.add_argument(
        "--scale",
        type=_scale,
        default=1.0,
        help="size of everything; 1:50 for a smoke test (default: 1, about 15 min)",
    )
    parser.add_argument(
        "--only", type=_names, default=list(MEASUREMENTS), help=f"some of {','.join(MEASUREMENTS)}"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where to write (default: bench/out)")
    return parser


def _scale(text: str) -> float:
    one, colon, many = text.partition(":")
    scale = float(one) / float(many) if colon else float(one)
    if not 0 < scale <= 1:
        raise argparse.ArgumentTypeError("from 1:1000 to 1")
    return scale


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(MEASUREMENTS):
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))}; choose from {', '.join(MEASUREMENTS)}"
        )
    return names


def _tell(name: str, begun_s: float, text: str) -> None:
    print(f"{time.monotonic() - begun_s:6.1f} s  {name:<10} {text}", flush=True)


def _commit() -> str:
    """The commit measured, ``-dirty`` behind it when files differ; ``none`` before the first."""
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}-dirty" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _git(*arguments: str) -> str:
    run = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


def _said(*command: str) -> str:
    path = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/usr/bin")
    if path is None:
        return "not installed"
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

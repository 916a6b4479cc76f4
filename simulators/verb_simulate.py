"""``fengsui simulate``: simulated devices, and the registry files of what is simulated."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from functools import partial

from fengsui.runtime import FAILED, OK, Stop
from fengsui.runtime import run as run_process
from server.address import address
from simulators import pump_room
from simulators.building import district, registry_file

SUMMARY = "run a simulated device, or write what a simulation needs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    what = parser.add_subparsers(dest="what", required=True, metavar="district|pump-room|modbus")
    text = "print the registry file of the simulated district, for `fengsui registry import`"
    sub = what.add_parser("district", help=text, description=text)
    sub.add_argument("--gateway", required=True, help="name of the gateway that runs the simulated driver")

    text = "print what belongs to the simulated pump room: its registry file, or a gateway's driver block"
    sub = what.add_parser("pump-room", help=text, description=text)
    wanted = sub.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--gateway", help="registry file; the name of the gateway that reads the device")
    wanted.add_argument(
        "--driver", type=address, metavar="HOST:PORT", help="driver block; where the device is"
    )

    text = "run the simulated pump room, a Modbus TCP device"
    sub = what.add_parser("modbus", help=text, description=text)
    sub.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    sub.add_argument("--port", type=int, required=True)
    sub.add_argument(
        "--check", action="store_true", help="read from the one that runs there instead; exit 0 if it answers"
    )


def run(args: argparse.Namespace) -> int:
    """Print the file, or run the device until it is told to stop."""
    match args.what:
        case "district":
            return _print(registry_file(district(args.gateway)))
        case "pump-room" if args.gateway:
            return _print(registry_file(pump_room.registered(args.gateway)))
        case "pump-room":
            return _print(pump_room.driver_block(*args.driver).encode())
        case _ if args.check:
            return OK if asyncio.run(pump_room.answers(args.host, args.port)) else FAILED
        case _:
            return run_process(partial(_serve, args.host, args.port), name="simulator")


async def _serve(host: str, port: int, stop: Stop) -> None:
    device = pump_room.device(pump_room.PumpRoom(), time.monotonic)
    async with pump_room.serving(device, host, port):
        await stop.wait()


def _print(text: bytes) -> int:
    sys.stdout.buffer.write(text)
    return OK

"""``fengsui simulate``: scenarios in virtual time or live, simulated devices, registry files of both."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import Literal

from alerting.detect.rules import RuleSet
from alerting.rulebook.file import default_rules
from alerting.rulebook.file import load as read_rules
from fengsui import settings
from fengsui.errors import UsageError
from fengsui.runtime import FAILED, OK, Stop, wall_us
from fengsui.runtime import run as run_process
from gateway.config import Settings
from gateway.drivers.base import Pace
from gateway.drivers.config import Forward
from server.address import address
from simulators import panel, playback, pump_room, stage
from simulators.building import district, registry_file
from simulators.capture import Capture
from simulators.drill import Report, drill
from simulators.junit import Suite, junit
from simulators.oracle import Answer, check_rules, judge, said, unforeseen
from simulators.plain import PlainDevice, publish
from simulators.positive import positive
from simulators.rehearsal import rehearse
from simulators.scenario import Script, library, load
from simulators.screen import Screen
from simulators.timeline import Happening, LinkFault, MachineFault, Skew

SUMMARY = "play scenarios with an oracle, run a simulated device, or write what a simulation needs"

NOT_HELD = 1
"""Exit code when a line of an oracle does not hold."""

_SCENARIO = {"check", "junit", "rules", "config", "plain", "drill", "speed", "seed", "fault", "gateway"}
_FITS = {
    "district": {"gateway"},
    "pump-room": {"gateway", "driver"},
    "modbus": {"host", "port", "check"},
    "panel": {"host", "port", "udp", "fire_after"},
}
_REPLAY = {"replay", "rules", "config", "speed", "gateway"}
_CHECK_ONLY = ("junit", "rules")
_HOST = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument(
        "what",
        nargs="*",
        metavar="WHAT",
        help="scenarios, by name or as FILE.yaml (none: list those that come with Fengsui, or with --check "
        "run them all); or a device: district, pump-room, modbus (the running pump room), "
        "panel (a fire alarm panel that reports by GB/T 26875.3)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="run in virtual time and exit 0 only if all that the scenarios expect holds; of modbus: exit 0 "
        "if the device answers",
    )
    parser.add_argument("--seed", type=int, metavar="N", help="chance of the scenario (its own seed)")
    parser.add_argument(
        "--fault",
        action="append",
        metavar="LINE",
        help="add to the timeline: a word (link_cut, duplicate, reorder, skew; in a drill broker_kill, "
        "slow_database, disk_full) or a whole line like '{what: link_cut, at: 1 min, for: 90 s}'; may be "
        "given again",
    )
    checked = parser.add_argument_group("with --check")
    checked.add_argument("--junit", type=Path, metavar="FILE", help="write the answers as JUnit XML")
    checked.add_argument("--rules", type=Path, metavar="FILE", help="judge by these (the shipped rules)")
    live = parser.add_argument_group("live, without --check")
    live.add_argument(
        "--drill",
        action="store_true",
        help="play it through a broker, a core and a gateway made for this run, which fail as the "
        "timeline says; exit 0 only if all that is expected holds and every reading is accounted for",
    )
    live.add_argument("--config", type=Path, metavar="FILE", help="settings of the gateway to play through")
    live.add_argument(
        "--plain",
        action="store_true",
        help="publish plain JSON, as a device without a gateway does; of --config the name and the broker "
        "are used (`fengsui run` makes var/device/device.toml)",
    )
    live.add_argument("--speed", type=positive, metavar="N", help="times as fast as it happens (1)")
    captured = parser.add_argument_group("instead of a scenario")
    captured.add_argument(
        "--replay",
        type=Path,
        metavar="FILE",
        help="what `fengsui capture` wrote: judge it in virtual time (by --rules), with --config play it "
        "live (at --speed), with --gateway print its registry file",
    )
    files = parser.add_argument_group("what belongs to a scenario or device")
    files.add_argument("--gateway", metavar="NAME", help="print its registry file, as read by this gateway")
    files.add_argument(
        "--driver",
        type=address,
        metavar="HOST:PORT",
        help="of pump-room: print a gateway's driver block for it",
    )
    files.add_argument("--host", help=f"of modbus: address to listen on; of panel: of its centre ({_HOST})")
    files.add_argument(
        "--port",
        type=int,
        help="of modbus: port to listen on, or to ask with --check; of panel: its centre's",
    )
    files.add_argument("--udp", action="store_true", help="of panel: report by UDP, not TCP")
    files.add_argument(
        "--fire-after",
        type=positive,
        metavar="S",
        help="of panel: its smoke detector reports fire after so long",
    )


def run(args: argparse.Namespace) -> int:
    """Do what is asked for; 0 only if it went well and, with ``--check``, everything held."""
    devices = [what for what in args.what if what in _FITS]
    if devices and len(args.what) > 1:
        raise UsageError(f"{devices[0]} is a device; give it alone")
    if args.replay is not None and args.what:
        raise UsageError(
            f"--replay does not go with {args.what[0]}; it plays what was captured, and that alone"
        )
    kind = devices[0] if devices else "--replay" if args.replay is not None else "a scenario"
    fits = _FITS[kind] if devices else _REPLAY if args.replay is not None else _SCENARIO
    given = {name for name, value in vars(args).items() if name != "what" and value not in (None, False, [])}
    if excess := sorted(given - fits):
        raise UsageError(f"--{excess[0].replace('_', '-')} does not go with {kind}")
    if devices:
        return _device(devices[0], args)
    if args.replay is not None:
        return _replay(args)
    if args.check:
        return _check(args)
    if wrong := [name for name in _CHECK_ONLY if getattr(args, name) is not None]:
        raise UsageError(f"--{wrong[0]} goes with --check only")
    if not args.what:
        return _list()
    if len(args.what) > 1:
        raise UsageError("one scenario at a time; several go with --check")
    script = load(args.what[0], args.fault or [])
    if args.gateway:
        return _print(registry_file(stage.registered(script, args.gateway)))
    if args.drill:
        return _drill(script, args)
    if args.config is None and args.plain:
        raise UsageError("--plain needs --config with the device's settings, such as var/device/device.toml")
    if args.config is None:
        raise UsageError(
            "give --check (virtual time), or --config with the settings of a gateway to play it live, or "
            "--drill"
        )
    gateway = settings.load(args.config, Settings)
    play = _publish if args.plain else _play
    screen, seed = Screen(), _seed(args, script)
    _leave_out(script, screen, LinkFault, MachineFault)
    driver = stage.ScenarioDriver(script, seed, args.speed or 1.0, Pace(wall_us, asyncio.sleep))
    name = f"{script.source.name}, seed {seed}"
    return run_process(partial(play, driver, name, gateway, screen), name="simulate")


def _device(what: str, args: argparse.Namespace) -> int:
    match what:
        case "modbus":
            if args.port is None:
                raise UsageError("modbus needs --port")
            host = args.host or _HOST
            if args.check:
                return OK if asyncio.run(pump_room.answers(host, args.port)) else FAILED
            return run_process(partial(_serve, host, args.port), name="simulator")
        case "panel":
            if args.port is None:
                raise UsageError("panel needs --port, that of a gateway's gbt26875 driver")
            return run_process(partial(_report, args), name="simulator")
        case "pump-room" if args.driver is not None and args.gateway is None:
            return _print(pump_room.driver_block(*args.driver).encode())
        case _ if args.gateway is None or args.driver is not None:
            raise UsageError(f"{what} needs --gateway NAME{' or --driver HOST:PORT' * (what != 'district')}")
        case "pump-room":
            return _print(registry_file(pump_room.registered(args.gateway)))
        case _:
            return _print(registry_file(district(args.gateway)))


def _list() -> int:
    for name in library():
        print(f"{name:<28}{load(name).scenario.title}")
    return OK


# virtual time


def _check(args: argparse.Namespace) -> int:
    for name in ("config", "plain", "drill", "speed", "gateway"):
        if getattr(args, name) not in (None, False):
            raise UsageError(f"--{name} does not go with --check, which runs as fast as it can")
    rules = default_rules() if args.rules is None else read_rules(args.rules).rules
    scripts = [load(what, args.fault or []) for what in args.what or library()]
    for script in scripts:
        check_rules(script, rules)
    screen = Screen()
    for script in scripts:
        _leave_out(script, screen, MachineFault)
    suites = [_check_one(script, rules, _seed(args, script), screen) for script in scripts]
    if args.junit is not None:
        try:
            args.junit.write_bytes(junit(suites))
        except OSError as error:
            raise UsageError(f"{args.junit}: cannot be written: {error.strerror}") from error
    answers = [answer for suite in suites for answer in suite.answers]
    failed = sum(not answer.holds for answer in answers)
    screen.tell(f"{len(suites)} scenarios, {len(answers)} lines of oracle, {failed} do not hold")
    return NOT_HELD if failed else OK


def _check_one(script: Script, rules: RuleSet, seed: int, screen: Screen) -> Suite:
    name, length_s = script.source.name, float(script.scenario.length)
    began_s = time.perf_counter()
    rehearsal = rehearse(script, rules, seed, lambda share: screen.progress(f"{name}: {share:4.0%}"))
    took_s = time.perf_counter() - began_s
    answers = judge(script, rehearsal.told)
    screen.tell(
        f"{name}: {length_s:g} s with {rehearsal.readings:,} readings in {took_s:.2f} s, "
        f"{length_s / took_s:,.0f} times as fast as it happens; seed {seed}"
    )
    for answer in answers:
        print(_line(answer))
    for text in unforeseen(script, rehearsal.told):
        print(f"  also  {text}")
    return Suite(name, answers, took_s)


def _line(answer: Answer) -> str:
    return f"  {'ok   ' if answer.holds else 'FAILS'} {answer.place}: {answer.wanted} | got {answer.got}"


def _seed(args: argparse.Namespace, script: Script) -> int:
    seed: int = script.scenario.seed if args.seed is None else args.seed
    if seed < 0:
        raise UsageError("--seed must not be negative")
    return seed


# in a house of its own


def _drill(script: Script, args: argparse.Namespace) -> int:
    for name in ("config", "plain"):
        if getattr(args, name) not in (None, False):
            raise UsageError(f"--{name} does not go with --drill, which makes a house of its own")
    check_rules(script, default_rules())
    screen, seed = Screen(), _seed(args, script)
    _leave_out(script, screen, Skew)
    reports: list[Report] = []

    async def play(stop: Stop) -> None:
        logging.getLogger("fengsui").setLevel(logging.CRITICAL)  # faults are what this is about
        name = script.source.name
        reports.append(
            await drill(
                script,
                seed,
                args.speed or 1.0,
                stop,
                screen.tell,
                lambda far: screen.progress(f"{name}: {far}"),
            )
        )

    if code := run_process(play, name="simulate"):
        return code
    (report,) = reports
    answers = judge(script, report.told)
    for answer in answers:
        print(_line(answer))
    for text in unforeseen(script, report.told):
        print(f"  also  {text}")
    for each in report.suffered:
        effect = each.effect or "NOTHING CAME OF IT, so it proves nothing"
        screen.tell(f"{each.word} from {each.from_s:.1f} to {each.until_s:.1f} s: {effect}")
    screen.tell(
        f"produced {report.produced:,}, stored {report.stored:,}, {report.waiting:,} waiting, "
        f"{report.dead:,} dead, {report.shed:,} shed: residue {report.residue}; seed {seed}"
    )
    held = all(answer.holds for answer in answers) and all(each.effect for each in report.suffered)
    return OK if held and not report.residue and not report.waiting else NOT_HELD


def _leave_out(script: Script, screen: Screen, *kinds: type[Happening]) -> None:
    if words := stage.unplayed(script, *kinds):
        screen.tell(f"{script.source.name}: left out, not possible in this way of playing: {words}")


# what was captured


def _replay(args: argparse.Namespace) -> int:
    capture = Capture(args.replay)
    if args.gateway is not None:
        return _print(registry_file(playback.registered(capture, args.gateway)))
    screen = Screen()
    if capture.end is None:
        screen.tell(f"{capture.path} was cut short; what is there is played")
    missed = 0 if capture.end is None else capture.end.missed
    if capture.damaged or missed:
        screen.tell(
            f"{capture.damaged:,} records of it are damaged, {missed:,} were missed when it was taken"
        )
    if args.config is not None:
        if args.rules is not None:
            raise UsageError("--rules does not go with --config: the server that gets it has its own")
        driver = playback.CaptureDriver(capture, args.speed or 1.0, Pace(wall_us, asyncio.sleep))
        gateway = settings.load(args.config, Settings)
        return run_process(partial(_play, driver, str(capture.path), gateway, screen), name="simulate")
    if args.speed is not None:
        raise UsageError("--speed goes with --config (live); virtual time runs as fast as it can")
    rules = default_rules() if args.rules is None else read_rules(args.rules).rules
    began_s = time.perf_counter()
    played = playback.play_back(
        capture, rules, lambda share: screen.progress(f"{capture.path}: {share:4.0%}")
    )
    took_s = time.perf_counter() - began_s
    screen.tell(
        f"{capture.path}: {played.length_s:,.0f} s with {played.readings:,} readings of "
        f"{len(capture.points):,} points in {took_s:.2f} s"
    )
    for reason, count in sorted(played.unused.items()):
        screen.tell(f"not judged, {reason}: {count:,} readings or records")
    raised = [told for told in played.told if told.change.what == "raised"]
    for told in raised:
        print(said(told))
    screen.tell(f"{len(raised)} alarms; each is a test")
    return OK


# live


async def _play(
    driver: stage.TimelineDriver, name: str, gateway: Settings, screen: Screen, stop: Stop
) -> None:
    logging.getLogger("fengsui").setLevel(logging.WARNING)  # what is usual is in the progress line

    def progress(driver: stage.TimelineDriver) -> None:
        screen.progress(f"{name}: {driver.reached:4.0%}, {driver.produced:,} readings accepted")

    await stage.play(driver, gateway, stop, progress)
    screen.tell(f"{name}: {driver.reached:.0%} played, {driver.produced:,} readings accepted")


async def _publish(
    driver: stage.TimelineDriver, name: str, device: Settings, screen: Screen, stop: Stop
) -> None:
    logging.getLogger("fengsui").setLevel(logging.WARNING)
    plain = PlainDevice(device.name, device.broker)

    def progress() -> None:
        trouble = f"; no connection: {plain.trouble}" if plain.trouble else ""
        screen.progress(f"{name}: {driver.reached:4.0%}, {plain.published:,} published{trouble}")

    await publish(driver, plain, stop, progress)
    screen.tell(f"{name}: {driver.reached:.0%} played, {plain.published:,} readings published")
    if plain.left_out:
        screen.tell(f"left out, a plain device cannot say them: {plain.left_out:,} events, invalid readings")
    if plain.refused:
        raise UsageError(f"the server refused {plain.refused} messages or more: {plain.reason}")


# devices


async def _serve(host: str, port: int, stop: Stop) -> None:
    device = pump_room.device(pump_room.PumpRoom(), time.monotonic)
    async with pump_room.serving(device, host, port):
        await stop.wait()


async def _report(args: argparse.Namespace, stop: Stop) -> None:
    transport: Literal["tcp", "udp"] = "udp" if args.udp else "tcp"
    centre = Forward(
        host=args.host or _HOST, port=args.port, transport=transport, address=panel.ADDRESS, centre=1
    )
    await panel.play(panel.Panel(centre, Pace(wall_us, asyncio.sleep)), stop, args.fire_after)


def _print(text: bytes) -> int:
    sys.stdout.buffer.write(text)
    return OK

"""A core that a test holds in its hand: the local socket's protocol over a few alarms and points."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from alerting.alarms.desk import DEEDS
from alerting.statistics import Make, compute

Json = dict[str, Any]

STEPS: dict[str, Json] = {step: {} for step in DEEDS} | {"reset": {"state": "closed"}}
"""What persons do, and what of an alarm it changes besides its version."""


def alarm(point: str = "P-1", at_us: int = 1_790_000_000_000_000, **more: Any) -> Json:
    """An alarm as the core shows it: a fire, new, recorded; ``more`` replaces fields."""
    return {
        "id": f"alarm-{point}",
        "number": None,
        "version": 1,
        "point": point,
        "name": point.lower(),
        "gateway": "gw-1",
        "quantity": "temperature",
        "uom": "degC",
        "cls": "fire",
        "severity": 1,
        "state": "unacknowledged",
        "active": True,
        "stale": False,
        "late": False,
        "test": False,
        "count": 1,
        "measured_at_us": at_us,
        "age_us_at_receipt": 80_000,
        "received_at_us": at_us + 140_000,
        "detected_at_us": at_us + 190_000,
        "recorded_at_us": at_us + 210_000,
        "acknowledged_at_us": None,
        "acknowledged_by": None,
        "cleared_at_us": None,
        "rule": "heat",
        "rule_version": 4,
        "value": 61.4,
        "limit": 57.0,
        "reset": 52.0,
        "reasons": [
            {
                "key": "above",
                "value": 61.4,
                "limit": 57.0,
                "window_s": 4,
                "text_en": f"{point} is over its limit",
                "text_zh": f"{point} 超过限值",
            }
        ],
        "unit": "unit-a",
        "building": "Linjiang Plaza B",
        "zone": "B12-3",
        "place": "12F / 1207 riser room",
        "folded": 0,
        "level": None,
        "linkage": False,
        "points": [],
        **more,
    }


def status(**more: Any) -> Json:
    """A status in which all is well: one simulated gateway, everything balanced."""
    lane = {
        "first": 1,
        "next": 1205,
        "upto": 1204,
        "committed": 1204,
        "lost": 0,
        "waiting": 0,
        "shed": 0,
        "missing": [],
        "oldest_age_ms": 0,
    }
    return {
        "at_us": 0,
        "server": {
            "version": "0.1.0",
            "started_at_us": 1_790_000_000_000_000,
            "simulated": True,
            "journal": {},
            "store": {"kind": "embedded", "state": "ok", "text": "", "waiting": 0},
            "database": {"state": "ok", "pending": 0},
            "faults": [],
        },
        "gateways": [
            {
                "gateway": "gw-1",
                "online": True,
                "last_seen_us": None,
                "age_s": 1.0,
                "spool": "a1b2",
                "lanes": {"alarm": dict(lane, next=13, upto=12, committed=12), "telemetry": lane},
                "clock": "synced",
                "points": 40,
                "silent": 0,
                "temperature_c": 41.0,
                "disk_free": 12_000_000_000,
                "autonomy_h": 72.0,
                "residue": 0,
                "faults": [],
            }
        ],
        "store_balance": [
            {
                "gateway": "gw-1",
                "journalled": 48_160,
                "stored": 48_100,
                "duplicate": 20,
                "dead": {"unknown_point": 40},
                "shed": {},
                "waiting": 0,
                "residue": 0,
            }
        ],
        "latency": {"p50_ms": 42.0, "p99_ms": 180.0},
        **more,
    }


class FakeCore:
    """Answers like the core; a test changes its alarms and sees what it was asked.

    Attributes:
        asked: Every request, oldest first.
        refuse: Per request name, the error to answer with instead.
    """

    def __init__(self, path: Path, wall_us: Callable[[], int]) -> None:
        self.path = path
        self.wall_us = wall_us
        self.number = 0
        self.alarms: dict[str, Json] = {}
        self.status = status()
        self.asked: list[Json] = []
        self.refuse: dict[str, Json] = {}
        self.discovered: list[Json] = []
        self.deadletters: list[Json] = []
        self.history: Callable[[str, int, int], Json] = _wave
        self.rules = "# the rules in force\n"
        self.reports: list[Json] = []
        """What a look at a backtest answers, one after the other; the last one stays."""
        self.lab: list[Json] = []
        """The same of a look at a run of the lab."""
        self.units = {"P-1": "unit-a"}
        """Unit of each point; a point without one is seen only by who sees every unit."""
        self._server: asyncio.Server | None = None
        self._lines: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._status_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; after :meth:`stop` it can be started again with all it knew."""
        self._server = await asyncio.start_unix_server(self._talk, self.path)
        self._status_task = asyncio.create_task(self._push_status(), name="fakecore.status")

    async def stop(self) -> None:
        """Go away as a killed process does: every line cut."""
        assert self._server is not None
        assert self._status_task is not None
        self._status_task.cancel()
        self._server.close()
        lines = list(self._lines.items())
        for writer, task in lines:
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(self._status_task, *(task for _, task in lines), return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def put(self, alarm: Json, *, recorded: bool = True) -> None:
        """Change an alarm, record it (or not) and push it to whoever listens."""
        if recorded:
            self.number += 1
            alarm["number"] = self.number
        if alarm["state"] == "closed":
            self.alarms.pop(alarm["id"], None)
        else:
            self.alarms[alarm["id"]] = alarm
        number = self.number if recorded else None
        self.push({"push": "alarm", "number": number, "recorded": recorded, "alarm": alarm})

    def read(self, point: str, value: float | None, at_us: int | None = None) -> None:
        """Push one reading."""
        at_us = self.wall_us() if at_us is None else at_us
        self.push({"push": "readings", "rows": [[point, at_us, value, 0, at_us + 90_000]]})

    def push(self, message: Json) -> None:
        """Write one line to every open line."""
        text = json.dumps(message).encode() + b"\n"
        for writer in self._lines:
            writer.write(text)

    def asked_for(self, do: str) -> list[Json]:
        """The requests of that name."""
        return [one for one in self.asked if one["do"] == do]

    async def _push_status(self) -> None:
        while True:
            now_us = self.wall_us()
            self.status["at_us"] = now_us
            for gateway in self.status["gateways"]:
                if gateway["online"]:
                    gateway["last_seen_us"] = now_us - 1_000_000
            self.push({"push": "status", "status": self.status})
            await asyncio.sleep(0.2)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines[writer] = task
        try:
            while text := await reader.readline():
                request = json.loads(text)
                self.asked.append(request)
                answer = self._answer(request)
                writer.write(json.dumps({"id": request["id"], **answer}).encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            return
        finally:
            self._lines.pop(writer, None)
            writer.close()

    def _answer(self, request: Json) -> Json:
        do = request["do"]
        if do in self.refuse:
            return {"error": self.refuse[do]}
        handler = self._do_step if do in STEPS else getattr(self, f"_do_{do}", None)
        if handler is None:
            return {"error": {"code": "invalid", "text": f"no such request: {do}"}}
        answer: Json = handler(request, request["viewer"]["units"])
        return answer

    def _do_subscribe(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {}}

    def _do_alarms(self, _request: Json, units: list[str] | None) -> Json:
        seen = [one for one in self.alarms.values() if units is None or one["unit"] in units]
        return {"ok": {"number": self.number, "alarms": seen}}

    def _do_statistics(self, request: Json, _units: list[str] | None) -> Json:
        quiet = compute([], [], lambda _: Make("", ""), from_us=request["from_us"], to_us=request["to_us"])
        return {"ok": msgspec.to_builtins(quiet)}

    def _do_step(self, request: Json, units: list[str] | None) -> Json:
        one = self.alarms.get(request["alarm"])
        if one is None or (units is not None and one["unit"] not in units):
            return {"error": {"code": "unknown", "text": "There is no such alarm."}}
        if one["version"] != request["version"]:
            changed = {"version": one["version"], "what": "taken", "by": "0417", "at_us": 1}
            return {"error": {"code": "stale", "text": "The alarm has changed.", "changed": changed}}
        new = one | {"version": one["version"] + 1} | STEPS[request["do"]]
        if request["do"] == "acknowledge":
            new |= {
                "state": one["state"].replace("unacknowledged", "acknowledged"),
                "acknowledged_at_us": self.wall_us(),
                "acknowledged_by": request["viewer"]["person"],
            }
        self.put(new)
        return {"ok": new}

    def _do_alarm(self, request: Json, units: list[str] | None) -> Json:
        one = self.alarms.get(request["alarm"])
        if one is None or (units is not None and one["unit"] not in units):
            return {"error": {"code": "unknown", "text": "There is no such alarm."}}
        return {"ok": {"alarm": one, "stamps": {}, "record": []}}

    def _do_closed(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": []}

    def _do_seen(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {}}

    def _do_history(self, request: Json, units: list[str] | None) -> Json:
        if units is not None and self.units.get(request["point"]) not in units:
            return {"error": {"code": "unknown", "text": "There is no such point."}}
        return {"ok": self.history(request["point"], request["from_us"], request["to_us"])}

    def _do_points(self, _request: Json, units: list[str] | None) -> Json:
        seen = [point for point, unit in self.units.items() if units is None or unit in units]
        return {"ok": [{"id": point, "unit": self.units[point]} for point in seen]}

    def _do_status(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": self.status}

    def _do_discovered(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": self.discovered}

    def _do_accept(self, request: Json, _units: list[str] | None) -> Json:
        self.discovered = [one for one in self.discovered if one["name"] != request["name"]]
        return {"ok": {"id": request["point"]}}

    def _do_deadletters(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": self.deadletters}

    def _do_rules(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {"name": "rules.yaml", "digest": "0123456789abcdef", "text": self.rules, "rules": []}}

    def _do_check_rules(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {"tests": 0, "differences": []}}

    def _do_replace_rules(self, request: Json, _units: list[str] | None) -> Json:
        return {"ok": {"digest": request["digest"], "differences": []}}

    def _do_start_backtest(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {"ticket": "0123456789abcdef"}}

    def _do_look_backtest(self, _request: Json, _units: list[str] | None) -> Json:
        if not self.reports:
            return {"ok": {"progress": None, "report": None}}
        return {"ok": self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]}

    def _do_cancel_backtest(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {}}

    def _do_lab_sources(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {"ticket": "0123456789abcdef"}}

    _do_lab_play = _do_lab_keep = _do_lab_sources

    def _do_look_lab(self, _request: Json, _units: list[str] | None) -> Json:
        if not self.lab:
            return {"ok": {"progress": None, "report": None}}
        return {"ok": self.lab.pop(0) if len(self.lab) > 1 else self.lab[0]}

    def _do_cancel_lab(self, _request: Json, _units: list[str] | None) -> Json:
        return {"ok": {}}

    def _do_start_fire(self, _request: Json, _units: list[str] | None) -> Json:
        self.put(alarm("SIM-1", self.wall_us(), test=True))
        return {"ok": {}}


def _wave(_point: str, from_us: int, to_us: int) -> Json:
    """A room that warms up at the end, a reading each 2 s, with two minutes missing."""
    at_us = [us for us in range(from_us, to_us, 2_000_000) if not 200e6 < to_us - us < 320e6]
    value = [24 + 0.4 * math.sin(us / 9e6) + 38 * math.exp(-max(0, to_us - us) / 60e6) for us in at_us]
    return {"at_us": at_us, "value": value, "quality": [0] * len(at_us)}


@contextlib.asynccontextmanager
async def fake_core(path: Path, wall_us: Callable[[], int]) -> AsyncIterator[FakeCore]:
    """A fake core listening at ``path``."""
    core = FakeCore(path, wall_us)
    await core.start()
    try:
        yield core
    finally:
        if path.exists():
            await core.stop()

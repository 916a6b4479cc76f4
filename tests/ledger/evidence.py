"""What the system left behind, read from its files by other ways than its own reports."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

import numpy as np

from fengsui import wire
from fengsui.hold import HoldClock
from fengsui.journal import Journal
from fengsui.model import Event, Kind, Lane, What
from fengsui.spool import Held, Spool
from tests.databases import Database
from tests.ledger.identity import LIMIT, SHIFT
from tests.ledger.ledger import Rows
from tests.servers import HOST


@dataclass
class Found:
    """Identities found in one place: reading numbers, and points that reported a fire."""

    readings: list[int] = field(default_factory=list)
    fires: list[str] = field(default_factory=list)
    shed: dict[tuple[int, int], int] = field(default_factory=dict)
    """Readings given up, by spool and seq of the ``shed`` record that says so."""
    records: int = 0


def read_records(records: Iterable[bytes]) -> Found:
    """Identities in records of the wire; a body that cannot be read has none."""
    found = Found()
    for record in records:
        found.records += 1
        header = wire.unpack_header(record)
        match wire.decode_body(header, record[wire.HEADER.size :]):
            case wire.Readings() as readings:
                values = np.frombuffer(readings.x, "<f8")
                known = values[(values >= 0) & (values < LIMIT)].astype(np.int64) >> SHIFT
                found.readings += known.tolist()
            case Event() as event if event.what == What.FIRE:
                found.fires.append(event.point)
            case wire.Shed() as shed:
                found.shed[header.spool, header.seq] = shed.readings
    return found


def in_spool(folder: Path, upto: Mapping[str, int] | None = None) -> Found:
    """What a spool still holds beyond ``upto``, the seq of each lane that its gateway knows as committed.

    Its gateway must not run.
    """
    spool = Spool(folder, quota_bytes=1 << 40, now=HoldClock().now)
    try:
        return read_records(
            wire.encode_record(held.kind, spool.identity, held.seq, 0, held.body)
            for lane in Lane
            for held in _held(spool, lane, (upto or {}).get(lane, 0) + 1)
        )
    finally:
        spool.close()


def _held(spool: Spool, lane: Lane, seq: int) -> Iterator[Held]:
    while batch := spool.read(lane, seq, max_bytes=4 << 20):
        yield from batch
        seq = batch[-1].seq + 1


async def shed_in_journal(folder: Path, gateway: str) -> dict[tuple[int, int], int]:
    """What a gateway gave up, by the tombstones in the journal; the core must not run."""
    journal = Journal(folder, quota_bytes=1 << 40)
    try:
        cursor = {lane: journal.first(lane) - 1 for lane in Lane}
        shed: dict[tuple[int, int], int] = {}
        while journal.is_behind(cursor):
            entries = await journal.read(cursor, max_readings=100_000)
            mine = (e.record for e in entries if e.gateway == gateway and e.header.kind == Kind.SHED)
            shed |= read_records(mine).shed
            cursor[entries[-1].lane] = entries[-1].n
        return shed
    finally:
        journal.close()


def in_embedded_store(folder: Path, state: Database, gateway: str, names: list[str]) -> Rows:
    """All rows of a gateway in the embedded store's files; ``names`` are the ledger's points by index."""
    bound = state.query('SELECT "index", name FROM point WHERE gateway = :gateway', gateway=gateway)
    known = {name: index for index, name in enumerate(names)}
    ours = {index: known.get(name, -1) for index, name in bound}
    rows: list[tuple[int, int, float]] = []
    for path in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(path)) as file:
            stored = file.execute("SELECT point, at, value FROM reading").fetchall()
        nan = float("nan")
        rows += [(ours[p], at, nan if value is None else value) for p, at, value in stored if p in ours]
    return _rows(rows)


def in_influx(port: int, database: str, gateway: str, names: list[str]) -> Rows:
    """All rows of a gateway in InfluxDB, by InfluxQL; a point's id is ``<gateway>-<name>`` here."""
    query = quote('SELECT "v" FROM "reading" GROUP BY "point"')
    with urlopen(f"http://{HOST}:{port}/query?db={database}&epoch=u&q={query}", timeout=60) as answer:
        series = json.load(answer)["results"][0].get("series", [])
    known = {f"{gateway}-{name}": index for index, name in enumerate(names)}
    rows = []
    for one in series:
        point = one["tags"]["point"]
        if point.startswith(f"{gateway}-"):
            rows += [(known.get(point, -1), at, float(value)) for at, value in one["values"]]
    return _rows(rows)


def in_dead_letters(path: Path, gateway: str) -> list[int]:
    """Numbers of a gateway's readings in the dead letters, as far as they can be read."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as file:
        letters = file.execute("SELECT raw FROM letter WHERE gateway = ?", (gateway,)).fetchall()
    numbers: list[int] = []
    for (raw,) in letters:
        with suppress(wire.WireError):
            wire.decode_header(raw)
            numbers += read_records([raw]).readings
    return numbers


def dead_reasons(path: Path, gateway: str) -> dict[str, int]:
    """How many letters of a gateway there are for each reason."""
    with closing(sqlite3.connect(path)) as file:
        query = "SELECT reason, count(*) FROM letter WHERE gateway = ? GROUP BY reason"
        return dict(file.execute(query, (gateway,)).fetchall())


def in_alarm_record(state: Database, gateway: str) -> dict[str, int]:
    """How often the alarm record raised a fire that a device reported, by the gateway's name of the point.

    What comes back after a person's reset is named by ``after``; no device reported it anew.
    """
    raised: Counter[str] = Counter()
    for what, body in state.query("SELECT what, body FROM alarm_record"):
        alarm = json.loads(body)
        is_fire = alarm["gateway"] == gateway and alarm["cls"] == "fire" and alarm["after"] is None
        if is_fire and what in ("raised", "repeated"):
            raised[alarm["name"]] += 1
    return dict(raised)


def _rows(rows: list[tuple[int, int, float]]) -> Rows:
    point, at_us, value = zip(*rows, strict=True) if rows else ((), (), ())
    return Rows(np.array(point, np.int64), np.array(at_us, np.int64), np.array(value, np.float64))

"""The live view: numbered alarm events, readings and status to every open page, over WebSockets.

To the page go, as JSON text, one message each:

- ``{"do":"snapshot","number":n,"alarms":[...]}``: every open alarm; what the page had is replaced
- ``{"do":"alarm","number":n|null,"recorded":bool,"alarm":{...}}``: one change; null is not recorded yet
- ``{"do":"resumed","number":n}``: the events that the page had missed are all sent
- ``{"do":"readings","rows":[[point, at_us, value, quality, received_at_us], ...]}``
- ``{"do":"status","status":{...}}``
- ``{"do":"beat","at_us":..., "core_age_s":..., "core_closed_s":...|null}`` each second

From the page comes ``{"do":"watch","points":[id, ...]}`` and nothing else. A page that was cut off
connects with ``after=n`` and gets what followed, or a snapshot when that is no longer held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec
import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from console.auth import Accounts, Session
from console.core import Core, Line
from console.errors import CoreError, CoreLost
from fengsui.viewer import Role, Viewer

log = structlog.get_logger("console.live")

HELD = 1_000
"""Alarm events held for pages that resume."""

QUEUE = 2_000
"""Alarm events that may wait for one page; a page further behind is cut and resumes."""

CLIENTS = 200
WATCHED = 16
BEAT_S = 1.0
CHECK_S = 2.0
SEND_S = 5.0
CLOSED_HELD = 10_000

CLOSE_BAD_MESSAGE = 1008
CLOSE_FULL = 1013
CLOSE_STOPPING = 1001
CLOSE_SIGNED_OUT = 4401
CLOSE_TOO_SLOW = 4408

EVERYTHING = Viewer(person="console", roles=frozenset({Role.VIEWER}), units=None)
"""As whom the console itself listens; what a page gets of it is judged by that page's viewer."""


class Head(msgspec.Struct):
    """What the hub must know of an alarm; the page gets the whole."""

    id: str
    version: int
    state: str
    unit: str
    number: int | None = None


class Snapshot(msgspec.Struct):
    """Answer of the core to ``alarms``."""

    number: int
    alarms: list[msgspec.Raw]


class Watch(msgspec.Struct, tag="watch", tag_field="do", forbid_unknown_fields=True):
    """The only thing a page says: which points it draws."""

    points: list[str]


class Event(NamedTuple):
    """One alarm change as it goes out."""

    number: int
    unit: str
    text: str


class Known(NamedTuple):
    """An open alarm as last heard."""

    version: int
    unit: str
    recorded: bool
    text: str


class Client:
    """One open page: alarms queue up and are never dropped, of all else only the newest is kept."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.watched: frozenset[str] = frozenset()
        self.close = 0
        """The code to close with; 0 while the page may stay."""
        self.wake = asyncio.Event()
        self._alarms: deque[str] = deque()
        self._rows: dict[str, tuple[str, int, float | None, int, int]] = {}
        self._latest: dict[Literal["status", "beat"], str] = {}

    def alarm(self, text: str) -> None:
        """Queue an alarm event or a snapshot; a page too far behind is told to close."""
        if len(self._alarms) >= QUEUE:
            self.end(CLOSE_TOO_SLOW)
            return
        self._alarms.append(text)
        self.wake.set()

    def restart(self, text: str) -> None:
        """A snapshot: what was queued before it is in it."""
        self._alarms.clear()
        self.alarm(text)

    def latest(self, what: Literal["status", "beat"], text: str) -> None:
        """Replace the status or the beat that waits."""
        self._latest[what] = text
        self.wake.set()

    def readings(self, rows: Iterable[tuple[str, int, float | None, int, int]]) -> None:
        """Keep the newest reading of each watched point."""
        for row in rows:
            if row[0] in self.watched:
                self._rows[row[0]] = row
                self.wake.set()

    def end(self, code: int) -> None:
        """Close this page's socket with ``code`` as soon as may be."""
        self.close = self.close or code
        self.wake.set()

    def is_ending(self) -> bool:
        """Whether the socket is to be closed."""
        return self.close != 0

    def take(self) -> list[str]:
        """Everything that waits, alarms first."""
        texts = list(self._alarms)
        self._alarms.clear()
        if self._rows:
            rows = msgspec.json.encode(list(self._rows.values())).decode()
            texts.append(f'{{"do":"readings","rows":{rows}}}')
            self._rows.clear()
        texts += self._latest.values()
        self._latest.clear()
        return texts


class Hub:
    """Between the one line to the core and the many open pages.

    Attributes:
        number: Number of the newest recorded alarm event heard; -1 before the first snapshot.
        status: The newest status of everything, raw JSON; None before the first.
    """

    def __init__(
        self,
        core: Core,
        accounts: Accounts,
        *,
        wall_us: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._core = core
        self._accounts = accounts
        self._wall_us = wall_us
        self._monotonic_s = monotonic_s
        self.clients: set[Client] = set()
        self.number = -1
        self.status: str | None = None
        self.too_slow = 0
        self._open: dict[str, Known] = {}
        self._gone: dict[str, int] = {}
        self._events: deque[Event] = deque(maxlen=HELD)
        # Pushes that came while a snapshot was on its way: it may be older than they are.
        self._overtaking: deque[Line] | None = None
        self._resync = asyncio.Event()
        self._watch_changed = asyncio.Event()

    # --- from the core -------------------------------------------------------------------------

    def opened(self) -> None:
        """The line to the core is open: subscribe and ask for what is open now."""
        self._resync.set()

    def pushed(self, line: Line) -> None:
        """Take one push of the core and pass it to the pages it concerns."""
        if line.push == "alarm":
            self._change(line)
        elif line.push == "readings":
            for client in self.clients:
                client.readings(line.rows)
        elif line.push == "status":
            self.status = bytes(line.status).decode()
            text = f'{{"do":"status","status":{self.status}}}'
            for client in self.clients:
                if client.session.viewer.units is None:
                    client.latest("status", text)

    def _change(self, line: Line) -> None:
        if self._overtaking is not None:
            self._overtaking.append(line)
        alarm = msgspec.json.decode(line.alarm, type=Head)
        if self.number < 0 or alarm.version < self._version(alarm.id):
            return
        text = bytes(line.alarm).decode()
        if line.number is not None:
            if line.number <= self.number:
                return
            if line.number != self.number + 1:
                # Something between was not pushed; a snapshot has it. This event still goes out now.
                self._events.clear()
                self._resync.set()
            self.number = line.number
        self._keep(alarm, text, recorded=line.number is not None)
        number = "null" if line.number is None else line.number
        recorded = "true" if line.recorded else "false"
        text = f'{{"do":"alarm","number":{number},"recorded":{recorded},"alarm":{text}}}'
        if line.number is not None:
            self._events.append(Event(line.number, alarm.unit, text))
        for client in self.clients:
            if client.session.viewer.sees(alarm.unit):
                client.alarm(text)

    def _version(self, alarm: str) -> int:
        known = self._open.get(alarm)
        return known.version if known else self._gone.get(alarm, -1)

    def _keep(self, alarm: Head, text: str, *, recorded: bool) -> None:
        if alarm.state == "closed":
            self._open.pop(alarm.id, None)
            self._gone[alarm.id] = alarm.version
            while len(self._gone) > CLOSED_HELD:
                self._gone.pop(next(iter(self._gone)))
        else:
            self._open[alarm.id] = Known(alarm.version, alarm.unit, recorded, text)

    def _replace(self, snapshot: Snapshot, overtaking: Iterable[Line]) -> None:
        """Everything open is known again: start over from here, on every page too."""
        self._open.clear()
        self._gone.clear()
        self._events.clear()
        self.number = snapshot.number
        for raw in snapshot.alarms:
            alarm = msgspec.json.decode(raw, type=Head)
            self._keep(alarm, bytes(raw).decode(), recorded=alarm.number is not None)
        for client in self.clients:
            client.restart(self._snapshot(client.session.viewer))
        for line in overtaking:
            self._change(line)

    def _snapshot(self, viewer: Viewer) -> str:
        alarms = ",".join(known.text for known in self._open.values() if viewer.sees(known.unit))
        return f'{{"do":"snapshot","number":{self.number},"alarms":[{alarms}]}}'

    # --- tasks ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep pages and core in step until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._core.run(self), name="console.core")
            tasks.create_task(self._follow(), name="console.follow")
            tasks.create_task(self._subscribe(), name="console.subscribe")
            tasks.create_task(self._beat(), name="console.beat")
            tasks.create_task(self._check(), name="console.sessions")

    async def _follow(self) -> None:
        while True:
            await self._resync.wait()
            self._resync.clear()
            try:
                await self._core.request("subscribe", EVERYTHING, points=self._watched())
                overtaking = self._overtaking = deque(maxlen=QUEUE)
                answer = await self._core.request("alarms", EVERYTHING)
                self._overtaking = None
                self._replace(msgspec.json.decode(answer, type=Snapshot), overtaking)
            except CoreLost:
                if self._core.closed_s is None:
                    self._resync.set()  # still open: ask again; else the next opening asks
            except CoreError as error:
                log.warning("alarms_refused", code=error.code, text=error.text)
            except msgspec.DecodeError as error:
                log.warning("alarms_unreadable", error=str(error))
            finally:
                self._overtaking = None
            # One resynchronisation a second at most, whatever arrives.
            await asyncio.sleep(BEAT_S)

    async def _subscribe(self) -> None:
        while True:
            await self._watch_changed.wait()
            self._watch_changed.clear()
            try:
                await self._core.request("subscribe", EVERYTHING, points=self._watched())
            except CoreLost:
                pass  # the next opening of the line subscribes
            except CoreError as error:
                log.warning("points_not_subscribed", code=error.code)

    async def _beat(self) -> None:
        while True:
            now_s = self._monotonic_s()
            heard_s, closed_s = self._core.heard_s, self._core.closed_s
            text = msgspec.json.encode(
                {
                    "do": "beat",
                    "at_us": self._wall_us(),
                    "core_age_s": None if heard_s is None else round(now_s - heard_s, 3),
                    "core_closed_s": None if closed_s is None else round(now_s - closed_s, 3),
                }
            ).decode()
            for client in self.clients:
                client.latest("beat", text)
            await self._status_of_units()
            await asyncio.sleep(BEAT_S)

    async def _status_of_units(self) -> None:
        """Status for those who may not see everything: asked as them, once per set of units."""
        limited: dict[frozenset[str], list[Client]] = {}
        for client in self.clients:
            if client.session.viewer.units is not None:
                limited.setdefault(client.session.viewer.units, []).append(client)
        for clients in limited.values():
            try:
                status = await self._core.request("status", clients[0].session.viewer)
            except CoreError:
                return  # the beat tells the page that the core is gone
            for client in clients:
                client.latest("status", f'{{"do":"status","status":{bytes(status).decode()}}}')

    async def _check(self) -> None:
        while True:
            await asyncio.sleep(CHECK_S)
            for client in list(self.clients):
                if not await self._accounts.still(client.session):
                    client.end(CLOSE_SIGNED_OUT)

    def _watched(self) -> list[str]:
        return sorted(frozenset().union(*(client.watched for client in self.clients)))

    # --- one page ------------------------------------------------------------------------------

    async def serve(self, socket: WebSocket, session: Session, after: int | None) -> None:
        """Feed one page until it goes, its session ends, or it cannot keep up."""
        await socket.accept()
        if len(self.clients) >= CLIENTS:
            await socket.close(CLOSE_FULL)
            return
        client = Client(session)
        self._greet(client, after)
        self.clients.add(client)
        sending = asyncio.create_task(self._send(socket, client), name="console.page.send")
        hearing = asyncio.create_task(self._hear(socket, client), name="console.page.hear")
        try:
            await asyncio.wait({sending, hearing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.clients.discard(client)
            sending.cancel()
            hearing.cancel()
            for failure in await asyncio.gather(sending, hearing, return_exceptions=True):
                if isinstance(failure, Exception):
                    log.error("live_view_failed", person=session.viewer.person, exc_info=failure)
            if client.watched:
                self._watch_changed.set()
            if client.close == CLOSE_TOO_SLOW:
                self.too_slow += 1

    def sign_out(self, session: Session) -> None:
        """Close every page of a session that its person ended."""
        for client in self.clients:
            if client.session.key == session.key:
                client.end(CLOSE_SIGNED_OUT)

    def stop(self) -> None:
        """The console stops: close every page, which then tries to come back."""
        for client in self.clients:
            client.end(CLOSE_STOPPING)

    def _greet(self, client: Client, after: int | None) -> None:
        viewer = client.session.viewer
        oldest = self.number - len(self._events)
        if self.number < 0:
            pass  # no snapshot of the core yet; it goes to every page when it comes
        elif after is not None and max(oldest, self.number - QUEUE // 2) <= after <= self.number:
            for event in self._events:
                if event.number > after and viewer.sees(event.unit):
                    client.alarm(event.text)
            for known in self._open.values():
                if not known.recorded and viewer.sees(known.unit):
                    client.alarm(f'{{"do":"alarm","number":null,"recorded":false,"alarm":{known.text}}}')
            client.alarm(f'{{"do":"resumed","number":{self.number}}}')
        else:
            client.alarm(self._snapshot(viewer))
        if self.status is not None and viewer.units is None:
            client.latest("status", f'{{"do":"status","status":{self.status}}}')

    async def _send(self, socket: WebSocket, client: Client) -> None:
        try:
            while not client.is_ending():
                await client.wake.wait()
                client.wake.clear()
                for text in client.take():
                    async with asyncio.timeout(SEND_S):
                        await socket.send_text(text)
                    if client.is_ending():
                        break
            async with asyncio.timeout(SEND_S):
                await socket.close(client.close)
        except TimeoutError:
            client.end(CLOSE_TOO_SLOW)
        except (WebSocketDisconnect, RuntimeError, OSError):
            client.end(CLOSE_FULL)  # the page is gone; there is nobody to tell

    async def _hear(self, socket: WebSocket, client: Client) -> None:
        while True:
            try:
                text = await socket.receive_text()
                wanted = msgspec.json.decode(text, type=Watch).points
            except (WebSocketDisconnect, RuntimeError):
                return
            except (msgspec.DecodeError, KeyError):
                break
            if len(wanted) > WATCHED:
                break
            client.watched = frozenset([point for point in wanted if await self._may_see(client, point)])
            self._watch_changed.set()
        client.end(CLOSE_BAD_MESSAGE)
        # Only the sender writes to the socket; it closes with the code above.
        await asyncio.sleep(SEND_S)

    async def _may_see(self, client: Client, point: str) -> bool:
        """Asked of the core as the viewer, with an empty range: the core judges, not the hub."""
        if point in client.watched:
            return True
        now_us = self._wall_us()
        try:
            await self._core.request(
                "history", client.session.viewer, point=point, from_us=now_us, to_us=now_us, max_points=1
            )
        except CoreError:
            return False
        return True

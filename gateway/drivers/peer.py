"""One transmitter at our centre: its exchanges, its parts, its link, and what a person must know of them.

No sockets here: frames and time come in, what to accept and to send comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from fengsui.model import Description, Event, Reading, What
from gateway.codecs.gbt26875.centre import POST_CHECK, Centre, Habits
from gateway.codecs.gbt26875.exchange import Exchange, ExchangesFull, Retry, Sent
from gateway.codecs.gbt26875.frame import Command, Frame
from gateway.codecs.gbt26875.layouts import LAYOUTS
from gateway.codecs.gbt26875.stream import Found
from gateway.codecs.gbt26875.unit import Unit, zone
from gateway.drivers.base import CommandRefused
from gateway.drivers.config import LINK, Gbt26875, Transmitter, known_profile
from gateway.drivers.parts import Parts

CALM_S = 60.0
"""A link that was damaged or flooded is well again after this time without either."""
EVENT_COSTS = 4
"""Objects that an event counts as: it takes a record of its own."""
POST_CHECK_MIN = 10
POST_CHECK_GRACE_S = 120.0
"""How long a post check waits, if nobody says otherwise, and how long its answer may take on top."""

COMMANDS: dict[str, int] = {
    "read_state": 81,
    "read_operations": 84,
    "read_version": 85,
    "read_configuration": 86,
    "read_clock": 88,
    "initialise": 89,
    "set_clock": 90,
    "post_check": POST_CHECK,
    "read_system_state": 61,
    "read_component_state": 62,
    "read_component_value": 63,
    "read_system_operations": 64,
    "read_system_version": 65,
    "read_system_configuration": 66,
    "read_component_configuration": 67,
    "read_system_clock": 68,
}
"""What a person may ask of a transmitter, and the type flag of it."""
_NUMBERS = ("system_type", "system_address", "component_address", "count", "timeout_min")


class Link(Protocol):
    """The way to a device, while there is one."""

    @property
    def host(self) -> str:
        """Where it comes from."""
        ...

    def send(self, data: bytes) -> None:
        """Send a frame, or give up a link that takes nothing."""
        ...


class Taken(NamedTuple):
    """What a frame brings."""

    items: list[Reading | Event]
    """To accept first."""
    replies: list[bytes]
    """To send then."""
    cost: int = 0
    """What it takes from the allowance of the link it came on, in objects."""
    is_fire: bool = False
    report: Unit | None = None
    """What it reported, for another centre to hear."""
    is_repeated: bool = False
    """It is no news; whether that was accepted already, the caller knows."""


class Peer:
    """A transmitter, listed in the configuration or not.

    Args:
        config: The driver's.
        device: What the configuration says of it, or what was made up for one that is not listed.
        now_s: Now.
    """

    def __init__(self, config: Gbt26875, device: Transmitter, now_s: float) -> None:
        self.name = device.name
        self.link: Link | None = None
        profile = known_profile(device.profile or config.profile)
        exchange = Exchange(
            config.address, device.number or 0, profile, Retry(config.retry_s, config.retries)
        )
        habits = Habits(config.silent_s, config.inspect_s, config.set_clock)
        self._centre = Centre(exchange, habits, now_s)
        self._parts = Parts(device.name, profile, device.parts, config.repeat_s)
        self._silent_s = config.silent_s
        self._unlinked_s = now_s
        self._per_s = config.objects_per_s
        self._faults: dict[str, float] = {}
        """What is wrong with the link, and until when it is said to be."""
        self._post_check_s = float("inf")
        self._own = config.address

    def describe(self) -> list[Description]:
        """Its configured parts and its link."""
        return [*self._parts.describe(), Description(self._point(LINK), "link", "")]

    def attach(self, link: Link, now_s: float) -> None:
        """The device is heard on this link from now on."""
        if self.link is not link:
            self.link = link
            self._centre.linked(now_s)

    def detach(self, link: Link, now_s: float) -> None:
        """A link has ended."""
        if self.link is link:
            self.link, self._unlinked_s = None, now_s

    def take(self, frame: Frame, raw: bytes, now_s: float, at: datetime) -> Taken:
        """A good frame of this device."""
        heard = self._centre.receive(frame, now_s, at)
        exchange = self._centre.exchange
        exchange.peer, exchange.own = frame.source, self._own or frame.destination
        items: list[Reading | Event] = list(self._mend("silent", at))
        items += self._failed(heard.failed, at)
        objects = 0
        if heard.unit is not None:
            objects = len(heard.unit.objects)
            trusted = self._centre.is_clock_right
            items += self._parts.take(heard.unit, raw=raw, now_s=now_s, at=at, trusted=trusted)
            if any("post_check_answer" in heard.unit.operations(item) for item in heard.unit.objects):
                items += self._mend("post check", at)
                self._post_check_s = float("inf")
        events = [item for item in items if isinstance(item, Event)]
        cost = 1 + objects + EVENT_COSTS * len(events)
        is_fire = any(event.what is What.FIRE for event in events)
        replies = [*heard.others, *([heard.reply] if heard.reply is not None else [])]
        if frame.command != Command.SEND:
            return Taken(items, replies, cost, is_fire)
        return Taken(items, replies, cost, is_fire, heard.unit, bool(frame.unit) and heard.unit is None)

    def damaged(self, found: Found, head: Frame | None, now_s: float, at: datetime) -> Taken:
        """A frame on this device's link that was refused."""
        text = f"sends damaged frames: {found.error}"
        items: list[Reading | Event] = list(self._break("damaged", text, now_s + CALM_S, at, found.raw))
        denial = self._centre.refuse(head, at) if head is not None else None
        return Taken(items, [denial] if denial is not None else [], 1 + EVENT_COSTS)

    def flooded(self, dropped: int, now_s: float, at: datetime) -> list[Event]:
        """Datagrams had to be dropped."""
        text = f"sends more than {self._per_s:g} objects/s; {dropped} datagrams dropped"
        return self._break("flood", text, now_s + CALM_S, at)

    def turn(self, now_s: float, at: datetime) -> Taken:
        """What is due."""
        items: list[Reading | Event] = []
        frames: list[bytes] = []
        if self.link is not None:
            due = self._centre.turn(now_s, at)
            frames = due.frames
            items += self._failed(due.failed, at)
        if self._centre.is_lost or (self.link is None and now_s - self._unlinked_s >= self._silent_s):
            items += self._break("silent", "does not answer", float("inf"), at)
        if now_s >= self._post_check_s:
            self._post_check_s = float("inf")
            items += self._break("post check", "post check was not answered in time", float("inf"), at)
        for fault, until_s in list(self._faults.items()):
            if now_s >= until_s:
                items += self._mend(fault, at)
        return Taken(items, frames)

    def command(self, what: str, args: Mapping[str, str], now_s: float, at: datetime) -> str:
        """Ask the device something, or have it do something; the answer comes as events.

        Raises:
            CommandRefused: It has no link, an argument makes no sense, or too much is asked already.
        """
        if self.link is None:
            raise CommandRefused(f"{self.name} has no link now")
        type_ = COMMANDS[what]
        layout = LAYOUTS[type_].fields
        try:
            fields: dict[str, int | datetime] = {
                name: int(args[name]) for name in _NUMBERS if name in args and name in layout
            }
            if what == "set_clock":
                fields["time"] = at
            elif "time" in layout:
                since = args.get("since")
                fields["time"] = self._moment(since) if since else at - timedelta(days=1)
            if "count" in layout:
                fields.setdefault("count", 10)
            minutes = int(args.get("timeout_min", POST_CHECK_MIN))
            if what == "post_check":
                fields["timeout_min"] = minutes
            self.link.send(self._centre.ask(type_, fields, now_s, at))
            if what == "post_check":
                self._post_check_s = now_s + 60 * minutes + POST_CHECK_GRACE_S
        except (ValueError, ExchangesFull) as error:
            raise CommandRefused(f"{self.name}: {error}") from error
        return f"{self.name}: {LAYOUTS[type_].words.en} sent"

    def _moment(self, text: str) -> datetime:
        """A moment as a person writes it; without a zone it is meant as on the device."""
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=zone(self._centre.exchange.profile))

    def _failed(self, failed: list[Sent], at: datetime) -> list[Event]:
        named = [LAYOUTS[sent.unit[0]].words.en for sent in failed if sent.unit and sent.unit[0] in LAYOUTS]
        return [self._event(LINK, What.INFO, at, f"no answer to: {name}") for name in named]

    def _break(
        self, fault: str, text: str, until_s: float, at: datetime, raw: bytes | None = None
    ) -> list[Event]:
        """The link has a fault until ``until_s``, or until it is mended; told when it is new."""
        is_new = fault not in self._faults
        self._faults[fault] = until_s
        return [self._event(LINK, What.FAULT, at, f"{self.name} {text}", raw)] if is_new else []

    def _mend(self, fault: str, at: datetime) -> list[Event]:
        if self._faults.pop(fault, None) is None or self._faults:
            return []
        return [self._event(LINK, What.RESTORED, at, f"{self.name} is well again")]

    def _point(self, part: str) -> str:
        return f"{self.name}:{part}"

    def _event(self, part: str, what: What, at: datetime, text: str, raw: bytes | None = None) -> Event:
        at_us = round((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        return Event(point=self._point(part), at=at_us, what=what, text=text, raw=raw)

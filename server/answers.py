"""What the console may ask of the core, and who may ask it. What is not in the table is refused."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Protocol

import msgspec
import structlog
from msgspec import Meta
from sqlalchemy import Engine

from alerting.alarms.book import CLOSED_KEPT
from alerting.alarms.desk import DEEDS, Order
from alerting.alarms.lifecycle import Alarm, Step
from alerting.alarms.stopwatch import stamps
from alerting.detect.rules import RuleSet
from alerting.errors import AlarmRefused, RecordUnavailable, RulesRefused, StaleAlarm
from alerting.finding import Finding
from alerting.rulebook.diff import kind_of
from alerting.rulebook.explain import explain
from alerting.statistics import Make, Statistics, TooMuch, of_span
from alerting.watch import Watch
from fengsui.viewer import Action, Viewer
from ingest.deadletter import DeadLetter, DeadLetterForbidden, DeadLetterUnavailable
from ingest.intake import Intake
from ingest.inventory import RowsRefused
from ingest.registry import Registry, RegistryForbidden, RegistryUnavailable
from ingest.store.base import PointHidden, SeriesStore, StoreError
from server.backtest import BacktestRefused, Question
from server.config import Settings
from server.errands import Errands
from server.lab import Keep, Play, Sources
from server.lab import Question as LabQuestion
from server.latest import LatestReadings
from server.local import Question as Asking
from server.local import Refused
from server.rulebook import Rulebook, RulesChanged

MAX_POINTS = 1_000
MAX_HISTORY = 5_000
MAX_LETTERS = 500
MAX_SEEN = 1_000

log = structlog.get_logger()


class _Act(msgspec.Struct, forbid_unknown_fields=True):
    """What every step of a person names."""

    alarm: str
    version: int
    text: str = ""


class _Assign(_Act):
    to: str = ""


class _Close(_Act):
    finding: Finding | None = None


class _Inhibit(_Act):
    for_s: int = 0


_SHAPES: dict[Step, type[_Act]] = {
    Step.ASSIGN: _Assign, Step.CLOSE: _Close, Step.SHELVE: _Inhibit, Step.DISABLE: _Inhibit,
}  # fmt: skip


class _Alarm(msgspec.Struct, forbid_unknown_fields=True):
    alarm: str


class _Closed(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 100


class _Seen(msgspec.Struct, forbid_unknown_fields=True):
    alarms: Annotated[list[str], Meta(max_length=MAX_SEEN)]


class _History(msgspec.Struct, forbid_unknown_fields=True):
    point: str
    from_us: int
    to_us: int
    max_points: int = 1_000


class _Find(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""
    limit: int = 100


class _Accept(msgspec.Struct, forbid_unknown_fields=True):
    gateway: str
    name: str
    point: str  # "id" is the number of the question on this socket
    quantity: str
    uom: str
    building: str = ""
    zone: str = ""
    place: str = ""
    unit: str = ""


class _Span(msgspec.Struct, forbid_unknown_fields=True):
    from_us: int
    to_us: int
    operators: Annotated[int, Meta(ge=1, le=1_000)] | None = None


class _Letters(msgspec.Struct, forbid_unknown_fields=True):
    limit: int = 100
    before: int | None = None


class _Rules(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class _NewRules(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    digest: str


class _StartFire(msgspec.Struct, forbid_unknown_fields=True):
    building: str | None = None


class _Ticket(msgspec.Struct, forbid_unknown_fields=True):
    ticket: str


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Asked(Protocol):
    """What of a running core the questions are about."""

    settings: Settings
    watch: Watch
    database: Engine
    registry: Registry
    store: SeriesStore
    latest: LatestReadings
    deadletter: DeadLetter
    intake: Intake
    backtests: Errands[Question]
    lab: Errands[LabQuestion]
    rulebook: Rulebook

    def status(self, viewer: Viewer) -> dict[str, Any]:
        """What is shown of the core."""

    def named(self, alarm: Alarm) -> Alarm:
        """The alarm as a person reads it."""

    def replay_soon(self, gateway: str, name: str) -> None:
        """Deliver what was put aside while this name was unknown."""

    def put_in_force(self, rules: RuleSet) -> None:
        """Judge by these rules from now on."""

    async def command(self, gateway: str, what: str, args: Mapping[str, str]) -> str:
        """Ask a gateway to do something; its answer."""


class Answers:
    """Answers the local socket's questions out of a running core."""

    def __init__(self, core: Asked) -> None:
        self._core = core
        self._table: dict[str, tuple[Action, type[Any], Callable[[Viewer, Any], Awaitable[Any]]]] = {
            "alarms": (Action.READ, _Nothing, self._alarms),
            "alarm": (Action.READ, _Alarm, self._alarm),
            "closed": (Action.READ, _Closed, self._closed),
            "seen": (Action.HANDLE, _Seen, self._seen),
            "history": (Action.READ, _History, self._history),
            "points": (Action.READ, _Find, self._points),
            "status": (Action.READ, _Nothing, self._status),
            "statistics": (Action.READ, _Span, self._statistics),
            "discovered": (Action.REGISTER, _Nothing, self._discovered),
            "accept": (Action.REGISTER, _Accept, self._accept),
            "deadletters": (Action.READ_DEAD_LETTERS, _Letters, self._deadletters),
            "rules": (Action.READ, _Nothing, self._rules),
            "check_rules": (Action.CHANGE_RULES, _Rules, self._check_rules),
            "replace_rules": (Action.CHANGE_RULES, _NewRules, self._replace_rules),
            "start_fire": (Action.SIMULATE, _StartFire, self._start_fire),
            "start_backtest": (Action.BACKTEST, Question, self._start_backtest),
            "look_backtest": (Action.BACKTEST, _Ticket, self._look_backtest),
            "cancel_backtest": (Action.BACKTEST, _Ticket, self._cancel_backtest),
            "lab_sources": (Action.BACKTEST, Sources, self._start_lab),
            "lab_play": (Action.BACKTEST, Play, self._start_lab),
            "lab_keep": (Action.BACKTEST, Keep, self._start_lab),
            "look_lab": (Action.BACKTEST, _Ticket, self._look_lab),
            "cancel_lab": (Action.BACKTEST, _Ticket, self._cancel_lab),
        }
        for step, deed in DEEDS.items():
            self._table[step] = deed.action, _SHAPES.get(step, _Act), partial(self._act, step)

    async def answer(self, question: Asking) -> Any:
        """The answer to a question.

        Raises:
            Refused: With the code and the words that go back to who asked.
        """
        known = self._table.get(question.do)
        if known is None:
            raise Refused("invalid", f"there is no {question.do[:40]!r}; known are {', '.join(self._table)}")
        action, shape, do = known
        if not question.viewer.may(action):
            raise Refused("forbidden", f"{question.viewer.person} may not {action.replace('_', ' ')}")
        try:
            args = msgspec.convert(question.args, shape)
        except msgspec.ValidationError as error:
            raise Refused("invalid", str(error)) from error
        try:
            return await do(question.viewer, args)
        except AlarmRefused as error:
            log.info("alarm.refused", person=question.viewer.person, do=question.do, why=str(error))
            now = error.alarm if isinstance(error, StaleAlarm) else None
            raise Refused(error.code, str(error), None if now is None else _changed(now)) from error
        except (RegistryForbidden, DeadLetterForbidden) as error:
            raise Refused("forbidden", str(error)) from error
        except (RowsRefused, RulesRefused, BacktestRefused, TooMuch) as error:
            raise Refused("invalid", str(error)) from error
        except PointHidden as error:
            raise Refused("unknown", "there is no such point") from error
        except (RegistryUnavailable, DeadLetterUnavailable, RecordUnavailable, StoreError) as error:
            raise Refused("unavailable", str(error)) from error

    async def _alarms(self, viewer: Viewer, _args: _Nothing) -> dict[str, Any]:
        watch = self._core.watch
        return {
            "number": watch.recorder.number,
            "alarms": [self._core.named(alarm) for alarm in watch.book.alarms(viewer)],
        }

    async def _act(self, step: Step, viewer: Viewer, args: _Act) -> Any:
        order = Order(step=step, **msgspec.structs.asdict(args))
        return self._core.named(await self._core.watch.act(viewer, order))

    async def _alarm(self, viewer: Viewer, args: _Alarm) -> dict[str, Any]:
        now = self._core.watch.book.find(args.alarm)
        if now is not None and not viewer.sees(now.unit):
            now = None
        told = await self._core.watch.recorder.story(viewer, args.alarm)
        if told is None and now is None:
            raise Refused("unknown", f"no alarm {args.alarm[:64]}")
        alarm = now or (told.alarm if told is not None else None)
        assert alarm is not None
        return {
            "alarm": self._core.named(alarm),
            "stamps": stamps(alarm)._asdict(),
            "record": [row._asdict() for row in told.rows] if told is not None else [],
        }

    async def _closed(self, viewer: Viewer, args: _Closed) -> list[Alarm]:
        limit = min(max(args.limit, 1), CLOSED_KEPT)
        return [self._core.named(alarm) for alarm in self._core.watch.book.closed(viewer, limit)]

    async def _seen(self, viewer: Viewer, args: _Seen) -> dict[str, Any]:
        await self._core.watch.seen(viewer, args.alarms)
        return {}

    async def _history(self, viewer: Viewer, args: _History) -> dict[str, Any]:
        point = self._core.registry.seen_point(viewer, args.point)
        if point is None:
            raise Refused("unknown", "there is no such point")
        if not 1 <= args.max_points <= MAX_HISTORY or args.to_us < args.from_us:
            raise Refused("invalid", f"max_points is 1 to {MAX_HISTORY}, and to_us is not before from_us")
        series = await self._core.store.history(viewer, point, args.from_us, args.to_us, args.max_points)
        return {
            "at_us": series.at_us.tolist(),
            "value": [None if value != value else value for value in series.value.tolist()],
            "quality": series.quality.tolist(),
        }

    async def _points(self, viewer: Viewer, args: _Find) -> list[dict[str, Any]]:
        found = await self._core.registry.find(viewer, args.text, min(max(args.limit, 1), MAX_POINTS))
        points = []
        for point in found:
            latest = self._core.latest.of(point.index)
            newest = latest._asdict() if latest else {"at_us": None, "value": None, "quality": None}
            points.append(msgspec.to_builtins(point) | newest)
        return points

    async def _status(self, viewer: Viewer, _args: _Nothing) -> dict[str, Any]:
        return self._core.status(viewer)

    async def _statistics(self, viewer: Viewer, args: _Span) -> Statistics:
        return await of_span(self._core.database, viewer, self._make_of, **msgspec.structs.asdict(args))

    def _make_of(self, point: str) -> Make:
        device = self._core.registry.device_of(point)
        return Make(device.model, device.batch) if device is not None else Make("", "")

    async def _discovered(self, viewer: Viewer, _args: _Nothing) -> Any:
        return self._core.registry.discovered(viewer)

    async def _accept(self, viewer: Viewer, args: _Accept) -> Any:
        fields: dict[str, str] = msgspec.to_builtins(args)
        gateway, name, id_ = (fields.pop(key) for key in ("gateway", "name", "point"))
        point = await self._core.registry.accept(viewer, gateway, name, fields | {"id": id_})
        self._core.replay_soon(args.gateway, args.name)
        return point

    async def _deadletters(self, viewer: Viewer, args: _Letters) -> list[dict[str, Any]]:
        limit = min(max(args.limit, 1), MAX_LETTERS)
        letters = await self._core.deadletter.newest(viewer, limit, args.before)
        return [letter._asdict() for letter in letters]

    async def _rules(self, _viewer: Viewer, _args: _Nothing) -> dict[str, Any]:
        book = self._core.rulebook
        rules = [
            {"kind": kind_of(rule), "line": book.file.lines.get(rule.name, 0)}
            | {
                "text_en": " ".join(words.en for words in said),
                "text_zh": "".join(words.zh for words in said),
            }
            | msgspec.to_builtins(rule)
            for rule in book.rules.all()
            for said in (explain(rule),)
        ]
        return {"name": book.file.name, "digest": book.digest, "text": book.file.text, "rules": rules}

    async def _check_rules(self, viewer: Viewer, args: _Rules) -> dict[str, Any]:
        _of_all_units(viewer)
        file, differences = await self._core.rulebook.check(args.text)
        return {"tests": len(file.tests), "differences": [str(one) for one in differences]}

    async def _replace_rules(self, viewer: Viewer, args: _NewRules) -> dict[str, Any]:
        _of_all_units(viewer)
        book = self._core.rulebook
        try:
            differences = await book.replace(args.text, args.digest, now_us=time.time_ns() // 1_000)
        except RulesChanged as error:
            raise Refused("stale", "somebody else has changed the rules; read them again") from error
        except OSError as error:
            raise Refused("unavailable", f"the rule file cannot be written: {error.strerror}") from error
        self._core.put_in_force(book.rules)
        log.info("rules.replaced", person=viewer.person, differences=[str(one) for one in differences])
        return {"digest": book.digest, "differences": [str(one) for one in differences]}

    async def _start_fire(self, _viewer: Viewer, args: _StartFire) -> dict[str, str]:
        gateway = self._core.settings.simulated_gateway
        if not gateway:
            raise Refused("unavailable", "no simulated building is connected to this core")
        named = {"building": args.building} if args.building else {}
        return {"gateway": gateway, "text": await self._core.command(gateway, "start_fire", named)}

    async def _start_backtest(self, viewer: Viewer, args: Question) -> dict[str, str]:
        return {"ticket": await self._core.backtests.start(viewer, args)}

    async def _look_backtest(self, viewer: Viewer, args: _Ticket) -> dict[str, Any]:
        return self._core.backtests.look(viewer, args.ticket)

    async def _cancel_backtest(self, viewer: Viewer, args: _Ticket) -> dict[str, Any]:
        await self._core.backtests.cancel(viewer, args.ticket)
        return {}

    async def _start_lab(self, viewer: Viewer, args: LabQuestion) -> dict[str, str]:
        return {"ticket": await self._core.lab.start(viewer, args)}

    async def _look_lab(self, viewer: Viewer, args: _Ticket) -> dict[str, Any]:
        return self._core.lab.look(viewer, args.ticket)

    async def _cancel_lab(self, viewer: Viewer, args: _Ticket) -> dict[str, Any]:
        await self._core.lab.cancel(viewer, args.ticket)
        return {}


def _changed(alarm: Alarm) -> dict[str, Any]:
    """What a person with a stale view must know."""
    moved = alarm.moved
    return {"state": alarm.state, "version": alarm.version} | (
        {} if moved is None else {"what": moved.what, "by": moved.by, "at_us": moved.at_us}
    )


def _of_all_units(viewer: Viewer) -> None:
    """Rules are for every unit, so who sees some units only does not change them."""
    if viewer.units is not None:
        raise Refused("forbidden", f"rules are for every unit, {viewer.person} is for some of them only")

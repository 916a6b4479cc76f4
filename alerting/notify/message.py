"""What a message says: short first, in the language of whoever gets it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import msgspec

from alerting.alarms.lifecycle import Alarm
from alerting.detect.verdict import Level
from alerting.detect.words import CLASSES
from alerting.notify.steps import Bundle, Kind
from fengsui.model import AlarmClass

LATE_S = 30
"""A message says how old its news is from here on."""

_KINDS = {
    Kind.BELL: ("Bell test", "铃声测试", "This channel works. Nothing has happened.", "通道正常,没有警情。"),
    Kind.CANARY: ("Canary", "心跳", "Notification works.", "通知正常。"),
}  # fmt: skip


class Message(NamedTuple):
    """One message as a channel sends it."""

    id: str
    """The same when it is sent again after a crash, so that a receiver can tell."""
    to: str
    title: str
    text: str
    urgent: bool
    test: bool
    """For the house only: no real device said so."""
    alarms: tuple[Alarm, ...]
    total: int
    """Alarms that it is about; ``alarms`` holds the newest of them."""
    link: str = ""
    """A page that acknowledges, once."""
    code: str = ""
    """What to reply to acknowledge."""

    def facts(self) -> dict[str, Any]:
        """All of it as JSON types, for receivers that are machines."""
        return {
            "id": self.id, "to": self.to, "title": self.title, "text": self.text, "urgent": self.urgent,
            "test": self.test, "total": self.total, "link": self.link, "code": self.code,
            "alarms": [msgspec.to_builtins(alarm) for alarm in self.alarms],
        }  # fmt: skip


def compose(
    bundle: Bundle,
    lang: str,
    now_us: int,
    *,
    named: Callable[[Alarm], Alarm],
    utc_offset: timedelta,
    link: str = "",
    code: str = "",
) -> Message:
    """The message of a bundle.

    Args:
        bundle: What it is about.
        lang: ``zh`` or ``en``.
        now_us: us since 1970 UTC, for the age of its news.
        named: Puts the names of places in the stead of their ids.
        utc_offset: Of the times it tells.
        link: A page that acknowledges; empty = none.
        code: What to reply to acknowledge; empty = nothing.
    """
    alarms = tuple(named(alarm) for alarm in bundle.alarms)
    zh = lang == "zh"
    if not alarms:
        title_en, title_zh, text_en, text_zh = _KINDS.get(bundle.kind, _KINDS[Kind.CANARY])
        title, lines = (title_zh, [text_zh]) if zh else (title_en, [text_en])
    else:
        title = _title(alarms, bundle.total, zh=zh)
        lines = [_line(alarm, now_us, utc_offset, zh=zh) for alarm in alarms]
        if (more := bundle.total - len(alarms)) > 0:
            lines.append(f"另有 {more} 起。" if zh else f"and {more} more.")
    if code:
        lines.append(f"回复 {code} 确认。" if zh else f"Reply {code} to acknowledge.")
    if link:
        lines.append(link)
    return Message(
        str(bundle.numbers[0]), bundle.to, title, "\n".join(lines), bundle.urgency == 0,
        bool(alarms) and all(alarm.test for alarm in alarms), alarms, bundle.total, link, code,
    )  # fmt: skip


def _title(alarms: tuple[Alarm, ...], total: int, *, zh: bool) -> str:
    first = min(alarms, key=lambda alarm: list(AlarmClass).index(alarm.cls))
    word = CLASSES[first.cls][1 if zh else 0]
    if not zh:
        word = word[0].upper() + word[1:]
    if first.level is Level.CONFIRMED:
        word = f"已确认{word}" if zh else f"Confirmed {word.lower()}"
    if all(alarm.test for alarm in alarms):
        word = f"【测试】{word}" if zh else f"TEST {word.lower()}"
    where = " ".join(part for part in (first.building, first.place or first.zone) if part) or first.point
    more = "" if total == 1 else f" 等 {total} 起" if zh else f" and {total - 1} more"
    return f"{word} {where}{more}"


def _line(alarm: Alarm, now_us: int, utc_offset: timedelta, *, zh: bool) -> str:
    at = datetime.fromtimestamp(alarm.measured_at_us / 1e6, timezone(utc_offset))
    where = ", ".join(part for part in (alarm.unit, alarm.building, alarm.zone, alarm.place) if part)
    said = next((reason.text_zh if zh else reason.text_en for reason in alarm.reasons), "")
    if not said and alarm.value is not None:
        said = f"{alarm.quantity} {alarm.value:g} {alarm.uom}"
    age_s = round((now_us - alarm.measured_at_us) / 1e6)
    old = "" if age_s < LATE_S else f"({_age(age_s, zh=zh)})"
    return " ".join(part for part in (f"{at:%m-%d %H:%M:%S}{old}", where or alarm.point, said) if part)


def _age(age_s: int, *, zh: bool) -> str:
    if age_s < 120:
        return f"{age_s} 秒前" if zh else f"{age_s} s ago"
    return f"{age_s // 60} 分钟前" if zh else f"{age_s // 60} min ago"

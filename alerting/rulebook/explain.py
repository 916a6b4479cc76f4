"""A rule in words, in both languages: what makes it raise and clear, where, and when. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from alerting.detect.rules import AnyRule, Held, Offline, Rate, Rule, Silence, Threshold
from alerting.detect.schedule import DAYS, Schedule
from alerting.rulebook.diff import kind_of
from fengsui.model import AlarmClass

_CLASS = {
    AlarmClass.FIRE: ("fire alarm", "火警"),
    AlarmClass.PREALARM: ("pre-alarm", "预警"),
    AlarmClass.SUPERVISORY: ("supervisory alarm", "监管报警"),
    AlarmClass.FAULT: ("fault", "故障"),
    AlarmClass.DISABLEMENT: ("disablement", "屏蔽"),
}
_PART = {
    "unit": ("unit", "单位"),
    "building": ("building", "建筑"),
    "zone": ("zone", "防火分区"),
    "device_type": ("device type", "设备类型"),
    "device": ("device", "设备"),
    "point": ("point", "测点"),
}
_DAY = dict(zip(DAYS, "一二三四五六日", strict=True))
_BOUND = {"low": ("low", "下限"), "high": ("high", "上限")}
_COMMON = frozenset({*Rule.__struct_fields__, *Held.__struct_fields__})


class Words(NamedTuple):
    """The same in English and in Chinese."""

    en: str
    zh: str


def explain(rule: AnyRule) -> list[Words]:
    """What a rule does, a sentence each."""
    match rule:
        case Silence():
            return [_silence(rule)]
        case Offline():
            text_en = (
                f"A gateway that says nothing for {rule.after_s:g} s is a fault; its points are not counted"
            )
            return [Words(f"{text_en}.", f"网关 {rule.after_s:g} 秒无任何消息即为故障,其下点位不另计。")]
        case Threshold():
            about = [_threshold(rule)]
        case Rate():
            about = [_rate(rule)]
        case _:
            about = [_other(rule)]
    en, zh = _CLASS[rule.cls]
    sentences = [
        Words(
            f"{en.capitalize()} of severity {rule.severity}, for points of {rule.quantity} in {rule.uom}.",
            f"{zh},{rule.severity} 级,适用于 {rule.quantity}({rule.uom})测点。",
        ),
        *about,
    ]
    if isinstance(rule, Held):
        sentences += _held(rule)
    if parts := rule.scope.parts():
        sentences.append(_scope(parts))
    if rule.schedule is not None:
        sentences.append(_schedule(rule.schedule))
    return sentences


def _threshold(rule: Threshold) -> Words:
    limit, reset = _size(rule, rule.limit), _size(rule, rule.reset)
    if rule.above is not None:
        return Words(
            f"Raises at or above {limit.en}; clears below {reset.en}.",
            f"达到或超过 {limit.zh} 时报警;低于 {reset.zh} 时恢复。",
        )
    return Words(
        f"Raises at or below {limit.en}; clears above {reset.en}.",
        f"达到或低于 {limit.zh} 时报警;高于 {reset.zh} 时恢复。",
    )


def _size(rule: Threshold, value: float) -> Words:
    if not rule.relative_to:
        return Words(f"{value:g} {rule.uom}", f"{value:g} {rule.uom}")
    en, zh = _BOUND[rule.relative_to]
    times_en = "" if rule.factor == 1 else f"{rule.factor:g} times "
    times_zh = "" if rule.factor == 1 else f"的 {rule.factor:g} 倍"
    more = "" if value == 0 else f" {'+' if value > 0 else '-'} {abs(value):g} {rule.uom}"
    return Words(f"{times_en}the point's own {en}{more}", f"测点自身{zh}{times_zh}{more}")


def _rate(rule: Rate) -> Words:
    speed, rise, reset = rule.limit_per_min, f"{rule.rise:g} {rule.uom}", f"{rule.reset:g} {rule.uom}"
    en, zh = ("down", "下降") if rule.falling else ("up", "上升")
    return Words(
        f"Raises when the value runs {rise} ahead of what going {en} by {speed:g} {rule.uom}/min explains;"
        f" clears below {reset}.",
        f"数值比按每分钟 {speed:g} {rule.uom} {zh}所能解释的快出 {rise} 时报警;低于 {reset} 时恢复。",
    )


def _other(rule: AnyRule) -> Words:
    """Of the kinds whose numbers say more than a sentence: the numbers."""
    given = {field: value for field, value in msgspec.structs.asdict(rule).items() if field not in _COMMON}
    kind = kind_of(rule)
    numbers = ", ".join(f"{field} {_shown(value)}" for field, value in given.items())
    return Words(f"A rule of kind {kind}: {numbers}.", f"{kind} 类规则:{numbers}。")


def _held(rule: Held) -> list[Words]:
    if not (rule.on_delay_s or rule.off_delay_s):
        return [Words("Both at the first reading.", "首个读数即判定。")]
    on, off = f"{rule.on_delay_s:g}", f"{rule.off_delay_s:g}"
    return [
        Words(
            f"It must last {on} s to raise and {off} s to clear; a gap of {rule.max_gap_s:g} s begins anew.",
            f"报警须持续 {on} 秒,恢复须持续 {off} 秒;中断超过 {rule.max_gap_s:g} 秒则重新计时。",
        )
    ]


def _silence(rule: Silence) -> Words:
    about_en = f"of {rule.quantity} " if rule.quantity else ""
    rest_en = "" if rule.quantity else "; a quantity may have a rule of its own"
    about_zh = rule.quantity or "任一"
    return Words(
        f"A point {about_en}without a usable reading for {rule.after_s:g} s, while its gateway is online, is"
        f" a fault; behind no gateway of ours after {rule.plain_after_s:g} s{rest_en}.",
        f"{about_zh}测点在网关在线时 {rule.after_s:g} 秒无可用读数即为故障;"
        f"直连设备为 {rule.plain_after_s:g} 秒。",
    )


def _scope(parts: dict[str, tuple[str, ...]]) -> Words:
    en = "; ".join(f"{_PART[part][0]} {' or '.join(patterns)}" for part, patterns in parts.items())
    zh = ";".join(f"{_PART[part][1]} {' 或 '.join(patterns)}" for part, patterns in parts.items())
    return Words(f"Only for {en}.", f"仅限:{zh}。")


def _schedule(schedule: Schedule) -> Words:
    hours = schedule.hours if isinstance(schedule.hours, str) else ", ".join(schedule.hours)
    every = schedule.days == DAYS
    days_en = "every day" if every else " ".join(schedule.days)
    days_zh = "每天" if every else "周" + "、".join(_DAY[day] for day in schedule.days)
    return Words(
        f"Only {days_en}, {hours}, at UTC{schedule.utc_offset}.",
        f"仅在{days_zh} {hours}(UTC{schedule.utc_offset})生效。",
    )


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case float():
            return f"{value:g}"
        case tuple():
            return " ".join(map(str, value))
    return str(value)

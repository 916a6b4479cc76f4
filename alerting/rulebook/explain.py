"""A rule in words, in both languages: what makes it raise and clear, where, and when. Pure."""

from __future__ import annotations

from typing import NamedTuple

from alerting.detect.rules import (
    AnyRule,
    Change,
    Coincidence,
    Drift,
    Flat,
    Held,
    Noise,
    Offline,
    Range,
    Rate,
    Rule,
    Season,
    Silence,
    Threshold,
    Trend,
)
from alerting.detect.schedule import DAYS, Schedule
from fengsui.model import AlarmClass

_CLASS = {
    AlarmClass.FIRE: ("fire alarm", "火警"),
    AlarmClass.PREALARM: ("pre-alarm", "预警"),
    AlarmClass.SUPERVISORY: ("supervisory alarm", "监管报警"),
    AlarmClass.FAULT: ("fault", "故障"),
    AlarmClass.DISABLEMENT: ("disablement", "屏蔽"),
    AlarmClass.TECHNICAL: ("technical notice", "维护提示"),
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
            return [_offline(rule)]
        case Coincidence():
            return [_class(rule, "of a zone", "防火分区"), *_coincidence(rule)]
    about = f"{rule.quantity} in {rule.uom}"
    sentences = [
        _class(rule, f"for points of {about}", f"适用于 {rule.quantity}({rule.uom})测点"),
        _what(rule),
    ]
    if isinstance(rule, Held):
        sentences += _held(rule)
    if parts := rule.scope.parts():
        sentences.append(_scope(parts))
    if rule.schedule is not None:
        sentences.append(_schedule(rule.schedule))
    return sentences


def _class(rule: Rule | Coincidence, about_en: str, about_zh: str) -> Words:
    en, zh = _CLASS[rule.cls]
    return Words(
        f"{en.capitalize()} of severity {rule.severity}, {about_en}.", f"{zh},{rule.severity} 级,{about_zh}。"
    )


def _what(rule: Rule) -> Words:
    """What makes it raise and clear, apart from how long that must last."""
    match rule:
        case Threshold():
            return _threshold(rule)
        case Rate():
            return _rate(rule)
        case Change():
            return Words(
                f"Raises when the mean over {rule.step_s:g} s has moved away from the usual by more than"
                f" {rule.allowance:g} scales, {rule.limit:g} scales in sum; a scale is learned, at least"
                f" {rule.least_scale:g} {rule.uom}.",
                f"{rule.step_s:g} 秒均值偏离平常超过 {rule.allowance:g} 个尺度、"
                f"累计 {rule.limit:g} 个尺度时报警;尺度为学习所得,至少 {rule.least_scale:g} {rule.uom}。",
            )
        case Flat():
            hours = f"{rule.for_s / 3600:g}"
            return Words(
                f"Raises when the value has not changed for {hours} h and {rule.factor:g} times as long as"
                f" ever before; learned over {rule.learn_s / 3600:g} h.",
                f"数值 {hours} 小时不变、且达到以往最长不变时间的 {rule.factor:g} 倍时报警;"
                f"学习 {rule.learn_s / 3600:g} 小时。",
            )
        case Range():
            return Words(
                f"Raises below {rule.low:g} and above {rule.high:g} {rule.uom}, and outside what the point"
                " measures.",
                f"低于 {rule.low:g} 或高于 {rule.high:g} {rule.uom},或超出测点量程时报警。",
            )
        case Trend():
            within, clear = f"{rule.within_s / 60:g}", f"{rule.clear_s / 60:g}"
            return Words(
                f"Raises when a line through {rule.window_minutes} min reaches {rule.limit:g} {rule.uom}"
                f" within {within} min; clears beyond {clear} min.",
                f"按 {rule.window_minutes} 分钟趋势将在 {within} 分钟内到达 {rule.limit:g} {rule.uom} 时报警;"
                f"超过 {clear} 分钟时恢复。",
            )
        case Drift():
            return Words(
                f"Raises when quiet times have moved by {rule.limit:g} {rule.uom} from the reference; clears"
                f" below {rule.reset:g} {rule.uom}.",
                f"安静时段数值偏离基准 {rule.limit:g} {rule.uom} 时报警;"
                f"低于 {rule.reset:g} {rule.uom} 时恢复。",
            )
        case Season():
            return Words(
                f"Raises {rule.scales:g} scales away from the usual of this hour of the week; clears within"
                f" {rule.clear_scales:g}. Learned over {rule.warm_weeks} weeks.",
                f"偏离本周此时段平常值 {rule.scales:g} 个尺度时报警;小于 {rule.clear_scales:g} 个时恢复。"
                f"学习 {rule.warm_weeks} 周。",
            )
        case Noise():
            bound = f"{rule.above:g} {rule.uom}" if rule.above is not None else f"{rule.factor:g} x the usual"
            bound_zh = (
                f"{rule.above:g} {rule.uom}" if rule.above is not None else f"平常的 {rule.factor:g} 倍"
            )
            return Words(
                f"Raises when readings scatter by {bound} in half of the minutes of"
                f" {rule.window_minutes} min.",
                f"{rule.window_minutes} 分钟内半数分钟的读数离散达到{bound_zh}时报警。",
            )
        case _:
            raise AssertionError(f"no words for {type(rule).__name__}")


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


def _coincidence(rule: Coincidence) -> list[Words]:
    need_en, need_zh = [], []
    if rule.devices > 1:
        need_en.append(f"{rule.devices} devices")
        need_zh.append(f"{rule.devices} 台设备")
    if rule.different_quantities > 1:
        need_en.append(f"{rule.different_quantities} quantities")
        need_zh.append(f"{rule.different_quantities} 种参量")
    classes_en = " or ".join(_CLASS[cls][0] for cls in rule.classes)
    classes_zh = "或".join(_CLASS[cls][1] for cls in rule.classes)
    window, hold = f"{rule.window_s:g}", f"{rule.hold_s:g}"
    sentences = [
        Words(
            f"Raises when {' and '.join(need_en) or 'one device'} of the zone say {classes_en} within"
            f" {window} s; clears {hold} s later.",
            f"同一分区在 {window} 秒内有{'且'.join(need_zh) or '一台设备'}报{classes_zh}时报警;"
            f"此后 {hold} 秒恢复。",
        )
    ]
    if rule.including is not None:
        en, zh = _CLASS[rule.including]
        sentences.append(Words(f"One of them says {en}.", f"其中至少一个为{zh}。"))
    for names, en, zh in (
        (rule.rules, "Only by the rules", "仅限规则"),
        (rule.quantities, "Only about", "仅限参量"),
        (rule.ignoring, "Never about", "不计参量"),
    ):
        if names:
            sentences.append(Words(f"{en} {', '.join(names)}.", f"{zh} {'、'.join(names)}。"))
    if rule.linkage:
        sentences.append(Words("Linkage may be proposed.", "可建议联动。"))
    return sentences


def _offline(rule: Offline) -> Words:
    after = f"{rule.after_s:g}"
    return Words(
        f"A gateway that says nothing for {after} s is a fault; its points are not counted.",
        f"网关 {after} 秒无任何消息即为故障,其下点位不另计。",
    )


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

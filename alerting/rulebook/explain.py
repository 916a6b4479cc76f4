"""A rule in words, in both languages: what makes it raise and clear, where, and when. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

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
from alerting.detect.verdict import Level
from alerting.detect.words import Words
from fengsui.model import AlarmClass

_CLASS = {
    AlarmClass.FIRE: ("fire alarm", "火警"),
    AlarmClass.PREALARM: ("pre-alarm", "预警"),
    AlarmClass.SUPERVISORY: ("supervisory alarm", "监管报警"),
    AlarmClass.FAULT: ("fault", "故障"),
    AlarmClass.DISABLEMENT: ("disablement", "屏蔽"),
    AlarmClass.TECHNICAL: ("technical notice", "维护提示"),
    AlarmClass.SECURITY: ("security alarm", "安防报警"),
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
_MOVES = {"up": ("up", "向上"), "down": ("down", "向下"), "both": ("up or down", "向上或向下")}
_LIES = {"up": ("above", "高出"), "down": ("below", "低于"), "both": ("above or below", "高出或低于")}
_LEVEL = {Level.VERIFY: ("verify on site", "请现场核实"), Level.CONFIRMED: ("confirmed", "已确认")}
_BOUND = {"low": ("low", "下限"), "high": ("high", "上限")}


def explain(rule: AnyRule) -> list[Words]:
    """What a rule does, a sentence each; whatever can be set in it is said."""
    sentences = _SAYS[type(rule)](rule)
    if isinstance(rule, Rule):
        about = f"{rule.quantity} in {rule.uom}"
        first = _class(rule, f"for points of {about}", f"适用于 {rule.quantity}({rule.uom})测点")
        sentences = [first, *sentences]
    if isinstance(rule, Held):
        sentences += _held(rule)
    if not isinstance(rule, Offline) and (parts := rule.scope.parts()):
        sentences.append(_scope(parts))
    if isinstance(rule, Rule) and rule.schedule is not None:
        sentences.append(_schedule(rule.schedule))
    return sentences


def _class(rule: Rule | Coincidence, about_en: str, about_zh: str) -> Words:
    en, zh = _CLASS[rule.cls]
    return Words(
        f"{en.capitalize()} of severity {rule.severity}, {about_en}.", f"{zh},{rule.severity} 级,{about_zh}。"
    )


def _threshold(rule: Threshold) -> list[Words]:
    limit, reset = _size(rule, rule.limit), _size(rule, rule.reset)
    en, back_en, zh, back_zh = (
        ("above", "below", "超过", "低于") if rule.above is not None else ("below", "above", "低于", "高于")
    )
    return [
        Words(
            f"Raises at or {en} {limit.en}; clears {back_en} {reset.en}.",
            f"达到或{zh} {limit.zh} 时报警;{back_zh} {reset.zh} 时恢复。",
        )
    ]


def _size(rule: Threshold, value: float) -> Words:
    if not rule.relative_to:
        return Words(f"{value:g} {rule.uom}", f"{value:g} {rule.uom}")
    en, zh = _BOUND[rule.relative_to]
    times_en = "" if rule.factor == 1 else f"{rule.factor:g} times "
    times_zh = "" if rule.factor == 1 else f"的 {rule.factor:g} 倍"
    more = "" if value == 0 else f" {'+' if value > 0 else '-'} {abs(value):g} {rule.uom}"
    return Words(f"{times_en}the point's own {en}{more}", f"测点自身{zh}{times_zh}{more}")


def _rate(rule: Rate) -> list[Words]:
    uom, rise, reset = rule.uom, f"{rule.rise:g} {rule.uom}", f"{rule.reset:g} {rule.uom}"
    en, back_en, zh, back_zh = (
        ("down", "up", "下降", "上升") if rule.falling else ("up", "down", "上升", "下降")
    )
    least = _time(rule.min_data_s)
    return [
        Words(
            f"Raises when the value runs {rise} ahead of its surroundings, which follow it {en} by"
            f" {rule.limit_per_min:g} and {back_en} by {rule.falls_per_min:g} {uom}/min; clears when it"
            " is ahead by"
            f" less than {reset}.",
            f"环境值每分钟最多跟随{zh} {rule.limit_per_min:g}、{back_zh} {rule.falls_per_min:g} {uom};"
            f"数值领先环境值 {rise} 时报警,领先不足 {reset} 时恢复。",
        ),
        Words(
            f"Says nothing before {rule.min_samples} readings over {least.en}; what came in a single step"
            " must go on.",
            f"{least.zh}内少于 {rule.min_samples} 个读数时不判定;单步跃变须继续变化才报警。",
        ),
    ]


def _change(rule: Change) -> list[Words]:
    step, learn = _time(rule.step_s), _time(rule.learn_steps * rule.step_s)
    forget, relearn = _time(rule.forget_s), _time(rule.relearn_s)
    least = f"{rule.least_scale:g} {rule.uom}"
    return [
        Words(
            f"Raises when the value has moved away from what is usual at this point: means over {step.en}"
            " that are more"
            f" than {rule.allowance:g} times the usual scatter off, by {rule.limit:g} times in sum;"
            " clears below half"
            " of that.",
            f"数值偏离该测点平常水平时报警:{step.zh}均值偏差超过平常离散的 {rule.allowance:g} 倍,"
            f"超出部分累计达 {rule.limit:g} 倍;低于其一半时恢复。",
        ),
        Words(
            f"What is usual is learned over {learn.en} before anything is said, then fades over"
            f" {forget.en}; the scatter"
            f" counts as at least {least}; what lasts {relearn.en} is the new usual.",
            f"先学习 {learn.zh}再判定,此后按 {forget.zh}逐渐更新;离散至少按 {least} 计;"
            f"持续 {relearn.zh}的新水平视为平常。",
        ),
    ]


def _flat(rule: Flat) -> list[Words]:
    least, learn = _time(rule.for_s), _time(rule.learn_s)
    sentences = [
        Words(
            f"Raises when the value has not changed at all for {least.en}, and {rule.factor:g} times as"
            " long as it ever"
            f" stayed the same here; that is learned over {learn.en} with at least {rule.min_changes}"
            " changes.",
            f"数值 {least.zh}毫无变化、且达到该测点以往最长不变时间的 {rule.factor:g} 倍时报警;"
            f"先学习 {learn.zh}且至少变化 {rule.min_changes} 次。",
        )
    ]
    if rule.rail_s is not None:
        rail = _time(rule.rail_s)
        sentences.append(
            Words(
                f"Raises also when it stays at an end of the point's range for {rail.en}.",
                f"停在测点量程端点 {rail.zh}也报警。",
            )
        )
    return sentences


def _range(rule: Range) -> list[Words]:
    return [
        Words(
            f"Raises when no sensor can have measured it: below {rule.low:g} or above {rule.high:g}"
            f" {rule.uom}, outside"
            " the point's own range, or out of range by its source's own word.",
            f"数值不可能为真时报警:低于 {rule.low:g} 或高于 {rule.high:g} {rule.uom}、超出测点量程,"
            "或来源标为超量程。",
        )
    ]


def _trend(rule: Trend) -> list[Words]:
    en, zh = ("rise to", "升至") if rule.above is not None else ("fall to", "降至")
    within, clear, window = _time(rule.within_s), _time(rule.clear_s), _time(rule.window_minutes * 60)
    curve_en = " a curve that flattens as the window does" if rule.settles else " a straight line"
    curve_zh = "趋缓曲线" if rule.settles else "直线"
    return [
        Words(
            f"Raises when the value will {en} {rule.limit:g} {rule.uom} within {within.en} if it goes on"
            " like the last"
            f" {window.en}, by{curve_en}; clears when that is further away than {clear.en}.",
            f"按最近 {window.zh}的{curve_zh}外推,将在 {within.zh}内{zh} {rule.limit:g} {rule.uom} 时报警;"
            f"超过 {clear.zh}时恢复。",
        ),
        Words(
            f"A change of less than {rule.least_change:g} {rule.uom} in that time counts for nothing.",
            f"期间变化不足 {rule.least_change:g} {rule.uom} 不计。",
        ),
    ]


def _drift(rule: Drift) -> list[Words]:
    en, zh = _MOVES[rule.direction]
    period, share = _time(rule.period_minutes * 60), f"{rule.quantile:.0%}"
    given = f"{rule.reference:g} {rule.uom}" if rule.reference is not None else ""
    return [
        Words(
            f"Raises when quiet times have moved {en} by {rule.limit:g} {rule.uom} from the reference;"
            " clears below"
            f" {rule.reset:g} {rule.uom}. It is a matter of cleaning or a new sensor and changes no other"
            " limit.",
            f"安静时段数值较基准{zh}偏移 {rule.limit:g} {rule.uom} 时报警;不足 {rule.reset:g} {rule.uom}"
            " 时恢复。"
            "请清洁或更换探测器,不影响其他限值。",
        ),
        Words(
            f"A quiet time is the level that {share} of the means in each {period.en} stay below; the"
            " median of seven"
            f" counts, the reference is {given or 'that of the first seven'}.",
            f"安静值取每 {period.zh}各段均值的 {share} 分位,取七期中位数;"
            f"基准为{f' {given}' if given else '最初七期'}。",
        ),
    ]


def _season(rule: Season) -> list[Words]:
    en, zh = _LIES[rule.direction]
    hours, minutes = divmod(abs(rule.utc_offset_minutes), 60)
    utc = f"UTC{'-' if rule.utc_offset_minutes < 0 else '+'}{hours:02d}:{minutes:02d}"
    least = f"{rule.least_scale:g} {rule.uom}"
    return [
        Words(
            f"Raises when the value is {en} what is usual in this hour of the week ({utc}) by"
            f" {rule.scales:g} times"
            f" the usual scatter, which counts as at least {least}; clears within {rule.clear_scales:g}"
            " times.",
            f"{zh}每周此时({utc})的平常值达到平常离散的 {rule.scales:g} 倍(离散至少按 {least}"
            " 计)时报警;"
            f"小于 {rule.clear_scales:g} 倍时恢复。",
        ),
        Words(
            f"Says nothing before {rule.warm_weeks} weeks of an hour are known.",
            f"每个时段学习 {rule.warm_weeks} 周后才判定。",
        ),
    ]


def _noise(rule: Noise) -> list[Words]:
    window, learn = _time(rule.window_minutes * 60), _time(rule.learn_minutes * 60)
    least = f"{rule.least:g} {rule.uom}"
    if rule.above is not None:
        bound = Words(f"{rule.above:g} {rule.uom}", f" {rule.above:g} {rule.uom} ")
    else:
        bound = Words(
            f"{rule.factor:g} times what was learned over {learn.en} at first (at least {least})",
            f"先用 {learn.zh}所学水平(至少 {least})的 {rule.factor:g} 倍",
        )
    return [
        Words(
            f"Raises when readings scatter from one to the next by {bound.en} in half of the last"
            f" {window.en}; clears"
            " when a fifth of it does. Usually a loose contact.",
            f"最近 {window.zh}内半数分钟的读数逐次抖动达到{bound.zh}时报警;"
            "降至五分之一时恢复。多为接触不良。",
        )
    ]


def _time(seconds: float) -> Words:
    for unit_s, en, zh in ((86_400, "d", "天"), (3600, "h", "小时"), (60, "min", "分钟")):
        if seconds >= max(unit_s, 61) and seconds % unit_s == 0:
            return Words(f"{seconds / unit_s:g} {en}", f"{seconds / unit_s:g} {zh}")
    return Words(f"{seconds:g} s", f"{seconds:g} 秒")


def _coincidence(rule: Coincidence) -> list[Words]:
    en, zh = _LEVEL[rule.level]
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
        _class(rule, f"of a zone: {en}", f"防火分区,{zh}"),
        Words(
            f"Raises when {' and '.join(need_en) or 'one device'} of the zone say {classes_en} within"
            f" {window} s; clears {hold} s later.",
            f"同一分区在 {window} 秒内有{'且'.join(need_zh) or '一台设备'}报{classes_zh}时报警;"
            f"此后 {hold} 秒恢复。",
        ),
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


def _offline(rule: Offline) -> list[Words]:
    after = f"{rule.after_s:g}"
    return [
        Words(
            f"A gateway that says nothing for {after} s is a fault of severity {rule.severity}; its"
            " points are not"
            " counted.",
            f"网关 {after} 秒无任何消息即为故障,{rule.severity} 级,其下点位不另计。",
        )
    ]


def _held(rule: Held) -> list[Words]:
    if not (rule.on_delay_s or rule.off_delay_s):
        return [Words("Both at the first reading that says so.", "首个符合的读数即判定。")]
    on, off = f"{rule.on_delay_s:g}", f"{rule.off_delay_s:g}"
    return [
        Words(
            f"It must last {on} s to raise and {off} s to clear; a gap of {rule.max_gap_s:g} s begins anew.",
            f"报警须持续 {on} 秒,恢复须持续 {off} 秒;中断超过 {rule.max_gap_s:g} 秒则重新计时。",
        )
    ]


def _silence(rule: Silence) -> list[Words]:
    about_en = f"of {rule.quantity} " if rule.quantity else ""
    rest_en = "" if rule.quantity else "; a quantity may have a rule of its own"
    about_zh = rule.quantity or "任一"
    return [
        Words(
            f"A point {about_en}without a usable reading for {rule.after_s:g} s, while its gateway is"
            " online, is"
            f" a fault of severity {rule.severity}; behind no gateway of ours after"
            f" {rule.plain_after_s:g} s{rest_en}.",
            f"{about_zh}测点在网关在线时 {rule.after_s:g} 秒无可用读数即为故障,{rule.severity} 级;"
            f"直连设备为 {rule.plain_after_s:g} 秒。",
        )
    ]


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


_SAYS: Mapping[type, Callable[[Any], list[Words]]] = {
    Threshold: _threshold,
    Rate: _rate,
    Change: _change,
    Flat: _flat,
    Range: _range,
    Trend: _trend,
    Drift: _drift,
    Season: _season,
    Noise: _noise,
    Coincidence: _coincidence,
    Silence: _silence,
    Offline: _offline,
}
"""What each kind of rule does, apart from the points, holds and hours that many have."""

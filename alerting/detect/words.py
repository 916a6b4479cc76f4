"""Why a rule says what it says, in words: one sentence in both languages for each kind of rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from alerting.detect.rules import (
    Change,
    Coincidence,
    Drift,
    Flat,
    Noise,
    Range,
    Rate,
    Rule,
    Season,
    Threshold,
    Trend,
)
from alerting.detect.slots import Crossing
from alerting.detect.verdict import Level, Reason
from fengsui.model import AlarmClass, Point

_SHOWN = {"degC": "°C"}
"""Units of measure that a sentence writes otherwise than the registry does."""

CLASSES = {
    AlarmClass.FIRE: ("fire", "火警"),
    AlarmClass.PREALARM: ("pre-alarm", "预警"),
    AlarmClass.SUPERVISORY: ("supervisory", "监管"),
    AlarmClass.FAULT: ("fault", "故障"),
    AlarmClass.DISABLEMENT: ("disabled", "屏蔽"),
    AlarmClass.TECHNICAL: ("technical", "技术报警"),
    AlarmClass.SECURITY: ("security", "安防报警"),
}
"""The classes in a sentence, in English and in Chinese."""
_LEVELS = {
    Level.VERIFY: ("verify on site", "请现场核实"),
    Level.CONFIRMED: ("confirmed: go", "已确认,立即出动"),
}
JOINING_TOLD = 8
"""Signals that the reasons of a zone's verdict tell one by one."""


class Words(NamedTuple):
    """The same in English and in Chinese."""

    en: str
    zh: str


class Joining(NamedTuple):
    """A point's part in a verdict about its zone."""

    point: Point
    cls: AlarmClass
    reason: Reason | None
    """Of the point's own verdict or its device; None = not known any more."""


def shown(uom: str) -> str:
    """A unit of measure as sentences write it."""
    return _SHOWN.get(uom, uom)


def reason(crossing: Crossing) -> Reason:
    """Why this reading made its rule raise: the rule's label, and what its kind says of the reading."""
    rule = crossing.rule
    said = _SAYS[type(rule)](rule, crossing, shown(rule.uom))
    return Reason(
        rule.name, crossing.observed, crossing.limit, crossing.window_s,
        f"{rule.label_en or rule.quantity}{said.en}", f"{rule.label_zh or rule.quantity}{said.zh}",
    )  # fmt: skip


def _threshold(rule: Threshold, crossing: Crossing, uom: str) -> Words:
    en, zh = ("at or above", "达到或超过") if rule.above is not None else ("at or below", "达到或低于")
    lasting_en = f" for {rule.on_delay_s:g} s" if rule.on_delay_s else ""
    lasting_zh = f",持续 {rule.on_delay_s:g} 秒" if rule.on_delay_s else ""
    value, limit = f"{crossing.observed:.4g} {uom}", f"{crossing.limit:g} {uom}"
    return Words(f" {value} {en} {limit}{lasting_en}", f" {value} {zh} {limit}{lasting_zh}")


def _rate(rule: Rate, crossing: Crossing, uom: str) -> Words:
    en, zh = ("fell", "下降") if rule.falling else ("rose", "上升")
    slow = rule.limit_per_min
    change = f"{crossing.observed + slow * crossing.window_s / 60:.3g} {uom}"
    more, limit = f"{crossing.observed:.3g} {uom}", f"{crossing.limit:g} {uom}"
    window = f"{crossing.window_s:.3g}"
    return Words(
        f" {en} {change} in {window} s, {more} more than at {slow:g} {uom}/min (limit {limit})",
        f" {window} 秒内{zh} {change},比 {slow:g} {uom}/min 多 {more}(限值 {limit})",
    )


def _change(rule: Change, crossing: Crossing, uom: str) -> Words:
    en, zh = ("above", "高于") if crossing.observed > crossing.limit else ("below", "低于")
    value, usual = f"{crossing.observed:.4g} {uom}", f"{crossing.limit:.4g} {uom}"
    minutes = f"{crossing.window_s / 60:.3g}"
    return Words(
        f" {value}, for {minutes} min {en} the usual {usual}", f" {value},{minutes} 分钟来{zh}平常的 {usual}"
    )


def _range(rule: Range, crossing: Crossing, uom: str) -> Words:
    value, limit = f"{crossing.observed:.4g} {uom}", f"{crossing.limit:g} {uom}"
    if crossing.observed > crossing.limit:
        return Words(f" {value} is above all it can be ({limit})", f" {value} 超出可能的上限({limit})")
    if crossing.observed < crossing.limit:
        return Words(f" {value} is below all it can be ({limit})", f" {value} 低于可能的下限({limit})")
    return Words(f" {value} is out of range, says its source", f" {value} 被来源标为超量程")


def _flat(rule: Flat, crossing: Crossing, uom: str) -> Words:
    hours, limit = f"{crossing.observed / 3600:.3g}", f"{crossing.limit / 3600:.3g}"
    if crossing.limit == rule.rail_s:
        return Words(f" at the end of its range for {hours} h", f" 停在量程端点 {hours} 小时")
    return Words(
        f" has not changed for {hours} h, more than {limit} h: stuck",
        f" {hours} 小时没有任何变化,超过 {limit} 小时:疑似卡死",
    )


def _trend(rule: Trend, crossing: Crossing, uom: str) -> Words:
    en, zh = ("falling", "下降") if crossing.observed < 0 else ("rising", "上升")
    rate, limit = f"{abs(crossing.observed):.2g} {uom}/min", f"{crossing.limit:g} {uom}"
    minutes = round(crossing.window_s / 60)
    when_en, when_zh = (f"in {minutes} min", f"{minutes} 分钟后") if minutes else ("now", "现已")
    return Words(f" {en} {rate}, {limit} {when_en}", f"以 {rate} {zh},{when_zh}达到 {limit}")


def _drift(rule: Drift, crossing: Crossing, uom: str) -> Words:
    drift, limit = f"{crossing.observed:+.2g} {uom}", f"{crossing.limit:g} {uom}"
    return Words(
        f": quiet level drifted by {drift} from its reference, limit {limit}; clean or check the sensor",
        f":静态值较基准漂移 {drift},限值 {limit};请清洁或检查探测器",
    )


def _season(rule: Season, crossing: Crossing, uom: str) -> Words:
    en, zh = ("at most", "不高于") if crossing.observed >= crossing.limit else ("at least", "不低于")
    value, limit = f"{crossing.observed:.4g} {uom}", f"{crossing.limit:.4g} {uom}"
    minutes = round(crossing.window_s / 60)
    return Words(
        f" {value} for {minutes} min, usually {en} {limit} at this hour of the week",
        f" {value},持续 {minutes} 分钟,每周此时通常{zh} {limit}",
    )


def _noise(rule: Noise, crossing: Crossing, uom: str) -> Words:
    scatter, limit = f"{crossing.observed:.2g} {uom}", f"{crossing.limit:.2g} {uom}"
    return Words(
        f" scatters by {scatter} (standard deviation), limit {limit}, in most of {rule.window_minutes} min; "
        "check the wiring",
        f"抖动 {scatter}(标准差),限值 {limit},{rule.window_minutes} 分钟内多数时间如此;请检查接线",
    )


_SAYS: Mapping[type[Rule], Callable[[Any, Crossing, str], Words]] = {
    Threshold: _threshold,
    Rate: _rate,
    Change: _change,
    Range: _range,
    Flat: _flat,
    Trend: _trend,
    Drift: _drift,
    Season: _season,
    Noise: _noise,
}
"""By kind: what follows the rule's label, given the rule, the reading, and the unit of measure as shown."""


def together(rule: Coincidence, count: int, joining: Sequence[Joining]) -> tuple[Reason, ...]:
    """Why a zone's rule raised: how many of how many within which time, then who they are, oldest first.

    The key of each part is the rule's name and its number.
    """
    what_en, what_zh = ("devices", "台设备") if rule.devices > 1 else ("quantities", "种参量")
    level_en, level_zh = _LEVELS[rule.level]
    linkage_en = "; linkage may be proposed (GB 50116-2013 4.1.6)" if rule.linkage else ""
    linkage_zh = ";可提出联动建议(GB 50116-2013 4.1.6)" if rule.linkage else ""
    main = Reason(
        rule.name, float(count), float(rule.needed), rule.window_s,
        f"{rule.label_en or rule.name}: {count} {what_en} agree within {rule.window_s:g} s, "
        f"{rule.needed} needed; {level_en}{linkage_en}",
        f"{rule.label_zh or rule.name}:{rule.window_s:g} 秒内 {count} {what_zh}一致,需 {rule.needed};"
        f"{level_zh}{linkage_zh}",
    )  # fmt: skip
    parts = [_part(f"{rule.name}#{n}", one) for n, one in enumerate(joining[:JOINING_TOLD], start=1)]
    return (main, *parts)


def _part(key: str, one: Joining) -> Reason:
    point, own = one.point, one.reason or Reason("", None, None, None, "", "")
    cls_en, cls_zh = CLASSES[one.cls]
    where = f"{point.id} ({point.place})" if point.place else point.id
    return Reason(
        key, own.value, own.limit, own.window_s,
        f"{where}, {cls_en}: {own.text_en}" if own.text_en else f"{where}, {cls_en}",
        f"{where},{cls_zh}:{own.text_zh}" if own.text_zh else f"{where},{cls_zh}",
    )  # fmt: skip

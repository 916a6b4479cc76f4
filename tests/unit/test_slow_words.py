"""What the slow detectors say, word by word in both languages."""

from __future__ import annotations

import pytest

from alerting.detect.rules import Rule
from alerting.detect.slots import Crossing
from alerting.detect.verdict import VerdictKind
from alerting.detect.words import reason
from tests.unit.test_drift import soiling
from tests.unit.test_noise import loose
from tests.unit.test_season import unusual
from tests.unit.test_trend import falling, warming

CASES: list[tuple[Rule, tuple[float, float, float], str, str]] = [
    (
        falling(label_zh="水压"), (-2.1, 140.0, 2280.0),
        "Water pressure falling 2.1 kPa/min, 140 kPa in 38 min",
        "水压以 2.1 kPa/min 下降,38 分钟后达到 140 kPa",
    ),
    (
        warming(label_en="Cable temperature", label_zh="线缆温度"), (5.25, 70.0, 20.0),
        "Cable temperature rising 5.2 °C/min, 70 °C now", "线缆温度以 5.2 °C/min 上升,现已达到 70 °C",
    ),
    (
        soiling(label_zh="烟雾浓度"), (1.62, 1.5, 604_800.0),
        "Smoke: quiet level drifted by +1.6 %/m from its reference, limit 1.5 %/m; clean or check the sensor",
        "烟雾浓度:静态值较基准漂移 +1.6 %/m,限值 1.5 %/m;请清洁或检查探测器",
    ),
    (
        unusual(label_zh="剩余电流"), (101.25, 62.0, 1800.0),
        "Residual current 101.2 mA for 30 min, usually at most 62 mA at this hour of the week",
        "剩余电流 101.2 mA,持续 30 分钟,每周此时通常不高于 62 mA",
    ),
    (
        unusual(label_zh="剩余电流"), (20.0, 62.0, 1800.0),
        "Residual current 20 mA for 30 min, usually at least 62 mA at this hour of the week",
        "剩余电流 20 mA,持续 30 分钟,每周此时通常不低于 62 mA",
    ),
    (
        loose(label_zh="温度"), (2.25, 0.6, 1200.0),
        "Temperature scatters by 2.2 °C (standard deviation), limit 0.6 °C, in most of 20 min; "
        "check the wiring",
        "温度抖动 2.2 °C(标准差),限值 0.6 °C,20 分钟内多数时间如此;请检查接线",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "numbers", "en", "zh"), CASES)
def test_the_reason_in_words(rule: Rule, numbers: tuple[float, float, float], en: str, zh: str) -> None:
    """A sentence names the quantity, what was seen, the limit, and what to do where it is maintenance."""
    told = reason(Crossing(0, rule, VerdictKind.RAISE, *numbers))
    assert (told.text_en, told.text_zh) == (en, zh)
    assert (told.value, told.limit, told.window_s) == numbers

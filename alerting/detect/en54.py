"""Classes of point heat detectors after EN 54-5, as the pair of rules that responds within their limits.

A class is a static limit and a differential: the table of response times at 1 to 30 K/min (EN 54-5 table 4)
is met by a threshold together with a rate rule; ``tests/unit/test_en54.py`` checks it at each of the rates.
"""

from __future__ import annotations

from typing import NamedTuple

from alerting.detect.rules import Rate, Threshold
from fengsui.model import AlarmClass


class HeatClass(NamedTuple):
    """What makes a heat detector one of a class.

    Attributes:
        typical_c: Typical application temperature, degC.
        static_c: Static response, degC, inside the class's range.
        rise_k: Differential, K, of what is faster than ``limit_k_per_min``.
        limit_k_per_min: Slower rises are left to the static part.
    """

    typical_c: float
    static_c: float
    rise_k: float
    limit_k_per_min: float

    def rules(self, name: str, version: int = 1) -> tuple[Threshold, Rate]:
        """The two fire rules over temperatures in degC, named ``<name>-static`` and ``<name>-rise``."""
        static = Threshold(
            name=f"{name}-static",
            version=version,
            cls=AlarmClass.FIRE,
            quantity="temperature",
            uom="degC",
            severity=4,
            above=self.static_c,
            reset=self.static_c - 7.0,
            label_en="Temperature",
            label_zh="温度",
        )
        rise = Rate(
            name=f"{name}-rise",
            version=version,
            cls=AlarmClass.FIRE,
            quantity="temperature",
            uom="degC",
            severity=4,
            limit_per_min=self.limit_k_per_min,
            rise=self.rise_k,
            label_en="Temperature",
            label_zh="温度",
        )
        return static, rise


A1R = HeatClass(typical_c=25.0, static_c=57.0, rise_k=10.0, limit_k_per_min=3.0)
"""Static response 54 to 65 degC; with R also from low temperatures, which the differential does."""
A2 = HeatClass(typical_c=25.0, static_c=60.0, rise_k=18.0, limit_k_per_min=3.0)
"""Static response 54 to 70 degC."""
B = HeatClass(typical_c=40.0, static_c=74.0, rise_k=18.0, limit_k_per_min=3.0)
"""Static response 69 to 85 degC: boiler rooms, kitchens."""

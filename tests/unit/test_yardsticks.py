from __future__ import annotations

from math import nan

import numpy as np
import pytest

from simulators.yardsticks import en54_a1r_s, fixed57_s, reference_alarm_s


@pytest.mark.parametrize(
    ("k_per_min", "from_s", "to_s"),
    [(1, 1740, 2420), (3, 433, 820), (5, 249, 500), (10, 60, 260), (20, 30, 140), (30, 20, 100)],
)
def test_a1r_responds_inside_the_limits_of_its_class(k_per_min: float, from_s: float, to_s: float) -> None:
    """From 25 degC the model keeps both limits of EN 54-5 table 4 for class A1 at each rate of rise."""
    t_s = np.arange(3000.0)
    alarm_s = en54_a1r_s(t_s, (25 + k_per_min / 60 * t_s)[:, None], 0.0)
    assert alarm_s is not None
    assert from_s <= alarm_s <= to_s


def test_a1r_responds_to_a_fast_rise_from_the_cold_and_not_below_its_static_range() -> None:
    """R: 20 K/min from 5 degC alarms long before 54 degC; S: 53 degC held for ever does not."""
    t_s = np.arange(3000.0)
    fast = en54_a1r_s(t_s, (5 + t_s / 3)[:, None], 0.0)
    assert fast is not None
    assert 5 + fast / 3 < 54
    slow = np.minimum(25 + t_s / 60, 53.0)
    assert en54_a1r_s(t_s, slow[:, None], 0.0) is None


def test_a1r_does_not_care_how_its_ramp_is_sampled_or_what_is_missing() -> None:
    """Between readings the gas is a straight line, so gaps and coarse sampling only delay what is seen."""
    t_s = np.arange(0.0, 300.0)
    ramp = 25 + t_s / 3
    whole = en54_a1r_s(t_s, ramp[:, None], 0.0)
    coarse = en54_a1r_s(t_s[::10], ramp[::10, None], 0.0)
    holes = np.where(t_s % 10 == 0, ramp, nan)
    assert whole is not None
    assert coarse is not None
    assert whole <= coarse < whole + 10
    assert en54_a1r_s(t_s, holes[:, None], 0.0) == coarse


def test_fixed_57_is_the_first_channel_that_reaches_it_after_ignition() -> None:
    """57 itself counts, a missing value reaches nothing, and what was hot before does not count."""
    t_s = np.array([-5.0, 0.0, 5.0, 10.0])
    near_c = np.array([[60.0, nan], [20.0, 56.99], [nan, 57.0], [90.0, 90.0]])
    assert fixed57_s(t_s, near_c, 0.0) == 5.0
    assert fixed57_s(t_s, near_c[:, :0], 0.0) is None
    assert en54_a1r_s(t_s, near_c[:, :0], 0.0) is None
    assert en54_a1r_s(t_s, np.full((4, 1), nan), 0.0) is None


def test_reference_is_the_median_photoelectric_alarm_of_the_file() -> None:
    """Ionization alarms, other files and alarms that never sounded do not count."""
    rows = [
        {"file": file, "alarm_type": kind, "t_activation_s": at}
        for file, kind, at in (
            ("a", "photoelectric", "100"), ("a", "photoelectric", "130"), ("a", "photoelectric", ""),
            ("a", "ionization", "1"), ("b", "photoelectric", "2"),
        )
    ]  # fmt: skip
    assert reference_alarm_s(rows, "a") == 115.0
    assert reference_alarm_s(rows, "c") is None

"""The slow kinds on rough streams: cut anywhere and restarted in the middle, they say the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit import test_drift, test_noise, test_season, test_trend

CUTS = [test_trend.cut, test_drift.cut, test_season.cut, test_noise.cut]
every_kind = pytest.mark.parametrize("cut", CUTS, ids=["trend", "drift", "season", "noise"])


@every_kind
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_batches_and_a_restart_change_nothing(cut: Callable[[int], int], seed: int) -> None:
    """However a rough stream is cut, and if the process restarts in the middle, the verdicts are the same."""
    cut(seed)


@every_kind
def test_the_rough_streams_have_something_to_say(cut: Callable[[int], int]) -> None:
    """The test before this one compares verdicts and not silence."""
    assert cut(1) > 3

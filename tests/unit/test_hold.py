from __future__ import annotations

from pathlib import Path

import pytest

from fengsui import hold
from fengsui.hold import HoldClock, Stamp, age_ms
from fengsui.model import AGE_UNKNOWN, Clock

TAKEN = Stamp(boot=1, since_boot_ms=10_000, wall_ms=1_000_000, clock=Clock.SYNCED)


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (TAKEN._replace(since_boot_ms=10_250), 250),
        (TAKEN._replace(since_boot_ms=10_250, wall_ms=0), 250),
        (TAKEN._replace(since_boot_ms=10_250, wall_ms=2**60), 250),
        (TAKEN._replace(since_boot_ms=10_250, clock=Clock.UNSYNCED), 250),
        (Stamp(2, 5, 1_003_000, Clock.SYNCED), 3_000),
        (Stamp(2, 5, 1_003_000, Clock.CORRECTED), 3_000),
        (Stamp(2, 5, 999_000, Clock.SYNCED), 0),
        (Stamp(2, 5, 1_003_000, Clock.UNSYNCED), AGE_UNKNOWN),
        (Stamp(2, 5, 2**50, Clock.SYNCED), AGE_UNKNOWN - 1),
    ],
)
def test_age_is_counted_by_the_clock_that_nobody_can_set(now: Stamp, age: int) -> None:
    """Within a boot the wall clock says nothing; over a reboot it does when it is synced on both sides."""
    assert age_ms(TAKEN, now) == age


def test_an_unsynced_stamp_has_no_age_after_a_reboot() -> None:
    """Whoever stamped without a clock cannot tell after a reboot; the server reads that as live."""
    assert age_ms(TAKEN._replace(clock=Clock.UNSYNCED), Stamp(2, 5, 2**40, Clock.SYNCED)) == AGE_UNKNOWN


def test_the_machine_s_clock_goes_on_and_knows_its_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two looks in one boot differ by what has passed; without a boot id the boot is 0."""
    clock = HoldClock(Clock.UNSYNCED)
    first, second = clock.now(), clock.now()
    assert first.boot == second.boot
    assert first.clock == Clock.UNSYNCED
    assert 0 <= age_ms(first, second) < 60_000
    monkeypatch.setattr(hold, "_BOOT_ID", Path("/nowhere"))
    assert HoldClock().now().boot == 0

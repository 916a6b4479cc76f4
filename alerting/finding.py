"""What people found where an alarm was raised: the word a case is closed with, and a label of the past."""

from __future__ import annotations

from enum import StrEnum


class Finding(StrEnum):
    """What it was."""

    REAL = "real"
    """A fire."""
    TEST = "test"
    COOKING = "cooking"
    STEAM = "steam"
    DUST = "dust"
    SMOKING = "smoking"
    WELDING = "welding"
    FAULT = "fault"
    """Of the device."""
    VANDALISM = "vandalism"
    UNKNOWN = "unknown"

    @property
    def is_nuisance(self) -> bool:
        """Whether a fire alarm there was a false one."""
        return self not in (Finding.REAL, Finding.UNKNOWN)

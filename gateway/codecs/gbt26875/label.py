"""Time labels of GB/T 26875.3-2011 (8.2.2): six plain binary bytes, without a time zone.

::

    0  second 0-59   1  minute 0-59   2  hour 0-23   3  day 1-31   4  month 1-12   5  year 0-99, from 2000
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo

SIZE = 6
NONE = bytes(SIZE)
"""What devices send that have no clock; it is no date."""
CHINA = timezone(timedelta(hours=8))
"""The zone devices keep in practice; the standard names none."""


def decode_label(label: bytes, zone: tzinfo = CHINA) -> datetime | None:
    """The moment that six bytes mean in ``zone``; None = they are no date."""
    second, minute, hour, day, month, year = label
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=zone) if year < 100 else None
    except ValueError:
        return None


def encode_label(at: datetime, zone: tzinfo = CHINA) -> bytes:
    """The label of an aware moment, to the second before it.

    Raises:
        ValueError: Its year is not one of 2000 to 2099.
    """
    local = at.astimezone(zone)
    if not 2000 <= local.year < 2100:
        raise ValueError(f"the year {local.year} has no label; it must be 2000 to 2099")
    return bytes((local.second, local.minute, local.hour, local.day, local.month, local.year - 2000))

"""Where makers differ from GB/T 26875.3-2011 and from each other: a key for each difference, and known sets.

What can be told from the bytes alone needs no key: an object's layout follows from its size, a confirmation's
time label is not looked at, a serial number is repeated as it came. Nothing here makes a frame of another
protocol readable (0x68 ... 0x16 frames, or 19-byte ones, that are called GB 26875 too).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Order = Literal["little", "big"]


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one maker's devices speak; without keys, as the standard says."""

    end: Literal["2323", "3535"] = "2323"
    """End mark, hex; one maker took the standard's decimal 35 35 for hex."""
    state_order: Order = "little"
    value_order: Order = "little"
    """Byte order of states and of analog values."""
    address: Literal["whole", "first-second", "second-first"] = "whole"
    """How a component's address is shown: one number, or its two halves as zone-number or loop-node."""
    time_first: bool = False
    """The time label stands before the object's other fields."""
    unlabelled: tuple[int, ...] = ()
    """Type flags whose last six bytes are no time label (one maker sends signal and battery there)."""
    utc_offset_h: Annotated[float, Meta(ge=-12, le=14)] = 8.0
    """The zone of all time labels; the standard names none."""
    confirm_label: Literal["own", "echo"] = "own"
    """Time label of our confirmations: our own clock, or that of the frame confirmed."""
    deny: bool = True
    """Whether a damaged frame is answered with a denial (6.5.3) or not at all."""
    initialise_command: Literal["control", "request"] = "control"
    """Command byte of *initialise* (type 89); 6.2 says control."""
    clock_body: Literal["time", "time-label", "none"] = "time"
    """What *set clock* (type 90) carries; devices that expect no time cannot be set."""
    post_check_body: Literal["minutes", "minutes-label", "none"] = "minutes"


PROFILES: dict[str, Profile] = {
    "standard": Profile(),
    "zone-number": Profile(address="first-second"),
    "loop-node": Profile(address="first-second"),
    "number-zone": Profile(
        address="second-first", clock_body="time-label", post_check_body="minutes-label", deny=True
    ),
    "big-endian": Profile(state_order="big", value_order="big", deny=False),
    "end-35": Profile(end="3535"),
    "echo": Profile(confirm_label="echo"),
    "time-first": Profile(time_first=True),
    "no-analog-label": Profile(unlabelled=(3,)),
    "initialise-request": Profile(initialise_command="request", deny=False),
    "bodyless": Profile(clock_body="none", post_check_body="none"),
}
"""Sets met in the field, by the name that a configuration gives."""

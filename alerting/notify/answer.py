"""Answers that come back: a signed link or a short code in a message acknowledges what it told of, once.

The token of a link is the number of its message and a keyed digest of it (HMAC-SHA256, RFC 2104, 128 bit); a
code is six digits of another one, and counts only from the address that the message went to.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import NamedTuple

from sqlalchemy import Engine, select, update

from alerting.notify.steps import Kind, StepState
from alerting.notify.tables import step_table
from fengsui.database import writing

VALID_US = 12 * 3_600_000_000
"""A message can be answered so long after it was sent."""

_CODE = re.compile(r"(?<!\d)\d{6}(?!\d)")
_TOKEN = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{32})")
_s = step_table.c


class Told(NamedTuple):
    """What a message told, to whom and when."""

    message: int
    contact: str
    alarms: tuple[str, ...]
    sent_us: int


def token_of(key: bytes, message: int) -> str:
    """What a link carries for a message."""
    return f"{message:x}-{_digest(key, 'link', message)[:32]}"


def code_of(key: bytes, message: int) -> str:
    """Six digits to reply with."""
    return f"{int(_digest(key, 'code', message), 16) % 1_000_000:06d}"


def message_of(key: bytes, token: str) -> int | None:
    """The message whose link carries this; None = no message of ours."""
    found = _TOKEN.fullmatch(token)
    if found is None:
        return None
    message = int(found[1], 16)
    return message if hmac.compare_digest(token_of(key, message), token) else None


def coded(engine: Engine, key: bytes, address: str, text: str, now_us: int) -> int | None:
    """The message to this address whose code is in a reply; None = no such one."""
    codes = set(_CODE.findall(text))
    if not codes:
        return None
    recent = (
        select(_s.message)
        .where(_s.address == address, _s.claimed_us > now_us - VALID_US, _s.message.is_not(None))
        .distinct()
        .order_by(_s.message.desc())
    )
    with engine.connect() as connection:
        messages = connection.execute(recent).scalars().all()
    return next((int(number) for number in messages if code_of(key, int(number)) in codes), None)


def look(engine: Engine, message: int, now_us: int) -> Told | None:
    """What a message told; None when it is too old, was answered, or was about no alarm."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(_s.contact, _s.alarm, _s.claimed_us)
            .where(
                _s.message == message,
                _s.kind == Kind.ALARM,
                _s.answered_us.is_(None),
                _s.claimed_us > now_us - VALID_US,
                _s.state != StepState.CANCELLED,
            )
            .order_by(_s.number)
        ).all()
    if not rows:
        return None
    alarms = tuple(dict.fromkeys(row.alarm for row in rows))
    return Told(message, rows[0].contact, alarms, rows[0].claimed_us)


def use_up(engine: Engine, message: int, now_us: int) -> bool:
    """Mark a message as answered; False when it was before."""
    with writing(engine) as connection:
        fresh = update(step_table).where(_s.message == message, _s.answered_us.is_(None))
        return bool(connection.execute(fresh.values(answered_us=now_us)).rowcount)


def _digest(key: bytes, what: str, message: int) -> str:
    return hmac.new(key, f"{what}:{message}".encode(), hashlib.sha256).hexdigest()

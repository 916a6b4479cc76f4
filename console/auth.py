"""Who is at the desk: accounts with argon2, sessions on the server, sign-in that tells a guesser nothing.

A session is 256 random bits in a cookie; the database holds only its SHA-256, so a stolen copy of the
database signs nobody in. Every answer to a wrong sign-in has the same text and comes at a multiple of
:data:`REFUSE_S` after the question, whether the name exists, the password was wrong, or the tries are
used up.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sql
import structlog
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from console.errors import AccountError
from fengsui.database import metadata, writing
from fengsui.model import NAME
from fengsui.throttle import Throttle
from fengsui.viewer import Role, Viewer

log = structlog.get_logger("console.auth")

REFUSE_S = 0.5
"""A refused sign-in is answered at a multiple of this, so that its time says nothing."""

CHECK_S = 2.0
"""A session known to be good is asked for again after so long: a disabled person is out in <= 5 s."""

TOUCH_S = 30.0
"""``used_at_us`` is written at most so often: reading a page must not cost an fsync."""

MAX_KNOWN = 10_000
PASSWORD_LENGTH = range(10, 129)

person_table = sql.Table(
    "person",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("name", sql.String(64), nullable=False, unique=True),
    sql.Column("password_hash", sql.String(255), nullable=False),
    sql.Column("roles", sql.String(255), nullable=False),
    sql.Column("units", sql.Text, nullable=True),
    sql.Column("disabled", sql.Boolean, nullable=False, default=False),
    sql.Column("created_at_us", sql.BigInteger, nullable=False),
)
"""Accounts. ``roles`` and ``units`` are JSON lists; units NULL means all of them."""

session_table = sql.Table(
    "session",
    metadata,
    sql.Column("key", sql.String(64), primary_key=True),
    sql.Column("person_id", sql.ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    sql.Column("address", sql.String(64), nullable=False),
    sql.Column("signed_in_at_us", sql.BigInteger, nullable=False),
    sql.Column("used_at_us", sql.BigInteger, nullable=False),
)
"""Sessions. ``key`` is the SHA-256 of what the cookie holds."""

_hasher = PasswordHash((Argon2Hasher(),))
_nobody_hash = _hasher.hash(secrets.token_urlsafe(32))


class Session(NamedTuple):
    """A session that is good now."""

    key: str
    viewer: Viewer
    token: str
    """What a request that acts must carry; derived from the cookie, which no script can read."""
    ends_at_us: int


class Person(NamedTuple):
    """An account as ``fengsui console user list`` shows it."""

    name: str
    roles: tuple[str, ...]
    units: tuple[str, ...] | None
    disabled: bool


def prepare(engine: Engine) -> None:
    """Make the two tables where they are missing; harmless when they are there."""
    metadata.create_all(engine, tables=[person_table, session_table])


def create_user(
    engine: Engine,
    name: str,
    password: str,
    roles: Collection[Role],
    *,
    now_us: int,
    units: Sequence[str] | None = None,
) -> None:
    """Make an account, or give an existing one this password, roles and units and end its sessions.

    Blocks for an argon2 hash and a commit; call it in a thread from async code.

    Raises:
        AccountError: the name, the password's length or the roles cannot be.
    """
    if not NAME.fullmatch(name):
        raise AccountError(f"the name {name!r} must be 1 to 64 of A-Z a-z 0-9 _ -")
    if len(password) not in PASSWORD_LENGTH:
        raise AccountError("the password must have 10 to 128 characters")
    if not roles:
        raise AccountError(f"give at least one role of {', '.join(Role)}")
    prepare(engine)
    row = {
        "password_hash": _hasher.hash(password),
        "roles": msgspec.json.encode(sorted(roles)).decode(),
        "units": None if units is None else msgspec.json.encode(sorted(units)).decode(),
        "disabled": False,
    }
    with writing(engine) as connection:
        found = connection.scalar(sql.select(person_table.c.id).where(person_table.c.name == name))
        if found is None:
            connection.execute(person_table.insert().values(name=name, created_at_us=now_us, **row))
        else:
            connection.execute(person_table.update().where(person_table.c.id == found).values(**row))
            connection.execute(session_table.delete().where(session_table.c.person_id == found))


def users(engine: Engine) -> list[Person]:
    """Every account, by name."""
    prepare(engine)
    with engine.connect() as connection:
        rows = connection.execute(sql.select(person_table).order_by(person_table.c.name)).all()
    return [
        Person(
            row.name,
            tuple(msgspec.json.decode(row.roles, type=list[str])),
            None if row.units is None else tuple(msgspec.json.decode(row.units, type=list[str])),
            row.disabled,
        )
        for row in rows
    ]


class Accounts:
    """Sign-in, sessions and sign-out over one database; the clocks are arguments.

    What is slow (argon2, SQLite) runs in threads, two hashes at a time. A session that was good a
    moment ago stays good while the database cannot be asked: a locked disk drops no live view.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        idle_s: int,
        absolute_s: int,
        wall_us: Callable[[], int],
        monotonic_s: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._idle_us = idle_s * 1_000_000
        self._absolute_us = absolute_s * 1_000_000
        self._wall_us = wall_us
        self._monotonic_s = monotonic_s
        self._throttle = Throttle()
        self._hashing = asyncio.Semaphore(2)
        self._known: OrderedDict[str, tuple[float, Session]] = OrderedDict()
        self.refused = 0
        """Sign-ins refused since the start."""

    async def sign_in(self, name: str, password: str, address: str) -> str | None:
        """The secret for the cookie of a new session, or None: wrong, unknown, disabled or too often."""
        started_s = self._monotonic_s()
        tries = [f"name {name[:64].casefold()}", f"address {address}"]
        if self._throttle.take(tries, started_s):
            async with self._hashing:
                secret = await asyncio.to_thread(self._open, name, password, address)
            if secret is not None:
                self._throttle.give_back(tries)
                return secret
        self.refused += 1
        spent_s = self._monotonic_s() - started_s
        await asyncio.sleep(REFUSE_S - spent_s % REFUSE_S)
        return None

    async def session(self, secret: str) -> Session | None:
        """The session this cookie opens, or None; counts as use."""
        return await self._find(_key(secret), secret)

    async def still(self, session: Session) -> bool:
        """Whether a session that has an open live view is still good; counts as use."""
        return await self._find(session.key, None, token=session.token) is not None

    async def sign_out(self, session: Session) -> None:
        """End a session everywhere, at once."""
        self._known.pop(session.key, None)
        await asyncio.to_thread(self._close, session.key)

    async def _find(self, key: str, secret: str | None, token: str = "") -> Session | None:
        now_s, now_us = self._monotonic_s(), self._wall_us()
        at_s, known = self._known.get(key, (0.0, None))
        if known is not None and now_us < known.ends_at_us and now_s - at_s < CHECK_S:
            return known
        try:
            found = await asyncio.to_thread(
                self._load, key, token or hashlib.sha256(f"form {secret}".encode()).hexdigest(), now_us
            )
        except OperationalError as error:
            log.warning("session_database_unavailable", error=str(error.orig))
            found = known if known is not None and now_us < known.ends_at_us else None
        if found is None:
            self._known.pop(key, None)
            return None
        self._known[key] = (now_s, found)
        self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    def _open(self, name: str, password: str, address: str) -> str | None:
        with self._engine.connect() as connection:
            person = connection.execute(sql.select(person_table).where(person_table.c.name == name)).first()
        # An unknown name costs the same hash as a known one.
        right = _hasher.verify(password, person.password_hash if person else _nobody_hash)
        if person is None or person.disabled or not right:
            return None
        secret, now_us = secrets.token_urlsafe(32), self._wall_us()
        with writing(self._engine) as connection:
            connection.execute(
                session_table.delete().where(
                    sql.or_(
                        session_table.c.used_at_us < now_us - self._idle_us,
                        session_table.c.signed_in_at_us < now_us - self._absolute_us,
                    )
                )
            )
            connection.execute(
                session_table.insert().values(
                    key=_key(secret),
                    person_id=person.id,
                    address=address[:64],
                    signed_in_at_us=now_us,
                    used_at_us=now_us,
                )
            )
        return secret

    def _load(self, key: str, token: str, now_us: int) -> Session | None:
        query = (
            sql.select(session_table.c.signed_in_at_us, session_table.c.used_at_us, person_table)
            .join_from(session_table, person_table)
            .where(session_table.c.key == key, person_table.c.disabled.is_(False))
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None or now_us >= row.used_at_us + self._idle_us:
            return None
        ends_at_us = row.signed_in_at_us + self._absolute_us
        if now_us >= ends_at_us:
            return None
        if now_us - row.used_at_us > TOUCH_S * 1e6:
            with writing(self._engine) as connection:
                connection.execute(
                    session_table.update().where(session_table.c.key == key).values(used_at_us=now_us)
                )
        units = None if row.units is None else frozenset(msgspec.json.decode(row.units, type=list[str]))
        roles = frozenset(Role(role) for role in msgspec.json.decode(row.roles, type=list[str]))
        return Session(key, Viewer(person=row.name, roles=roles, units=units), token, ends_at_us)

    def _close(self, key: str) -> None:
        with writing(self._engine) as connection:
            connection.execute(session_table.delete().where(session_table.c.key == key))


def _key(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from sqlalchemy import Engine

from console.app import open_database
from console.auth import REFUSE_S, Accounts, create_user, person_table, session_table, users
from console.errors import AccountError
from fengsui.viewer import Role

PASSWORD = "correct horse 7"


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def wall_us(self) -> int:
        """Microseconds."""
        return int(self.s * 1e6)

    def monotonic_s(self) -> float:
        """Seconds."""
        return self.s


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database with one officer of one unit."""
    engine = open_database(tmp_path / "console.db")
    create_user(engine, "0417", PASSWORD, {Role.OFFICER}, now_us=0, units=["unit-a"])
    yield engine
    engine.dispose()


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that stand still until moved."""
    return Clocks()


@pytest.fixture
def accounts(engine: Engine, clocks: Clocks) -> Accounts:
    """Sign-in with 15 min idle, 1 h absolute."""
    return Accounts(
        engine, idle_s=900, absolute_s=3600, wall_us=clocks.wall_us, monotonic_s=clocks.monotonic_s
    )


async def signed_in(accounts: Accounts) -> str:
    """The cookie of a new session."""
    secret = await accounts.sign_in("0417", PASSWORD, "10.0.0.1")
    assert secret is not None
    return secret


async def test_session_knows_the_person(accounts: Accounts) -> None:
    """The cookie opens a session that carries name, roles and units."""
    session = await accounts.session(await signed_in(accounts))
    assert session is not None
    assert (session.viewer.person, session.viewer.units) == ("0417", frozenset({"unit-a"}))
    assert session.viewer.roles == {Role.OFFICER}


async def test_database_holds_no_secret(accounts: Accounts, engine: Engine) -> None:
    """Neither the password nor the cookie is in the database, only hashes of them."""
    secret = await signed_in(accounts)
    with engine.connect() as connection:
        text = str(connection.execute(sql.select(session_table)).all())
        text += str(connection.execute(sql.select(person_table)).all())
    assert secret not in text
    assert PASSWORD not in text
    assert hashlib.sha256(secret.encode()).hexdigest() in text


@pytest.mark.parametrize(("name", "password"), [("0417", "wrong"), ("nobody", PASSWORD), ("", "")])
async def test_wrong_sign_in_is_refused(accounts: Accounts, name: str, password: str) -> None:
    """A wrong password and an unknown name are refused alike, at a multiple of the refusal time."""
    began = asyncio.get_running_loop().time()
    assert await accounts.sign_in(name, password, "10.0.0.1") is None
    assert asyncio.get_running_loop().time() - began >= REFUSE_S * 0.9


async def test_right_password_is_refused_once_the_tries_are_used_up(
    accounts: Accounts, clocks: Clocks
) -> None:
    """After five wrong passwords the right one is refused for the rest of the minute, then taken."""
    for _ in range(5):
        await accounts.sign_in("0417", "wrong", "10.0.0.1")
    assert await accounts.sign_in("0417", PASSWORD, "10.0.0.2") is None
    clocks.s += 61
    assert await accounts.sign_in("0417", PASSWORD, "10.0.0.2") is not None


async def test_guessing_locks_nobody_out_who_is_signed_in(accounts: Accounts, clocks: Clocks) -> None:
    """An open session outlives any number of wrong sign-ins to its account."""
    secret = await signed_in(accounts)
    for _ in range(6):
        await accounts.sign_in("0417", "wrong", "10.0.0.9")
    clocks.s += 5
    assert await accounts.session(secret) is not None


async def test_idle_and_absolute_expiry(accounts: Accounts, clocks: Clocks) -> None:
    """A session ends when unused for the idle time, and however busy after the absolute time."""
    idle = await signed_in(accounts)
    clocks.s += 901
    assert await accounts.session(idle) is None
    busy = await signed_in(accounts)
    for _ in range(5):
        clocks.s += 700
        assert await accounts.session(busy) is not None
    clocks.s += 700
    assert await accounts.session(busy) is None


async def test_sign_out_ends_the_session_at_once(accounts: Accounts) -> None:
    """After signing out, the cookie opens nothing."""
    secret = await signed_in(accounts)
    session = await accounts.session(secret)
    assert session is not None
    await accounts.sign_out(session)
    assert await accounts.session(secret) is None
    assert not await accounts.still(session)


async def test_disabled_person_is_out_within_five_seconds(
    accounts: Accounts, engine: Engine, clocks: Clocks
) -> None:
    """Disabling an account ends its sessions within 5 s, the live view's check included."""
    secret = await signed_in(accounts)
    session = await accounts.session(secret)
    assert session is not None
    with engine.begin() as connection:
        connection.execute(person_table.update().values(disabled=True))
    clocks.s += 4.9
    assert not await accounts.still(session)
    assert await accounts.session(secret) is None
    assert await accounts.sign_in("0417", PASSWORD, "10.0.0.1") is None


async def test_session_outlives_a_locked_database(accounts: Accounts, engine: Engine, clocks: Clocks) -> None:
    """While the database cannot be asked, who was signed in a moment ago stays signed in."""
    session = await accounts.session(await signed_in(accounts))
    assert session is not None
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE session RENAME TO away")
    clocks.s += 60
    assert await accounts.still(session)


def test_new_password_ends_old_sessions_and_changes_the_roles(engine: Engine) -> None:
    """Making an account that exists gives it the new password, roles and units."""
    create_user(engine, "0417", PASSWORD + "!", {Role.ADMIN, Role.VIEWER}, now_us=0)
    assert [(one.name, one.roles, one.units) for one in users(engine)] == [
        ("0417", ("admin", "viewer"), None)
    ]


@pytest.mark.parametrize(
    ("name", "password", "roles"),
    [
        ("a b", PASSWORD, {Role.VIEWER}),
        ("a\n", PASSWORD, {Role.VIEWER}),
        ("a", "short", {Role.VIEWER}),
        ("a", PASSWORD, set()),
    ],
)
def test_impossible_account_is_refused(engine: Engine, name: str, password: str, roles: set[Role]) -> None:
    """A name, password or role set that cannot be is refused with what to change."""
    with pytest.raises(AccountError, match=r"must|give"):
        create_user(engine, name, password, roles, now_us=0)

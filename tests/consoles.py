"""A console with a fake core behind it, served on a free port, and people who can sign in."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from console.app import open_database, run
from console.auth import person_table
from console.config import Settings
from fengsui.database import writing
from fengsui.runtime import wall_us
from fengsui.viewer import Role
from tests.fakecore import FakeCore, fake_core

PASSWORD = "correct horse 7"
PEOPLE: dict[str, tuple[frozenset[Role], list[str] | None]] = {
    "viewer": (frozenset({Role.VIEWER}), None),
    "officer": (frozenset({Role.OFFICER}), None),
    "engineer": (frozenset({Role.ENGINEER}), None),
    "admin": (frozenset({Role.ADMIN}), None),
    "all": (frozenset(Role), None),
    "elsewhere": (frozenset({Role.OFFICER}), ["unit-b"]),
}


@functools.cache
def _password_hash() -> str:
    """Everybody's, made once: argon2 is slow on purpose."""
    return PasswordHash((Argon2Hasher(),)).hash(PASSWORD)


@dataclass
class Console:
    """A served console."""

    address: str
    core: FakeCore
    settings: Settings

    def add(self, *names: str) -> None:
        """Make accounts of :data:`PEOPLE`."""
        for name in names:
            add_person(self.settings.database, name, *PEOPLE[name])

    @contextlib.asynccontextmanager
    async def person(self, name: str) -> AsyncIterator[Person]:
        """Somebody signed in."""
        async with signed_in(self.address, name) as person:
            yield person


def add_person(database: Path, name: str, roles: Iterable[Role], units: list[str] | None) -> None:
    """Make an account whose password is :data:`PASSWORD`; ``units`` None means every unit."""
    engine = open_database(database)
    with writing(engine) as connection:
        connection.execute(
            person_table.insert().values(
                name=name,
                password_hash=_password_hash(),
                roles=json.dumps(sorted(roles)),
                units=None if units is None else json.dumps(units),
                disabled=False,
                created_at_us=wall_us(),
            )
        )
    engine.dispose()


@contextlib.asynccontextmanager
async def signed_in(address: str, name: str) -> AsyncIterator[Person]:
    """Somebody signed in at the console of this address."""
    async with httpx2.AsyncClient(base_url=address, timeout=10.0) as client:
        await sign_in(client, name, PASSWORD)
        page = await client.get("/")
        token = re.search(r'data-token="([0-9a-f]{64})"', page.text)
        assert token is not None, page.text
        yield Person(client, token[1])


@dataclass
class Person:
    """A browser, as far as HTTP goes."""

    client: httpx2.AsyncClient
    token: str

    @property
    def cookie(self) -> str:
        """The Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.client.cookies.items())

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        """A POST as the page makes it."""
        return await self.client.post(path, json=body, headers={"x-fengsui-token": self.token} | headers)


async def sign_in(client: httpx2.AsyncClient, name: str, password: str) -> httpx2.Response:
    """Fill in the form and send it."""
    form = await client.get("/sign-in")
    field = re.search(r'name="field" value="([^"]+)"', form.text)
    assert field is not None, form.text
    return await client.post("/sign-in", data={"name": name, "password": password, "field": field[1]})


@contextlib.asynccontextmanager
async def console(folder: Path, **settings: Any) -> AsyncIterator[Console]:
    """A console in this process, on a free port of loopback, its core a fake one."""
    chosen = Settings(
        process="console",
        core_socket=folder / "core.sock",
        database=folder / "console.db",
        **({"port": 0} | settings),
    )
    async with fake_core(chosen.core_socket, wall_us) as core, serving(chosen) as address:
        yield Console(address, core, chosen)


@contextlib.asynccontextmanager
async def serving(chosen: Settings) -> AsyncIterator[str]:
    """A console in this process, whatever its core is; its address."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run(chosen, stop, ready.set_result), name="test.console")
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
        if task.done():
            task.result()
        yield ready.result()
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task

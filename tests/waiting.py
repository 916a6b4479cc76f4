"""Waiting for the world in tests, and letting it run: poll with a deadline, never sleep and hope."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def until(
    condition: Callable[[], Awaitable[T]], timeout_s: float = ..., what: str = ..., *, every_s: float = ...
) -> T: ...
@overload
async def until(
    condition: Callable[[], T], timeout_s: float = ..., what: str = ..., *, every_s: float = ...
) -> T: ...
async def until(
    condition: Callable[[], Any],
    timeout_s: float = 10.0,
    what: str = "condition",
    *,
    every_s: float = 0.02,
) -> Any:
    """The first true value of ``condition`` (a plain or async callable), asked every ``every_s``.

    Raises:
        TimeoutError: it was not true for ``timeout_s``; names ``what`` and the last value seen.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = condition()
        value: Any = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s (last seen: {value!r})")
        await asyncio.sleep(every_s)


@asynccontextmanager
async def background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine for the length of the block; its own error, if it had one, comes out at the end."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

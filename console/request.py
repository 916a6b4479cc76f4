"""What every request to the interface has: a person, the line to the core, a body that is what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from msgspec import Raw
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from console.auth import Session
from console.core import Core
from fengsui.model import POINT_NAME

Id = Annotated[str, Path(pattern=rf"^{POINT_NAME.pattern}$", max_length=64)]
Ticket = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
Text = Annotated[str, Field(max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")]
# In pydantic's regex engine, unlike Python's, "$" is the very end: no trailing newline passes.
FARTHEST_US = 1 << 53
"""Stamps beyond this (the year 2255) are no stamps, and no numbers a browser can hold."""


class Body(BaseModel):
    """A request body: nothing unknown, nothing converted."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Nothing(Body):
    """No more than the path says."""


B = TypeVar("B", bound=Body)


def body(model: type[B]) -> Callable[[Request], Any]:
    """A dependency that reads the body as ``model``, by pydantic's own parser.

    Python's json would take NaN, the last of two equal keys and, a megabyte deep, the whole process.
    """

    async def read(request: Request) -> B:
        try:
            return model.model_validate_json(await request.body())
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_input=False, include_url=False)) from None

    return read


def session_of(request: Request) -> Session:
    """The session that the guard let in."""
    session: Session = request.state.session
    return session


def core_of(request: Request) -> Core:
    """The line to the core."""
    core: Core = request.app.state.core
    return core


Signed = Annotated[Session, Depends(session_of)]
Line = Annotated[Core, Depends(core_of)]


def as_json(content: Raw) -> Response:
    """What the core said, as it came."""
    return Response(bytes(content), media_type="application/json")

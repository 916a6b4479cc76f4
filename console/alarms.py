"""Alarms over HTTP: the list, the story of one, and everything a person does to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Query
from fastapi.responses import Response
from pydantic import Field

from alerting.alarms.desk import DEEDS, OUT_OF_SERVICE_AT_MOST_S, SHELVED_AT_MOST_S, TEXT_MAX
from alerting.alarms.lifecycle import Step
from alerting.finding import Finding
from console.guard import Door
from console.request import FARTHEST_US, Body, Id, Line, Signed, Text, as_json, body
from fengsui.viewer import Action

Words = Annotated[str, Field(max_length=TEXT_MAX, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
Reason = Annotated[Words, Field(min_length=1)]


class Ordered(Body):
    """What a person does to an alarm, as it was at ``version``."""

    version: Annotated[int, Field(ge=0, le=FARTHEST_US)]
    text: Words = ""


class Reasoned(Ordered):
    """The same, and nobody may do it without saying why."""

    text: Reason


class Assigned(Ordered):
    """Who shall handle it."""

    to: Annotated[Text, Field(min_length=1)]


class Closed(Ordered):
    """What it turned out to be."""

    finding: Finding


class Shelved(Reasoned):
    """For how long it shall be still."""

    for_s: Annotated[int, Field(ge=1, le=SHELVED_AT_MOST_S)]


class Disabled(Reasoned):
    """For how long its point is out of service."""

    for_s: Annotated[int, Field(ge=1, le=OUT_OF_SERVICE_AT_MOST_S)]


class Seen(Body):
    """Alarms that are on the screen."""

    alarms: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=1_000)]


BODIES: dict[Step, type[Ordered]] = {
    Step.COMMENT: Reasoned, Step.REOPEN: Reasoned, Step.ASSIGN: Assigned, Step.CLOSE: Closed,
    Step.SHELVE: Shelved, Step.DISABLE: Disabled,
}  # fmt: skip
"""What a step takes besides a version and words."""


async def alarms(session: Signed, core: Line) -> Response:
    """Every open alarm the viewer may see, and the number of the newest event."""
    return as_json(await core.request("alarms", session.viewer))


async def closed(session: Signed, core: Line, limit: Annotated[int, Query(ge=1, le=1_000)] = 100) -> Response:
    """The newest closed alarms, the newest first: what can still be closed with a finding, or reopened."""
    return as_json(await core.request("closed", session.viewer, limit=limit))


async def alarm(alarm: Id, session: Signed, core: Line) -> Response:
    """One alarm, its stopwatch, and what the record has of it, however long ago."""
    return as_json(await core.request("alarm", session.viewer, alarm=alarm))


async def seen(session: Signed, core: Line, what: Annotated[Seen, Depends(body(Seen))]) -> Response:
    """These alarms are on an officer's screen; only the first report of each counts."""
    return as_json(await core.request("seen", session.viewer, alarms=what.alarms))


def act(step: Step) -> Callable[..., Awaitable[Response]]:
    """The endpoint of a step; 409 with what changed when something has moved since that version."""
    reading = body(BODIES.get(step, Ordered))

    async def endpoint(alarm: Id, session: Signed, core: Line, what: Any = Depends(reading)) -> Response:  # noqa: B008
        fields = what.model_dump()
        return as_json(await core.request(step, session.viewer, alarm=alarm, **fields))

    endpoint.__name__ = step
    return endpoint


DOORS = [
    Door("GET", "/api/v1/alarms", alarms, Action.READ),
    Door("GET", "/api/v1/alarms/closed", closed, Action.READ),
    Door("POST", "/api/v1/alarms/seen", seen, Action.HANDLE),
    Door("GET", "/api/v1/alarms/{alarm}", alarm, Action.READ),
    *(
        Door("POST", f"/api/v1/alarms/{{alarm}}/{step}", act(step), deed.action)
        for step, deed in DEEDS.items()
    ),
]

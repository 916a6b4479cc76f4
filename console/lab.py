"""The lab's doors: a scenario or a recording under a draft of the rules; see docs/lab.md."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends
from fastapi.responses import Response
from pydantic import Field

from console.guard import Door
from console.request import Body, Line, Nothing, Signed, Text, Ticket, as_json, body
from fengsui.viewer import Action


class Play(Body):
    """Perform a scenario or recording under this draft; see docs/lab.md."""

    source: Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
    rules: Annotated[str, Field(max_length=300_000)]
    point: Text = ""


class Keep(Play):
    """Write a span of a point's signal into this draft as a rule test."""

    point: Annotated[Text, Field(min_length=1)]
    from_s: Annotated[float, Field(ge=0, le=1e9)]
    to_s: Annotated[float, Field(ge=0, le=1e9)]
    name: Annotated[Text, Field(min_length=1)]
    rule: Text = ""


async def lab_sources(
    session: Signed, core: Line, _what: Annotated[Nothing, Depends(body(Nothing))]
) -> Response:
    """Ask for the scenarios and recordings there are; look with the ticket."""
    return as_json(await core.request("lab_sources", session.viewer))


async def lab_play(session: Signed, core: Line, what: Annotated[Play, Depends(body(Play))]) -> Response:
    """Perform one under the draft and the rules in force; look with the ticket. One at a time."""
    return as_json(await core.request("lab_play", session.viewer, **what.model_dump()))


async def lab_keep(session: Signed, core: Line, what: Annotated[Keep, Depends(body(Keep))]) -> Response:
    """Write a span of a signal into the draft as a rule test; look with the ticket. Nothing takes effect."""
    return as_json(await core.request("lab_keep", session.viewer, **what.model_dump()))


async def look_lab(ticket: Ticket, session: Signed, core: Line) -> Response:
    """How far a run of the lab is, and what came of it when it is done."""
    return as_json(await core.request("look_lab", session.viewer, ticket=ticket))


async def cancel_lab(
    ticket: Ticket, session: Signed, core: Line, _what: Annotated[Nothing, Depends(body(Nothing))]
) -> Response:
    """Give a run of the lab up."""
    return as_json(await core.request("cancel_lab", session.viewer, ticket=ticket))


DOORS = [
    Door("POST", "/api/v1/lab/sources", lab_sources, Action.BACKTEST),
    Door("POST", "/api/v1/lab/runs", lab_play, Action.BACKTEST),
    Door("POST", "/api/v1/lab/tests", lab_keep, Action.BACKTEST),
    Door("GET", "/api/v1/lab/runs/{ticket}", look_lab, Action.BACKTEST),
    Door("POST", "/api/v1/lab/runs/{ticket}/cancel", cancel_lab, Action.BACKTEST),
]

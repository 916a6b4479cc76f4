"""What the page asks for and does, as JSON over HTTP: the core answers, asked as the viewer."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import Field
from starlette.websockets import WebSocket

from alerting.statistics import Statistics
from console import alarms, lab
from console.errors import CoreError
from console.guard import LIVE, Door
from console.live import Hub
from console.problem import problem
from console.request import FARTHEST_US, Body, Id, Line, Nothing, Signed, Text, Ticket, as_json, body
from console.tables import TABLES, to_csv
from fengsui.model import NAME, POINT_NAME
from fengsui.viewer import Action


class Accept(Body):
    """This unbound name is that point."""

    gateway: Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]
    name: Annotated[str, Field(pattern=rf"^{POINT_NAME.pattern}$")]
    id: Annotated[str, Field(pattern=rf"^{POINT_NAME.pattern}$")]
    quantity: Annotated[Text, Field(min_length=1)]
    uom: Text
    building: Text = ""
    zone: Text = ""
    place: Text = ""
    unit: Text = ""


RulesText = Annotated[str, Field(max_length=500_000)]


class Rules(Body):
    """A rule file to try."""

    text: RulesText


class NewRules(Rules):
    """A rule file to put in the place of the one of ``digest``."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class StartFire(Body):
    """Light the simulated fire, in ``building`` if there are several."""

    building: Text | None = None


class Backtest(Body):
    """Judge this draft over that span; see docs/backtest.md."""

    rules: Annotated[str, Field(max_length=300_000)]
    from_us: Annotated[int, Field(ge=0, le=FARTHEST_US)]
    to_us: Annotated[int, Field(ge=0, le=FARTHEST_US)]
    warm_s: Annotated[float, Field(ge=0, le=1e8)]
    offset_s: Annotated[int, Field(gt=-86_400, lt=86_400)]
    """Of the days' time zone from UTC."""
    scope: Annotated[str, Field(max_length=500)] = ""
    labels: Annotated[str, Field(max_length=500_000)] | None = None


async def points(
    session: Signed,
    core: Line,
    text: Annotated[str, Query(max_length=80)] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Points whose id, name or place contains ``text``, with their last value."""
    return as_json(await core.request("points", session.viewer, text=text, limit=limit))


async def history(
    point: Id,
    session: Signed,
    core: Line,
    from_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
    to_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
    max_points: Annotated[int, Query(ge=4, le=5000)] = 3000,
) -> Response:
    """Readings of one point, thinned so that minimum and maximum of every stretch stay."""
    return as_json(
        await core.request(
            "history", session.viewer, point=point, from_us=from_us, to_us=to_us, max_points=max_points
        )
    )


async def statistics(
    session: Signed,
    core: Line,
    from_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
    to_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
    operators: Annotated[int | None, Query(ge=1, le=1000)] = None,
) -> Response:
    """Load of the desk, bad actors, nuisances by make, and time to acknowledge, over a span."""
    asked = {} if operators is None else {"operators": operators}
    return as_json(await core.request("statistics", session.viewer, from_us=from_us, to_us=to_us, **asked))


async def statistics_table(
    table: Annotated[str, Path(pattern=rf"^({'|'.join(TABLES)})$")],
    session: Signed,
    core: Line,
    from_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
    to_us: Annotated[int, Query(ge=0, le=FARTHEST_US)],
) -> Response:
    """One table of the statistics as CSV."""
    answer = await core.request("statistics", session.viewer, from_us=from_us, to_us=to_us)
    text = to_csv(msgspec.json.decode(bytes(answer), type=Statistics), table)
    return Response(
        text, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{table}.csv"'}
    )


async def status(session: Signed, core: Line) -> Response:
    """Server, gateways and both balances of conservation, now."""
    return as_json(await core.request("status", session.viewer))


async def discovered(session: Signed, core: Line) -> Response:
    """Names that gateways send and nobody registered."""
    return as_json(await core.request("discovered", session.viewer))


async def accept(session: Signed, core: Line, what: Annotated[Accept, Depends(body(Accept))]) -> Response:
    """Register a discovered name as a point; its dead letters are replayed into history."""
    # On the core's socket "id" is the number of the request.
    fields = what.model_dump()
    return as_json(await core.request("accept", session.viewer, point=fields.pop("id"), **fields))


async def deadletters(
    session: Signed,
    core: Line,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    before: Annotated[int | None, Query(ge=0, le=FARTHEST_US)] = None,
) -> Response:
    """What could not be read, newest first."""
    more = {} if before is None else {"before": before}
    return as_json(await core.request("deadletters", session.viewer, limit=limit, **more))


async def rules(session: Signed, core: Line) -> Response:
    """The rule file in force, its digest, and each rule with its fields and in words."""
    return as_json(await core.request("rules", session.viewer))


async def check_rules(session: Signed, core: Line, what: Annotated[Rules, Depends(body(Rules))]) -> Response:
    """Read a rule file and run its tests; 422 with every problem, else what it would change."""
    return as_json(await core.request("check_rules", session.viewer, text=what.text))


async def replace_rules(
    session: Signed, core: Line, what: Annotated[NewRules, Depends(body(NewRules))]
) -> Response:
    """Put a rule file in force, at once and for good; 422 as above, 409 when another one is in force."""
    fields = what.model_dump()
    return as_json(await core.request("replace_rules", session.viewer, **fields))


async def start_fire(
    session: Signed, core: Line, what: Annotated[StartFire, Depends(body(StartFire))]
) -> Response:
    """Light the simulated fire; only where a simulated gateway runs."""
    more = {} if what.building is None else {"building": what.building}
    return as_json(await core.request("start_fire", session.viewer, **more))


async def start_backtest(
    session: Signed, core: Line, what: Annotated[Backtest, Depends(body(Backtest))]
) -> Response:
    """Begin a backtest; look with the ticket every few seconds, or it is given up. One at a time."""
    return as_json(await core.request("start_backtest", session.viewer, **what.model_dump()))


async def look_backtest(ticket: Ticket, session: Signed, core: Line) -> Response:
    """How far a backtest is, and its report when it is done."""
    return as_json(await core.request("look_backtest", session.viewer, ticket=ticket))


async def cancel_backtest(
    ticket: Ticket, session: Signed, core: Line, _what: Annotated[Nothing, Depends(body(Nothing))]
) -> Response:
    """Give a backtest up."""
    return as_json(await core.request("cancel_backtest", session.viewer, ticket=ticket))


async def live(socket: WebSocket) -> None:
    """The live view; ``?after=n`` resumes behind the newest event the page has."""
    hub: Hub = socket.app.state.hub
    after = socket.query_params.get("after", "")
    number = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else None
    await hub.serve(socket, socket.state.session, number)


async def core_refused(_request: Request, error: Exception) -> Response:
    """A refusal of the core, in HTTP's words."""
    assert isinstance(error, CoreError)
    more = {} if error.changed is None else {"changed": error.changed}
    return problem(error.code, error.text, **more)


async def not_valid(_request: Request, error: Exception) -> Response:
    """A request we cannot take: which field and why, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    where = [
        ".".join(str(part) for part in one["loc"]) + ": " + str(one["msg"]) for one in error.errors()[:10]
    ]
    return problem("invalid", "; ".join(where))


DOORS = [
    *alarms.DOORS,
    *lab.DOORS,
    Door("GET", "/api/v1/points", points, Action.READ),
    Door("GET", "/api/v1/points/{point}/history", history, Action.READ),
    Door("GET", "/api/v1/status", status, Action.READ),
    Door("GET", "/api/v1/statistics", statistics, Action.READ),
    Door("GET", "/api/v1/statistics/{table}.csv", statistics_table, Action.READ),
    Door("GET", "/api/v1/discovered", discovered, Action.REGISTER),
    Door("POST", "/api/v1/discovered/accept", accept, Action.REGISTER),
    Door("GET", "/api/v1/deadletters", deadletters, Action.READ_DEAD_LETTERS),
    Door("GET", "/api/v1/rules", rules, Action.READ),
    Door("PUT", "/api/v1/rules", replace_rules, Action.CHANGE_RULES),
    Door("POST", "/api/v1/rules/check", check_rules, Action.CHANGE_RULES),
    Door("POST", "/api/v1/lab/fire", start_fire, Action.SIMULATE),
    Door("POST", "/api/v1/backtest", start_backtest, Action.BACKTEST),
    Door("GET", "/api/v1/backtest/{ticket}", look_backtest, Action.BACKTEST),
    Door("POST", "/api/v1/backtest/{ticket}/cancel", cancel_backtest, Action.BACKTEST),
    Door(LIVE, "/api/v1/live", live, Action.READ),
]

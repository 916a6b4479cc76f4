"""R47, R50, R52, R56, R57, R61: who may do what at the console's doors, over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from alerting.alarms.desk import DEEDS, SHELVED_AT_MOST_S
from console import api, pages
from console.app import create_app, open_database
from console.config import Settings
from console.guard import ANYONE, LIVE
from fengsui.viewer import Action, Viewer
from tests.consoles import PASSWORD, PEOPLE, Console, console, sign_in
from tests.fakecore import alarm
from tests.ordering import bodies
from tests.waiting import until

DOORS = [*pages.DOORS, *api.DOORS]
BODIES: dict[str, Any] = {
    **bodies(1),
    "/api/v1/alarms/seen": {"alarms": ["alarm-P-1"]},
    "/api/v1/discovered/accept": {"gateway": "g", "name": "n", "id": "i", "quantity": "q", "uom": "u"},
    "/api/v1/rules": {"text": "", "digest": "0123456789abcdef"},
    "/api/v1/rules/check": {"text": ""},
    "/api/v1/lab/fire": {},
    "/api/v1/backtest": {"rules": "", "from_us": 0, "to_us": 1, "warm_s": 0, "offset_s": 0},
    "/api/v1/backtest/{ticket}/cancel": {},
    "/api/v1/lab/sources": {},
    "/api/v1/lab/runs": {"source": "scenario/x", "rules": ""},
    "/api/v1/lab/tests": {
        "source": "scenario/x",
        "rules": "",
        "point": "p",
        "from_s": 0,
        "to_s": 1,
        "name": "n",
    },
    "/api/v1/lab/runs/{ticket}/cancel": {},
    "/sign-out": {},
}
ACTING = (
    *DEEDS, "seen", "accept", "start_fire", "replace_rules", "start_backtest", "cancel_backtest",
    "lab_sources", "lab_play", "lab_keep", "cancel_lab",
)  # fmt: skip
ACTIONS = {(door.method, door.path): door.action for door in DOORS}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Console]:
    """A console with an alarm of each of two units, and the whole cast."""
    async with console(tmp_path) as one:
        one.core.put(alarm("P-1"))
        one.core.put(alarm("P-2", unit="unit-b"))
        one.add(*PEOPLE)
        yield one


def path_of(door: str) -> str:
    """A path that leads through the door."""
    path = door.replace("{alarm}", "alarm-P-1").replace("{point}", "P-1").replace("{ticket}", "0" * 16)
    path = path.replace("{table}", "bad_actors")
    return path + ("?from_us=0&to_us=1000000" if "history" in path or "statistics" in path else "")


async def test_every_role_at_every_door_with_every_method(served: Console) -> None:
    """Each role passes exactly the doors its actions open; all else is 403 or 404 and changes nothing."""
    for name in ("viewer", "officer", "engineer", "admin"):
        viewer = Viewer(person=name, roles=PEOPLE[name][0], units=None)
        served.core.put(alarm("P-1"))
        async with served.person(name) as person:
            for door in DOORS:
                if door.method == LIVE or door.path in ("/sign-out", "/sign-in", "/healthz"):
                    continue
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                    before = len([one for do in ACTING for one in served.core.asked_for(do)])
                    answer = await person.client.request(
                        method,
                        path_of(door.path),
                        json=BODIES.get(door.path),
                        headers={"x-fengsui-token": person.token, "accept": "application/json"},
                    )
                    after = len([one for do in ACTING for one in served.core.asked_for(do)])
                    action = ACTIONS.get((method, door.path))
                    if action is not None and viewer.may(action):
                        assert answer.status_code in (200, 409), (name, method, door.path, answer.text)
                    else:
                        assert answer.status_code in (403, 404), (name, method, door.path)
                        assert after == before


async def test_live_view_needs_a_session_and_our_origin(served: Console) -> None:
    """The WebSocket is refused without cookie, without Origin, and from another site's Origin."""
    address = served.address.replace("http", "ws") + "api/v1/live"
    async with served.person("viewer") as person:
        cookie, ours = {"Cookie": person.cookie}, served.address.rstrip("/")
        for origin, headers in (
            (ours, {}),
            (None, cookie),
            ("http://evil.example", cookie),
            ("null", cookie),
        ):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(address, origin=origin, additional_headers=headers, proxy=None):  # type: ignore[arg-type]
                    pass
            assert refused.value.response.status_code == 403
        async with connect(address, origin=ours, additional_headers=cookie, proxy=None) as socket:  # type: ignore[arg-type]
            assert await socket.recv()


async def test_nobody_gets_only_the_sign_in_and_health(served: Console) -> None:
    """Without a session every door but sign-in and health is closed, and a page leads to the sign-in."""
    async with httpx2.AsyncClient(base_url=served.address) as client:
        for door in DOORS:
            if door.method == LIVE:
                continue
            answer = await client.request(door.method, path_of(door.path), json={})
            expected = {401} if door.action is not ANYONE else {200, 401, 503}
            assert answer.status_code in expected, (door.method, door.path)
        page = await client.get("/", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/sign-in")
        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.get("/docs")).status_code == 404
        assert (await client.get("/static/../config.py")).status_code == 404
    assert served.core.asked_for("acknowledge") == []


def test_every_route_is_declared_and_an_undeclared_one_is_refused(tmp_path: Path) -> None:
    """All routes of the application are doors with an action; one added without is answered 403."""
    engine = open_database(tmp_path / "c.db")
    app = create_app(
        Settings(process="console", core_socket=tmp_path / "s", database=tmp_path / "c.db"), engine
    )
    declared = {door.path for door in DOORS} | {"/static"}
    assert {getattr(route, "path", "") for route in app.routes} == declared
    assert [door.path for door in DOORS if door.action is ANYONE] == ["/sign-in", "/sign-in", "/healthz"]

    async def forgotten() -> str:
        return "secret"

    app.add_api_route("/forgotten", forgotten, methods=["GET"])
    assert asyncio.run(_get(app, "/forgotten")).status_code == 403
    engine.dispose()


async def _get(app: FastAPI, path: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://console.test") as client:
        return await client.get(path)


async def test_requests_of_another_site_are_refused(served: Console) -> None:
    """A POST without the token, with a wrong one, or from a foreign Origin acts on nothing."""
    path = "/api/v1/alarms/alarm-P-1/acknowledge"
    async with served.person("officer") as person:
        bare = await person.client.post(path, json={"version": 1})
        wrong = await person.client.post(path, json={"version": 1}, headers={"x-fengsui-token": "0" * 64})
        foreign = await person.post(path, {"version": 1}, origin="http://evil.example")
        cross = await person.post(path, {"version": 1}, **{"sec-fetch-site": "cross-site"})
        assert [one.status_code for one in (bare, wrong, foreign, cross)] == [403] * 4
        assert served.core.asked_for("acknowledge") == []
        assert (await person.post(path, {"version": 1})).status_code == 200
        assert (await person.post(path, {"version": 1})).status_code == 409


async def test_other_units_do_not_exist(served: Console) -> None:
    """Alarms, history and actions of another unit answer as if they were not there."""
    async with served.person("elsewhere") as person:
        alarms = (await person.client.get("/api/v1/alarms")).json()["alarms"]
        assert [one["unit"] for one in alarms] == ["unit-b"]
        for path, content in bodies(1).items():
            theirs = await person.post(path.replace("{alarm}", "alarm-P-1"), content)
            nothing = await person.post(path.replace("{alarm}", "alarm-P-9"), content)
            assert (theirs.status_code, theirs.json()) == (nothing.status_code, nothing.json())
            allowed = theirs.json()["code"] == "unknown"
            assert theirs.status_code == (404 if allowed else 403)
            assert allowed == (path.rpartition("/")[2] not in ("disable", "enable"))
        theirs = await person.client.get("/api/v1/alarms/alarm-P-1")
        nothing = await person.client.get("/api/v1/alarms/alarm-P-9")
        assert (theirs.status_code, theirs.content) == (404, nothing.content)
        history = await person.client.get("/api/v1/points/P-1/history?from_us=0&to_us=1")
        assert history.status_code == 404
    assert served.core.alarms["alarm-P-1"]["version"] == 1


async def test_sign_in_tells_a_guesser_nothing(served: Console) -> None:
    """Wrong password, unknown name and too many tries: same text, same status, times within 20 ms."""
    async with httpx2.AsyncClient(base_url=served.address) as client:
        seen, took = set(), []
        for name in ["officer"] * 3 + ["nobody"] * 2 + ["officer", "nobody"]:
            form = (await client.get("/sign-in")).text
            assert form
            began = time.perf_counter()
            answer = await sign_in(client, name, "wrong password")
            took.append(round((time.perf_counter() - began) % 0.5, 3))
            field = answer.text.split('name="field" value="')[1][:43]
            seen.add((answer.status_code, answer.text.replace(field, "")))
        assert len(seen) == 1
        assert (await sign_in(client, "officer", PASSWORD)).status_code == 401


async def test_form_of_another_site_signs_nobody_in(served: Console) -> None:
    """The right password with a field that is not this browser's is refused: no session is planted."""
    async with httpx2.AsyncClient(base_url=served.address) as client:
        await client.get("/sign-in")
        answer = await client.post("/sign-in", data={"name": "officer", "password": PASSWORD, "field": "x"})
        assert answer.status_code == 401
        assert "fengsui" not in client.cookies


async def test_session_is_new_at_sign_in_and_dead_after_sign_out(served: Console) -> None:
    """Each sign-in draws a new id whatever cookie came along; after sign-out the old one opens nothing."""
    async with served.person("officer") as first, served.person("officer") as second:
        assert first.cookie != second.cookie
        kept = {"cookie": first.cookie}
        assert (await first.post("/sign-out", {})).status_code == 200
        async with httpx2.AsyncClient(base_url=served.address) as thief:
            assert (await thief.get("/api/v1/alarms", headers=kept)).status_code == 401
        assert (await second.client.get("/api/v1/alarms")).status_code == 200


async def test_a_refusal_is_problem_details_with_what_changed(served: Console) -> None:
    """RFC 9457, with our code; a stale order is told the version, what changed, by whom and when."""
    async with served.person("officer") as person:
        answer = await person.post("/api/v1/alarms/alarm-P-1/take", {"version": 0})
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "title": "Conflict", "status": 409, "detail": "The alarm has changed.", "code": "stale",
            "changed": {"version": 1, "what": "taken", "by": "0417", "at_us": 1},
        }  # fmt: skip
        for path, content in (
            ("shelve", {"version": 1, "text": "works", "for_s": SHELVED_AT_MOST_S + 1}),
            ("shelve", {"version": 1, "text": "", "for_s": 60}),
            ("close", {"version": 1, "finding": "nothing"}),
            ("comment", {"version": 1}),
            ("take", {"version": 1, "to": "0002"}),
        ):
            refused = await person.post(f"/api/v1/alarms/alarm-P-1/{path}", content)
            assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), path
        closed = {"version": 1, "finding": "dust", "text": "filter\nchanged"}
        assert (await person.post("/api/v1/alarms/alarm-P-1/close", closed)).status_code == 200
        (asked,) = served.core.asked_for("close")
        assert {key: asked[key] for key in closed} == closed


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"{", b'{"version": 1.0}', b'{"version": "1"}', b'{"version": true}', b'{"version": -1}',
        b'{"version": 1, "state": "closed"}', b'{"version": NaN}', b'{"version": 1e400}', b"\xff\xfe",
        b'{"version": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"version": 18446744073709551616}',
    ],
)  # fmt: skip
async def test_bad_bodies_are_refused_in_words(served: Console, content: bytes) -> None:
    """A body that is not exactly what is asked for is 422, acts on nothing, and is not echoed."""
    async with served.person("officer") as person:
        answer = await person.client.post(
            "/api/v1/alarms/alarm-P-1/acknowledge",
            content=content,
            headers={"x-fengsui-token": person.token, "content-type": "application/json"},
        )
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid"
    assert served.core.asked_for("acknowledge") == []


async def test_large_body_is_refused_before_it_is_read(served: Console) -> None:
    """More than 1 MiB is 413, whether its length is declared or it comes in pieces."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100_000

    async with served.person("officer") as person:
        path, headers = "/api/v1/alarms/alarm-P-1/acknowledge", {"x-fengsui-token": person.token}
        for content in (b"x" * (1024 * 1024 + 1), pieces()):
            with contextlib.suppress(httpx2.WriteError):
                answer = await person.client.post(path, content=content, headers=headers)
                assert answer.status_code == 413


async def test_answers_carry_the_headers_that_protect_them(served: Console) -> None:
    """Pages, API, errors and files all carry the strict policy; the cookie is HttpOnly and SameSite."""
    async with served.person("admin") as person:
        for path in ("/", "/api/v1/alarms", "/nothing", "/static/console.css", "/sign-in", "/metrics"):
            headers = (await person.client.get(path)).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        form = await person.client.get("/sign-in")
        assert "server" not in form.headers
        assert "httponly" in form.headers["set-cookie"].lower()


async def test_core_out_of_reach_is_said(served: Console) -> None:
    """Without the core, requests answer 503 in words and health says so."""
    async with served.person("officer") as person:
        assert (await person.client.get("/healthz")).status_code == 200
        await served.core.stop()
        answer = await person.client.get("/api/v1/alarms")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await person.client.get("/healthz")).status_code == 503


async def test_metrics_show_both_balances_to_an_admin(served: Console) -> None:
    """The exposition holds wire and store terms with their residues, latency and pending."""
    async with served.person("admin") as person:

        async def with_status() -> str:
            text = (await person.client.get("/metrics")).text
            return text if "fengsui_store_residue" in text else ""

        text = await until(with_status)
    assert 'fengsui_store_readings_dead_total{gateway="gw-1",reason="unknown_point"} 40.0' in text
    assert 'fengsui_wire_residue_records{gateway="gw-1",lane="alarm",spool="a1b2"} 0.0' in text
    assert 'fengsui_latency_seconds{quantile="0.99"} 0.18' in text
    documented = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    for name in set(re.findall(r"^(fengsui_\w+)", text, re.MULTILINE)):
        assert f"`{name}`" in documented, f"{name} is not in docs/metrics.md"


async def test_statistics_come_as_tables(served: Console) -> None:
    """A table is a CSV file of its own; one that is none is not there."""
    async with served.person("viewer") as person:
        answer = await person.client.get("/api/v1/statistics/answered.csv?from_us=0&to_us=1000000")
        assert (answer.status_code, answer.text) == (200, "cls,alarms,acknowledged,p50_s,p95_s\r\n")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        wrong = await person.client.get("/api/v1/statistics/alarms.csv?from_us=0&to_us=1000000")
        assert wrong.status_code == 422


def test_every_action_behind_a_door_is_one_of_ours() -> None:
    """Doors name actions of the one table of roles, and what acts is no GET."""
    for door in DOORS:
        assert door.action is None or isinstance(door.action, Action)
        if door.action in (
            Action.ACKNOWLEDGE, Action.RESET, Action.HANDLE, Action.SHELVE, Action.DISABLE, Action.SIMULATE,
        ):  # fmt: skip
            assert door.method == "POST"
        assert (door.action is Action.CHANGE_RULES) <= (door.method in ("POST", "PUT"))

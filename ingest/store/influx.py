"""The series store on InfluxDB: our batches, one HTTP request each, an answer for every code it can give.

Version 2 (and VictoriaMetrics) is written through influxdb-client's asynchronous client, version 1 through
its ``/write``; both are read by InfluxQL, which version 2 serves as well.

=====================  =====================================================================================
204                    stored
400, 422               some of it is refused: halve until the refused readings stand alone
413                    too long: halve, refuse nothing, and send no longer request again
401, 403, 404          ``StoreMisconfigured``: hold the data, tell a person
408, 429, 5xx          ``StoreUnavailable``, with ``Retry-After`` (seconds or a date)
no answer, no HTTP     ``StoreUnavailable``; nothing is certain, so the same rows are sent again
any other code         3xx and 4xx ``StoreMisconfigured``, else ``StoreUnavailable``
=====================  =====================================================================================

A refused request may be stored in part (version 1 stores the good lines and answers 400; version 2 says 422);
sending a line twice is harmless, because the same series and stamp overwrite.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Literal, NamedTuple, Protocol

import aiohttp
import numpy as np
import orjson
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from numpy.typing import NDArray

from fengsui.model import Point
from fengsui.viewer import Viewer
from ingest.store.base import (
    Outcome,
    Refused,
    Registered,
    Rows,
    Series,
    StoreMisconfigured,
    StoreUnavailable,
    Thinning,
    check_seen,
    pieces,
)
from ingest.store.line import MEASUREMENT, TAG, Lines

MAX_RETRY_AFTER_S = 3600.0
"""A server that asks for more is asked again after an hour."""
MAX_ROWS_PER_REQUEST = 20_000
_ROWS_AT_ONCE = 2_000
"""Lines made in one turn of the event loop, 0.3 ms; in one of 20,000 a line costs half as much again."""

_CONNECTIONS = 4
_CHUNK_ROWS = 10_000
_NAMED = 200
"""Points that one question names."""
_MAX_TEXT = 500
_MAX_ANSWER = 64 << 10
_MAX_CHUNK = 4 << 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_DROPPED = re.compile(r"\bdropped=(\d+)")
_PARTLY: Final = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Down, cut, hung, or not HTTP: aiohttp raises ValueError for some answers that are none."""


class Answer(NamedTuple):
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The server's own words, in one bounded line."""
        words = self.body[:_MAX_ANSWER].decode(errors="replace")
        try:
            said = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            said = None
        if isinstance(said, dict):
            words = str(said.get("error") or said.get("message") or words)
        return _CONTROL.sub(" ", words).strip()[:_MAX_TEXT] or f"status {self.status} without a word"

    @property
    def dropped(self) -> int:
        """How many lines a partial write says it left out; 0 when it does not say."""
        found = _DROPPED.search(self.text)
        return int(found.group(1)) if found else 0


class _Route(Protocol):
    async def post(self, lines: bytes) -> Answer: ...

    async def aclose(self) -> None: ...


class InfluxStore:
    """Readings in an InfluxDB; make it inside a running event loop, close it with ``aclose``.

    Args:
        registered: The points, by index.
        url: ``http://127.0.0.1:8086`` or ``https://...``.
        version: Write API: 1 (``/write``) or 2 (``/api/v2/write``, also VictoriaMetrics).
        database: Database of version 1 (created if we may), bucket of version 2.
        org: Organisation that owns the bucket; version 2 only.
        username: User of version 1; empty if it asks for none.
        secret: The user's password (version 1) or a token (version 2); empty if it asks for none.
        timeout_s: Bound of one request, so that a server that hangs is one that is down.
        tls: Context for ``https``; None: the system's authorities.
        wall_s: Seconds since 1970, for a ``Retry-After`` date from a server that sends no ``Date``.
    """

    kind = "influx"

    def __init__(
        self,
        registered: Registered,
        *,
        url: str,
        version: Literal[1, 2],
        database: str,
        org: str = "",
        username: str = "",
        secret: str = "",
        timeout_s: float = 10.0,
        tls: ssl.SSLContext | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = url.rstrip("/")
        self._database = database
        self._wall_s = wall_s
        self._lines = Lines(registered)
        self._most_rows = MAX_ROWS_PER_REQUEST
        self._is_prepared = version == 2
        auth = None
        if version == 2 and secret:
            auth = f"Token {secret}"
        elif username:
            auth = aiohttp.encode_basic_auth(username, secret)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=tls or True),
            headers={"Accept-Encoding": "identity", **({"Authorization": auth} if auth else {})},
        )
        self._route: _Route
        if version == 2:
            self._route = _Version2(self._url, database, org, secret, timeout_s, tls)
        else:
            self._route = _Version1(self._session, self._url, database)

    @property
    def faults(self) -> list[str]:
        """None of its own: what it cannot do, it raises."""
        return []

    async def write(self, rows: Rows) -> Outcome:
        """Store rows; see ``Writable.write``. InfluxDB cannot tell a duplicate: it overwrites."""
        await self._prepare()
        refused = self._lines.refuse(rows)
        part = np.arange(rows.count, dtype=np.intp)
        if refused:
            part = np.delete(part, [row for row, _ in refused])
        while len(part):
            step, part = part[: self._most_rows], part[self._most_rows :]
            await self._store(rows, step, refused)
        return Outcome(rows.count - len(refused), [], sorted(refused))

    async def history(
        self, viewer: Viewer, point: Point, from_us: int, to_us: int, max_points: int
    ) -> Series:
        """A point's readings, thinned on this side as they stream in; see ``History.history``."""
        check_seen(viewer, point)
        thinning = Thinning(from_us, to_us, max_points)
        question = _select("v, q", f"{TAG} = $id AND time >= $from AND time < $to")
        bound: dict[str, str | int] = {"id": point.id, "from": from_us * 1000, "to": to_us * 1000}
        async for columns, rows in self._query(question, bound):
            at, v, q = (columns.index(name) for name in ("time", "v", "q"))
            piece = Series(
                np.array([row[at] for row in rows], np.int64),
                np.array([row[v] for row in rows], np.float64),
                np.array([row[q] or 0 for row in rows], np.uint8),
            )
            thinning.add(piece)
        return thinning.series()

    async def read(
        self, viewer: Viewer, points: Sequence[Point], from_us: int, to_us: int
    ) -> AsyncIterator[Rows]:
        """Readings of many points, as many at a time as one question names; see ``History.read``."""
        for point in points:
            check_seen(viewer, point)
        index = {point.id: point.index for point in points}
        groups = [list(index)[first : first + _NAMED] for first in range(0, len(index), _NAMED)]

        async def window(from_us: int, to_us: int, most: int) -> Rows | None:
            found: list[Rows] = []
            for ids in groups:
                rows = await self._named(ids, index, from_us, to_us, most + 1)
                most -= rows.count
                if most < 0:
                    return None
                found.append(rows)
            return Rows.of(*found)

        async for piece in pieces(window, from_us, to_us):
            yield piece

    async def count(self, point: Point | None) -> int:
        """Readings stored: those with a value, and those with a quality alone."""
        valued = "(v > 0 OR v <= 0)"
        one, bound = (f"{TAG} = $id", {"id": point.id}) if point else ("time >= 0", {})
        value = await self._count(_select("count(v)", one), bound)
        quality = await self._count(_select("count(q)", one), bound)
        both = await self._count(_select("count(q)", f"{one} AND {valued}"), bound)
        return value + quality - both

    async def aclose(self) -> None:
        """Close every connection."""
        await self._route.aclose()
        await self._session.close()

    # writing

    async def _store(self, rows: Rows, part: NDArray[np.intp], refused: list[Refused]) -> bool:
        """Send ``part`` in one request and find out what is refused; True when nothing was."""
        answer = await self._post(await self._encode(rows, part))
        if answer.status == HTTPStatus.NO_CONTENT:
            return True
        half = len(part) // 2
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            if not half:
                raise StoreMisconfigured(f"{self._url} takes no request of a single line: {answer.text}")
            self._most_rows = min(self._most_rows, half)
            stored = await self._store(rows, part[:half], refused)
            return await self._store(rows, part[half:], refused) and stored
        if not half or answer.dropped == len(part):
            refused += [Refused(row, answer.text) for row in part.tolist()]
        else:
            await self._split(rows, part, answer, refused)
        return False

    async def _encode(self, rows: Rows, part: NDArray[np.intp]) -> bytes:
        """The lines of ``part``; between pieces of them an alarm gets its turn."""
        pieces = []
        for first in range(0, len(part), _ROWS_AT_ONCE):
            pieces.append(self._lines.encode(rows.take(part[first : first + _ROWS_AT_ONCE])))
            await asyncio.sleep(0)
        return b"".join(pieces)

    async def _split(
        self, rows: Rows, part: NDArray[np.intp], answer: Answer, refused: list[Refused]
    ) -> None:
        """Halve ``part``, of which ``answer`` refused something."""
        half = len(part) // 2
        left, right = part[:half], part[half:]
        if await self._store(rows, left, refused) and len(right) > 1 and answer.dropped != len(right):
            # What was refused is on the right: asking again about all of it would teach nothing.
            await self._split(rows, right, answer, refused)
        else:
            await self._store(rows, right, refused)

    async def _post(self, lines: bytes) -> Answer:
        try:
            answer = await self._route.post(lines)
        except _NO_ANSWER as error:
            raise self._silence(error) from error
        if answer.status in _PARTLY and "html" in answer.headers.get("Content-Type", ""):
            # A proxy's page, not InfluxDB's verdict on a line: no reading may be given up for it.
            raise StoreMisconfigured(f"{self._url} answers {answer.status} with a web page: {answer.text}")
        if answer.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, *_PARTLY):
            self._judge(answer)
        return answer

    async def _prepare(self) -> None:
        """Make the database, once; without the right to, it must be there already and the write will tell."""
        if self._is_prepared:
            return
        name = self._database.replace("\\", "\\\\").replace('"', '\\"')
        async with self._ask({"q": f'CREATE DATABASE "{name}"'}) as response:
            answer = await _answer(response)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            self._judge(answer)
        self._is_prepared = True

    def _judge(self, answer: Answer) -> None:
        """Raise what an answer without a place of its own in the table means."""
        text = f"{self._url} answers {answer.status}: {answer.text}"
        if answer.status == HTTPStatus.NOT_FOUND:
            self._is_prepared = isinstance(self._route, _Version2)
        if answer.status >= 500 or answer.status in (
            HTTPStatus.REQUEST_TIMEOUT,
            HTTPStatus.TOO_MANY_REQUESTS,
        ):
            raise StoreUnavailable(self._retry_after_s(answer.headers), text)
        if 300 <= answer.status < 500:
            raise StoreMisconfigured(text)
        raise StoreUnavailable(None, f"{text} (is this InfluxDB?)")

    def _retry_after_s(self, headers: Mapping[str, str]) -> float | None:
        said = headers.get("Retry-After", "").strip()
        if said.isascii() and said.isdigit():
            return min(float(said), MAX_RETRY_AFTER_S)
        try:
            until = parsedate_to_datetime(said).timestamp()
        except (ValueError, OverflowError):
            return None
        try:
            # The server's own clock if it tells it: ours may differ.
            now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
        except (ValueError, OverflowError):
            now = self._wall_s()
        return min(max(0.0, until - now), MAX_RETRY_AFTER_S)

    def _silence(self, error: Exception) -> StoreUnavailable:
        return StoreUnavailable(None, f"{self._url} does not answer: {str(error) or type(error).__name__}")

    # reading

    async def _named(
        self, ids: Sequence[str], index: Mapping[str, int], from_us: int, to_us: int, most: int
    ) -> Rows:
        """The readings of the points named, at most ``most`` of them."""
        names = " OR ".join(f"{TAG} = $p{number}" for number in range(len(ids)))
        question = _select(f"v, q, {TAG}", f"({names}) AND time >= $from AND time < $to LIMIT {most}")
        bound: dict[str, str | int] = {f"p{number}": id_ for number, id_ in enumerate(ids)}
        bound |= {"from": from_us * 1000, "to": to_us * 1000}
        found: list[Rows] = []
        async for columns, rows in self._query(question, bound):
            at, v, q, id_ = (columns.index(name) for name in ("time", "v", "q", TAG))
            found.append(
                Rows(
                    np.array([index[row[id_]] for row in rows], np.int32),
                    np.array([row[at] for row in rows], np.int64),
                    np.array([row[v] for row in rows], np.float64),
                    np.array([row[q] or 0 for row in rows], np.uint8),
                )
            )
        return Rows.of(*found)

    @asynccontextmanager
    async def _ask(self, form: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.post(
                f"{self._url}/query", data=form, allow_redirects=False, read_bufsize=_MAX_CHUNK
            ) as response:
                yield response
        except _NO_ANSWER as error:
            raise self._silence(error) from error

    async def _query(
        self, question: str, bound: Mapping[str, str | int]
    ) -> AsyncIterator[tuple[list[str], list[list[Any]]]]:
        """Columns and rows of a question's answer, in pieces; ``$names`` are bound, never pasted."""
        form = {
            "db": self._database,
            "q": question,
            "params": orjson.dumps(bound).decode(),
            "epoch": "u",
            "chunked": "true",
            "chunk_size": str(_CHUNK_ROWS),
        }
        async with self._ask(form) as response:
            if response.status != HTTPStatus.OK:
                self._judge(await _answer(response))
            async for line in response.content:
                for result in orjson.loads(line).get("results", ()):
                    if "error" in result:
                        raise StoreUnavailable(None, f"{self._url} cannot answer: {result['error']}")
                    for series in result.get("series", ()):
                        yield series["columns"], series["values"]

    async def _count(self, question: str, bound: Mapping[str, str | int]) -> int:
        return sum([int(row[1]) async for _, rows in self._query(question, bound) for row in rows])


class _Version1:
    def __init__(self, session: aiohttp.ClientSession, url: str, database: str) -> None:
        self._session = session
        self._url = f"{url}/write"
        self._params = {"db": database, "precision": "u"}

    async def post(self, lines: bytes) -> Answer:
        async with self._session.post(
            self._url, params=self._params, data=lines, allow_redirects=False
        ) as response:
            return await _answer(response)

    async def aclose(self) -> None:
        """The session is the store's."""


class _Version2:
    def __init__(
        self, url: str, bucket: str, org: str, token: str, timeout_s: float, tls: ssl.SSLContext | None
    ) -> None:
        self._bucket = bucket
        self._org = org
        self._client = InfluxDBClientAsync(
            url=url,
            token=token,
            org=org,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            ssl_context=tls,
            allow_redirects=False,
            connection_pool_maxsize=_CONNECTIONS,
        )
        self._write_api = self._client.write_api()

    async def post(self, lines: bytes) -> Answer:
        try:
            stored = await self._write_api.write(
                self._bucket,
                self._org,
                lines,
                write_precision=WritePrecision.US,  # type: ignore[arg-type]  # it is a str there
            )
        except ApiException as error:
            return Answer(error.status, error.headers or {}, error.body or b"")
        return Answer(HTTPStatus.NO_CONTENT if stored else HTTPStatus.OK, {}, b"")

    async def aclose(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]


def _select(fields: str, where: str) -> str:
    """An InfluxQL question made of our own words; what comes from outside is bound to its ``$names``."""
    return " ".join(("SELECT", fields, "FROM", MEASUREMENT, "WHERE", where))


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    body = b""
    while len(body) < _MAX_ANSWER and (piece := await response.content.read(_MAX_ANSWER)):
        body += piece
    return Answer(response.status, response.headers, body)

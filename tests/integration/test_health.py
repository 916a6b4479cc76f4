from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fengsui.command import main
from fengsui.runtime import WRONG_SETTINGS
from server.certificates import Authority
from tests.servers import HOST


@asynccontextmanager
async def saying(path: Path, answer: object) -> AsyncIterator[None]:
    """A local socket that says one thing to everybody."""

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
        await reader.read(1)
        writer.close()

    async with await asyncio.start_unix_server(tell, path):
        yield


async def health(file: Path) -> int:
    """The verb's exit code."""
    return await asyncio.to_thread(main, ["health", str(file)])


def core(*faults: str) -> object:
    """A core's answer with these faults."""
    told = [{"key": key, "text_en": f"{key} is wrong"} for key in faults]
    return {"id": 1, "ok": {"server": {"faults": told}}}


@pytest.mark.parametrize(
    ("process", "answer", "code", "text"),
    [
        ("core", core(), 0, "healthy\n"),
        ("core", core("store_state"), 0, "healthy: store_state is wrong\n"),
        ("core", core("store_state", "beats"), 1, "not healthy: store_state is wrong; beats is wrong\n"),
        (
            "core",
            {"id": 1, "error": {"code": "invalid"}},
            1,
            "not healthy: no answer: the answer is none of a",
        ),
        ("gateway", {"hello": {}}, 0, "healthy\n"),
        ("gateway", {"hello": {"faults": ["no broker"]}}, 1, "not healthy: no broker\n"),
        ("gateway", [], 1, "not healthy: no answer: the answer is none of a gateway"),
    ],
)
async def test_what_a_process_says_of_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], process: str, answer: object, code: int, text: str
) -> None:
    """Who does its work is healthy; what else is wrong is printed all the same."""
    file = tmp_path / "process.toml"
    file.write_text(f'process = "{process}"\nsocket = "run.sock"\nname = "more than the check reads"\n')
    async with saying(tmp_path / "run.sock", answer):
        assert await health(file) == code
    assert capsys.readouterr().out.startswith(text)


@pytest.mark.parametrize("process", ["core", "gateway", "console"])
async def test_nobody_there_is_not_healthy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], process: str
) -> None:
    """A process that does not answer is told as such."""
    file = tmp_path / "process.toml"
    file.write_text(f'process = "{process}"\nsocket = "run.sock"\nport = 1\n')
    assert await health(file) == 1
    assert capsys.readouterr().out.startswith("not healthy: no answer: ")


async def test_a_file_of_nobody_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first key says whom to ask."""
    file = tmp_path / "process.toml"
    file.write_text('process = "broker"\n')
    assert await health(file) == WRONG_SETTINGS
    assert "the first key must say process" in capsys.readouterr().err


@pytest.mark.parametrize(("status", "own", "code"), [(200, True, 0), (503, True, 1), (200, False, 1)])
async def test_a_console_shows_its_own_certificate(tmp_path: Path, status: int, own: bool, code: int) -> None:
    """Healthy is 200 under the very certificate of its settings; another process on its port is not it."""
    now = datetime.now(UTC)
    for leaf in ("own", "other"):
        Authority.keep(tmp_path, now).keep_pair(
            tmp_path / f"{leaf}.crt", tmp_path / f"{leaf}.key", leaf, now, reached_as=["localhost"]
        )
    shown = "own" if own else "other"
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / f"{shown}.crt", tmp_path / f"{shown}.key")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} said\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, HOST, 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        file = tmp_path / "console.toml"
        text = f'process = "console"\nhost = "0.0.0.0"\nport = {port}\n'
        file.write_text(f'{text}[tls]\ncert_file = "own.crt"\nkey_file = "own.key"\n')
        assert await health(file) == code

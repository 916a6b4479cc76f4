"""Whether a process of ours does its work, asked the way its users ask it; every answer has a time-out."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path
from typing import Any

ANSWER_S = 5.0
_MAX_LINE = 16 << 20
_VIEWER = {"person": "supervisor", "roles": ["viewer"], "units": None}


async def connects(host: str, port: int) -> bool:
    """Whether somebody listens there.

    Raises:
        OSError: Nobody does.
    """
    async with asyncio.timeout(ANSWER_S):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return True


async def core_faults(socket: Path) -> dict[str, str]:
    """The core's faults by key, in words, as its local socket tells them.

    Raises:
        OSError: No answer in time, or none that a core gives.
    """
    question = json.dumps({"id": 1, "do": "status", "viewer": _VIEWER}) + "\n"
    try:
        status = json.loads(await _first_line(socket, question))["ok"]
        return {fault["key"]: fault["text_en"] for fault in status["server"]["faults"]}
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionError("the answer is none of a core") from error


async def gateway_faults(socket: Path) -> list[str]:
    """The gateway's faults in words, as its local socket tells them.

    Raises:
        OSError: No answer in time, or none that a gateway gives.
    """
    try:
        status: dict[str, Any] = json.loads(await _first_line(socket))
        return [str(fault) for fault in status["hello"].get("faults", [])]
    except (ValueError, KeyError, TypeError) as error:
        raise ConnectionError("the answer is none of a gateway") from error


async def console_answers(host: str, port: int, certificate: Path | None = None) -> bool:
    """Whether the console serves and hears the core.

    Args:
        host: Where it listens.
        port: The same.
        certificate: What it must show, to the letter; None: it speaks no TLS.

    Raises:
        OSError: No answer in time, or another certificate.
    """
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(cafile=str(certificate))
        tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        tls.check_hostname = False  # it is this one certificate or none, whatever name we reach it by
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return (await reader.readline()).split()[1:2] == [b"200"]
        finally:
            writer.transport.abort()  # a TLS farewell would outlast the question


async def _first_line(path: Path, question: str = "") -> bytes:
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await asyncio.open_unix_connection(path, limit=_MAX_LINE)
        try:
            writer.write(question.encode())
            return await reader.readline()
        finally:
            writer.close()

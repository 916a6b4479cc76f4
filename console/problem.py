"""A refusal in HTTP's words: problem details (RFC 9457), with our own code beside them."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"

STATUS = {
    "signed_out": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "unknown": HTTPStatus.NOT_FOUND,
    "stale": HTTPStatus.CONFLICT,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
}


def problem(code: str, detail: str, **more: Any) -> JSONResponse:
    """The answer to a request that is refused; ``code`` is one of ``STATUS``, ``detail`` is for a person."""
    status = STATUS[code]
    content = {"title": status.phrase, "status": int(status), "detail": detail, "code": code} | more
    return JSONResponse(content, status, media_type=MEDIA_TYPE)

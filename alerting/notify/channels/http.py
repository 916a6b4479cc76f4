"""Any HTTP interface: webhooks, SMS and voice providers, a command centre. Templates say how it is asked.

In ``url``, ``body`` and the values of ``headers`` the words ``{id} {to} {title} {text} {link} {code}
{secret}`` are replaced: percent-encoded in the address and in a form, escaped inside a JSON body, and without
line breaks in a header. Without a body the facts of the message go out as JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import httpx2
import msgspec
from msgspec import Meta

from alerting.errors import DeliveryError
from alerting.notify.message import Message
from fengsui.settings import Secret, is_loopback

_WORD = re.compile(r"\{(\w+)\}")
_WORDS = ("id", "to", "title", "text", "link", "code", "secret")
_LATER = frozenset({408, 425, 429})
_RECEIPT = 200


class HttpSettings(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="http"
):
    """How a provider is asked."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    method: Literal["GET", "POST", "PUT"] = "POST"
    headers: dict[str, str] = {}
    body: str = ""
    secret: Secret | None = msgspec.field(name="secret_file", default=None)
    accept: str = ""
    """Regular expression that an answer of a delivered message contains; its first group is the receipt."""
    inside: bool = False
    """The receiver is in this house: it may be told of TEST alarms."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 10.0
    bell_to: str = ""
    """Address of the daily bell test; needed when a template has ``{to}``."""

    def __post_init__(self) -> None:
        """Refuse what could not be sent."""
        if urlsplit(self.url).scheme == "http" and not is_loopback(urlsplit(self.url).hostname or ""):
            raise ValueError(f"{self.url!r} is not this machine, so its url must begin with https://")
        for template in (self.url, self.body, *self.headers.values()):
            for word in _WORD.findall(template):
                if word not in _WORDS:
                    raise ValueError(f"{{{word}}} means nothing here; known are {', '.join(_WORDS)}")
                if word == "secret" and self.secret is None:
                    raise ValueError("{secret} is used; name the file that holds it as secret_file")
                if word == "to" and not self.bell_to:
                    raise ValueError("bell_to is missing: an address for the daily bell test")
        try:
            re.compile(self.accept)
        except re.error as error:
            raise ValueError(f"accept is no regular expression: {error}") from error
        if self.is_json and self.body:
            try:
                json.loads(_WORD.sub("x", self.body))
            except ValueError as error:
                raise ValueError(f"body is no JSON: {error}") from error

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON, which it is unless a header says otherwise."""
        return "json" in self._type()

    @property
    def is_form(self) -> bool:
        """Whether the body is a form."""
        return "form-urlencoded" in self._type()

    def _type(self) -> str:
        named = {name.lower(): value for name, value in self.headers.items()}
        return named.get("content-type", "application/json")


class Http:
    """One provider."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings

    async def send(self, message: Message) -> str:
        """Ask the provider; its answer's receipt, or its status.

        Raises:
            DeliveryError: It could not be asked, refused, or answered something else than ``accept``.
        """
        settings = self._settings
        headers = {"content-type": "application/json"} | {
            name.lower(): self._fill(value, message, _one_line) for name, value in settings.headers.items()
        }
        inside = _in_json if settings.is_json else _in_form if settings.is_form else str
        body = self._fill(settings.body, message, inside)
        try:
            async with httpx2.AsyncClient(timeout=settings.timeout_s) as client:
                answer = await client.request(
                    settings.method,
                    self._fill(settings.url, message, _in_form),
                    headers={name.encode(): value.encode() for name, value in headers.items()},
                    content=(body or json.dumps(message.facts(), ensure_ascii=False)).encode()
                    if settings.method != "GET"
                    else None,
                )
        except httpx2.HTTPError as error:
            raise DeliveryError(f"no answer: {type(error).__name__}", retryable=True) from error
        status = answer.status_code
        if not 200 <= status < 300:
            later = status >= 500 or status in _LATER
            raise DeliveryError(f"refused with {status}: {answer.text[:_RECEIPT]}", retryable=later)
        found = re.search(settings.accept, answer.text)
        if found is None:
            raise DeliveryError(f"answered {answer.text[:_RECEIPT]!r}, not as accepted", retryable=True)
        return found[1] if found.re.groups and found[1] else f"{status}"

    def _fill(self, template: str, message: Message, escape: Callable[[str], str]) -> str:
        secret = self._settings.secret
        values = {
            "id": message.id, "to": message.to, "title": message.title, "text": message.text,
            "link": message.link, "code": message.code, "secret": secret.reveal() if secret else "",
        }  # fmt: skip
        return _WORD.sub(lambda found: escape(values[found[1]]), template)


def _in_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def _in_form(text: str) -> str:
    return quote(text, safe="")


def _one_line(text: str) -> str:
    return " ".join(text.split())

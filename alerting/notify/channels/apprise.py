"""Everything that Apprise speaks: mail, WeCom, DingTalk, Feishu, ntfy and a hundred more, by one URL."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated
from urllib.parse import quote

import apprise
import msgspec
from msgspec import Meta

from alerting.errors import DeliveryError
from alerting.notify.message import Message
from fengsui.settings import Secret

_THREADS = 8
_pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="notify")
"""Of its own: a mail server that hangs must not take the threads that the database works in."""


class AppriseSettings(
    msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True, tag_field="kind", tag="apprise"
):
    """Where, as Apprise writes it."""

    url: Secret = msgspec.field(name="url_file")
    """An Apprise URL with ``{to}`` where a contact's address goes; it holds passwords, so it is a file."""
    inside: bool = False
    """The receiver is in this house: it may be told of TEST alarms."""
    timeout_s: Annotated[float, Meta(gt=0, le=30)] = 20.0
    bell_to: str = ""
    """Address of the daily bell test; needed when the URL has ``{to}``."""

    def __post_init__(self) -> None:
        """Refuse what Apprise does not understand."""
        url = self.url.reveal()
        if "{to}" in url and not self.bell_to:
            raise ValueError("bell_to is missing: an address for the daily bell test")
        if _service(url, self.bell_to) is None:
            raise ValueError("url_file holds no URL that Apprise understands; see docs/notification.md")


class Apprise:
    """One service; one Apprise object for each message, in a thread of its own."""

    def __init__(self, settings: AppriseSettings) -> None:
        self._settings = settings

    async def send(self, message: Message) -> str:
        """Send; what the service calls itself.

        Raises:
            DeliveryError: The service did not take it; what it said is in the text, as far as it is known.
        """
        return await asyncio.get_running_loop().run_in_executor(_pool, self._send, message)

    def _send(self, message: Message) -> str:
        service = _service(self._settings.url.reveal(), message.to)
        if service is None:
            raise DeliveryError(f"{message.to!r} is no address for this channel", retryable=False)
        sender = apprise.Apprise()
        sender.add(service)
        kind = apprise.NotifyType.FAILURE if message.urgent else apprise.NotifyType.WARNING
        said: list[str] = []
        taken = sender.notify(
            body=message.text,
            title=message.title,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT,
            timeout=self._settings.timeout_s,
            log_callback=lambda entry, _service: said.append(str(entry.message)),
        )
        if not taken:
            raise DeliveryError(f"{service.service_name}: {'; '.join(said)[-200:]}", retryable=True)
        return str(service.service_name)


def _service(url: str, to: str) -> apprise.NotifyBase | None:
    address = url.replace("{to}", quote(to, safe="@+"))
    return apprise.Apprise.instantiate(address, suppress_exceptions=True)

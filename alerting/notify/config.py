"""Settings of notification: the channels there are. Who is told on them is the roster's matter."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from alerting.notify.channels.apprise import Apprise, AppriseSettings
from alerting.notify.channels.base import Channel
from alerting.notify.channels.http import Http, HttpSettings
from alerting.notify.channels.mqtt import Mqtt, MqttSettings
from alerting.notify.channels.siren import Command, Siren, SirenSettings
from alerting.notify.channels.sounder import Sounder, SounderSettings
from fengsui.settings import Broker, Name, Port, Secret, is_loopback

ChannelSettings: TypeAlias = AppriseSettings | HttpSettings | MqttSettings | SirenSettings | SounderSettings


class CanarySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where a canary flies each minute, and on which other channel it is told that it did not come back."""

    channel: Name
    to: str = ""
    tell: Name
    tell_to: str = ""


class RepliesSettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The core's door for answers to messages."""

    host: str = "127.0.0.1"
    port: Port
    public_url: Annotated[str, Meta(pattern=r"^https?://")]
    """How the door is reached from outside: what links begin with."""
    secret: Secret | None = msgspec.field(name="secret_file", default=None)
    """What a provider that hands on replies must send as ``Authorization: Bearer``; none = no codes."""
    from_field: str = "from"
    text_field: str = "text"
    """Names of the address and of the text in what the provider sends, a form or a JSON object."""

    def __post_init__(self) -> None:
        """Refuse a door that anybody could listen at."""
        if not is_loopback(self.host):
            raise ValueError(f"host {self.host!r} is not this machine; let a proxy with TLS stand in front")
        url = urlsplit(self.public_url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            raise ValueError(f"{self.public_url!r} is not this machine, so it must begin with https://")


class NotifySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How people are told; without a channel nobody is."""

    utc_offset: Annotated[str, Meta(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")] = "+08:00"
    """Of the times that messages tell."""
    channels: dict[Name, ChannelSettings] = {}
    """By the names that the roster uses."""
    bell_at: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "09:00"
    """When each channel is rung every day, at ``utc_offset``."""
    canary: CanarySettings | None = None
    replies: RepliesSettings | None = None

    def __post_init__(self) -> None:
        """Refuse a canary without channels to fly on."""
        if self.canary is not None:
            for name in (self.canary.channel, self.canary.tell):
                if name not in self.channels:
                    raise ValueError(f"canary: {name} is none of the channels")
            if self.canary.channel == self.canary.tell:
                raise ValueError("canary: tell must be another channel than the one it flies on")

    @property
    def offset(self) -> timedelta:
        """``utc_offset`` as a duration."""
        hours, minutes = self.utc_offset[1:].split(":")
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return -offset if self.utc_offset[0] == "-" else offset

    @property
    def bells(self) -> dict[str, str]:
        """Addresses of the daily bell test by channel; a siren without one is not sounded."""
        return {
            name: channel.bell_to
            for name, channel in self.channels.items()
            if channel.bell_to or not isinstance(channel, SirenSettings)
        }

    @property
    def inside(self) -> frozenset[str]:
        """Channels that do not leave the house."""
        return frozenset(name for name, channel in self.channels.items() if channel.inside)


def open_channel(settings: ChannelSettings, broker: Broker, command: Command) -> Channel:
    """The channel of these settings; ``broker`` is the core's own, ``command`` asks a gateway."""
    match settings:
        case AppriseSettings():
            return Apprise(settings)
        case HttpSettings():
            return Http(settings)
        case MqttSettings():
            return Mqtt(broker)
        case SirenSettings():
            return Siren(command)
        case SounderSettings():
            return Sounder(settings)

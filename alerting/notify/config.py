"""Settings of notification: the channels there are. Who is told on them is the roster's matter."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from alerting.notify.channels.apprise import Apprise, AppriseSettings
from alerting.notify.channels.base import Channel
from alerting.notify.channels.http import Http, HttpSettings
from alerting.notify.channels.mqtt import Mqtt, MqttSettings
from alerting.notify.channels.sounder import Sounder, SounderSettings
from fengsui.settings import Broker, Name

ChannelSettings: TypeAlias = AppriseSettings | HttpSettings | MqttSettings | SounderSettings


class NotifySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """How people are told; without a channel nobody is."""

    utc_offset: Annotated[str, Meta(pattern=r"^[+-](0\d|1[0-4]):[0-5]\d$")] = "+08:00"
    """Of the times that messages tell."""
    channels: dict[Name, ChannelSettings] = {}
    """By the names that the roster uses."""

    @property
    def offset(self) -> timedelta:
        """``utc_offset`` as a duration."""
        hours, minutes = self.utc_offset[1:].split(":")
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return -offset if self.utc_offset[0] == "-" else offset

    @property
    def inside(self) -> frozenset[str]:
        """Channels that do not leave the house."""
        return frozenset(name for name, channel in self.channels.items() if channel.inside)


def open_channel(settings: ChannelSettings, broker: Broker) -> Channel:
    """The channel of these settings; ``broker`` is the core's own."""
    match settings:
        case AppriseSettings():
            return Apprise(settings)
        case HttpSettings():
            return Http(settings)
        case MqttSettings():
            return Mqtt(broker)
        case SounderSettings():
            return Sounder(settings)

"""``HOST:PORT`` on a command line."""

from __future__ import annotations

import argparse
from typing import NamedTuple


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address(text: str) -> Address:
    """An argument of the form ``HOST:PORT``.

    Raises:
        argparse.ArgumentTypeError: It is not; the text says what is wrong.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as broker:8883")
    return Address(host, int(port))

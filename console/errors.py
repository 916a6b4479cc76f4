"""Errors of the console.

::

    CoreError              the core answered a request with an error: tell the person
    +-- CoreLost           the core could not be asked, or did not answer in time: try again later
    FengsuiError
    +-- AccountError       an account cannot be made like that: the text says what to change
"""

from __future__ import annotations

from typing import Any, Literal

from fengsui.errors import FengsuiError

Code = Literal["stale", "unknown", "forbidden", "invalid", "unavailable"]


class CoreError(Exception):
    """The core refused a request.

    Attributes:
        code: What kind of refusal, the same words as on the core's socket.
        text: For a person.
        changed: Of a stale request: what it is now, and what has changed, by whom and when.
    """

    def __init__(self, code: Code, text: str, changed: dict[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {text}")
        self.code: Code = code
        self.text = text
        self.changed = changed


class CoreLost(CoreError):
    """There is no answer from the core."""

    def __init__(self, text: str) -> None:
        super().__init__("unavailable", text)


class AccountError(FengsuiError):
    """An account cannot be made like that; the text says what to change."""

"""Errors of the shared packages, split by what the caller does about them.

::

    FengsuiError
    +-- SettingsError      a person corrects a file and starts again (exit code 78)
    +-- UsageError         a person corrects the command line (exit code 64)
    +-- Unavailable        something outside does not answer; later it may (exit code 69)

Packages below ``fengsui`` keep their own trees next to what raises them.
"""

from __future__ import annotations

from pathlib import Path


class FengsuiError(Exception):
    """Root of the errors whose text is written for the person who reads it."""


class SettingsError(FengsuiError):
    """A settings or secret file that cannot be used; ``str()`` names file, key and what to do."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path
        self.text = text


class UsageError(FengsuiError):
    """A command that cannot be carried out as given; ``str()`` says what to do instead."""


class Unavailable(FengsuiError):
    """Something this process needs does not answer now; started again later, it may. ``str()`` names it."""

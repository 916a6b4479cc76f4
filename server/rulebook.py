"""The rules in force: read and proved before anything runs, replaced by a person while it runs."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from sqlalchemy import Engine

from alerting.detect.rules import RuleSet
from alerting.errors import RulesRefused
from alerting.rulebook.diff import Difference, compare
from alerting.rulebook.file import RuleFile, load, parse, proved, shipped
from alerting.rulebook.kept import keep
from fengsui.errors import SettingsError
from fengsui.log import write_durably

OWN = "rules.yaml"
"""In the core's folder: what a person put in force, where the settings name no rule file."""


class RulesChanged(Exception):
    """Somebody else has replaced the rules meanwhile; read them again."""


class Rulebook:
    """The rule file of a core.

    Args:
        file: In force.
        path: Where it is kept, and where one that replaces it is written.
        database: The state database, migrated.
    """

    def __init__(self, file: RuleFile, path: Path, database: Engine) -> None:
        self.file = file
        self._path = path
        self._database = database
        self._replacing = asyncio.Lock()

    @staticmethod
    def read(named: Path | None, folder: Path) -> tuple[RuleFile, Path]:
        """The rule file that a core is to start with and where it is kept (blocking).

        It is the one the settings name, else what a person put in force, else what Fengsui ships.

        Raises:
            SettingsError: It is refused, or one of its tests fails.
        """
        path = folder / OWN if named is None else named
        if named is None and not path.exists():
            return shipped(), path
        try:
            return load(path), path
        except RulesRefused as error:
            raise _not_these(path, error) from error

    @classmethod
    async def open(cls, file: RuleFile, path: Path, database: Engine, *, now_us: int) -> Rulebook:
        """The book of a file that is to run from now on.

        Raises:
            SettingsError: A rule ran here before in the same version with another content.
            RecordUnavailable: The state database does not answer.
        """
        try:
            await asyncio.to_thread(keep, database, file, now_us=now_us)
        except RulesRefused as error:
            raise _not_these(path, error) from error
        return cls(file, path, database)

    @property
    def rules(self) -> RuleSet:
        """The rules themselves."""
        return self.file.rules

    @property
    def digest(self) -> str:
        """Changes with every change of the file."""
        return hashlib.sha256(self.file.text.encode()).hexdigest()[:16]

    async def check(self, text: str) -> tuple[RuleFile, list[Difference]]:
        """A file that could be put in force, and how it differs from what is.

        Raises:
            RulesRefused: It cannot; holds every problem.
        """
        file = await asyncio.to_thread(lambda: proved(parse(text, self._path.name)))
        return file, compare(self.rules, file.rules)

    async def replace(self, text: str, digest: str, *, now_us: int) -> list[Difference]:
        """Put a file in the place of the one of ``digest``, for good; the differences.

        Raises:
            RulesChanged: What is in force is another one.
            RulesRefused: As of ``check``, or a rule ran before in the same version with another content.
            RecordUnavailable, OSError: It cannot be kept; nothing has changed.
        """
        async with self._replacing:
            if digest != self.digest:
                raise RulesChanged
            file, differences = await self.check(text)
            await asyncio.to_thread(keep, self._database, file, now_us=now_us)
            await asyncio.to_thread(write_durably, self._path, text.encode())
            self.file = file
            return differences


def _not_these(path: Path, error: RulesRefused) -> SettingsError:
    return SettingsError(path, f"the core does not start with these rules:\n{error}")

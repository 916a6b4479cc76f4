"""Every version of every rule that ever ran here, and every rule file: kept in the state database.

An alarm names the rule and version that raised it; here is what that said. A version means one content for
ever: the same version with another content is refused, and the file says which rule needs a new number.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Engine, Integer, String, Table, Text, insert, select

from alerting.detect.rules import AnyRule, RuleSet
from alerting.errors import Problem, RulesRefused
from alerting.rulebook.diff import changed, kind_of
from alerting.rulebook.file import RuleFile
from alerting.state import answering
from fengsui.database import metadata, writing

version_table = Table(
    "rule_version",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("since_us", BigInteger, nullable=False),
)

set_table = Table(
    "rule_set",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("since_us", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
)


class KeptRule(NamedTuple):
    """A rule as it ran."""

    name: str
    version: int
    kind: str
    body: list[dict[str, Any]]
    """Its fields; several only for rules of silence, which share a name."""
    since_us: int
    """When it first ran here, us since 1970 UTC."""


def keep(database: Engine, file: RuleFile, *, now_us: int) -> None:
    """Remember a rule file and its rules before they run (blocking).

    Raises:
        RulesRefused: A rule ran here before in the same version with another content; nothing was kept.
        RecordUnavailable: The state database does not answer.
    """
    with answering(), writing(database) as connection:
        problems = []
        for (name, version), rules in _by_version(file.rules).items():
            known = _find(connection, name, version)
            if known is None:
                body = msgspec.json.encode(rules).decode()
                row = {"name": name, "version": version, "kind": kind_of(rules[0]), "body": body}
                connection.execute(insert(version_table).values(**row, since_us=now_us))
            elif (difference := _difference(known, rules)) is not None:
                since = datetime.fromtimestamp(known.since_us / 1e6, UTC)
                text = (
                    f"rule {name}@{version} has run here since {since:%Y-%m-%d %H:%M} UTC with other content"
                    f" ({difference}); give it version {version + 1}"
                )
                problems.append(Problem(file.lines.get(name, 0), text))
        if problems:
            raise RulesRefused(file.name, problems)
        newest = select(set_table.c.text).order_by(set_table.c.number.desc()).limit(1)
        if connection.execute(newest).scalar() != file.text:
            connection.execute(insert(set_table).values(since_us=now_us, text=file.text))


def find(database: Engine, name: str, version: int) -> KeptRule | None:
    """The rule as it ran in this version; None: it never did (blocking).

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    with answering(), database.connect() as connection:
        return _find(connection, name, version)


def versions(database: Engine) -> list[tuple[str, int]]:
    """Every rule and version that ever ran, by name (blocking).

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    columns = version_table.c
    with answering(), database.connect() as connection:
        rows = connection.execute(
            select(columns.name, columns.version).order_by(columns.name, columns.version)
        )
        return [(row.name, row.version) for row in rows]


def _find(connection: Connection, name: str, version: int) -> KeptRule | None:
    columns = version_table.c
    wanted = (columns.name == name) & (columns.version == version)
    row = connection.execute(select(version_table).where(wanted)).one_or_none()
    if row is None:
        return None
    return KeptRule(row.name, row.version, row.kind, msgspec.json.decode(row.body), row.since_us)


def _by_version(rules: RuleSet) -> dict[tuple[str, int], list[AnyRule]]:
    found: dict[tuple[str, int], list[AnyRule]] = {}
    for rule in rules.all():
        found.setdefault((rule.name, rule.version), []).append(rule)
    return found


def _difference(known: KeptRule, rules: Sequence[AnyRule]) -> str | None:
    """In words, how a kept rule differs from the one of today; None: not at all.

    What a rule of today has and the kept one had not yet counts by its default.
    """
    if known.kind != kind_of(rules[0]):
        return f"it was of kind {known.kind}"
    try:
        before = [msgspec.convert(body, type(rules[0])) for body in known.body]
    except msgspec.ValidationError as error:
        return f"it was of another form: {error}"
    if before == list(rules):
        return None
    if len(before) != len(rules):
        return f"it was {len(before)} rules and is {len(rules)} now"
    return "; ".join(text for pair in zip(before, rules, strict=True) for text in changed(*pair))

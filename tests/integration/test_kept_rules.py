"""Every version of a rule that ran is kept in the state database, and means one content for ever."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import Engine, select, update

from alerting.errors import RecordUnavailable, RulesRefused
from alerting.rulebook.file import RuleFile, parse, shipped
from alerting.rulebook.kept import find, keep, set_table, version_table, versions
from fengsui.command import main
from fengsui.database import connect, writing
from server.migrations import upgrade
from tests.databases import Database
from tests.unit.test_rule_file import HEAT, changed


@pytest.fixture
def database(state: Database) -> Iterator[Engine]:
    """A migrated state database of each kind."""
    upgrade(state.url)
    engine = connect(state.url)
    yield engine
    engine.dispose()


def file(text: str = HEAT) -> RuleFile:
    """A rule file of a site."""
    return parse(text, "site.yaml")


def texts(database: Engine) -> list[str]:
    """The rule files that ran, oldest first."""
    with database.connect() as connection:
        return list(connection.execute(select(set_table.c.text).order_by(set_table.c.number)).scalars())


def test_what_ran_can_be_looked_up(database: Engine) -> None:
    """Rule and version lead to the content, long after the file has another version."""
    keep(database, file(), now_us=1)
    keep(database, file(changed(changed(HEAT, "57", "58"), "version: 1", "version: 2")), now_us=2)
    one, two = find(database, "heat", 1), find(database, "heat", 2)
    assert one is not None
    assert two is not None
    assert (one.kind, one.body[0]["above"], one.since_us) == ("threshold", 57.0, 1)
    assert (two.body[0]["above"], two.since_us) == (58.0, 2)
    assert versions(database) == [("gateway-offline", 1), ("heat", 1), ("heat", 2), ("no-data", 1)]
    assert find(database, "heat", 3) is None


def test_the_same_version_with_another_content_is_refused(database: Engine) -> None:
    """File, line, rule and the difference are named; nothing of that file is kept."""
    keep(database, file(), now_us=0)
    other = changed(HEAT, "57", "58") + changed(HEAT, "threshold:\n", "").replace("heat", "more")
    with pytest.raises(RulesRefused) as refused:
        keep(database, file(other), now_us=1)
    assert str(refused.value) == (
        "site.yaml:2: rule heat@1 has run here since 1970-01-01 00:00 UTC with other content"
        " (above 57 -> 58); give it version 2"
    )
    assert find(database, "more", 1) is None
    assert texts(database) == [HEAT]


def test_a_rule_may_come_back(database: Engine) -> None:
    """The same content under the same version runs as often as anybody likes, whatever ran in between."""
    for text in (HEAT, changed(changed(HEAT, "57", "58"), "version: 1", "version: 2"), HEAT):
        keep(database, file(text), now_us=0)
    assert [("57" in text) for text in texts(database)] == [True, False, True]


def test_a_restart_with_the_same_file_keeps_nothing_twice(database: Engine) -> None:
    """Only a changed file is a new set."""
    for _ in range(3):
        keep(database, shipped(), now_us=0)
    assert texts(database) == [shipped().text]


def test_a_field_that_came_later_counts_by_its_default(database: Engine) -> None:
    """A rule kept before a field existed is the same rule, as long as the field has its default."""
    keep(database, file(), now_us=0)
    kept = find(database, "heat", 1)
    assert kept is not None
    older = [{field: value for field, value in kept.body[0].items() if field != "schedule"}]
    body = msgspec.json.encode(older).decode()
    with writing(database) as connection:
        connection.execute(update(version_table).where(version_table.c.name == "heat").values(body=body))
    keep(database, file(), now_us=1)
    timed = HEAT + "    schedule: {utc_offset: +08:00}\n"
    with pytest.raises(RulesRefused, match="heat@1 has run here"):
        keep(database, file(timed), now_us=1)


def test_another_kind_under_a_known_name_is_refused(database: Engine) -> None:
    """A name that was a threshold does not become a silence under the same version."""
    keep(database, file(), now_us=0)
    with pytest.raises(RulesRefused, match="it was of kind threshold"):
        keep(database, file("offline: {name: heat}\n"), now_us=1)


def test_rules_of_silence_that_share_a_name_are_kept_together(database: Engine) -> None:
    """One version of one name may be several rules of silence, each for its quantity."""
    both = "silence:\n  - {after_s: 60}\n  - {quantity: level, after_s: 600}\n"
    keep(database, file(both), now_us=0)
    keep(database, file(both), now_us=1)
    kept = find(database, "no-data", 1)
    assert kept is not None
    assert [body["quantity"] for body in kept.body] == ["", "level"]
    with pytest.raises(RulesRefused, match="it was 2 rules and is 1 now"):
        keep(database, file("silence:\n  - {after_s: 60}\n"), now_us=2)


def test_a_database_without_the_tables_is_told(state: Database) -> None:
    """A state database that cannot be asked is a reason to try again later, in words."""
    engine = connect(state.url)
    with pytest.raises(RecordUnavailable, match=r"no such table|does not exist"):
        find(engine, "heat", 1)
    engine.dispose()


def test_show_prints_a_rule_as_it_ran(
    database: Engine, state: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """``fengsui rules show NAME@VERSION`` answers for an alarm of last year."""
    keep(database, file(), now_us=0)
    assert main(["rules", "show", "heat@1", "--database", state.url]) == 0
    told = capsys.readouterr().out
    assert told.startswith("# heat@1, threshold, since 1970-01-01 00:00:00 UTC\n")
    assert "above: 57.0" in told
    assert main(["rules", "show", "heat@9", "--database", state.url]) == 64
    assert "heat@9 never ran here; of heat there are: heat@1" in capsys.readouterr().err

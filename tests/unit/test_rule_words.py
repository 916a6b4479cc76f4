"""Rules in words, and what differs between two sets of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import msgspec
import pytest

from alerting.detect.rules import AnyRule, Coincidence, Offline, RuleError, RuleSet, Silence
from alerting.detect.schedule import Schedule
from alerting.detect.scope import Scope
from alerting.detect.verdict import Level
from alerting.rulebook.diff import compare
from alerting.rulebook.explain import explain
from alerting.rulebook.file import default_rules
from fengsui.model import AlarmClass
from tests.unit.detection import heat
from tests.unit.test_change import steady
from tests.unit.test_drift import soiling
from tests.unit.test_flat import lively
from tests.unit.test_noise import loose
from tests.unit.test_range import bounds
from tests.unit.test_rate import rising
from tests.unit.test_season import unusual
from tests.unit.test_trend import falling, warming


def english(rule: object) -> str:
    """All sentences about a rule."""
    return " ".join(words.en for words in explain(rule))  # type: ignore[arg-type]  # any kind of rule


def test_a_threshold_in_words() -> None:
    """Class, severity, limit, reset, holds, selector and hours: everything a rule says is said."""
    rule = heat(
        on_delay_s=5.0, off_delay_s=30.0, scope=Scope(zone=("b1-*", "!b1-9"), device_type="probe"),
        schedule=Schedule(utc_offset="+08:00", days=("mon", "fri"), hours="08:00-18:00"),
    )  # fmt: skip
    assert english(rule) == (
        "Fire alarm of severity 4, for points of temperature in degC. Raises at or above 57 degC;"
        " clears below 50 degC. It must last 5 s to raise and 30 s to clear; a gap of 60 s begins anew."
        " Only for zone b1-* or !b1-9; device type probe. Only mon fri, 08:00-18:00, at UTC+08:00."
    )
    chinese = "".join(words.zh for words in explain(rule))
    for part in ("火警", "57 degC", "50 degC", "5 秒", "30 秒", "防火分区 b1-*", "周一、五", "08:00-18:00"):
        assert part in chinese


def test_a_limit_of_the_points_own_in_words() -> None:
    """What a relative limit counts from is said, and by how much."""
    rule = heat(above=-5.0, reset=-10.0, relative_to="high", factor=0.9)
    assert "at or above 0.9 times the point's own high - 5 degC" in english(rule)
    low = heat(above=None, below=0.0, reset=5.0, relative_to="low")
    assert "Raises at or below the point's own low; clears above the point's own low + 5 degC" in english(low)


OTHER: dict[str, object] = {
    "relative_to": "low", "direction": "down", "reference": 0.25, "rail_s": 7200.0, "reset_rise": 1.0,
    "period_minutes": 48, "rules": ("heat",), "quantities": ("co",), "ignoring": ("co",),
    "classes": (AlarmClass.FIRE,), "including": AlarmClass.FIRE, "level": Level.VERIFY, "quantity": "level",
    "uom": "m", "cls": AlarmClass.SECURITY, "scope": Scope(zone="a"),
    "schedule": Schedule(utc_offset="+08:00", hours="08:00-18:00"),
}  # fmt: skip
"""Another value than the rules below have, where it is no number."""
IDENTITY = {"name", "version", "label_en", "label_zh"}
HELD: dict[str, object] = {"on_delay_s": 5.0, "off_delay_s": 7.0}
ZONE = Coincidence(
    name="z", version=1, cls=AlarmClass.FIRE, severity=3, level=Level.CONFIRMED, devices=2, window_s=60.0,
    different_quantities=2,
)  # fmt: skip
LINKED = msgspec.structs.replace(ZONE, classes=(AlarmClass.FIRE,), linkage=True)
KINDS: list[AnyRule] = [
    heat(relative_to="high", factor=0.5, **HELD), rising(**HELD),
    heat(above=None, below=3.0, reset=5.0, relative_to="high", factor=0.5, **HELD),
    steady(**HELD), lively(**HELD), bounds(**HELD), falling(**HELD), warming(**HELD), soiling(**HELD),
    unusual(**HELD), loose(**HELD), loose(factor=None, above=1.0, **HELD), ZONE, LINKED,
    Silence(), Offline(),
]  # fmt: skip


def others(rule: AnyRule) -> Iterator[tuple[str, AnyRule]]:
    """The rule with one field changed at a time, if that makes a rule at all."""
    for name in sorted(set(rule.__struct_fields__) - IDENTITY):
        value = getattr(rule, name)
        others = [OTHER[name]] if OTHER.get(name, value) != value else []
        if isinstance(value, bool):
            others = [not value]
        elif isinstance(value, int | float):
            others = [value + 1, value - 1, value * 0.75]
        for other in others:
            with suppress(RuleError):
                yield name, msgspec.structs.replace(rule, **{name: other})
                break


@pytest.mark.parametrize("rule", KINDS, ids=lambda rule: type(rule).__name__)
def test_whatever_can_be_set_is_said(rule: AnyRule) -> None:
    """A rule that differs in any field is explained in other words, in both languages."""
    said = explain(rule)
    changed = dict(others(rule))
    if getattr(rule, "factor", 0.0) is None:  # noise by a bound that is given: nothing is learned
        del changed["least"], changed["learn_minutes"]
    assert len(changed) >= 2
    for name, other in changed.items():
        now = explain(other)
        assert "".join(words.en for words in now) != "".join(words.en for words in said), name
        assert "".join(words.zh for words in now) != "".join(words.zh for words in said), name


@pytest.mark.parametrize("rule", default_rules().all(), ids=lambda rule: rule.name)
def test_every_shipped_rule_is_explained_in_both_languages(rule: object) -> None:
    """No sentence is empty, and the Chinese one is Chinese."""
    for words in explain(rule):  # type: ignore[arg-type]  # any kind of rule
        assert words.en.endswith(".")
        assert words.zh.endswith("。")


def test_what_differs_between_two_sets() -> None:
    """Added, removed and changed rules, with the old and the new value of what changed."""
    old = RuleSet(threshold=(heat(), heat(name="gone"), heat(name="same")))
    new = RuleSet(
        threshold=(heat(version=2, above=58.0, scope=Scope(zone="a")), heat(name="new"), heat(name="same")),
        offline=Offline(after_s=90.0),
    )
    differences = compare(old, new)
    assert [str(one) for one in differences] == [
        "~ gateway-offline@1 -> @1: after_s 65 -> 90",
        "- gone@1",
        "~ heat@1 -> @2: scope nothing -> zone a; above 57 -> 58",
        "+ new@1",
    ]
    assert [one.name for one in differences if one.unversioned] == ["gateway-offline"]
    assert compare(old, old) == []


def test_rules_of_silence_are_told_apart_by_their_quantity() -> None:
    """They may share a name, so a second one of another quantity is an addition."""
    level = Silence(name="no-data", quantity="level", after_s=600.0)
    (added,) = compare(RuleSet(), RuleSet(silence=(Silence(), level)))
    assert (added.what, added.name) == ("added", "no-data")
    (one,) = compare(
        RuleSet(silence=(Silence(), level)),
        RuleSet(silence=(Silence(), msgspec.structs.replace(level, after_s=300.0))),
    )
    assert one.fields == ("after_s 600 -> 300",)

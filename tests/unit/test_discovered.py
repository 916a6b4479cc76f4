"""The list of unbound names: bounded, honest about what it leaves out, and safe to show."""

from __future__ import annotations

from math import nan

from fengsui.model import Description
from ingest.decode import Described, Seen
from ingest.discovered import MAX_NAMES_PER_GATEWAY, Discovered, DiscoveredNames


def test_seen_and_described_names_come_together() -> None:
    """Value and count come from readings, quantity and unit of measure from the driver, in any order."""
    names = DiscoveredNames(lambda gateway, name: name == "bound")
    names.describe(
        [Described("gw", [Description("a", "temperature", "degC"), Description("bound", "x", "y")])]
    )
    names.see([Seen("gw", "a", 20.0, 5, 3), Seen("gw", "a", nan, 6, 1), Seen("gw", "bound", 1.0, 5, 1)])
    assert names.all() == [
        Discovered(gateway="gw", name="a", quantity="temperature", uom="degC", value=None, at_us=6, count=4)
    ]


def test_hostile_descriptions_are_not_shown() -> None:
    """A driver's text with invisible characters or without end is left out, the name stays."""
    names = DiscoveredNames(lambda *_: False)
    names.describe([Described("gw", [Description("a", "x" * 1_000, "\u202edegC")])])
    assert (names.all()[0].quantity, names.all()[0].uom) == ("", "")


def test_one_gateway_cannot_fill_the_list() -> None:
    """Beyond its share a gateway's names are only counted, and another gateway still gets in."""
    names = DiscoveredNames(lambda *_: False)
    names.see(Seen("bad", f"n{n}", 1.0, 0, 2) for n in range(MAX_NAMES_PER_GATEWAY + 10))
    names.see([Seen("good", "a", 1.0, 0, 1)])
    assert len(names.all()) == MAX_NAMES_PER_GATEWAY + 1
    assert names.beyond == 20


def test_registered_names_leave_and_make_room() -> None:
    """A name that was bound leaves the list and frees its place."""
    bound: set[str] = set()
    names = DiscoveredNames(lambda _, name: name in bound)
    names.see(Seen("gw", f"n{n}", 1.0, 0, 1) for n in range(MAX_NAMES_PER_GATEWAY))
    bound.add("n0")
    names.forget_bound()
    names.see([Seen("gw", "late", 1.0, 0, 1), Seen("gw", "n0", 1.0, 0, 1)])
    assert [one.name for one in names.all()][-1] == "late"
    assert names.beyond == 0


def test_only_what_is_named_is_forgotten() -> None:
    """Whoever registers one name need not go through the list; a name that is not in it is no error."""
    names = DiscoveredNames(lambda *_: False)
    names.see([Seen("gw", "a", 1.0, 0, 1), Seen("gw", "b", 1.0, 0, 1)])
    names.forget([("gw", "a"), ("gw", "never seen"), ("other", "b")])
    assert [one.name for one in names.all()] == ["b"]

"""What differs between two sets of rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from alerting.detect.rules import AnyRule, RuleSet, Silence


class Difference(NamedTuple):
    """One rule that is not the same in both sets."""

    what: Literal["added", "removed", "changed"]
    name: str
    old: int | None
    """Version; None when there is none."""
    new: int | None
    fields: tuple[str, ...]
    """Of a changed rule: ``field old -> new``, the version left out."""

    @property
    def unversioned(self) -> bool:
        """Changed, but the version says it is the same."""
        return self.what == "changed" and self.old == self.new

    def __str__(self) -> str:
        match self.what:
            case "added":
                return f"+ {self.name}@{self.new}"
            case "removed":
                return f"- {self.name}@{self.old}"
        return f"~ {self.name}@{self.old} -> @{self.new}: {'; '.join(self.fields) or 'the version only'}"


def compare(old: RuleSet, new: RuleSet) -> list[Difference]:
    """The differences, by name."""
    before, after = _by_key(old), _by_key(new)
    found = []
    for key in sorted(before.keys() | after.keys()):
        one, other = before.get(key), after.get(key)
        if one is None:
            assert other is not None
            found.append(Difference("added", other.name, None, other.version, ()))
        elif other is None:
            found.append(Difference("removed", one.name, one.version, None, ()))
        elif one != other:
            found.append(Difference("changed", one.name, one.version, other.version, changed(one, other)))
    return found


def changed(old: AnyRule, new: AnyRule) -> tuple[str, ...]:
    """The fields, but the version, in which two rules differ, with both values."""
    if type(old) is not type(new):
        return (f"kind {kind_of(old)} -> {kind_of(new)}",)
    one, other = _plain(old), _plain(new)
    return tuple(
        f"{field} {_shown(one[field])} -> {_shown(other[field])}"
        for field in one
        if field != "version" and one[field] != other[field]
    )


def kind_of(rule: AnyRule) -> str:
    """The kind of a rule in a word, as ``threshold``."""
    return type(rule).__name__.lower()


def _by_key(rules: RuleSet) -> Mapping[tuple[str, str], AnyRule]:
    """Silences share a name and differ by quantity; all others have a name of their own."""
    return {(rule.name, rule.quantity if isinstance(rule, Silence) else ""): rule for rule in rules.all()}


def _plain(rule: AnyRule) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(rule)
    return plain


def _shown(value: object) -> str:
    match value:
        case None | "" | () | []:
            return "nothing"
        case float():
            return f"{value:g}"
        case dict():
            return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items() if inner) or "nothing"
        case list() | tuple():
            return " ".join(map(_shown, value))
    return str(value)

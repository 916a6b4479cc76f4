"""A rule file: YAML in, rules and their tests out, or every problem with its line.

A section for each kind of rule (a field of ``RuleSet``), and four that make rules shorter or safer:
``templates``, ``levels``, ``quantities`` and ``tests``. docs/rules.md is the reference.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec

from alerting.detect.rules import Rule, RuleSet, Silence, Threshold
from alerting.errors import Problem, RulesRefused
from alerting.rulebook import document
from alerting.rulebook.document import Malformed, Node
from alerting.rulebook.levels import thresholds
from alerting.rulebook.ruletest import MAX_STEPS_OF_A_FILE, RuleTest, judge
from alerting.rulebook.units import objection

SHIPPED = "default.yaml"

_MORE = ("templates", "levels", "quantities", "tests")


class Placed(NamedTuple):
    """A test, its line, and the lines of its expectations."""

    test: RuleTest
    line: int
    expectations: tuple[int, ...]


class RuleFile(NamedTuple):
    """What stands in a rule file."""

    name: str
    """The path as it was given, or ``default.yaml``."""
    text: str
    rules: RuleSet
    tests: tuple[Placed, ...]
    lines: Mapping[str, int]
    """Line of each rule by its name; a rule that is there by default has none."""


def load(path: Path) -> RuleFile:
    """The file at ``path`` for use: read, and its tests passed.

    Raises:
        RulesRefused: As of ``read``, or one of its tests fails.
    """
    return proved(read(path))


def read(path: Path) -> RuleFile:
    """The file at ``path``; its tests are not run.

    Raises:
        RulesRefused: It cannot be read, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RulesRefused(str(path), [Problem(0, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise RulesRefused(str(path), [Problem(0, "is not UTF-8; save it as UTF-8 text")]) from error
    return parse(text, str(path))


def proved(file: RuleFile) -> RuleFile:
    """The file, whose tests pass.

    Raises:
        RulesRefused: Names every test that fails, and why.
    """
    if problems := failures(file):
        raise RulesRefused(file.name, problems)
    return file


def failures(file: RuleFile) -> list[Problem]:
    """Why tests of the file fail, empty when all of them pass."""
    problems = []
    steps = 0
    for test, line, expectations in file.tests:
        steps += test.steps()
        if steps > MAX_STEPS_OF_A_FILE:
            return [Problem(line, f"{steps} samples up to this test; at most {MAX_STEPS_OF_A_FILE}")]
        for expectation, text in judge(test, file.rules):
            at = line if expectation is None else expectations[expectation]
            problems.append(Problem(at, f"test {test.name!r} fails: {text}"))
    return problems


def parse(text: str, name: str) -> RuleFile:
    """The rules and tests in ``text``; the tests are not run.

    Raises:
        RulesRefused: Holds every problem; ``name`` stands before each.
    """
    try:
        root = document.read(text)
    except Malformed as error:
        raise RulesRefused(name, [error.problem]) from error
    reading = _Reading()
    rules = reading.rules(root)
    if rules is None or reading.problems:
        raise RulesRefused(name, reading.problems)
    return RuleFile(name, text, rules, tuple(reading.tests), reading.lines)


def parse_rules(text: str) -> RuleSet:
    """The rules in ``text``.

    Raises:
        RulesRefused: As of ``parse``.
    """
    return parse(text, "rules").rules


@cache
def shipped() -> RuleFile:
    """The rules that Fengsui ships; where their limits come from stands in the file itself."""
    text = resources.files("alerting.rulebook").joinpath(SHIPPED).read_text(encoding="utf-8")
    return parse(text, SHIPPED)


def default_rules() -> RuleSet:
    """The shipped rules alone."""
    return shipped().rules


class Kind(NamedTuple):
    """A kind of rule: what one is, and whether its section is a list of them."""

    rule: type[msgspec.Struct]
    many: bool


def kinds() -> dict[str, Kind]:
    """The sections of rules: the fields of ``RuleSet``."""
    found = {}
    for field in msgspec.structs.fields(RuleSet):
        inside = get_args(field.type)
        found[field.name] = Kind(inside[0] if inside else field.type, bool(inside))
    return found


class _Reading:
    """One file under way, and the problems met."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.tests: list[Placed] = []
        self.lines: dict[str, int] = {}
        self._templates: dict[str, Node] = {}
        self._used: set[str] = set()
        self._quantities: dict[str, tuple[str, ...]] = {}

    def rules(self, root: Node) -> RuleSet | None:
        """Everything in the document; None when the rules cannot stand together."""
        sections = root.value
        if not isinstance(sections, dict):
            self._wrong(root.line, f"begin with a section; there are {', '.join(_names())}")
            return None
        for name, node in sections.items():
            if name not in _names():
                near = difflib.get_close_matches(name, _names(), 1)
                hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(_names())}"
                self._wrong(node.line, f"unknown section `{name}`; {hint}")
        self._quantities = self._declared(sections.get("quantities"))
        if (templates := sections.get("templates")) is not None:
            if isinstance(templates.value, dict) and all(
                isinstance(node.value, dict) for node in templates.value.values()
            ):
                self._templates = templates.value
            else:
                self._wrong(templates.line, "templates are like `name: {key: value, ...}`")
        found: dict[str, Any] = {}
        for name, kind in kinds().items():
            if name in sections:
                found[name] = self._section(sections[name], name, kind)
        found["threshold"] = (*found.get("threshold", ()), *self._levels(sections.get("levels")))
        for name in self._templates.keys() - self._used:
            self._wrong(self._templates[name].line, f"template {name} is used by no rule; take it out")
        self._read_tests(sections.get("tests"))
        if self.problems:
            return None
        try:
            return RuleSet(**found)
        except ValueError as error:
            line = sections["silence"].line if "silence" in sections else 0
            self._wrong(line, str(error))
            return None

    def _section(self, node: Node, name: str, kind: Kind) -> Any:
        if not kind.many:
            return self._rule(node, name, kind.rule)
        rules = (self._rule(item, name, kind.rule) for item in self._items(node, name))
        return tuple(rule for rule in rules if rule is not None)

    def _items(self, node: Node | None, name: str) -> list[Node]:
        if node is None or node.value is None:
            return []
        if isinstance(node.value, list):
            return node.value
        self._wrong(node.line, f"{name} is a list; begin each with `- `")
        return []

    def _rule(self, node: Node, section: str, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
        whole = self._with_template(node, section)
        return None if whole is None else self._converted(whole, section, kind)

    def _converted(self, node: Node, section: str, kind: type[msgspec.Struct]) -> msgspec.Struct | None:
        given = node.at(".name").value
        name = given if isinstance(given, str) else ""
        try:
            rule = node.convert(kind, f"{section} {name}".strip())
        except Malformed as error:
            line, text = error.problem
            self._wrong(line, text.replace(f" rule {name}:", ""))
            return None
        if isinstance(rule, Rule):
            self._check_unit(rule, node)
        self._check_name(rule, node)
        return rule

    def _with_template(self, node: Node, section: str) -> Node | None:
        """The rule with the keys of its template, its own ones first."""
        if not isinstance(node.value, dict) or "template" not in node.value:
            return node
        asked = node.value["template"]
        template = self._templates.get(asked.value) if isinstance(asked.value, str) else None
        if template is None:
            known = ", ".join(self._templates) or "none"
            self._wrong(asked.line, f"{section}: no template {asked.value!r}; there are: {known}")
            return None
        self._used.add(asked.value)
        own = {key: value for key, value in node.value.items() if key != "template"}
        return node._replace(value={**template.value, **own})

    def _levels(self, node: Node | None) -> list[Threshold]:
        found = []
        for item in self._items(node, "levels"):
            whole = self._with_template(item, "levels")
            if whole is None:
                continue
            try:
                steps = thresholds(whole)
            except Malformed as error:
                self.problems.append(error.problem)
                continue
            for step in steps:
                rule = self._converted(step, "levels", Threshold)
                if isinstance(rule, Threshold):
                    found.append(rule)
        return found

    def _check_unit(self, rule: Rule, node: Node) -> None:
        limit = rule.limit if isinstance(rule, Threshold) else None
        text = objection(rule.quantity, rule.uom, limit, self._quantities) if rule.quantity else None
        if text is not None:
            key = ".uom" if rule.quantity in self._quantities or "is in" in text else ".quantity"
            self._wrong(node.at(key).line, f"{rule.name}: {text}")

    def _check_name(self, rule: msgspec.Struct, node: Node) -> None:
        name: str = rule.name  # type: ignore[attr-defined]  # every kind of rule has one
        line = node.at(".name").line
        if name in self.lines and not isinstance(rule, Silence):  # those may share one
            self._wrong(line, f"rule {name}: the name is used twice; line {self.lines[name]} has it too")
        self.lines.setdefault(name, line)

    def _declared(self, node: Node | None) -> dict[str, tuple[str, ...]]:
        if node is None:
            return {}
        try:
            declared = node.convert(dict[str, str], "quantities")
        except Malformed as error:
            self.problems.append(error.problem)
            return {}
        return {quantity: (uom,) for quantity, uom in declared.items()}

    def _read_tests(self, node: Node | None) -> None:
        for item in self._items(node, "tests"):
            try:
                trial = item.convert(RuleTest, "test")
            except Malformed as error:
                self.problems.append(error.problem)
                continue
            expect = item.at(".expect")
            lines = tuple(one.line for one in expect.value) if isinstance(expect.value, list) else ()
            self.tests.append(Placed(trial, item.line, lines))

    def _wrong(self, line: int, text: str) -> None:
        self.problems.append(Problem(line, text))


def _names() -> list[str]:
    return [*kinds(), *_MORE]

"""Rule files: what is read, what templates and levels become, what is refused with file, line and reason."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

from alerting.detect.rules import RuleSet, Silence, Threshold
from alerting.errors import RulesRefused
from alerting.rulebook.document import MAX_DEPTH, read
from alerting.rulebook.file import failures, kinds, load, parse, parse_rules, shipped
from alerting.rulebook.ruletest import MAX_STEPS, MAX_STEPS_OF_A_FILE, play
from alerting.rulebook.units import QUANTITIES, objection
from fengsui.model import AlarmClass

ROOT = Path(__file__).parents[2]
HEAT = """\
threshold:
  - name: heat
    version: 1
    cls: fire
    quantity: temperature
    uom: degC
    above: 57
    reset: 50
    severity: 4
"""
TEST = """\
tests:
  - name: it burns
    points:
      - {quantity: temperature, uom: degC, series: 20 60}
    expect:
      - {rule: heat, raise_s: 1}
"""
LEVELS = """\
levels:
  - name: leak
    version: 3
    cls: prealarm
    quantity: residual_current
    uom: mA
    raise_s: 1
    escalate_s: 2
    downgrade_s: 3
    clear_s: 4
    above:
      - {limit: 300, reset: 250, severity: 2}
      - {limit: 500, reset: 450, severity: 3}
      - {limit: 900, reset: 800, severity: 4}
"""


def changed(text: str, old: str, new: str) -> str:
    """The text with one part of it changed."""
    assert text.count(old) >= 1
    return text.replace(old, new, 1)


def refusal(text: str) -> str:
    """What is said of a file that is refused."""
    with pytest.raises(RulesRefused) as refused:
        parse(text, "site.yaml")
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (changed(HEAT, "above: 57", "above: false"), 7, "threshold heat: key `above`: expected a number"),
        (changed(HEAT, "above: 57", "above: true"), 7, "key `above`: expected a number, got true or false"),
        (changed(HEAT, "above: 57", "above: high"), 7, "key `above`: expected a number, got text"),
        (changed(HEAT, "above: 57", 'above: "57"'), 7, "key `above`: expected a number, got text"),
        (changed(HEAT, "above: 57", "above: .nan"), 7, "key `above`: expected a number, got text"),
        (changed(HEAT, "reset: 50", "rest: 50"), 8, "unknown key `rest`; did you mean `reset`?"),
        (changed(HEAT, "    reset: 50\n", ""), 2, "key `reset` is missing; add it"),
        (changed(HEAT, "reset: 50", "reset: 60"), 2, "reset 60 must be on the normal side"),
        (changed(HEAT, "reset: 50", "reset: 50\n    reset: 51"), 9, "key `reset` is there twice; line 8"),
        (changed(HEAT, "cls: fire", "cls: flood"), 4, "key `cls`: invalid enum value 'flood'"),
        (changed(HEAT, "severity: 4", "severity: 4.5"), 9, "key `severity`: expected a whole number"),
        (
            changed(HEAT, "degC", "degF").replace("57", "135").replace("50", "122"),
            6,
            "heat: temperature is in degC here, not degF: 135 degF = 57.22 degC",
        ),
        (
            HEAT.replace("temperature", "water_pressure").replace("degC", "bar").replace("57", "1.4").replace(
                "50", "1.2"
            ),
            6,
            "heat: water_pressure is in kPa here, not bar: 1.4 bar = 140 kPa",
        ),
        (changed(HEAT, "degC", "kPa"), 6, "heat: temperature is in degC here, not kPa"),
        (changed(HEAT, "temperature", "temprature"), 5, "no quantity 'temprature' is known; did you mean"),
        (HEAT + HEAT.partition("\n")[2], 10, "rule heat: the name is used twice; line 2 has it too"),
        (HEAT + "thresholds: []\n", 10, "unknown section `thresholds`; did you mean `threshold`?"),
        (changed(HEAT, "threshold:", "- threshold:"), 1, "begin with a section"),
        (HEAT + "silence: []\n", 10, "exactly one rule must be for every quantity"),
        (HEAT + "offline:\n  after_s: soon\n", 11, "offline: key `after_s`: expected a number, got text"),
        (HEAT + "    scope: {floor: 3}\n", 10, "unknown key `scope.floor`"),
        (HEAT + "    scope: {zone: [a, 3]}\n", 10, "key `scope.zone[1]`: expected text, got a whole number"),
        (HEAT + "    scope:\n      zone: !kitchen\n", 11, "text that begins with ! in quotes"),
        (HEAT + '    scope: {zone: "!"}\n', 10, "an empty pattern for zone"),
        (HEAT + "    schedule: {hours: 08:00-18:00}\n", 10, "key `schedule.utc_offset` is missing"),
        (HEAT + "    schedule: {utc_offset: +08:00, hours: 8-18}\n", 10, "write them like 08:00-18:00"),
        (HEAT + "    schedule: {utc_offset: +08:00, hours: 24:30-02:00}\n", 10, "up to 24:00"),
        (HEAT + "    schedule: {utc_offset: 8, days: [mon]}\n", 10, "`schedule.utc_offset`: expected text"),
        (HEAT + "    schedule: {utc_offset: +08:00, days: [monday]}\n", 10, "`schedule.days[0]`: invalid"),
        (HEAT + "    template: fire\n", 10, "threshold: no template 'fire'; there are: none"),
        (HEAT + "templates:\n  hot: {above: 60}\n", 11, "template hot is used by no rule"),
        ("threshold:\n  - &x {name: a}\n", 2, "anchors are not used here"),
        ("threshold: [\n", 2, "is not YAML"),
        ("threshold: {a: 1}\n", 1, "threshold is a list; begin each with `- `"),
        (HEAT + "---\n" + HEAT, 10, "a second document"),
        ("a: " * 3, 1, "is not YAML"),
        (f"threshold: {'[' * (MAX_DEPTH + 2)}{']' * (MAX_DEPTH + 2)}\n", 1, f"more than {MAX_DEPTH} levels"),
        (HEAT + changed(TEST, "20 60", "20+60"), 13, "'20+60': a step needs a start and a count"),
        (HEAT + changed(TEST, "20 60", "20x9999999"), 13, "a series has 1 to"),
        (HEAT + changed(TEST, "raise_s: 1", "raise_s: 1, clear_s: 2"), 15, "expect one of raise_s"),
        (HEAT + changed(TEST, "raise_s: 1", "raise_s: [2, 1]"), 15, "the window ends before it begins"),
        (HEAT + changed(TEST, "raise_s: 1", "raise_s: false"), 15, "expected a number or a list [...]"),
        (HEAT + changed(TEST, "name: it burns", "name: x\n    start: 2024-01-01"), 11, "has no offset"),
        (changed(LEVELS, "limit: 500", "limit: 300"), 13, "each level is further out"),
        (changed(LEVELS, "severity: 3", "severity: 2"), 13, "each level is further out"),
        (changed(LEVELS, "escalate_s: 2", "escalate_s: -2"), 8, "levels leak: key `escalate_s`: expected"),
        (changed(LEVELS, "limit: 900", "limit: false"), 14, "a level: key `limit`: expected a number"),
        (changed(LEVELS, "version: 3", "verson: 3"), 3, "levels leak.1: unknown key `verson`; did you mean"),
        (changed(LEVELS, "uom: mA", "uom: A"), 6, "residual_current is in mA here, not A: 300 A = 3e+05 mA"),
        (changed(LEVELS, "version: 3", "version: 3\n    severity: 2"), 4, "severity belongs to a level"),
        (LEVELS.partition("      - {limit: 500")[0], 11, "a list of two levels or more"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_file_line_and_reason(text: str, line: int, reason: str) -> None:
    """Whatever is wrong, the message begins with the file and the line a person has to look at."""
    said = refusal(text).splitlines()
    assert any(one.startswith(f"site.yaml:{line}: ") and reason in one for one in said), said


def test_every_mistake_is_told_at_once() -> None:
    """Two wrong rules and a wrong test are three lines of one message, in the order of the file."""
    text = changed(HEAT, "57", "false") + changed(HEAT, "threshold:\n", "").replace("uom", "umo")
    said = refusal(text + changed(TEST, "raise_s", "raises")).splitlines()
    assert [one.split(":")[1] for one in said] == ["7", "14", "23"]


def test_a_file_that_cannot_be_opened_or_is_not_text(tmp_path: Path) -> None:
    """A missing file and one in another encoding are refused by name."""
    path = tmp_path / "site.yaml"
    with pytest.raises(RulesRefused, match=r"site.yaml: cannot be read: No such file"):
        load(path)
    path.write_bytes("threshold: 温度".encode("gb18030"))
    with pytest.raises(RulesRefused, match=r"site.yaml: is not UTF-8"):
        load(path)


def test_a_file_whose_test_fails_is_refused(tmp_path: Path) -> None:
    """Loading for use runs the tests; the message says what was said instead, at the expectation's line."""
    path = tmp_path / "site.yaml"
    path.write_text(HEAT + TEST)
    assert load(path).rules.threshold[0].above == 57.0
    path.write_text(changed(HEAT, "above: 57", "above: 61") + TEST)
    with pytest.raises(RulesRefused) as refused:
        load(path)
    assert str(refused.value) == (
        f"{path}:15: test 'it burns' fails: heat does not raise at 1 s: it says nothing"
    )


def test_the_tests_of_a_file_are_bounded_together() -> None:
    """Many long tests are refused before they keep a running core busy."""
    long = TEST.replace("20 60", f"20x{MAX_STEPS - 1}").partition("\n")[2]
    problems = failures(parse(HEAT + "tests:\n" + long * 3, "site.yaml"))
    assert len(problems) == 1
    assert f"at most {MAX_STEPS_OF_A_FILE}" in problems[0].text


def test_no_is_a_word_and_a_time_of_day_no_number() -> None:
    """Values are those of YAML 1.2, so no limit is made of ``no``, ``0x10`` or ``12:30``."""
    node = read("a: no\nb: 12:30\nc: 0x10\nd: 1e3\ne: +5\nf: ~\ng: True\nh: '1'\ni: .5\nj:\n")
    assert node.plain() == {
        "a": "no", "b": "12:30", "c": "0x10", "d": 1000.0, "e": 5, "f": None, "g": True, "h": "1", "i": 0.5,
        "j": None,
    }  # fmt: skip


def test_an_empty_file_has_the_rules_of_silence() -> None:
    """Nothing written still means that silence is a fault."""
    assert parse_rules("") == RuleSet()
    assert parse_rules("# only a comment\n").silence == (Silence(),)


def test_a_template_lends_its_keys() -> None:
    """Rules of a template have its keys, their own ones first; a mistake in it is told by its own line."""
    text = """\
templates:
  low-pressure:
    cls: supervisory
    quantity: water_pressure
    uom: kPa
    on_delay_s: 30
    severity: 2
threshold:
  - {template: low-pressure, name: hydrant, version: 1, below: 140, reset: 160}
  - {template: low-pressure, name: sprinkler, version: 4, below: 300, reset: 330, on_delay_s: 5}
"""
    hydrant, sprinkler = parse_rules(text).threshold
    assert (hydrant.below, hydrant.on_delay_s, hydrant.cls) == (140.0, 30.0, AlarmClass.SUPERVISORY)
    assert (sprinkler.below, sprinkler.on_delay_s, sprinkler.version) == (300.0, 5.0, 4)
    assert "site.yaml:6: threshold hydrant: key `on_delay_s`: expected a number" in refusal(
        changed(text, "on_delay_s: 30", "on_delay_s: no")
    )


def test_levels_become_thresholds_with_a_hold_for_each_change() -> None:
    """The first level has the holds of raise and clear, the others those of escalate and downgrade."""
    steps = parse_rules(LEVELS).threshold
    assert [(s.name, s.above, s.reset, s.severity, s.on_delay_s, s.off_delay_s) for s in steps] == [
        ("leak.1", 300.0, 250.0, 2, 1.0, 4.0),
        ("leak.2", 500.0, 450.0, 3, 2.0, 3.0),
        ("leak.3", 900.0, 800.0, 4, 2.0, 3.0),
    ]
    assert {(s.version, s.quantity) for s in steps} == {(3, "residual_current")}


def test_a_quantity_of_the_site_is_declared() -> None:
    """A quantity nobody knows is refused as a slip, unless the file declares it with its unit."""
    text = changed(changed(HEAT, "temperature", "oil_level"), "degC", "cm")
    assert "no quantity 'oil_level'" in refusal(text)
    assert parse_rules(f"quantities:\n  oil_level: cm\n{text}").threshold[0].quantity == "oil_level"
    assert "oil_level is in mm here, not cm" in refusal(f"quantities:\n  oil_level: mm\n{text}")


def test_the_example_of_a_wrong_unit_is_right() -> None:
    """What a limit would be in the unit of the house is said as a number that can be used."""
    said = {
        ("water_pressure", "MPa", 0.14): "0.14 MPa = 140 kPa",
        ("water_pressure", "psi", 20.0): "20 psi = 137.9 kPa",
        ("temperature", "K", 330.15): "330.1 K = 57 degC",
        ("co", "%", 0.01): "0.01 % = 100 ppm",
    }
    for (quantity, uom, limit), example in said.items():
        text = objection(quantity, uom, limit, {})
        assert text is not None
        assert example.partition(" = ")[2] in text


def test_the_shipped_rules_pass_their_tests_and_every_one_is_raised_in_them() -> None:
    """A rule without a test that raises it is not shipped; each speaks of a known quantity."""
    file = shipped()
    assert failures(file) == []
    raised = {said.rule for test in file.tests for said in play(test.test, file.rules)}
    assert raised >= {rule.name for rule in file.rules.all()}
    assert {rule.quantity for rule in file.rules.about_readings()} - {""} <= QUANTITIES.keys()


def test_our_reading_of_the_shipped_file_is_that_of_another_reader() -> None:
    """PyYAML's own loader reads the same values out of the shipped file."""
    assert read(shipped().text).plain() == yaml.safe_load(shipped().text)


def test_every_kind_of_rule_has_its_section() -> None:
    """A new field of ``RuleSet`` is a new section of the file without another line."""
    assert kinds().keys() == {field.name for field in msgspec.structs.fields(RuleSet)}
    assert kinds()["threshold"] == (Threshold, True)
    assert kinds()["offline"].many is False


DOCUMENTED = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "rules.md").read_text(encoding="utf-8"), re.S)


@pytest.mark.parametrize("text", DOCUMENTED)
def test_every_example_of_the_documentation_is_a_file_that_passes(text: str) -> None:
    """What is shown can be copied: it is read, and its tests pass."""
    assert failures(parse(text, "rules.md")) == []

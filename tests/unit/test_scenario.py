"""The scenario language, its unfolding, the oracle, and every scenario of the library."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from alerting.rulebook.file import default_rules
from fengsui.command import main
from fengsui.model import Event, Quality, Reading
from gateway.drivers.base import MAX_BATCH
from ingest.inventory import Inventory, merge
from simulators.course import unfold
from simulators.link import deliver
from simulators.oracle import check_rules, judge, unforeseen
from simulators.rehearsal import rehearse
from simulators.scenario import QUANTITIES, library, load, parse
from simulators.source import SourceError
from simulators.stage import ScenarioDriver, registered, unplayed
from simulators.timeline import WORDS, LinkFault, MachineFault, Seconds
from tests.driving import START_US, FreeTime, Kept

FIRE = """\
title: A fire
length: 3 min
buildings:
  - id: dorm
    floors:
      - id: floor-1
        rooms:
          - id: room-1
            devices:
              - id: detector-1
                points:
                  - {name: heat-1, quantity: temperature}
                  - {name: smoke-1, quantity: smoke}
                  - {name: button-1, quantity: contact}
          - id: room-2
            devices: [{id: detector-2, points: [{name: smoke-2, quantity: smoke, uom: "%/m"}]}]
timeline:
  - {at: 1 min, what: fire, where: room-1, growth: fast, distance_m: 3}
  - {at: 30 s, what: stuck, where: smoke-2, for: 20}
expect:
  - {where: heat-1, class: fire, rule: heat-fire, by: 3 min}
never:
  - {classes: [fire], where: room-2}
"""
MANY = ("link_cut", "{what: dust, where: room-1, level: 9}", "{what: drift, where: heat-1, per_h: 600}")


def quiet(_share: float) -> None:
    """Nobody watches."""


def answers(text: str) -> list[bool]:
    """Which lines of the oracle hold."""
    script = parse(text, "fire.yaml")
    return [answer.holds for answer in judge(script, rehearse(script, default_rules(), 1, quiet).told)]


# the library


@pytest.mark.parametrize("name", library())
def test_every_scenario_of_the_library_holds(name: str) -> None:
    """With the shipped rules all that must come comes in time, and nothing that must not."""
    script = load(name)
    check_rules(script, default_rules())
    told = rehearse(script, default_rules(), script.scenario.seed, quiet).told
    assert [answer for answer in judge(script, told) if not answer.holds] == []
    assert script.scenario.expect or script.scenario.never


def test_the_library_speaks_every_word() -> None:
    """No word of the language is without an example."""
    spoken = {happening.word for name in library() for happening in load(name).scenario.timeline}
    assert set(WORDS) == spoken


# the language


def test_the_manual_knows_every_word_and_its_example_holds() -> None:
    """Each word and quantity is in docs/simulation.md, and the example there is a scenario that holds."""
    page = (Path(__file__).parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    assert [word for word in (*WORDS, *QUANTITIES) if f"`{word}`" not in page] == []
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert answers(example) == [True] * 4


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(90, 90), (0.5, 0.5), ("90 s", 90), ("5 min", 300), ("2h", 7200), ("-1 d", -86400), ("1.5 h", 5400)],
)
def test_times_are_written_as_people_write_them(text: object, seconds: float) -> None:
    """A number is seconds; else a number and s, min, h or d."""
    assert Seconds.read(text) == seconds


@pytest.mark.parametrize(
    ("old", "new", "place", "why"),
    [
        ("growth: fast", "growht: fast", "18", "timeline[0].growht: unknown key"),
        ("what: fire", "what: fyre", "18", "there are fire, put_out"),
        ("at: 1 min", "at: soon", "18", "is no time"),
        ("at: 1 min", "at: true", "18", "is no time"),
        ("at: 1 min", "at: 4 min", "18", "not within the scenario"),
        ("where: room-1, growth", "where: room-9, growth", "18", "there is no `room-9`; fire needs a room"),
        ("where: room-1, growth", "where: dorm, growth", "18", "`dorm` is a building; fire needs a room"),
        ("what: stuck", "what: leak, flow_l_s: 1", "19", "`smoke-2` is a point; leak needs a building"),
        ("where: smoke-2, for", "where: button-1, for", "", ""),
        ("for: 20", "for: 0", "19", "must be above 0"),
        ("title: A fire", "titel: A fire", "1", "unknown key"),
        ("length: 3 min\n", "", "1", "`length` is missing"),
        ("length: 3 min", "length: 9000 d", "2", "readings are too many"),
        ("length: 3 min", "length: 3 min\nlength: 4 min", "3", "is there twice"),
        ("id: dorm", "id: 2026-01-01", "4", "is read as a timestamp; put it in quotes"),
        ("id: dorm", "id: 'a dorm'", "4", "is no id"),
        ("id: room-2", "id: room-1", "15", "`room-1` is a room already"),
        ("quantity: temperature", "quantity: heat", "12", "no quantity `heat`; there are temperature"),
        ('uom: "%/m"', "uom: dB/m", "16", "smoke is simulated in %/m"),
        ("class: fire", "class: fyre", "21", "there are fire, prealarm"),
        ("where: heat-1, class", "where: heat-9, class", "21", "there is no `heat-9`"),
        ("by: 3 min", "by: 4 min", "21", "within the scenario"),
        ("by: 3 min", "by: 3 min, gone_by: 9 min", "21", "within the scenario"),
        ("classes: [fire]", "classes: []", "23", "name at least one class"),
        ("classes: [fire]", "classes: [fyre]", "23", "there are fire, prealarm"),
        ("where: room-2}", "where: room-2, from: 4 min}", "23", "within the scenario"),
        ("title: A fire", "title: [", "3", "is not YAML"),
        ("id: dorm", "id: &x dorm\n    water: *x", "5", "anchors"),
    ],
)
def test_a_malformed_scenario_is_refused_with_file_and_line(old: str, new: str, place: str, why: str) -> None:
    """Whoever writes it wrong is told in which line of which file, and what is wrong."""
    assert old in FIRE
    if not why:
        parse(FIRE.replace(old, new), "fire.yaml")
        return
    with pytest.raises(SourceError) as refused:
        parse(FIRE.replace(old, new), "fire.yaml")
    assert str(refused.value).startswith(f"fire.yaml:{place}: ")
    assert why in str(refused.value)


def test_an_empty_file_is_refused() -> None:
    """Nothing is no scenario."""
    with pytest.raises(SourceError, match=r"fire\.yaml:1: is empty"):
        parse("", "fire.yaml")


def test_what_cannot_be_there_is_refused() -> None:
    """A pump test where nothing measures water is a mistake."""
    with pytest.raises(SourceError, match="nothing in `dorm` measures water_pressure or level"):
        parse(FIRE, "fire.yaml", ["{what: pump_test, where: dorm}"])


def test_faults_of_a_run_are_lines_of_the_timeline() -> None:
    """A word or a whole line is added; a wrong one is refused with itself as its place."""
    script = parse(FIRE, "fire.yaml", MANY)
    assert [each.word for each in script.scenario.timeline] == ["fire", "stuck", "link_cut", "dust", "drift"]
    with pytest.raises(SourceError, match=r"--fault link_cutt:1: timeline\[2\]\.what"):
        parse(FIRE, "fire.yaml", ["link_cutt"])


def test_an_unknown_rule_in_the_oracle_is_refused() -> None:
    """An expectation of a rule that nobody has could never hold, and a ban would always."""
    script = parse(FIRE.replace("rule: heat-fire", "rule: heat-fir"), "fire.yaml")
    with pytest.raises(SourceError, match=r"fire\.yaml:21: .*no rule `heat-fir`; there are .*heat-fire"):
        check_rules(script, default_rules())
    script = parse(FIRE.replace("{classes: [fire],", "{classes: [fire], rule: zone-fir,"), "fire.yaml")
    with pytest.raises(SourceError, match=r"fire\.yaml:23: .*no rule `zone-fir`; there are .*zone-fire"):
        check_rules(script, default_rules())


# the course


def test_one_seed_gives_one_stream() -> None:
    """Everything is the same for the same seed, chance included, and noise is not for another."""
    script = parse(FIRE, "fire.yaml", [*MANY, "duplicate", "reorder"])
    once, again, other = (deliver(unfold(script, seed), script.scenario.timeline, seed) for seed in (1, 1, 2))
    for left, right in zip(once[:5], again[:5], strict=True):
        np.testing.assert_array_equal(left, right)
    assert once.events == again.events
    assert len(once.value) != len(other.value) or (once.value != other.value).any()


def test_what_is_added_changes_nothing_elsewhere() -> None:
    """Another point's readings are the same to the last digit with and without a fault at this one."""
    plain, added = parse(FIRE, "f"), parse(FIRE, "f", ["{what: noisy, where: heat-1, sigma: 5}"])
    left, right = unfold(plain, 1), unfold(added, 1)
    (smoke,) = plain.site.within["smoke-1"]
    np.testing.assert_array_equal(left.value[left.point == smoke], right.value[right.point == smoke])
    (heat,) = plain.site.within["heat-1"]
    assert (left.value[left.point == heat] != right.value[right.point == heat]).any()


def test_readings_come_in_the_order_of_time_and_in_range() -> None:
    """A course ascends in time and every value is within the instrument's range."""
    script = load("fire-ultra-fast")
    course = unfold(script, 1)
    assert (np.diff(course.sent_s) >= 0).all()
    assert len(course.value) == len(script.site.points) * script.scenario.length
    for point in script.site.points:
        value = course.value[course.point == point.index]
        assert point.low is not None
        assert point.high is not None
        assert point.low <= value.min() <= value.max() <= point.high


# the link


def test_a_cut_link_holds_back_and_loses_nothing() -> None:
    """What is sent while the link is cut arrives when it is back, in order, and nothing is missing."""
    script = parse(FIRE, "f", ["{what: link_cut, at: 60, for: 50}"])
    course = unfold(script, 1)
    arrived = deliver(course, script.scenario.timeline, 1)
    assert not ((arrived.arrives_s >= 60) & (arrived.arrives_s < 110)).any()
    assert (arrived.arrives_s == 110).sum() >= 4 * 50
    np.testing.assert_array_equal(arrived.sent_s, course.sent_s)


def test_duplicates_disorder_and_skew_are_what_they_are_called() -> None:
    """A duplicate is the same reading later, disorder delays and loses nothing, skew moves stamps alone."""
    plain = parse(FIRE, "f")
    course = unfold(plain, 1)
    count = len(course.value)
    twice = deliver(
        course, parse(FIRE, "f", ["{what: duplicate, share: 1, for: 3 min}"]).scenario.timeline, 1
    )
    assert len(twice.value) == 2 * count
    assert set((twice.arrives_s - twice.sent_s).tolist()) == {0.0, 5.0}
    lines = ["{what: reorder, share: 0.5, within: 10, for: 3 min}"]
    mixed = deliver(course, parse(FIRE, "f", lines).scenario.timeline, 1)
    assert (np.diff(mixed.sent_s) < 0).any()
    assert (np.sort(mixed.sent_s) == course.sent_s).all()
    assert (mixed.arrives_s - mixed.sent_s).max() <= 10
    skewed = deliver(course, parse(FIRE, "f", ["{what: skew, by: 60, for: 1 min}"]).scenario.timeline, 1)
    assert set((skewed.stamp_s - skewed.sent_s).tolist()) == {0.0, 60.0}


# the oracle


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("{where: heat-1, class: fire, rule: heat-fire, by: 3 min}", True),
        ("{where: room-1, class: fire, by: 3 min}", True),
        ("{where: floor-1, class: fire, by: 3 min}", True),
        ("{where: dorm, class: fire, after: 60, by: 3 min, times: 1}", False),
        ("{where: heat-1, class: fire, rule: heat-fire, after: 60, by: 3 min, times: 1}", True),
        ("{where: heat-1, class: fire, rule: smoke-fire, by: 3 min}", False),
        ("{where: heat-1, class: fire, by: 61}", False),
        ("{where: heat-1, class: fire, after: 170, by: 3 min}", False),
        ("{where: heat-1, class: fire, by: 3 min, gone_by: 3 min}", False),
        ("{where: heat-1, class: fault, by: 3 min}", False),
        ("{where: room-2, class: fire, by: 3 min}", False),
        ("{where: gateway, class: fault, by: 3 min}", False),
    ],
)
def test_the_oracle_knows_right_from_wrong(line: str, holds: bool) -> None:
    """Place, class, rule, time, count and return each decide."""
    text = FIRE.replace("{where: heat-1, class: fire, rule: heat-fire, by: 3 min}", line)
    if "dorm" in line:
        text = text.replace(
            "growth: fast, distance_m: 3}",
            "growth: fast}\n  - {at: 90, what: noisy, where: smoke-1, sigma: 30}",
        )
    assert answers(text)[0] is holds


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("{classes: [fire], where: room-2}", True),
        ("{classes: [fire], where: room-1}", False),
        ("{classes: [fire]}", False),
        ("{classes: [fault, prealarm], where: smoke-2}", True),
        ("{classes: [fault, prealarm]}", False),
        ("{classes: [fire], until: 1 min}", True),
        ("{classes: [fire], from: 179}", True),
        ("{classes: [fire], rule: zone-fire}", True),
        ("{classes: [fire], rule: smoke-fire}", False),
    ],
)
def test_what_must_never_come_is_noticed(line: str, holds: bool) -> None:
    """Class, place, rule and interval each decide."""
    assert answers(FIRE.replace("{classes: [fire], where: room-2}", line))[1] is holds


def test_what_nobody_spoke_of_is_told() -> None:
    """Alarms without a line in the oracle are listed, those with one are not."""
    script = parse(FIRE, "fire.yaml")
    texts = unforeseen(script, rehearse(script, default_rules(), 1, quiet).told)
    assert any("smoke-1 by smoke-fire" in text for text in texts)
    assert not any("heat-fire" in text for text in texts)


# the verb


def test_the_library_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a scenario every name is printed with its title."""
    assert main(["simulate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(library())


def test_a_check_tells_each_line_and_writes_junit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0 and no failure in the XML when all holds, 1 and the reason when not."""
    file, xml = tmp_path / "fire.yaml", tmp_path / "junit.xml"
    file.write_text(FIRE)
    assert main(["simulate", str(file), "--check", "--junit", str(xml)]) == 0
    out = capsys.readouterr().out
    assert f"ok    {file}:21: fire at heat-1 by heat-fire" in out
    assert "also  fire at smoke-1" in out
    file.write_text(FIRE.replace("by: 3 min", "by: 62"))
    assert main(["simulate", str(file), "fire-fast", "--check", "--junit", str(xml)]) == 1
    assert "s late" in capsys.readouterr().out
    suites = fromstring(xml.read_bytes()).findall("testsuite")  # noqa: S314 - written a line above
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("2", "1"), ("6", "0")]
    (failure,) = suites[0].findall("testcase/failure")
    assert "got fire at heat-1" in str(failure.get("message"))


def test_a_fault_can_be_added_to_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A link that is cut for the whole scenario lets no alarm through, which fails the check."""
    file = tmp_path / "fire.yaml"
    file.write_text(FIRE)
    assert main(["simulate", str(file), "--check", "--fault", "{what: link_cut, for: 5 min}"]) == 1
    assert "got nothing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nothing-like-it", "--check"], "nothing-like-it: No such file"),
        (["fire-fast"], "--check (virtual time), or --config"),
        (["fire-fast", "--junit", "x.xml"], "--junit goes with --check only"),
        (["fire-fast", "--check", "--speed", "3"], "--speed does not go with --check"),
        (["fire-fast", "--check", "--seed", "-1"], "must not be negative"),
        (["fire-fast", "--check", "--rules", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["fire-fast", "fire-slow"], "one scenario at a time"),
        (["district", "--check"], "--check does not go with district"),
        (["district"], "district needs --gateway NAME"),
        (["pump-room"], "pump-room needs --gateway NAME or --driver HOST:PORT"),
        (["modbus"], "modbus needs --port"),
        (["fire-fast", "--plain"], "--plain needs --config"),
        (["fire-fast", "--drill", "--check"], "--drill does not go with --check"),
        (["fire-fast", "--drill", "--rules", "x.yaml"], "--rules goes with --check only"),
        (["modbus", "fire-fast"], "give it alone"),
    ],
)
def test_senseless_arguments_are_explained(
    arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not go together, or is not there, is told in one line."""
    assert main(["simulate", *arguments]) == 64
    assert why in capsys.readouterr().err


# live


async def test_live_plays_the_course_and_ends_now() -> None:
    """Every reading and event of the course, marked as simulated, the last one stamped with the present."""
    script = parse(FIRE, "fire.yaml", ["{what: panel, where: button-1, at: 70, event: fire}", "link_cut"])
    time, sink = FreeTime(), Kept()
    driver = ScenarioDriver(script, 1, 10.0, time.pace)
    await driver.run(sink)
    course = unfold(script, 1)
    assert sorted(reading.value for reading in sink.readings) == sorted(course.value.tolist())
    assert {reading.quality for reading in sink.readings} == {Quality.SIMULATED}
    assert max(len(call) for call in sink.calls) <= MAX_BATCH
    begin_us = START_US - round(180 * 0.9e6)
    assert [(event.code, event.at) for event in sink.events] == [("simulated", begin_us + 70_000_000)]
    stamps = [item.at_us if isinstance(item, Reading) else item.at for call in sink.calls for item in call]
    assert stamps[0] == begin_us
    assert stamps == sorted(stamps)
    assert stamps[-1] == begin_us + 179_000_000 == pytest.approx(time.now_us, abs=2_000_000)
    assert (driver.reached, driver.produced) == (1.0, len(course.value))
    assert driver.ended.is_set()
    assert unplayed(script, LinkFault, MachineFault) == "link_cut"
    assert isinstance(sink.calls[0][0], Reading | Event)


def test_every_scenario_can_be_registered() -> None:
    """The registry file of each scenario passes the registry's rules and binds every point."""
    for name in library():
        script = load(name)
        inventory = merge(Inventory(), registered(script, "gw-1"))
        assert [point.name for point in inventory.points] == [point.name for point in script.site.points]
        assert {point.unit for point in inventory.points} == {"scenarios"}


def test_a_registry_file_of_a_scenario_is_printed(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """`--gateway` prints what `fengsui registry import` takes."""
    assert main(["simulate", "fire-fast", "--gateway", "gw-1"]) == 0
    assert b'"gw-1.heat-302"' in capfdbinary.readouterr().out

"""Levels of one quantity: raise, escalate, downgrade and clear, each after its own hold."""

from __future__ import annotations

from alerting.alarms.book import Book
from alerting.alarms.desk import Desk
from alerting.alarms.lifecycle import State, Step
from alerting.detect.engine import Engine
from alerting.rulebook.file import parse_rules
from tests.ordering import order
from tests.unit.detection import T0_US, S, Sample, feed, point
from tests.unit.test_book import EVERYBODY

RULES = """\
levels:
  - name: leak
    version: 3
    cls: {cls}
    quantity: residual_current
    uom: mA
    raise_s: 2
    escalate_s: 3
    downgrade_s: 4
    clear_s: 5
    above:
      - {{limit: 300, reset: 250, severity: 2}}
      - {{limit: 500, reset: 450, severity: 3}}
"""


class Site:
    """One point, its readings a second apart, and the book over it."""

    def __init__(self, cls: str = "prealarm") -> None:
        rules, points = parse_rules(RULES.format(cls=cls)), [point(0, "residual_current", "mA")]
        self.engine, self.book, self.second = Engine(rules, points, now_s=0.0), Book(points, rules), -1

    def reads(self, *values: float) -> list[tuple[int, str, int]]:
        """Second, what happened and the severity then, for every change."""
        seen = []
        for value in values:
            self.second += 1
            verdicts = feed(self.engine, [Sample(0, T0_US + self.second * S, value)])
            changes = self.book.apply(verdicts, (), now_us=T0_US, now_s=0.0)
            seen += [(self.second, change.what, change.alarm.severity) for change in changes]
        return seen


def test_each_change_waits_for_its_own_hold() -> None:
    """Raised after 2 s, escalated after 3 s, eased after 4 s, over after 5 s."""
    site = Site()
    assert site.reads(*[310] * 5) == [(2, "raised", 2)]
    assert site.reads(*[600] * 5) == [(8, "escalated", 3)]
    assert site.reads(*[400] * 6) == [(14, "eased", 2)]
    (alarm,) = site.book.alarms(EVERYBODY)
    assert (alarm.rule, alarm.rule_version, alarm.limit, alarm.value) == ("leak.1", 3, 300.0, 400.0)
    assert site.reads(*[100] * 6) == [(21, "returned", 2)]


def test_worse_again_after_it_had_eased_asks_again() -> None:
    """An alarm acknowledged at its worst, downgraded and escalated once more is unacknowledged again."""
    site = Site()
    site.reads(*[600] * 5)
    (alarm,) = site.book.alarms(EVERYBODY)
    Desk(site.book).act(EVERYBODY, order(Step.ACKNOWLEDGE, alarm), now_us=T0_US)
    site.reads(*[400] * 5)
    assert site.book.alarms(EVERYBODY)[0].state is State.ACKNOWLEDGED
    assert [what for _, what, _ in site.reads(*[600] * 5)] == ["escalated"]
    assert site.book.alarms(EVERYBODY)[0].state is State.UNACKNOWLEDGED


def test_a_fire_is_never_downgraded() -> None:
    """Of the class that latches, the worst it was stands until a person resets it."""
    site = Site("fire")
    site.reads(*[600] * 5)
    assert site.reads(*[400] * 6) == [(9, "eased", 3)]

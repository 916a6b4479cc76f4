"""A roster for tests: two officers on a weekly rota, a chief, a desk sounder, and the command centre."""

from __future__ import annotations

from datetime import UTC, datetime

from alerting.notify.roster import Roster, parse

CHANNELS = ("sms", "mail", "desk", "centre")
INSIDE = frozenset({"desk"})
MONDAY_NOON_US = round(datetime(2026, 11, 23, 4, tzinfo=UTC).timestamp()) * 1_000_000
"""12:00 in Shanghai."""
MONDAY_NIGHT_US = MONDAY_NOON_US + 11 * 3_600_000_000
"""23:00 in Shanghai."""
S = 1_000_000

TEXT = """\
minimum: [sms]
fallback_s: 45
contacts:
  - id: wang
    name: 王芳
    reach: [{channel: sms, to: "13800000001"}, {channel: mail, to: wang@example.org}]
    mute: [mail]
    quiet: {utc_offset: "+08:00", hours: 22:00-07:00}
  - id: li
    name: 李明
    reach: [{channel: sms, to: "13800000002"}, {channel: mail, to: li@example.org}]
    absent: [{since: 2026-11-24T00:00:00+08:00, until: 2026-11-25T00:00:00+08:00, substitute: chief}]
  - id: chief
    lang: en
    reach: [{channel: sms, to: "13800000003"}]
  - id: sounder
    reach: [{channel: desk}]
  - id: "119"
    reach: [{channel: centre}]
  - id: owner
    unit: u1
    reach: [{channel: mail, to: owner@example.org}]
rotas:
  - id: duty
    shifts: [{when: {utc_offset: "+08:00", hours: 08:00-20:00}, who: [wang]}]
    otherwise: [li]
calls:
  - id: fires
    classes: [fire]
    stages:
      - who: [sounder, "rota:duty"]
        together: true
      - {after_s: 60, who: [chief], channels: [sms]}
      - {after_s: 120, who: [chief, unit]}
  - id: confirmed
    classes: [fire]
    forward: true
    stages: [{who: ["119"]}]
  - id: faults
    classes: [fault, supervisory]
    severity: 2
    stages: [{who: ["rota:duty"]}, {after_s: 600, who: [wang]}]
"""

AT_ANY_HOUR = (
    TEXT.replace("hours: 08:00-20:00", "hours: 00:00-24:00")
    .replace('    quiet: {utc_offset: "+08:00", hours: 22:00-07:00}\n', "")
    .replace("fallback_s: 45", "fallback_s: 0.2")
)
"""Wang is always on duty and never sleeps: for tests that go by the real clock."""

ANSWERING = AT_ANY_HOUR.replace("    name: 王芳\n", "    name: 王芳\n    answers: true\n")
"""And she may acknowledge by link and code."""


def roster(text: str = TEXT, calendars: dict[str, str] | None = None) -> Roster:
    """The roster of ``text``."""

    def read(name: str) -> str:
        known = calendars or {}
        if name not in known:
            raise FileNotFoundError(name)
        return known[name]

    return parse(text, "roster.yaml", CHANNELS, read)

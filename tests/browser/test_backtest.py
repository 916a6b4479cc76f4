"""The backtest page as an engineer meets it, in a real Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from playwright.async_api import expect

from fengsui.viewer import Role, Viewer
from server.backtest import Question, prepare
from tests.browser.conftest import Open
from tests.consoles import Console
from tests.past import DAY_US, DRAFT, FROM_US, IN_FORCE, register, weeks
from tests.waiting import until

TOLD = {"at_us": FROM_US, "readings": 1234}
MIDNIGHT_US = FROM_US - 8 * 3_600_000_000
"""Of the same day in China, where the browser is."""
LABELS = (
    "point,building,from,to,label\n,tower,2026-05-03T05:00Z,2026-05-03T06:00Z,real\n"
    ",mill,2026-05-02,2026-05-03,cooking\n"
)


async def answer(folder: Path, days: int = 14) -> dict[str, Any]:
    """What the core says of a finished backtest, by the real one."""
    registry = await register(f"sqlite:///{folder / 'past.db'}")
    asked = Question(
        rules=DRAFT,
        from_us=MIDNIGHT_US,
        to_us=MIDNIGHT_US + days * DAY_US,
        warm_s=0,
        offset_s=28_800,
        labels=LABELS,
    )
    everybody = Viewer("e", frozenset({Role.ENGINEER}), None)
    ready = prepare(registry.points, everybody, asked, IN_FORCE)
    history = weeks(days)
    history = history.take((history.at_us < ready.span.to_us).nonzero()[0])
    ready.test.feed(history.point, history.at_us, history.value, history.quality)
    report = ready.test.report(
        labels=ready.labels, buildings={"tower": "Linjiang Plaza", "mill": "<b>Mill</b>"}, recorded_fires=3,
        notes=["2026-05-03.db cannot be read"],
    )  # fmt: skip
    return {"progress": TOLD, "report": msgspec.to_builtins(report)}


async def test_a_draft_is_held_against_the_past(served: Console, open_page: Open, tmp_path: Path) -> None:
    """The draft begins as the rules in force; changed and run, the page shows days, difference and labels."""
    served.core.rules = IN_FORCE
    served.core.reports = [{"progress": None, "report": None}, {"progress": TOLD, "report": None}]
    page = await open_page("engineer")
    await page.click("nav [data-to=backtest]")
    await expect(page).to_have_url(served.address + "backtest")
    await expect(page.locator("#bt-draft")).to_have_value(served.core.rules)
    await page.fill("#bt-draft", DRAFT)
    await page.fill("#bt-from", "2026-05-01")
    await page.fill("#bt-to", "2026-05-14")
    await page.fill("#bt-warm", "2")
    await page.fill("#bt-scope", "building=*")
    await page.fill("#bt-labels", LABELS)
    await page.click("#bt-run")
    await expect(page.locator("#bt-state")).to_contain_text("1,234 readings")
    await expect(page.locator("#bt-run")).to_be_disabled()
    served.core.reports = [await answer(tmp_path)]
    report = page.locator("#bt-report")
    await expect(report).to_contain_text("14 days, 6 points")
    (asked,) = served.core.asked_for("start_backtest")
    assert (asked["from_us"], asked["to_us"]) == (MIDNIGHT_US, MIDNIGHT_US + 14 * DAY_US)
    assert (asked["warm_s"], asked["offset_s"], asked["scope"]) == (172_800, 28_800, "building=*")
    assert (asked["rules"], asked["labels"]) == (DRAFT, LABELS.strip())
    await expect(report.locator("tr", has_text="FIRE").first).to_have_text("FIRE1473")
    await expect(report).to_contain_text("7 added, 14 removed, 7 earlier, 0 later, 0 the same")
    await expect(report.locator("rect.draft")).to_have_count(14)
    await expect(report.locator("rect.force")).to_have_count(7)
    await expect(report.locator("svg.days .end")).to_have_text(["<b>Mill</b>", "Linjiang Plaza"])
    await expect(report).to_contain_text("2026-05-03.db cannot be read")
    await expect(report).to_contain_text("after 480 s")
    await expect(report.locator("tr", has_text="cooking")).to_have_text("cooking110")
    await page.screenshot(path=tmp_path / "backtest.png")
    await page.click("#language")
    await expect(report).to_contain_text("新增 7,减少 14,提前 7")
    await expect(page.locator("#bt-draft")).to_have_value(DRAFT)


async def test_a_refusal_names_what_to_change(served: Console, open_page: Open) -> None:
    """The core's own words are shown, the draft stays, and it can be run again."""
    page = await open_page("engineer")
    await page.click("nav [data-to=backtest]")
    served.core.refuse["look_backtest"] = {"code": "invalid", "text": "the draft: rule heat: reset 55 <i>"}
    await page.click("#bt-run")
    await expect(page.locator("#bt-state .refused")).to_contain_text("rule heat: reset 55 <i>")
    await expect(page.locator("#bt-run")).to_be_enabled()
    await expect(page.locator("#bt-draft")).to_have_value(served.core.rules)


async def test_cancel_and_leaving_give_it_up(served: Console, open_page: Open) -> None:
    """The button gives a backtest up, and so does closing the page."""
    page = await open_page("engineer")
    await page.click("nav [data-to=backtest]")
    await page.click("#bt-run")
    await until(lambda: bool(served.core.asked_for("look_backtest")))
    served.core.refuse["look_backtest"] = {"code": "unknown", "text": "this backtest was given up"}
    await page.click("#bt-cancel")
    await until(lambda: len(served.core.asked_for("cancel_backtest")) == 1)
    await expect(page.locator("#bt-run")).to_be_enabled()
    await expect(page.locator("#bt-state")).to_have_text("")
    del served.core.refuse["look_backtest"]
    looked = len(served.core.asked_for("look_backtest"))
    await page.click("#bt-run")
    await until(lambda: len(served.core.asked_for("look_backtest")) > looked)
    await page.goto(served.address + "healthz")
    await until(lambda: len(served.core.asked_for("cancel_backtest")) == 2)
    await page.goto(served.address)


async def test_an_officer_has_no_such_page(served: Console, open_page: Open) -> None:
    """Who may not, sees no way to it and is refused at the door."""
    page = await open_page("officer")
    await expect(page.locator("nav a")).to_have_count(2)
    await page.keyboard.press("Alt+3")
    await expect(page.locator("#desk")).to_be_visible()
    answer = await page.goto(served.address + "backtest")
    assert answer is not None
    assert answer.status == 403
    await page.goto(served.address)

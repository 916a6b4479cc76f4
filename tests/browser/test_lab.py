"""The lab as an engineer meets it, in a real Chromium; what the core answers is made by the real lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.async_api import Page, expect

from alerting.rulebook.file import parse, shipped
from simulators.lab import keep, play
from simulators.lab_worker import Kept
from simulators.takes import sources, take
from tests.browser.conftest import Open
from tests.consoles import Console

FIRE = "scenario/fire-fast"
HIGHER = shipped().text.replace("above: 57.0\n    reset: 50.0", "above: 75.0\n    reset: 50.0", 1)


def told(report: object) -> dict[str, Any]:
    """What a look answers when it is done."""
    return {"progress": None, "report": msgspec.to_builtins(report)}


def run_of(text: str, source: str = FIRE, point: str = "heat-302") -> dict[str, Any]:
    """A run under a draft, beside the shipped rules."""
    rules = parse(text, "draft").rules
    return told(play(take(source, None), rules, shipped().rules, point, lambda _share: None))


@pytest.fixture
def with_fire(served: Console) -> Console:
    """A core with the shipped rules, whose lab lists what there is and then performs a fire."""
    served.core.rules = shipped().text
    listed = sorted(sources(None), key=lambda one: one.id != FIRE)
    served.core.lab = [told(listed), run_of(shipped().text)]
    return served


async def opened(open_page: Open, **more: str) -> Page:
    """The lab's page when the first run is shown."""
    page = await open_page("engineer", **more)
    await page.click("nav [data-to=lab]")
    await expect(page.locator("#lab-line svg .signal")).to_have_count(1)
    return page


async def test_signals_internals_alarms_and_truth_are_on_one_line(
    with_fire: Console, open_page: Open
) -> None:
    """The first scenario is shown: lanes of the rules, the truth, alarms, and what the scenario expects."""
    page = await opened(open_page)
    await expect(page).to_have_url(with_fire.address + "lab")
    await expect(page.locator("#lab-source optgroup option")).to_have_count(len(sources(None)))
    line = page.locator("#lab-line")
    await expect(line.locator("text.truth")).to_have_text(["fire · room-302"])
    await expect(line.locator("text.note", has_text="ahead of them")).to_be_visible()
    await expect(line.locator("text.limit", has_text="heat-fire 57")).to_be_visible()
    assert (
        await line.locator(".alarms rect.draft").count() == await line.locator(".alarms rect.force").count()
    )
    assert await line.locator(".alarms rect.window").count() == 4
    oracle = page.locator("#lab-oracle")
    await expect(oracle.locator("tbody tr")).to_have_count(6)
    await expect(oracle).not_to_contain_text("fails")
    await expect(page.locator("#lab-inside")).to_contain_text("heat-rise-fire · rate of rise")
    await expect(line.locator("rect.gap")).to_have_count(0)
    assert (await line.locator("path.signal").get_attribute("d") or "").count("M") == 1
    (asked,) = with_fire.core.asked_for("lab_play")
    assert (asked["source"], asked["rules"], asked["point"]) == (FIRE, shipped().text, "")


async def test_one_rule_is_changed_and_run_again(with_fire: Console, open_page: Open) -> None:
    """A rule is edited by itself, the draft carries it, and what would have happened stands beside."""
    page = await opened(open_page)
    await page.select_option("#lab-edit", "heat-fire")
    editor = page.locator("#lab-draft")
    text = await editor.input_value()
    assert text.count("name:") == 1
    assert "above: 57.0" in text
    await editor.fill(text.replace("57.0", "75.0"))
    with_fire.core.lab = [run_of(HIGHER)]
    await page.click("#lab-run")
    changed = page.locator("#lab-verdicts tr", has_text="heat-fire")
    await expect(changed).to_contain_text("148 s136 s12 s later")
    await expect(page.locator("#lab-verdicts h2")).to_contain_text("1 of ")
    await expect(page.locator("#lab-alarms h2")).to_contain_text("0 added, 0 removed, 0 earlier, 0 later")
    assert with_fire.core.asked_for("lab_play")[-1]["rules"] == HIGHER
    assert with_fire.core.asked_for("lab_play")[-1]["point"] == "heat-302"
    await expect(page.locator("text.limit", has_text="heat-fire 75")).to_be_visible()
    await page.select_option("#lab-edit", "")
    await expect(editor).to_have_value(HIGHER)
    await page.click("#lab-again")
    await expect(editor).to_have_value(shipped().text)


async def test_the_time_line_is_used_by_keys(with_fire: Console, open_page: Open) -> None:
    """The cursor moves, the line is zoomed and a span is chosen without a mouse."""
    page = await opened(open_page)
    line = page.locator("#lab-line")
    await line.focus()
    await page.keyboard.press("Home")
    await expect(line).to_have_attribute("aria-valuenow", "0.0")
    await expect(page.locator("#lab-inside h2")).to_contain_text("heat-302 · 0 s")
    for _ in range(5):
        await page.keyboard.press("Shift+ArrowRight")
    await expect(line).to_have_attribute("aria-valuetext", "60 s")
    await page.keyboard.press("[")
    await expect(page.locator("#lab-from")).to_have_value("60")
    await expect(page.locator("#lab-to")).to_have_value("240")
    await page.keyboard.press("+")
    await page.keyboard.press("Shift+ArrowRight")
    await page.keyboard.press("Shift+ArrowRight")
    await page.keyboard.press("]")
    await expect(page.locator("#lab-to")).to_have_value("72")
    await expect(line.locator("rect.span")).to_have_count(1)
    await page.keyboard.press("0")
    await page.keyboard.press("End")
    await expect(line).to_have_attribute("aria-valuenow", "240.0")


async def test_a_span_is_kept_as_a_rule_test(with_fire: Console, open_page: Open) -> None:
    """What comes back is the draft with a test more; it stands in the editor and goes with the next run."""
    page = await opened(open_page)
    await page.fill("#lab-from", "30")
    await page.fill("#lab-to", "200")
    await page.select_option("#lab-rule", "heat-rise-fire")
    await page.fill("#lab-name", "a fast fire")
    written = keep(take(FIRE, None), shipped(), "heat-302", 30, 200, "a fast fire", "heat-rise-fire")
    with_fire.core.lab = [told(Kept(written.text, written.test, [str(one) for one in written.said]))]
    await page.click("#lab-keep-it")
    await expect(page.locator("#lab-kept pre")).to_contain_text("heat-rise-fire, raise_s:")
    (asked,) = with_fire.core.asked_for("lab_keep")
    assert (asked["point"], asked["from_s"], asked["to_s"]) == ("heat-302", 30, 200)
    assert (asked["name"], asked["rule"]) == ("a fast fire", "heat-rise-fire")
    await expect(page.locator("#lab-draft")).to_have_value(written.text)
    async with page.expect_download() as download:
        await page.click("#lab-save")
    assert Path(await (await download.value).path()).read_text() == written.text


async def test_a_refusal_names_line_and_reason(with_fire: Console, open_page: Open) -> None:
    """The core's own words are shown, the draft stays, and it can be run again."""
    page = await opened(open_page)
    with_fire.core.refuse["look_lab"] = {"code": "invalid", "text": "draft:6: heat: <b>kPa</b>, not bar"}
    await page.click("#lab-run")
    await expect(page.locator("#lab-state .refused")).to_contain_text("draft:6: heat: <b>kPa</b>, not bar")
    await expect(page.locator("#lab-run")).to_be_enabled()
    await expect(page.locator("#lab-line svg .signal")).to_have_count(1)


async def test_an_officer_has_no_lab(served: Console, open_page: Open) -> None:
    """Who may not, sees no way to it and is refused at the door."""
    page = await open_page("officer")
    await page.keyboard.press("Alt+4")
    await expect(page.locator("#desk")).to_be_visible()
    answer = await page.goto(served.address + "lab")
    assert answer is not None
    assert answer.status == 403
    await page.goto(served.address)


async def test_it_looks_the_same_in_both_languages(with_fire: Console, open_page: Open) -> None:
    """Changing the language changes words and loses nothing that was typed."""
    page = await opened(open_page, theme="light")
    await page.select_option("#lab-edit", "heat-fire")
    await page.fill("#lab-draft", (await page.input_value("#lab-draft")).replace("57.0", "58.0"))
    await page.click("#language")
    await expect(page.locator("#lab-alarms h2")).to_contain_text("报警")
    await expect(page.locator("#lab-line text.truth")).to_have_text(["火灾 · room-302"])
    await expect(page.locator("#lab-edit")).to_have_value("heat-fire")
    assert "58.0" in await page.input_value("#lab-draft")

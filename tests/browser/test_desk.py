"""The desk as an officer meets it, in a real Chromium."""

from __future__ import annotations

import re

from playwright.async_api import Page, expect

from fengsui.runtime import wall_us
from tests.browser.conftest import Open
from tests.consoles import Console
from tests.fakecore import alarm
from tests.waiting import until

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    '"><svg/onload=alert(1)>',
    "javascript:alert(1)",
    "{{7*7}}${7*7}",
    "' onmouseover='alert(1)",
    "<iframe srcdoc='<script>parent.alert(1)</script>'>",
    "</title><script>alert(1)</script>",
]
NAME = {"gateway": HOSTILE[0], "name": HOSTILE[5], "quantity": "", "uom": HOSTILE[1]}


async def test_alarm_appears_without_reload_and_f2_acknowledges_it(served: Console, open_page: Open) -> None:
    """A new fire is in strip, list and detail at once; F2 acknowledges it once the core has said so."""
    page = await open_page()
    await expect(page.locator("#strip .place")).to_have_text("No fire is waiting for you")
    served.core.put(alarm("P-1", wall_us()))
    await expect(page.locator("#strip .place")).to_contain_text("Linjiang Plaza B")
    await expect(page.locator(".row .kind")).to_have_text(["FIRE new"])
    await expect(page.locator("#detail h2")).to_contain_text("1207 riser room")
    await expect(page.locator("#detail .reasons")).to_contain_text("P-1 is over its limit")
    await page.keyboard.press("F2")
    await expect(page.locator("#strip .place")).to_have_text("No fire is waiting for you")
    await expect(page.locator(".row .who")).to_have_text(["all"])
    asked = [
        (one["alarm"], one["version"], one["viewer"]["person"])
        for one in served.core.asked_for("acknowledge")
    ]
    assert asked == [("alarm-P-1", 1, "all")]


async def test_what_is_on_the_screen_is_reported_once_and_only_what_is(
    served: Console, open_page: Open
) -> None:
    """An officer's page reports rows in view and the fire in the strip; what is out of sight is not seen."""
    for n in range(200):
        served.core.put(alarm(f"P-{n}", wall_us() - n * 1_000_000, cls="fault"))
    page = await open_page()
    await expect(page.locator("#strip .place")).to_have_text("No fire is waiting for you")

    def reported() -> list[str]:
        return [id_ for one in served.core.asked_for("seen") for id_ in one["alarms"]]

    await until(lambda: "alarm-P-0" in reported(), 5, "the first row is reported")
    assert "alarm-P-199" not in reported()
    served.core.put(alarm("P-fire", wall_us()))
    await until(lambda: "alarm-P-fire" in reported(), 5, "the fire is reported")
    await expect(page.locator("#strip .place")).to_contain_text("Linjiang Plaza B")
    assert len(reported()) == len(set(reported()))


async def test_list_is_worked_by_keyboard(served: Console, open_page: Open) -> None:
    """Arrows choose a row, its detail follows, Enter leads to the button, Enter again acknowledges."""
    for n, cls in enumerate(["prealarm", "fault", "supervisory"]):
        served.core.put(alarm(f"P-{n}", wall_us(), cls=cls, place=f"room {n}"))
    page = await open_page()
    await expect(page.locator(".row")).to_have_count(3)
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".row.sel .pid")).to_have_text("P-2")
    await expect(page.locator("#detail h2")).to_contain_text("room 2")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.locator(".row[data-id=alarm-P-2] .who")).to_have_text("all")
    assert len(served.core.asked_for("acknowledge")) == 1


async def test_reset_takes_a_fire_off_the_list(served: Console, open_page: Open) -> None:
    """A fire that is over and acknowledged waits for its reset, and goes only by it."""
    served.core.put(alarm("P-1", wall_us(), state="latched_acknowledged", active=False))
    page = await open_page()
    await page.click(".row.latched")
    await page.click("#detail [data-do=reset]")
    await expect(page.locator(".row")).to_have_count(0)


async def test_refused_acknowledgement_is_listed_as_not_done(served: Console, open_page: Open) -> None:
    """When the core refuses, the alarm stays new and the page says what was not done and why."""
    served.core.put(alarm("P-1", wall_us()))
    page = await open_page()
    served.core.refuse["acknowledge"] = {"code": "unavailable", "text": "the record is not reachable"}
    await page.click("#strip [data-do=ack]")
    await expect(page.locator("#notices")).to_contain_text("Not done: Acknowledge Linjiang Plaza B")
    await expect(page.locator(".row.waits")).to_have_count(1)


async def test_core_gone_is_said_and_nothing_is_missed(served: Console, open_page: Open) -> None:
    """Without the core the page looks dead and acts on nothing; when it is back, it has what happened."""
    served.core.put(alarm("P-1", wall_us()))
    page = await open_page()
    await expect(page.locator("#strip .place")).to_contain_text("Linjiang")
    await served.core.stop()
    await expect(page.locator("#lost h2")).to_contain_text("does not answer", timeout=15_000)
    await expect(page.locator("#strip .tag").first).to_have_text("before the cut, not acknowledged")
    await expect(page.locator("#detail [data-do=ack]")).to_be_disabled()
    await page.keyboard.press("F2")
    served.core.put(alarm("P-2", wall_us(), place="meanwhile"))
    await served.core.start()
    await expect(page.locator("#lost")).to_be_hidden(timeout=15_000)
    await expect(page.locator("#strip .place")).to_contain_text("meanwhile")
    await expect(page.locator(".row.waits")).to_have_count(2)
    await expect(page.locator("#notices")).to_contain_text("1 fires meanwhile")
    assert served.core.asked_for("acknowledge") == []


async def test_a_zone_says_what_to_do_and_who_agrees(served: Console, open_page: Open) -> None:
    """A zone's alarm is named by its zone, with its level as a tag and each point that raised it in words."""
    said = [
        ("zone-fire", 2.0, "2 devices agree within 60 s", "60 秒内 2 台设备一致"),
        ("zone-fire#1", 61.2, "P-1 (12F): fire, Temperature 61.2 °C", "P-1 (12F):火警,温度 61.2 °C"),
        ("zone-fire#2", None, "P-2 (12F): fire, call_point", "P-2 (12F):火警,call_point"),
    ]
    zone = {
        "gateway": "", "quantity": "", "uom": "", "name": "B12-3", "rule": "zone-fire", "value": 2.0,
        "limit": 2.0, "reset": None, "level": "confirmed", "linkage": True, "points": ["P-1", "P-2"],
        "place": "12F; 13F",
        "reasons": [
            {"key": key, "value": value, "limit": 2.0, "window_s": 60, "text_en": en, "text_zh": zh}
            for key, value, en, zh in said
        ],
    }  # fmt: skip
    served.core.put(alarm("P-1", wall_us() - 1_000_000))
    served.core.put(alarm("/unit-a/b/B12-3", wall_us(), **zone))
    page = await open_page()
    row = page.locator(".row.waits").first
    await expect(row.locator(".where")).to_contain_text("zone B12-3 / 12F; 13F")
    await expect(row.locator(".pid")).to_have_text("B12-3")
    await expect(row.locator(".tag").first).to_have_text("confirmed: go")
    await row.click()
    detail = page.locator("#detail")
    await expect(detail.locator(".dhead .tags")).to_contain_text("linkage")
    await expect(detail.locator(".dhead p")).to_contain_text("Points P-1, P-2")
    await expect(detail.locator(".reasons li")).to_have_count(3)
    await expect(detail.locator(".reasons .val")).to_have_text(["22 needed", "", ""])
    await expect(detail.locator(".chart")).to_contain_text("no trace of its own")
    await expect(detail.locator(".actbar")).to_contain_text("the fire is confirmed")
    await expect(detail).not_to_contain_text("not registered")


async def test_names_from_outside_are_text(served: Console, open_page: Open) -> None:
    """Hostile names in every field are shown as they are, on both screens; nothing runs, no CSP report."""
    core = served.core
    for n, text in enumerate(HOSTILE):
        words = dict.fromkeys(
            ("name", "building", "place", "zone", "unit", "gateway", "rule", "quantity", "uom"), text
        )
        reason = {
            "key": text,
            "value": 1.0,
            "limit": None,
            "window_s": None,
            "text_en": text,
            "text_zh": text,
        }
        core.put(alarm(f"P-{n}", wall_us(), reasons=[reason], **words))
    core.status["gateways"][0] |= {"gateway": HOSTILE[0], "faults": [HOSTILE[1]]}
    fault = {"key": "x", "text_en": HOSTILE[2], "text_zh": HOSTILE[2], "since_us": wall_us()}
    core.status["server"]["faults"] = [fault]
    core.status["store_balance"][0]["gateway"] = HOSTILE[2]
    core.discovered = [NAME | {"value": 1.0, "at_us": 0, "count": 1}]
    core.deadletters = [{"at_us": 0, "gateway": HOSTILE[0], "reason": HOSTILE[1], "text": HOSTILE[6]}]
    page = await open_page()
    await expect(page.locator(".row")).to_have_count(len(HOSTILE))
    for n, text in enumerate(HOSTILE):
        row = page.locator(f".row[data-id=alarm-P-{n}]")
        await expect(row.locator(".where b")).to_have_text(text)
        await row.locator(".where").click()
        await expect(page.locator("#detail .reasons .words")).to_have_text(text)
    await page.click("[data-to=gateways]")
    await expect(page.locator("#wire td.name b")).to_have_text(HOSTILE[0])
    await expect(page.locator("#found li > b")).to_have_text(HOSTILE[5])
    await expect(page.locator("#dead .words")).to_have_text(HOSTILE[6])
    await expect(page.locator("#foot .fault b")).to_have_text(HOSTILE[2])
    assert await page.locator("iframe, img, body script").count() == 0


async def test_language_and_theme_change_in_place_and_stay(served: Console, open_page: Open) -> None:
    """Every word follows the switch, no key shows through, and a reload keeps both choices."""
    served.core.put(alarm("P-1", wall_us()))
    page = await open_page(language="zh", theme="dark")
    await expect(page.locator("#strip .kick span").first).to_have_text("火警")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    await page.click("#language")
    await expect(page.locator("#strip .kick span").first).to_have_text("FIRE")
    await page.click("#theme")
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")
    for screen in ("gateways", "desk"):
        await page.click(f"[data-to={screen}]")
        await expect(page.locator("body")).to_have_attribute("data-screen", screen)
        text = await page.locator("body").inner_text()
        assert not re.search(r"\b(watch|detail|gw|strip|list|foot|link|sound|found|dead)\.[a-z_]+\b", text)
        assert not re.search(r"[\u4e00-\u9fff]", text.replace("中文", ""))
        assert "undefined" not in text
        assert "[object" not in text
    await page.reload()
    await expect(page.locator(".nav [aria-current]")).to_have_text("Desk")
    await expect(page.locator("html")).to_have_attribute("data-theme", "light")


async def test_trace_follows_the_readings(served: Console, open_page: Open) -> None:
    """The chart of the chosen alarm's point shows history and then each reading as it comes."""
    served.core.put(alarm("P-1", wall_us()))
    page = await open_page()
    await expect(page.locator(".trace canvas")).to_be_visible()
    await until(lambda: served.core.asked_for("subscribe")[-1]["points"] == ["P-1"])
    served.core.read("P-1", 88.8)
    await expect(page.locator(".trace .caption")).to_contain_text("88.8")
    await page.click(".trace [data-range='3600']")

    def an_hour() -> bool:
        newest = served.core.asked_for("history")[-1]
        return bool(newest["to_us"] - newest["from_us"] == 3_600_000_000)

    await until(an_hour)


async def test_thousands_of_alarms_stay_usable(served: Console, open_page: Open) -> None:
    """With 5,000 open alarms few rows exist, the count is right, and a new fire is painted in a second."""
    now = wall_us()
    for n in range(5_000):
        served.core.put(alarm(f"P-{n}", now - n * 1_000_000, cls="fault", state="acknowledged"))
    page = await open_page()
    await expect(page.locator("#count")).to_have_text("5,000 open", timeout=20_000)
    assert await page.locator(".row").count() <= 60
    served.core.put(alarm("F-1", wall_us(), place="the new one"))
    await expect(page.locator("#strip .place")).to_contain_text("the new one", timeout=1_000)
    await page.locator("#rows").focus()
    await page.keyboard.press("End")
    await expect(page.locator(".row[data-id=alarm-P-4999]")).to_be_visible()
    assert await page.locator(".row").count() <= 60
    await page.fill("#find", "P-4998")
    await expect(page.locator(".row")).to_have_count(2)  # the one that matches, and the fire


async def test_fire_wails_after_a_gesture_until_acknowledged(served: Console, open_page: Open) -> None:
    """Untested sound is said in the bar; after the test a waiting fire sounds, silence and F2 end it."""
    page = await open_page()
    await expect(page.locator("#sound")).to_contain_text("No sound")
    await page.click("#sound")
    await expect(page.locator("#sound")).to_contain_text("Sound on")
    served.core.put(alarm("P-1", wall_us()))
    await sounds(page, "fire")
    await page.keyboard.press("F8")
    await sounds(page, None)
    served.core.put(alarm("P-2", wall_us(), place="second"))
    await sounds(page, "fire")
    # It does not take the place of the first under the hand that just pressed a key.
    await expect(page.locator("#strip .place")).to_contain_text("second")
    await page.keyboard.press("F2")
    await sounds(page, None)


async def sounds(page: Page, what: str | None) -> None:
    """Wait until this pattern sounds, or nothing."""

    async def is_it() -> bool:
        said = await page.evaluate("import('/static/js/sound.js').then((sound) => sound.sounding())")
        return bool(said == what)

    await until(is_it, what=f"sound {what}")


async def test_viewer_sees_but_cannot_act(served: Console, open_page: Open) -> None:
    """A viewer's page offers no acknowledgement, no fire, no registration."""
    served.core.put(alarm("P-1", wall_us()))
    page = await open_page("viewer")
    await expect(page.locator("#strip [data-do=ack]")).to_be_disabled()
    await expect(page.locator(".row .ack")).to_have_count(0)
    await expect(page.locator("#start-fire")).to_be_hidden()
    await page.keyboard.press("F2")
    await page.click("[data-to=gateways]")
    await expect(page.locator("#stored td.name")).to_have_text("gw-1")
    await expect(page.locator("#found")).to_have_count(0)
    assert served.core.asked_for("acknowledge") == []


async def test_engineer_starts_a_fire_and_accepts_a_point(served: Console, open_page: Open) -> None:
    """Start a fire leads to a fire marked as a test; a discovered name becomes a point by its form."""
    name = {"gateway": "gw-1", "name": "boiler", "quantity": "temperature", "uom": "degC"}
    served.core.discovered = [name | {"value": 60.0, "at_us": 0, "count": 3}]
    page = await open_page("engineer")
    await page.click("#start-fire")
    await expect(page.locator("#strip .tag.test")).to_have_text("TEST")
    await page.keyboard.press("Alt+2")
    await page.click("#found .btn")
    await page.fill("#found [name=building]", "Plant")
    await page.click("#found [type=submit]")
    await expect(page.locator("#found .empty")).to_be_visible()
    asked = served.core.asked_for("accept")[0]
    given = (asked["gateway"], asked["name"], asked["point"], asked["building"])
    assert given == ("gw-1", "boiler", "boiler", "Plant")


async def test_residue_is_a_shape_and_a_word(served: Console, open_page: Open) -> None:
    """A balance that does not close shows a diamond with its number; a closed one says none."""
    balance = served.core.status["store_balance"]
    balance.append(balance[0] | {"gateway": "gw-2", "residue": 3})
    page = await open_page()
    await page.click("[data-to=gateways]")
    cells = page.locator("#stored .residue")
    await expect(cells).to_have_text(["none", "3"])
    await expect(cells.nth(1)).to_have_class(re.compile("c-fault"))


async def test_signing_out_elsewhere_tells_the_page(served: Console, open_page: Open) -> None:
    """A page whose session has ended says so, acts on nothing, and leads to the sign-in."""
    page = await open_page()
    other = await page.context.new_page()
    await other.goto(served.address)
    await other.click("#sign-out")
    await expect(page.locator("#lost h2")).to_contain_text("sign-in has ended")
    await page.click("#lost a")
    await expect(page).to_have_url(re.compile("/sign-in$"))


async def test_ages_and_values_read_one_way(open_page: Open) -> None:
    """Ages under an hour are mm:ss, then carry units; an unknown value is a dash, never 0."""
    page = await open_page()
    said = await page.evaluate(
        """import('/static/js/time.js').then(({age, measure, count, took}) => [
            age(38e6), age(3599e6), age(9660e6), age(3 * 86400e6 + 7200e6), measure(null, "degC"),
            measure(NaN, "%"), measure(41.24, "degC"), measure(0.314, "MPa"), measure(640, "ppm"),
            count(18406), count(null), took(310000), took(38e6)])"""
    )
    ages = ["00:38", "59:59", "2h 41m", "3d 02h"]
    values = ["–", "–", "41.2\u202f°C", "0.31\u202fMPa", "640\u202fppm"]
    assert said == [*ages, *values, "18,406", "–", "0.31 s", "38 s"]


async def test_link_is_judged_by_the_oldest_of_its_parts(open_page: Open) -> None:
    """Live under 3 s, late to 10 s, lost from 10 s or 3 s after a socket closed, here or at the core."""
    page = await open_page()
    said = await page.evaluate(
        """import('/static/js/live.js').then(({judge}) => [
            [1, null, 1, null], [1, null, 4, null], [9.9, null, 1, null], [10, null, 1, null],
            [1, 3, 1, null], [1, null, 1, 3], [1, 2, 1, 2],
        ].map(([heard, closed, coreAge, coreClosed]) => judge({heard, closed, coreAge, coreClosed})))"""
    )
    assert said == ["live", "late", "late", "lost", "lost", "lost", "live"]

"""A real Chromium in front of a console with a fake core."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.consoles import PASSWORD, PEOPLE, Console, console

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=document-user-activation-required",
]
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(event.violatedDirective + " " + event.blockedURI));
window.alert = () => window.violations.push("alert");
"""
Open = Callable[..., Awaitable[Page]]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Console]:
    """A console; every person of the cast can sign in."""
    async with console(tmp_path) as one:
        one.add(*PEOPLE)
        yield one


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium from the distribution."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on this machine")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=ARGS)
        yield browser
        await browser.close()


@pytest.fixture
async def open_page(browser: Browser, served: Console) -> AsyncIterator[Open]:
    """Sign somebody in and open the desk; fails on any script error or policy violation."""
    errors: list[str] = []
    pages: list[Page] = []

    async def open_(person: str = "all", *, language: str = "en", theme: str = "dark") -> Page:
        context = await browser.new_context(
            viewport={"width": 1680, "height": 1000}, timezone_id="Asia/Shanghai"
        )
        await context.add_cookies(
            [
                {"name": "fengsui_lang", "value": language, "url": served.address},
                {"name": "fengsui_theme", "value": theme, "url": served.address},
            ]
        )
        await context.add_init_script(VIOLATIONS)
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        await page.goto(served.address + "sign-in")
        await page.fill("[name=name]", person)
        await page.fill("[name=password]", PASSWORD)
        await page.click("button[type=submit]")
        await page.wait_for_selector("#link b:has-text('s')")
        pages.append(page)
        return page

    yield open_
    for page in pages:
        errors += await page.evaluate("window.violations")
        await page.context.close()
    assert errors == []

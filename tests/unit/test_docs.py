"""Documentation that would otherwise rot: the generated reference, links, the samples, hosts in the locks."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_reference_is_what_the_program_says() -> None:
    """Every verb and every setting is documented as it is; `make docs` renews the page."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("each Python prints help a little differently; the page is made by 3.11")
    check = [sys.executable, "docs/reference.py", "--check"]
    ended = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file of the checkout."""
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_locks_name_no_host() -> None:
    """Where packages come from is the machine's choice, so only names, versions and hashes are committed."""
    for lock in (ROOT / "requirements").iterdir():
        for line in lock.read_text().splitlines():
            assert re.match(r"\S+==\S+( ; .+)? \\$|    --hash=sha256:[0-9a-f]{64}( \\)?$", line), line


def test_the_run_lock_is_part_of_the_dev_lock() -> None:
    """`make test` after `make run` changes no version under what ran."""
    versions = [
        {line.split()[0] for line in (ROOT / "requirements" / name).read_text().splitlines() if "==" in line}
        for name in ("run.txt", "dev.txt")
    ]
    assert versions[0] <= versions[1]


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Every metric of the Grafana dashboard is one that is documented, and so one that is shown."""
    board = json.loads((ROOT / "deploy/grafana/fengsui.json").read_text(encoding="utf-8"))
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"fengsui_\w+", target["expr"])
    }
    documented = set(re.findall(r"`(fengsui_\w+)`", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    assert len(asked) > 10
    assert asked <= documented

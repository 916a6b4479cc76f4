"""Write ``docs/reference.md``, the commands and settings as the program itself tells them.

``python docs/reference.py`` writes it, ``--check`` only says whether it is up to date.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

from fengsui.command import GROUP, main
from fengsui.settings import PROCESSES, sample

PAGE = Path(__file__).with_name("reference.md")
HEAD = """\
# Reference: commands and settings

Made by `make docs` from the program itself; do not edit.
"""


def help_of(verb: str) -> str:
    """What ``fengsui VERB --help`` prints, on 100 columns."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([verb, "--help"])
    return out.getvalue().rstrip()


def page() -> str:
    """The whole page."""
    os.environ["COLUMNS"] = "100"
    verbs = sorted(entry.name for entry in entry_points(group=GROUP))
    commands = [f"### fengsui {verb}\n\n```text\n{help_of(verb)}\n```\n" for verb in verbs]
    settings = [f"### {process}\n\n```toml\n{sample(process).rstrip()}\n```\n" for process in PROCESSES]
    parts = [HEAD, "## Commands\n\n`fengsui VERB --help` prints the same.\n", *commands]
    parts += ["## Settings\n\n`fengsui check-config --sample PROCESS` prints the same.\n", *settings]
    return "\n".join(parts)


def run(arguments: list[str]) -> int:
    """Write the page, or check it."""
    if arguments == ["--check"]:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        print("docs/reference.md is out of date; run: make docs", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))

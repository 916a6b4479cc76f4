"""The self-contained pages of the house: one look, no host, readable in the light and in the dark."""

from __future__ import annotations

from html import escape

GOOD, BAD, NEUTRAL = "#2f7d4f", "#b3382c", "#5b6b7a"

_STYLE = f"""
:root {{ color-scheme: light dark; --line: #8884; --soft: #8881; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin-bottom: 0; }} h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .4rem; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .35rem .6rem; vertical-align: top; }}
th, td {{ border-bottom: 1px solid var(--line); }}
th {{ font-weight: 600; }} td.n {{ text-align: right; white-space: nowrap; }}
small, .soft {{ opacity: .75; }}
.holds, .misses {{ color: {GOOD}; font-weight: 600; }} .misses {{ color: {BAD}; }}
figure {{ margin: 0; background: #fff; border-radius: 6px; padding: .5rem; }}
svg {{ max-width: 100%; height: auto; }}
"""


def sheet(title: str, body: str, *, style: str = "") -> str:
    """A page: ``title`` as text, ``body`` and further ``style`` as they are."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{escape(title)}</title><style>{_STYLE}{style}</style>
<h1>{escape(title)}</h1>
{body}</html>
"""

"""Texts that somebody might try as a name or an id."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

HOSTILE = st.text(
    st.sampled_from("ab,= \\\"'#\n\r\0\t/烟\u2028") | st.characters(), min_size=0, max_size=24
) | st.sampled_from(
    [
        "x\nreading,point=forged v=666 1",
        "x v=666 1\nforged,point=y v",
        "x,point=forged",
        "x\\",
        "x\\\\",
        "\\,point=forged",
        "x\\,y",
        "x' OR point='a",
        '"; DROP DATABASE "fengsui"',
        " ",
        ",",
        "=",
        "#",
        "$id",
    ]
)


def hostile_texts(count: int, seed_: int = 42) -> list[str]:
    """``count`` draws with duplicates left out."""
    found: dict[str, None] = {}

    @seed(seed_)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(HOSTILE)
    def draw(text: str) -> None:
        found[text] = None

    draw()
    return list(found)

from __future__ import annotations

import pytest

from bench import page
from bench.figures import Figure, Row, by_key, percentile
from bench.processes import Share, limiting


def row(median: float, *, most: float | None = None, least: float | None = None) -> Row:
    """A row of some key."""
    return Row(
        key="gateway.rss_mb", what="memory", unit="MB", figure=Figure([median]), most=most, least=least
    )


def test_a_figure_is_its_median_with_its_spread() -> None:
    """A percentile of everything may take its spread from parts."""
    assert Figure([3, 1, 2]).as_json() == {"median": 2, "min": 1, "max": 3, "runs": [3, 1, 2]}
    told = Figure([5], spread=[4, 9]).as_json()
    assert (told["median"], told["min"], told["max"]) == (5, 4, 9)
    with pytest.raises(ValueError, match="without a measurement"):
        Figure([])


@pytest.mark.parametrize(
    ("one", "verdict", "used"),
    [
        (row(60, most=60), "holds", 1.0),
        (row(61, most=60), "misses", 61 / 60),
        (row(0.5, least=0.5), "holds", 1.0),
        (row(0.25, least=0.5), "misses", 2.0),
        (row(7), None, None),
    ],
)
def test_a_bound_is_held_up_to_and_including_itself(
    one: Row, verdict: str | None, used: float | None
) -> None:
    """Both ways round, and a row without a bound is neither."""
    assert one.verdict == verdict
    assert one.used == used


def test_keys_with_dots_open_levels() -> None:
    """The form of ``latest.json``."""
    rows = [
        Row(key="restart_s", what="", figure=Figure([3.14159])),
        Row(key="gateway.rss_mb", what="", figure=Figure([42])),
        Row(key="gateway.gb_per_day", what="", figure=Figure([1])),
    ]
    assert by_key(rows) == {"restart_s": 3.142, "gateway": {"rss_mb": 42, "gb_per_day": 1}}


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_a_percentile_is_a_sample(share: float, expected: float) -> None:
    """The nearest rank."""
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_the_limiting_stage_is_named() -> None:
    """All cores busy, one process that fills a core, or neither."""
    assert limiting({"core": Share(1, 1.0), "influxd": Share(2, 0.9)}, 2).startswith("the machine")
    assert limiting({"core": Share(1, 0.95), "influxd": Share(2, 0.1)}, 2).startswith("core fills")
    assert limiting({"core": Share(1, 0.2)}, 2).startswith("waiting")


def test_the_page_escapes_what_it_shows() -> None:
    """The names of a machine and a commit are text, not markup."""
    text = page.render(
        {
            "commit": "<b>none</b>",
            "at": "now",
            "scale": 0.5,
            "machine": {
                "cpu": "<i>", "cores": 2, "memory_gb": 1.0, "python": "3", "mosquitto": "m", "influxd": "i"
            },
            "rows": [row(61, most=60).as_json(), row(7).as_json()],
            "details": {"live": {"samples_ms": {"idle": [1.0, 2.0]}}},
        }
    )  # fmt: skip
    assert "<b>none" not in text
    assert "<i>" not in text
    assert "misses" in text
    assert text.count("<svg") == 2

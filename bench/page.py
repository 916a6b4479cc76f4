"""The report as one self-contained page: a table of what holds, and the plots that say why."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulators.sheet import BAD, GOOD, sheet

_PARTS = ["#2f5d8a", "#c98a2b", "#7a9e7e", "#9a6fb0", "#888888"]


def render(report: Mapping[str, Any]) -> str:
    """The page."""
    machine = report["machine"]
    facts = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, Python {machine['python']}"
    )
    plots = "".join(f"<h2>{escape(title)}</h2><figure>{svg}</figure>" for title, svg in _plots(report))
    rows = "".join(_row(row) for row in report["rows"])
    scale = "" if report["scale"] == 1 else f" &middot; scale {report['scale']:.4g}, not the full run"
    return sheet(
        "Fengsui: numbers to hold",
        f"""<p class="soft">commit {escape(report["commit"])} &middot; {escape(report["at"])}{scale}<br>
{escape(facts)}<br>
{escape(machine["mosquitto"])} &middot; {escape(machine["influxd"])}</p>
<table><tr><th></th><th>what</th><th>median</th><th>spread</th><th>bound</th></tr>{rows}</table>
{plots}
""",
    )


def _row(row: Mapping[str, Any]) -> str:
    verdict = row["verdict"] or ""
    unit = escape(row["unit"])
    why = f"<br><small>{escape(row['bound_by'])}</small>" if row["bound_by"] else ""
    return (
        f'<tr><td class="{verdict}">{verdict}</td><td>{escape(row["what"])}<br>'
        f"<small>{escape(row['key'])}</small>{why}</td>"
        f'<td class="n">{row["median"]:,.6g} {unit}</td>'
        f'<td class="n">{row["min"]:,.4g} .. {row["max"]:,.4g}</td><td>{escape(row["bound"])}</td></tr>'
    )


def _plots(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    details = report["details"]
    plots = [("How much of each bound is used (1 = just held)", _bounds(report["rows"]))]
    if "live" in details:
        plots.append(
            ("From sample to page: share of samples within", _latencies(details["live"]["samples_ms"]))
        )
    costs = {
        f"{name}: us per {unit}": details[name][key]
        for name, unit, key in (
            ("backlog", "reading", "cpu_us_per_reading"),
            ("plain", "message", "cpu_us_per_message"),
        )
        if name in details
    }
    if costs:
        plots.append(("Where the microseconds go", _costs(costs)))
    if "detection" in details:
        plots.append(("Detection: us per reading by number of points", _detection(details["detection"])))
    return plots


def _bounds(rows: list[Mapping[str, Any]]) -> str:
    told = [row for row in rows if row["used"] is not None][::-1]
    figure, axes = _axes(0.36 * len(told) + 0.8)
    for at, row in enumerate(told):
        color = GOOD if row["verdict"] == "holds" else BAD
        axes.barh(at, row["used"], color=color, height=0.6)
        axes.text(row["used"], at, f" {row['used']:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(told)), [row["key"] for row in told])
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlim(0, max(1.15, *(1.1 * row["used"] for row in told)))
    return _svg(figure)


def _latencies(samples: Mapping[str, list[float]]) -> str:
    figure, axes = _axes(3.6)
    for color, (name, found) in zip(_PARTS, samples.items(), strict=False):
        ranked = sorted(found)
        share = [(n + 1) / len(ranked) for n in range(len(ranked))]
        axes.step(ranked, share, where="post", color=color, label=f"{name} ({len(ranked)})")
    axes.axhline(0.99, color="black", linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("ms")
    axes.legend(loc="lower right", frameon=False)
    return _svg(figure)


def _costs(costs: Mapping[str, Mapping[str, float]]) -> str:
    figure, every = _many(len(costs))
    for axes, (title, cost) in zip(every, costs.items(), strict=True):
        left = 0.0
        for color, (name, us) in zip(_PARTS, cost.items(), strict=False):
            axes.barh(0, us, left=left, color=color, height=0.5, label=f"{name} {us:.2f}")
            left += us
        axes.set_yticks([])
        axes.set_title(title, fontsize=9, loc="left")
        axes.legend(ncols=4, frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return _svg(figure)


def _detection(details: Mapping[str, Any]) -> str:
    figure, axes = _axes(2.4)
    found = details["us_per_reading"]
    sizes = [int(size) for size in found]
    axes.plot(sizes, [one["median"] for one in found.values()], marker="o", color=_PARTS[0])
    axes.fill_between(
        sizes, [one["min"] for one in found.values()], [one["max"] for one in found.values()], alpha=0.2
    )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("points")
    axes.set_ylabel("us per reading")
    return _svg(figure)


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _many(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10, 1.4 * count), layout="constrained")
    every = list(figure.subplots(count, 1, squeeze=False)[:, 0])
    for axes in every:
        _plain(axes)
    return figure, every


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fengsui"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]

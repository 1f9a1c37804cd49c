"""The report's plots, as SVG text that takes its colours from the page, so that it reads in light and dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

# Stand-ins that are unlikely to be drawn by accident; the SVG gets the page's variables in their place.
_COLOURS = {
    "ink": "#010203",
    "muted": "#040506",
    "line": "#070809",
    "own": "#0a0b0c",
    "population": "#0d0e0f",
    "swapped": "#101112",
    "worse": "#131415",
}
INK, MUTED, LINE, OWN, POPULATION, SWAPPED, WORSE = _COLOURS.values()
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "text.color": INK, "axes.labelcolor": MUTED, "axes.edgecolor": LINE, "xtick.color": MUTED, "ytick.color": INK, "xtick.labelcolor": MUTED,
    "ytick.left": False, "axes.grid": True, "axes.grid.axis": "x", "grid.color": LINE, "grid.linewidth": 0.8, "axes.axisbelow": True,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "xtick.major.size": 0,
}  # fmt: skip

Interval = tuple[float, float] | None

WIDTH = 9.6
"""Inches; the page scales pictures to its own width, so this sets how large letters are beside them."""


@dataclass(frozen=True)
class Bars:
    """One method's row: (value, interval) with own state, no state, another's state."""

    name: str
    own: tuple[float, Interval]
    population: tuple[float, Interval]
    swapped: tuple[float, Interval]


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any, list[str]]]:
    """A figure, its axes, and a list that gets the SVG when the block ends."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out: list[str] = []
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": f"{width}x{height}"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(), out
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        out.append(_themed(buffer.getvalue()))


def _themed(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"font: ([^;\"]*)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    # The size comes from the page; the picture keeps its proportions.
    svg = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", svg, count=1)
    return re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", svg, count=1)


def _beside(axes: Any, text: str, x: float, y: float) -> None:
    axes.annotate(text, (x, y), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5, color=MUTED)


def gain_per_person(gains: np.ndarray, metric: str) -> str:
    """How the gain is spread over people: who is helped, who is not."""
    with _figure(WIDTH, 3.2) as (_, axes, out):
        reach = max(0.05, float(np.quantile(np.abs(gains), 0.995))) if gains.size else 0.05
        # An odd number of bins: the middle one is centred on zero, where nothing changed.
        edges = np.linspace(-reach, reach, 42)
        clipped = np.clip(gains, -reach, reach)
        tie = np.abs(gains) < 1e-9
        for chosen, colour in ((clipped[gains > 1e-9], OWN), (clipped[gains < -1e-9], WORSE)):
            axes.hist(chosen, bins=edges, color=colour, rwidth=0.9)
        if tie.any():
            axes.bar([0], [int(tie.sum())], width=(edges[1] - edges[0]) * 0.9, color=POPULATION, zorder=3)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.axvline(float(gains.mean()), color=INK, linewidth=1.5, linestyle=(0, (4, 2)))
        axes.annotate(
            f"mean {gains.mean():+.3f}",
            (float(gains.mean()), 1),
            xycoords=("data", "axes fraction"),
            xytext=(5, -10),
            textcoords="offset points",
            color=INK,
        )
        axes.set_xlabel(f"gain of one person: {metric} with their own state, less {metric} without")
        axes.set_ylabel("people")
        axes.margins(y=0.12)
        axes.grid(axis="y")
    return out[0]


def three_answers(rows: Sequence[Bars], metric: str) -> str:
    """Own state, no state, another's state: one group of bars per method."""
    with _figure(WIDTH, 0.6 + 0.66 * len(rows)) as (_, axes, out):
        base = np.arange(len(rows), dtype=float)
        for shift, name, colour in ((-0.24, "own", OWN), (0.0, "population", POPULATION), (0.24, "swapped", SWAPPED)):
            values = [getattr(row, name)[0] for row in rows]
            axes.barh(base + shift, values, height=0.2, color=colour)
            for y, row in zip(base + shift, rows, strict=True):
                value, interval = getattr(row, name)
                if interval is not None:
                    axes.plot(interval, [y, y], color=INK, linewidth=1.1, solid_capstyle="butt")
                _beside(axes, f"{value:.3f}", max(value, interval[1]) if interval else value, y)
        axes.set_yticks(base, [row.name for row in rows])
        axes.invert_yaxis()
        axes.set_xlabel(metric)
        axes.set_xlim(left=0)
        axes.margins(x=0.1)
    return out[0]


def dots(rows: Sequence[tuple[str, float, Interval]], label: str, *, line: float = 0.0, second: float | None = None, digits: str = "{:+.3f}") -> str:
    """One value with its interval per row, against a line (0 for gains, 1 for ratios)."""
    with _figure(WIDTH, 0.7 + 0.32 * len(rows)) as (_, axes, out):
        base = np.arange(len(rows), dtype=float)
        axes.axvline(line, color=MUTED, linewidth=1)
        if second is not None:
            axes.axvline(second, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        for y, (_, value, interval) in zip(base, rows, strict=True):
            colour = OWN if value >= (line if second is None else second) else WORSE
            if interval is not None:
                axes.plot(interval, [y, y], color=colour, linewidth=2, solid_capstyle="round")
            axes.plot([value], [y], "o", color=colour, markersize=6.5)
            right = max(value, interval[1]) if interval else value
            _beside(axes, digits.format(value), right, y)
        axes.set_yticks(base, [name for name, _, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel(label)
        axes.margins(x=0.12)
    return out[0]


def cost(rows: Sequence[tuple[str, float, float, float]], metric: str) -> str:
    """Quality against what it costs: (name, quality, bytes per person, seconds to adapt) per method."""
    with _figure(WIDTH, 3.2) as (figure, first, out):
        figure.delaxes(first)
        left, right = figure.subplots(1, 2, sharey=True)
        panels = (
            (left, [row[2] for row in rows], "bytes kept per person"),
            (right, [row[3] * 1e3 for row in rows], "milliseconds to learn one person"),
        )
        for axes, found, label in panels:
            axes.set_xscale("log")
            axes.grid(visible=True, axis="both")
            values = [max(value, 1e-4) for value in found]
            low, high = math.floor(math.log10(min(values)) - 0.15), math.ceil(math.log10(max(values)) + 0.15)
            axes.set_xlim(10.0**low, 10.0**high)
            axes.set_xticks([10.0**power for power in range(low, high + 1)], [f"{10.0**power:,.9g}" for power in range(low, high + 1)])
            for (name, quality, *_), x in zip(rows, values, strict=True):
                axes.plot([x], [quality], "o", color=OWN, markersize=7)
                axes.annotate(name, (x, quality), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8.5, color=INK)
            axes.set_xlabel(label)
            axes.minorticks_off()
            axes.tick_params(axis="y", labelcolor=MUTED)
            axes.margins(y=0.25)
        left.set_ylabel(f"{metric}, own state")
    return out[0]

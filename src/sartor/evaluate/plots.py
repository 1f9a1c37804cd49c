"""Pictures of an evaluation; matplotlib is imported only here, and draws without a display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import FileProblem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sartor.evaluate.result import Evaluation

OWN, POPULATION, SWAPPED, INK = "#2a6f97", "#9aa5b1", "#d98e04", "#333333"
ACCURACY = ("ndcg", "recall", "precision", "hit_rate", "mrr", "map")


def evaluation_figure(found: Evaluation, path: Path) -> Path:
    """The arms, the metrics with intervals, and the distribution of each person's gain, in one file."""
    figure = _figure(13, 4.2)
    left, middle, right = figure.subplots(1, 3)
    draw_arms(left, found)
    draw_metrics(middle, found)
    draw_gains(right, found)
    figure.suptitle(f"{found.method} on {found.split}, {found.counts['people']} people", x=0.01, ha="left", fontsize=11)
    return _write(figure, path)


def comparison_figure(found: dict[str, Evaluation], path: Path) -> Path:
    """Several methods side by side: headline with interval, gain, swap gap."""
    figure = _figure(11, 0.6 + 0.45 * len(found) + 0.8)
    names = list(found)
    parts = (
        ("with their own states", [(one.value, one.intervals[one.headline]) for one in found.values()], OWN),
        ("gain", [(one.gain, one.gain_interval) for one in found.values()], POPULATION),
        ("swap gap", [(one.swap_gap, one.swap_gap_interval) for one in found.values()], SWAPPED),
    )
    for axes, (title, values, colour) in zip(figure.subplots(1, 3, sharey=True), parts, strict=True):
        _bars(axes, names, values, colour)
        axes.set_title(title, fontsize=9, loc="left")
        axes.axvline(0, color=INK, linewidth=0.8)
    figure.suptitle(next(iter(found.values())).headline, x=0.01, ha="left", fontsize=11)
    return _write(figure, path)


def front_figure(rows: Sequence[Mapping[str, Any]], best: Sequence[str], path: Path, *, x: str, y: str, controls: Sequence[str] = ()) -> Path:
    """Methods by two figures, the best ones joined (Pareto front), controls in grey; `rows` have "method" and both figures."""
    figure = _figure(7.2, 5.0)
    axes = figure.subplots()
    places = {row["method"]: (row[x], row[y]) for row in rows}
    axes.plot([places[name][0] for name in best], [places[name][1] for name in best], color=OWN, linewidth=1, alpha=0.5, zorder=1)
    for name, (across, up) in places.items():
        axes.scatter(across, up, s=28, color=POPULATION if name in controls else OWN, marker="s" if name in controls else "o", zorder=2)
    # Names step down where they would lie on a point or on another name; sizes are in shares of the picture, by eye.
    width, height = ((max(place[axis] for place in places.values()) - min(place[axis] for place in places.values()) or 1.0) * 1.3 for axis in (0, 1))
    taken = [(across, across, up) for across, up in places.values()]
    for name, (across, up) in sorted(places.items(), key=lambda one: -one[1][1]):
        start, at = across + 0.014 * width, up
        end = start + 0.0118 * len(name) * width
        while any(low < end and start < high + 0.01 * width and abs(at - other) < 0.03 * height for low, high, other in taken):
            at -= 0.008 * height
        taken.append((start, end, at))
        line = {"arrowstyle": "-", "color": POPULATION, "linewidth": 0.6, "relpos": (0, 0.5)} if at < up - 0.02 * height else None
        axes.annotate(name, (across, up), (start, at), fontsize=8, color=INK, va="center", annotation_clip=False, arrowprops=line)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.margins(x=0.16, y=0.08)
    return _write(figure, path)


def draw_arms(axes: Axes, found: Evaluation) -> None:
    """The headline of all arms as bars."""
    others = (found.population_metrics, found.popularity_metrics, found.swapped_metrics)
    values = [found.value, *(means.get(found.headline, math.nan) for means in others)]
    colours = [OWN, POPULATION, POPULATION, SWAPPED]
    bars = axes.bar(["own state", "no state", "popularity", "another's"], np.nan_to_num(values), color=colours, width=0.6)
    axes.bar_label(bars, labels=["not measured" if math.isnan(value) else f"{value:.3f}" for value in values], fontsize=8, label_type="center")
    low, high = found.intervals[found.headline]
    axes.errorbar([0], [found.value], yerr=[[found.value - low], [high - found.value]], color=INK, capsize=4)
    axes.set_title(f"{found.headline}: gain {found.gain:+.3f}, swap gap {found.swap_gap:+.3f}", fontsize=9, loc="left")


def draw_metrics(axes: Axes, found: Evaluation) -> None:
    """Accuracy metrics at the headline's k, with 95% intervals."""
    _, _, rest = found.headline.partition("@")
    names = [f"{name}@{rest}" for name in ACCURACY if f"{name}@{rest}" in found.metrics]
    _bars(axes, names, [(found.metrics[name], found.intervals[name]) for name in names], OWN)
    axes.set_title("accuracy, 95% intervals over people", fontsize=9, loc="left")


def draw_gains(axes: Axes, found: Evaluation) -> None:
    """How gain is spread over people: whom personalising helps, and whom it harms."""
    column = f"population {found.headline}"
    if column not in found.per_person.columns:
        axes.text(0.5, 0.5, "gain was not measured", ha="center", fontsize=9)
        return
    gains = (found.per_person[found.headline] - found.per_person[column]).to_numpy()
    # Rounding alone is no gain.
    gains = np.where(np.abs(gains) < 1e-9, 0.0, gains)
    # An odd number of bins, so that those for whom nothing changes are in the middle one, not with those who gain.
    axes.hist([gains[gains != 0], gains[gains == 0]], bins=np.linspace(-1, 1, 42).tolist(), color=[OWN, POPULATION], stacked=True)
    axes.axvline(0, color=INK, linewidth=0.8)
    helped, harmed = float((gains > 0).mean()), float((gains < 0).mean())
    axes.set_title(f"gain per person: {helped:.0%} gain, {harmed:.0%} lose, {1 - helped - harmed:.0%} level", fontsize=9, loc="left")
    axes.set_xlabel(f"gain in {found.headline}", fontsize=8)
    axes.set_ylabel("people", fontsize=8)


def _bars(axes: Axes, names: list[str], values: list[tuple[float, Any]], colour: str) -> None:
    middle = np.array([value for value, _ in values])
    ends = np.array([interval for _, interval in values], float).reshape(-1, 2)
    places = np.arange(len(names))[::-1]
    axes.barh(places, np.nan_to_num(middle), color=colour, height=0.6)
    shown = ~np.isnan(ends).any(1) & ~np.isnan(middle)
    spread = np.abs(ends[shown] - middle[shown, None]).T
    axes.errorbar(middle[shown], places[shown], xerr=spread, fmt="none", color=INK, capsize=3)
    axes.set_yticks(places, names, fontsize=8)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _write(figure: Figure, path: Path) -> Path:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        figure.savefig(path, dpi=130)
    except ValueError as cause:
        raise FileProblem(f"plots cannot be saved as '{path.suffix}'", fix="use .png, .svg or .pdf", file=path) from cause
    return path

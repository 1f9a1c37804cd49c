"""The demo's report: one self-contained HTML page."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.cli._face import duration, interval, size
from sartor.cli.demo import plots

if TYPE_CHECKING:
    from sartor.cli.demo.people import Entry, Person
    from sartor.cli.demo.story import Judged, Story

MOST_SLICES = 16


def page(story: Story, command: str) -> str:
    """The whole page as HTML text.

    Parameters
    ----------
    command: what makes it again.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from sartor import __version__

    environment = Environment(loader=PackageLoader("sartor.cli.demo", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    chosen, metric = story.chosen, label(story.chosen.evaluation.headline)
    return environment.get_template("report.html.j2").render(
        data=story.facts,
        headline=_headline(story),
        summary=_summary(story),
        tiles=_tiles(story),
        tick="✓",
        story_cost=_story_cost(story),
        people=[_person(person) for person in story.people],
        why_note=WHY_NOTE,
        spread=_spread(chosen, metric),
        chosen=chosen,
        metric=metric,
        plots=_plots(story, metric),
        rows=[_row(one, one is chosen) for one in story.judged],
        skipped=" ".join(f"{slug} was left out: {why}." for slug, why in story.skipped.items()),
        unseen_text=_unseen_text(story, metric),
        protocol=_protocol(story),
        command=command,
        version=__version__,
        when=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seconds=duration(story.seconds),
    )


WHY_NOTE = (
    "The reasons were measured: each thing is taken out of the history in turn and the person adapted again; named are the two whose absence "
    "costs the item most, and the place it falls to without both. Places count from the top of the whole catalogue."
)


def label(metric: str) -> str:
    """'ndcg@10' as people write it."""
    name, at, k = metric.partition("@")
    return {"ndcg": "NDCG", "map": "MAP", "mrr": "MRR"}.get(name, name.replace("_", " ")) + at + k


def _times(one: Judged) -> float:
    found = one.evaluation
    return found.value / max(found.population_metrics[found.headline], 1e-12)


def _headline(story: Story) -> str:
    one = story.chosen
    found = one.evaluation
    if found.gain_interval[0] > 0 and found.swap_gap_interval[0] > 0:
        return f"Knowing the person makes the lists {_times(one):.1f} times better"
    if found.gain_interval[1] < 0:
        return "Personalising makes these lists worse"
    return "Personalising does not clearly help here"


def _summary(story: Story) -> str:
    one = story.chosen
    found = one.evaluation
    metric = label(found.headline)
    own, population = found.value, found.population_metrics[found.headline]
    swapped = found.swapped_metrics[found.headline]
    text = (
        f"{one.title} was fitted on {story.facts['name']}. With a person's own state, {metric} is {own:.3f}; the list that everybody gets "
        f"reaches {population:.3f}, and with a stranger's state it is {swapped:.3f}. "
    )
    if story.ceiling:
        text += f"Whoever knew everybody's taste exactly would reach {story.ceiling:.3f}. "
    return text + (
        f"People the model has never seen get {one.ratio:.0%} of what people it was fitted on get, from a state that took {_adapt(one)} to learn and "
        f"weighs {_bytes(one)}."
    )


def _tiles(story: Story) -> list[dict[str, str]]:
    one = story.chosen
    found, metric = one.evaluation, label(one.evaluation.headline)
    return [
        {"value": f"{found.gain:+.3f}", "label": f"gain in {metric}, [{found.gain_interval[0]:+.3f}, {found.gain_interval[1]:+.3f}]"},
        {"value": f"{found.swap_gap:+.3f}", "label": f"swap gap, [{found.swap_gap_interval[0]:+.3f}, {found.swap_gap_interval[1]:+.3f}]"},
        {"value": f"{one.ratio:.2f}", "label": f"never seen / fitted on, [{one.ratio_interval[0]:.2f}, {one.ratio_interval[1]:.2f}]"},
        {"value": _bytes(one), "label": "kept per person"},
        {"value": _adapt(one), "label": "to learn a person, without fitting again"},
    ]


def _adapt(one: Judged) -> str:
    seconds = one.evaluation.cost["adapt_seconds"]
    return duration(seconds) if seconds is not None else "-"


def _bytes(one: Judged) -> str:
    count = one.evaluation.cost["state_bytes"]
    return size(count) if count is not None else "-"


def _story_cost(story: Story) -> str:
    spent = [person.adapt_seconds for person in story.people]
    return f"{duration(min(spent))} to {duration(max(spent))}" if spent else "-"


def _person(person: Person) -> dict[str, Any]:
    own = [{"title": one.title, "note": one.note, "hit": one.hit, "why": sentence(one, rank)} for rank, one in enumerate(person.own, 1)]
    return {
        "name": who(person), "line": line(person), "taste": person.taste, "history": person.history, "population": person.population, "own": own,
        "events": person.events,
    }  # fmt: skip


def who(person: Person) -> str:
    """'Tilda Larsen (person 708)'."""
    return f"{person.name} (person {person.person})" if person.name else f"Person {person.person}"


def line(person: Person) -> str:
    """The figures of one person in a sentence or two."""
    shared = len({one.item for one in person.own} & {one.item for one in person.population})
    found, anyone = (sum(one.hit for one in entries) for entries in (person.own, person.population))
    text = (
        f"{person.events} events became {size(person.state_bytes)} in {duration(person.adapt_seconds)}. Of the {person.hidden} items they went "
        f"on to choose, their list has {found}, everybody's list {anyone}. The two lists share {shared} of {len(person.own)}."
    )
    if person.liked is not None:
        text += f" Of a kind they truly like: {person.liked[0]} of their list, {person.liked[1]} of everybody's."
    return text


def sentence(entry: Entry, rank: int) -> str:
    """Why an item is at this place of a list, in words."""
    if not entry.because or entry.rank_without is None:
        return ""
    both = "them" if len(entry.because) > 1 else "it"
    things = " and ".join(one.title for one in entry.because)
    return f"because of {things}; without {both} {'still ' if entry.rank_without <= rank else ''}at place {entry.rank_without:,}"


def _spread(one: Judged, metric: str) -> str:
    gains = one.gains
    helped, hurt = float((gains > 1e-9).mean()), float((gains < -1e-9).mean())
    return (
        f"A mean hides people. With {one.title}, {helped:.0%} of people get a better list than everybody's by {metric}, {hurt:.0%} get a worse one, "
        f"and for {1 - helped - hurt:.0%} nothing changes."
    )


def _unseen_text(story: Story, metric: str) -> str:
    one = story.chosen
    reference = next((other for other in story.judged if other.slug == "popularity"), None)
    luck = f" Popularity learns nothing of anybody, so its {reference.ratio:.2f} is the luck of the draw between the two groups." if reference else ""
    text = (
        f"{story.unseen_people:,} people were not in the data that any method was fitted on. Each was adapted from the same kind of evidence as "
        f"everybody else, without fitting again, and judged in the same way: {one.title} gives them {metric} {one.unseen:.3f}, "
        f"against {one.seen:.3f} for the people it was fitted on."
    )
    return text + luck


def _row(one: Judged, chosen: bool) -> dict[str, Any]:
    found = one.evaluation
    value, gain, swap = (
        interval(*pair, sign=sign).partition(" ")
        for pair, sign in (
            ((found.value, found.intervals.get(found.headline)), False),
            ((found.gain, found.gain_interval), True),
            ((found.swap_gap, found.swap_gap_interval), True),
        )
    )
    request = found.cost["request_seconds"]
    return {
        "name": one.title, "chosen": chosen, "value": value[0], "value_interval": value[2], "gain": gain[0], "gain_interval": gain[2],
        "swap": swap[0], "swap_interval": swap[2], "bytes": _bytes(one), "adapt": _adapt(one),
        "request": duration(request) if request is not None else "-",
        "fit": duration(one.fit_seconds), "seen": f"{one.seen:.3f}", "unseen": f"{one.unseen:.3f}", "ratio": f"{one.ratio:.2f}",
        "ratio_interval": f"[{one.ratio_interval[0]:.2f}, {one.ratio_interval[1]:.2f}]",
    }  # fmt: skip


def _plots(story: Story, metric: str) -> dict[str, str]:
    chosen = story.chosen
    answers = [
        plots.Bars(one.title, *((means[one.evaluation.headline], _interval(one, column)) for means, column in _arms(one))) for one in story.judged
    ]
    usable = [
        (name, found)
        for name, found in chosen.evaluation.slices.items()
        if found["gain"] is not None and math.isfinite(found["gain"]) and found["n"] >= 5
    ]
    # Where there are many groups of people, the largest.
    usable = sorted(usable, key=lambda pair: -pair[1]["n"] if "=" in pair[0].replace("<=", "") else -math.inf)[:MOST_SLICES]
    slices = [(f"{name} ({found['n']:,})", found["gain"], tuple(found["gain_interval"])) for name, found in usable]
    ratios = [(one.title, one.ratio, one.ratio_interval) for one in story.judged if math.isfinite(one.ratio)]
    costs = [
        (one.title, one.evaluation.value, float(one.evaluation.cost["state_bytes"] or 1), float(one.evaluation.cost["adapt_seconds"] or 1e-6))
        for one in story.judged
    ]
    return {
        "gain": plots.gain_per_person(chosen.gains[~np.isnan(chosen.gains)], metric),
        "answers": plots.three_answers(answers, metric),
        "unseen": plots.dots(ratios, f"{metric}: people never seen / people fitted on", line=1.0, second=0.95, digits="{:.2f}"),
        "slices": plots.dots(slices, "gain") if slices else "",
        "cost": plots.cost(costs, metric),
    }


def _arms(one: Judged) -> list[tuple[Any, str]]:
    found = one.evaluation
    return [
        (found.metrics, found.headline),
        (found.population_metrics, f"population {found.headline}"),
        (found.swapped_metrics, f"swapped {found.headline}"),
    ]


def _interval(one: Judged, column: str) -> tuple[float, float] | None:
    """95% bootstrap interval of a mean over people."""
    from sartor.parts.statistics import bootstrap

    values = one.evaluation.per_person[column].drop_nulls().drop_nans().to_numpy()
    if values.size < 2:
        return None
    low, high = bootstrap(values, seed=one.evaluation.seed)
    return float(low), float(high)


def _settings(one: Judged) -> str:
    shown = {name: value for name, value in one.settings.items() if name not in ("seed", "device")}
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or "(none)"


def _protocol(story: Story) -> dict[str, Any]:
    found = story.chosen.evaluation
    parts = story.split.counts()
    lines = [
        f"Split '{story.split.name}', seed {story.seed}: {parts['train']:,} events to fit on, {parts['test']:,} hidden to judge by. "
        "A guard stops fitting that reads hidden events.",
        f"Every list is made from the whole catalogue of {found.counts['items']:,} items. What the person has already seen is left out; "
        "ties are broken by a seeded lottery.",
        f"{found.counts['people']:,} people were measured, {found.counts['people_skipped']:,} had nothing hidden to find and were skipped.",
        "Everybody, fitted or not, is adapted from the same kind of evidence: their own events that are not hidden.",
        *found.notes,
        "Nothing was tuned on this data. Settings: " + "; ".join(f"{one.title} {_settings(one)}" for one in story.judged) + ".",
    ]
    return {"name": story.split.name, "unseen": story.unseen_people, "judged": found.counts["people"], "lines": lines}

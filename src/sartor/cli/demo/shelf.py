"""The demo's own people, in a store of their own: for the studio."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from sartor.cli.demo.story import Story

MOST_EVENTS = 25_000
"""Kept in the store: seconds, however large the data is. The three people of the report are always among them."""
MARK = "made by sartor demo; the next demo replaces people.db and what is beside it\n"


def shelve(story: Story, file: Path, say: Callable[[str], None]) -> tuple[Path | None, str]:
    """Fill a store with people of the story and the model that serves them; where it is (None: nowhere), and what to tell about it.

    They are known by the same evidence as in the report, so the studio shows the same lists.
    """
    mark = file.with_suffix(".demo")
    if file.exists() and not mark.exists():
        return None, f"[dim]{file} is there already and was not made by a demo: it is left alone.[/]"
    try:
        _fill(story, file, mark)
    except ImportError:
        return None, "[dim]The studio shows these people too: pip install 'sartor\\[serve]', then run the demo again.[/]"
    command = shlex.join(["sartor", "serve", "--dev", "--db", str(file)])
    say(f"{file}: the same people and the same model, for the studio")
    return file, f"Look at them in the studio: [bold]{command}[/]  then open http://127.0.0.1:8000/"


def _fill(story: Story, file: Path, mark: Path) -> None:
    from sartor.cli._store import engine_class
    from sartor.engine import rollout, validation
    from sartor.engine.records import frame_records, other_record
    from sartor.profile.records import GRANTED

    engine_class()
    _clear(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(MARK)
    events = _some(story)
    people = events["person"].unique(maintain_order=True).to_list()
    with engine_class()(f"sqlite:///{file}", background=False) as engine:
        engine.store.set_default_consent(engine.tenant, [*GRANTED, "train"])
        records = list(frame_records(events, source="demo"))
        about = story.population
        if "people" in about:
            rows = about.people.filter(pl.col("person").is_in(people)).unique("person", keep="first").collect()
            records += [
                other_record(str(row.pop("person")), "people", _plain(row), purposes=None, source="demo") for row in rows.iter_rows(named=True)
            ]
        engine.observe_many(records)
        chosen = story.chosen
        found: dict[str, Any] = validation.report(chosen.evaluation)
        note = "Measured by the demo on held-out events of all people, fitted ones too."
        whole = story.split.train if "items" not in about else story.split.train.replace(items=about.items)
        rollout.install(engine, chosen.model, whole, report={**found, "note": note, "reason": note, "seconds": chosen.fit_seconds})


def _some(story: Story) -> pl.DataFrame:
    """Events that people are known by in the report: of its three people, then of others in the order of their ids, as many as are kept."""
    wanted = ("person", "item", "time", "kind", "value", "weight")
    frame = story.split.evidence.events
    frame = frame.select([name for name in wanted if name in frame.collect_schema()])
    sizes = frame.group_by("person").len().collect().sort("person")
    first = pl.col("person").is_in([one.person for one in story.people])
    order = pl.concat([sizes.filter(first), sizes.filter(~first)])
    kept = order.filter((pl.col("len").cum_sum() <= MOST_EVENTS) | first)["person"]
    return frame.filter(pl.col("person").is_in(kept.implode())).collect()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and isinstance(value, str | int | float | bool | list)}


def _clear(file: Path) -> None:
    import shutil

    for path in file.parent.glob(f"{file.name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()

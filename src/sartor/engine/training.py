"""What a model may be fitted on: the evidence of people who consent to "train", as a population."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import polars as pl

from sartor._storage import write_atomically
from sartor.errors import EmptyData

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.method import Method
    from sartor.profile.store import ProfileStore

NOTE = "note.json"
KEPT_SECONDS = 86_400.0
"""Age at which unfinished work is thrown away rather than continued."""


def population(store: ProfileStore, tenant: str, *, until: int | None = None, after: int = 0, purpose: str = "train") -> Population:
    """Evidence that its people allow for a purpose: `events`, and `items` from the catalogue, `people` from their attributes; in memory.

    Parameters
    ----------
    until, after: positions; evidence up to one, or newer than one.

    Raises `EmptyData` when nobody's events may be used.
    """
    with lazily(store, tenant, until=until, after=after, purpose=purpose) as found:
        return found.replace(events=found.events.collect())


@contextmanager
def lazily(
    store: ProfileStore, tenant: str, folder: Path | None = None, *, until: int | None = None, after: int = 0, purpose: str = "train"
) -> Iterator[Population]:  # fmt: skip
    """The same, whose events are read from a file when they are needed, while inside.

    The file lies in `folder` (default: where temporary files do) without a name, so that nobody can open it and nothing of it is left when this
    process ends, however it ends. It is not encrypted.
    """
    with _nameless(folder) as (path, file):
        yield _population(store, tenant, _events(store, tenant, path, file, until, after, purpose), until, after, purpose)


@contextmanager
def _nameless(folder: Path | None) -> Iterator[tuple[str, Any]]:
    """A file to write to, and the path under which this process can read it again and again."""
    if os.path.isdir("/proc/self/fd"):
        with tempfile.TemporaryFile(dir=folder) as file:
            yield f"/proc/self/fd/{file.fileno()}", file
    else:
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".parquet") as file:
            yield file.name, file


_COLUMNS: dict[str, Any] = {"person": pl.String, "item": pl.String, "time": pl.Int64, "kind": pl.String, "value": pl.Float64, "weight": pl.Float64}


def _events(
    store: ProfileStore, tenant: str, path: str, file: Any, until: int | None, after: int, purpose: str
) -> tuple[pl.LazyFrame, pl.DataType]:  # fmt: skip
    """Everybody's events, written down batch by batch, and the kind of their items."""
    import pyarrow.parquet as pq

    from sartor.profile import kinds

    weights = kinds.weights(store, tenant)
    schema = pl.DataFrame(schema=_COLUMNS).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    seen, whole, rows = {"person", "item"}, True, 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in store.scan(tenant, purpose=purpose, frames=("events",), after=after, until=until):
            part = _clean(batch, weights)
            if not part.height:
                continue
            whole, rows = whole and part.schema["item"].is_integer(), rows + part.height
            seen.update(part.columns)
            filled = part.select((pl.col(name) if name in part.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in _COLUMNS.items())
            writer.write_table(filled.with_columns(pl.col("weight").fill_null(1.0)).to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema))
    file.flush()
    if not rows:
        raise EmptyData(
            f"tenant '{tenant}' has no events that may be used to {purpose}",
            fix=f"observe events, and record people's consent to '{purpose}', or the tenant's default (PUT /v1/consents, set_default_consent)",
        )
    kind = pl.Int64() if whole else pl.String()
    return pl.scan_parquet(path).select(name for name in _COLUMNS if name in seen).with_columns(pl.col("item").cast(kind)), kind


def _population(
    store: ProfileStore, tenant: str, events: tuple[pl.LazyFrame, pl.DataType], until: int | None, after: int, purpose: str
) -> Population:  # fmt: skip
    from sartor.data.population import Population
    from sartor.engine.evidence import people_frame

    frames: dict[Any, Any] = {"events": events[0]}
    items = store.items(tenant)
    if items.height:
        known = items.with_columns(pl.col("item").cast(events[1], strict=False)).filter(pl.col("item").is_not_null())
        frames["items"] = known.drop("hidden", strict=False)
    about: dict[str, dict[str, Any]] = {}
    for frame in store.scan(tenant, purpose=purpose, frames=("people",), after=after, until=until):
        for row in frame.sort("position").drop("position", "time", "kind", "frame", strict=False).iter_rows(named=True):
            about.setdefault(row.pop("person"), {}).update({name: value for name, value in row.items() if value is not None})
    if about:
        frames["people"] = people_frame(about)
    return Population(frames, name=f"evidence of {tenant}")


def people(population: Population) -> list[str]:
    """Whose events are in a population, as the store names them."""
    named = population.events.select(pl.col("person").cast(pl.String).unique()).collect(engine="streaming")["person"]
    return cast("list[str]", named.sort().to_list())


def stops_early(method: Any) -> bool:
    """Whether training, of a method or of one inside it, stops by held-out events."""
    from sartor.method import Method

    inside = (getattr(method, field.name) for field in fields(method) if field.init)
    return getattr(method, "patience", 0) > 0 or any(isinstance(one, Method) and stops_early(one) for one in inside)


def _clean(frame: pl.DataFrame, kinds: Mapping[str, float]) -> pl.DataFrame:
    """The columns that methods read, of events that have an item, in the order in which they were given; weights as `evidence.by_kind` has them."""
    if "item" not in frame.columns:
        return frame.clear()
    wanted = [name for name in ("person", "item", "time", "kind", "value", "weight") if name in frame.columns]
    # What is no number in some batch or somewhere in it, as records from elsewhere may be, says nothing; it must not stop everybody's fit.
    numbers = [pl.col(name).cast(pl.Float64, strict=False) for name in ("value", "weight") if name in wanted]
    out = frame.sort("position").select(wanted).filter(pl.col("item").is_not_null()).with_columns(numbers)
    weight = pl.col("weight")
    if "weight" in wanted:
        out = out.with_columns(weight=pl.when(weight.is_finite() & (weight >= 0)).then(weight).otherwise(1.0))
    elif "kind" in wanted and not kinds.keys().isdisjoint(out["kind"].unique()):
        out = out.with_columns(weight=pl.lit(1.0))
    else:
        return out
    if "kind" in wanted:
        out = out.with_columns(weight=weight * pl.col("kind").replace_strict(kinds, default=1.0, return_dtype=pl.Float64) if kinds else weight)
    # Nothing is learned from an event of weight 0 (`evidence.counts`).
    return out.filter(weight > 0)


@dataclass(frozen=True)
class Work:
    """Where an unfinished fit keeps its progress, so that the same fit goes on after a crash: up to which evidence it reads, its checkpoints.

    Checkpoints hold numbers learned from people who may be forgotten meanwhile: the folder is removed when the fit ends, whenever somebody
    of the tenant is forgotten, and after a day.
    """

    folder: Path
    position: int

    @classmethod
    def begin(cls, models: Path, tenant: str, position: int, method: Method, **settings: Any) -> Self:
        """Go on where the same fit (same method, same settings) was stopped, else start at this position."""
        facts = json.dumps([type(method).__qualname__, _plain(method), settings], sort_keys=True, default=str)
        folder = cls.of_tenant(models, tenant) / hashlib.blake2b(facts.encode(), digest_size=12).hexdigest()
        note = folder / NOTE
        if note.is_file():
            left = json.loads(note.read_bytes())
            if time.time() - left["started"] < KEPT_SECONDS:
                return cls(folder, int(left["position"]))
        work = cls(folder, position)
        work.restart()
        return work

    @staticmethod
    def of_tenant(models: Path, tenant: str) -> Path:
        """All unfinished work of a tenant."""
        return models / ".work" / hashlib.blake2b(tenant.encode(), digest_size=12).hexdigest()

    @property
    def has_checkpoint(self) -> bool:
        """Whether the method has left progress."""
        return self.folder.is_dir() and any(path.name != NOTE for path in self.folder.iterdir())

    def restart(self) -> None:
        """Without checkpoints."""
        self.end()
        self.folder.mkdir(parents=True, mode=0o700)
        write_atomically(self.folder / NOTE, json.dumps({"position": self.position, "started": time.time()}).encode())

    def end(self) -> None:
        """Leave nothing."""
        if self.folder.exists():
            shutil.rmtree(self.folder)


def _plain(method: Method) -> dict[str, Any]:
    return {f.name: repr(getattr(method, f.name)) for f in fields(method) if f.init}

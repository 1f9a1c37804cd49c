"""`sartor batch`: states and lists of everybody, into Parquet files."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sartor.cli import _face, _store


class Runner(StrEnum):
    """Who does the shards."""

    local = "local"
    ray = "ray"


def batch(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for part-*.parquet: person, rank, item, score, personal.")],
    k: Annotated[int, typer.Option("-k", help="How many items each.", min=1)] = 10,
    engine: Annotated[Runner, typer.Option("--engine", help="Processes of this machine, or a Ray cluster.")] = Runner.local,
    workers: Annotated[int | None, typer.Option("--workers", "-w", min=1, help="Processes. Default: one per processor.", show_default=False)] = None,
    address: Annotated[str | None, typer.Option("--address", help="Of the Ray cluster. Default: $RAY_ADDRESS, else one on this machine.")] = None,
    keep_states: Annotated[bool, typer.Option("--keep-states", help="Also put the states into the store, for serving.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, also when an unfinished run could be gone on with.")] = False,
    db: _store.Db = None,
    tenant: _store.Tenant = "default",
    models: _store.Models = None,
    master_key: _store.MasterKey = None,
    as_json: _face.Json = False,
) -> None:
    """Adapt and score everybody who allows it, with the model that serves. A run that was stopped goes on where it was.

        sartor batch --db people.db --out lists -k 20 --engine ray
    """  # fmt: skip
    import os

    url = _store.url(db)
    _store.check_there(url)
    _store.engine_class()
    from sartor.engine.batch import batch as everybody

    if master_key is not None:
        # Workers open the store themselves; on this machine they inherit the environment.
        os.environ["SARTOR_MASTER_KEY"] = str(master_key)
    _face.session().resume = lambda: "the same command goes on with the shards that are not done"
    result = everybody(
        url, out, tenant=tenant, models=_store.folder(url, models), k=k, runner=engine.value, workers=workers, keep_states=keep_states, fresh=fresh,
        progress=True, address=address,
    )  # fmt: skip
    if as_json:
        _face.emit(dataclasses.asdict(result))
        return
    speed = f" ({result.people / result.seconds:,.0f} people/s)" if result.resumed == 0 and result.seconds else ""
    _face.stdout().print(
        f"{result.people:,} people x {k} items in {_face.duration(result.seconds)}{speed}, {result.shards} shards"
        f"{f', {result.resumed} of them from before' if result.resumed else ''}, in {result.out}", markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip
    if result.skipped or result.failed:
        _face.say(f"{result.skipped:,} people have no evidence that may be used; {result.failed:,} states could not be made")

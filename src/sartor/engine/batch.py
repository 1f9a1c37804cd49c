"""Everybody at once: states and lists of all people, shard by shard, into Parquet files; in this process, in several, or on a Ray cluster.

A shard is a fixed set of people and is worked on by one thread in one batch, so its lists are the same wherever it is done (scores to within
a last bit: BLAS chooses its kernels by process and processor).
A run that was stopped goes on: shards whose files are there are not done again, but for those with people who took something back since
(`sartor.profile.withdrawn`) or were forgotten. A run looks for such people once more before it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor._storage import write_atomically
from sartor.engine.batch_worker import VERB, Done, Plan, Shard, run
from sartor.engine.batch_worker import Worker as Worker
from sartor.errors import ConfigError, FileProblem, NotFitted
from sartor.profile import withdrawn
from sartor.profile.audit import BATCH
from sartor.progress import bar

if TYPE_CHECKING:
    from sartor.profile.store import ProfileStore

SHARD = 2_048
"""People per shard, about: some megabytes of evidence and a second or two of work."""
NOTE = "batch.json"
LOOKS = 3
"""How often a run looks at its end for people who took something back meanwhile, and does their shards again."""


@dataclass(frozen=True)
class Batch:
    """What a run came to."""

    out: str
    model: str
    people: int
    skipped: int
    """People whose consent or evidence allows no state."""
    failed: int
    rows: int
    shards: int
    resumed: int
    """Shards that an earlier run had done already."""
    state_bytes: int
    seconds: float
    """Of this run."""
    worker_seconds: float
    """Inside the shards of this run, summed over workers."""
    workers: int
    engine: str


def batch(
    url: str,
    out: str | Path,
    *,
    tenant: str = "default",
    models: str | Path | None = None,
    k: int = 10,
    runner: str = "local",
    workers: int | None = None,
    keep_states: bool = False,
    fresh: bool = False,
    shard_people: int = SHARD,
    progress: bool = False,
    address: str | None = None,
) -> Batch:
    """Adapt and score everybody of a tenant who allows it, with the active model, into `part-*.parquet` files of a folder.

    Parameters
    ----------
    url, tenant, models: as for `Engine`. Workers open the store themselves.
    runner: "local" processes of this machine, or a "ray" cluster (`address`, or RAY_ADDRESS, or one on this machine).
    workers: processes; default as many as this one may use processors. One local worker works in this process.
    keep_states: also put the states into the store.
    fresh: do all shards, also those of an unfinished run with the same model and k.

    Raises `NotFitted` when no model serves, `FileProblem` when the folder holds something else.
    """
    start = time.perf_counter()
    if k < 1 or shard_people < 1 or (workers is not None and workers < 1) or runner not in ("local", "ray"):
        raise ConfigError(f"k {k}, shard_people {shard_people}, workers {workers}, runner '{runner}'", fix="use numbers from 1, and local or ray")
    from sartor.engine.engine import Engine

    with Engine(url, tenant=tenant, models=models, background=False) as engine:
        loaded = engine._models.active(tenant, VERB)
        if loaded is None:
            raise NotFitted("no model serves yet", fix="fit one, or install one")
        place = str(engine._models.folder.absolute())
        plan = Plan(url, tenant, place, loaded.fingerprint, k, str(Path(out).absolute()), keep_states, shard_people)
        return _batch(plan, engine.store, runner, workers, fresh, progress, address, start)


def _batch(
    plan: Plan, store: ProfileStore, runner: str, workers: int | None, fresh: bool, progress: bool, address: str | None, start: float
) -> Batch:  # fmt: skip
    folder = Path(plan.out)
    # Before people are listed and any evidence is read: what is taken back later is seen by the look at the end.
    then = withdrawn.moment(store, plan.tenant)
    # Before there is a file: whoever is forgotten later is told where lists of hers may be.
    store.audit(plan.tenant, BATCH, detail={"out": plan.out, "model": plan.model})
    shards, left = _begin(plan, store, then, fresh)
    todo = [one for one in shards if one.file not in left]
    processes = min(workers or len(os.sched_getaffinity(0)), max(1, len(todo)))
    done = {file: _found(folder / file) for file in left}
    seconds = 0.0
    with bar("people", sum(len(one.people) for one in shards), enabled=progress, unit="people") as shown:
        shown.advance(sum(len(one.people) for one in shards if one.file in left))
        for look in range(LOOKS + 1):
            sizes = {one.file: len(one.people) for one in todo}
            for one in run(plan, todo, runner, processes, address):
                done[one.file] = one
                seconds += one.seconds
                shown.advance(0 if look else sizes[one.file])
            since, then = then, withdrawn.moment(store, plan.tenant)
            shards, todo = _again(plan, store, shards, since)
            if not todo:
                break
    ends = [done[one.file] for one in shards if one.file in done]
    people = sum(len(one.people) for one in shards)
    result = Batch(
        plan.out, plan.model, sum(one.people for one in ends), people - sum(one.people + one.failed for one in ends),
        sum(one.failed for one in ends), sum(one.rows for one in ends), len(shards), len(left), sum(one.state_bytes for one in ends),
        time.perf_counter() - start, seconds, processes, runner,
    )  # fmt: skip
    _note(plan, then, len(shards), status="done", finished=time.time(), **asdict(result))
    return result


def _shard(plan: Plan, number: int, group: Iterable[str]) -> Shard:
    people = tuple(sorted(group))
    key = hashlib.blake2b(json.dumps([plan.tenant, plan.model, plan.k, people]).encode(), digest_size=6).hexdigest()
    return Shard(number, people, f"part-{number:05d}-{key}.parquet")


def _shards(plan: Plan, people: Sequence[str], count: int) -> list[Shard]:
    """By a hash of the id, so that a new person changes one shard only."""
    groups: list[list[str]] = [[] for _ in range(count)]
    for person in people:
        groups[int.from_bytes(hashlib.blake2b(person.encode(), digest_size=8).digest(), "big") % count].append(person)
    return [_shard(plan, number, group) for number, group in enumerate(groups)]


def _told(plan: Plan) -> dict[str, Any]:
    return {"tenant": plan.tenant, "model": plan.model, "k": plan.k, "size": plan.size}


def _note(plan: Plan, then: withdrawn.Moment, count: int, **facts: Any) -> None:
    """What the next run reads of this one: lists are right as of `then`, dealt to so many shards."""
    told = {**facts, "plan": _told(plan), "moment": asdict(then), "dealt": count}
    write_atomically(Path(plan.out) / NOTE, json.dumps(told).encode())


def _begin(plan: Plan, store: ProfileStore, then: withdrawn.Moment, fresh: bool) -> tuple[list[Shard], set[str]]:
    """All shards, and the files of an unfinished run that need not be made again; everything else of earlier runs is removed."""
    folder = Path(plan.out)
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / NOTE
    if not note.is_file() and any(folder.iterdir()):
        raise FileProblem("this folder holds something other than a batch", fix="choose another folder", file=folder)
    before = json.loads(note.read_bytes()) if note.is_file() else {}
    goes_on = not fresh and before.get("status") == "running" and before.get("plan") == _told(plan)
    people = store.changed(plan.tenant, 0)
    shards = _shards(plan, people, before["dealt"] if goes_on else max(1, round(len(people) / plan.size)))
    changed = withdrawn.since(store, plan.tenant, withdrawn.Moment(**before["moment"])) if goes_on else None
    files = set() if changed is None else {one.file for one in shards if changed.isdisjoint(one.people)}
    kept = set()
    for path in [*folder.glob("part-*.parquet"), *folder.glob(".part-*")]:
        if path.name in files:
            kept.add(path.name)
        else:
            path.unlink()
    # Not before those are gone: a run that is stopped here must not trust them later.
    _note(plan, then, len(shards), status="running", started=time.time())
    return shards, kept


def _again(plan: Plan, store: ProfileStore, shards: Sequence[Shard], since: withdrawn.Moment) -> tuple[list[Shard], list[Shard]]:
    """All shards, without who was forgotten meanwhile, and those of them to be done again, whose files are removed."""
    changed, known = withdrawn.since(store, plan.tenant, since), set(store.changed(plan.tenant, 0))
    out, todo = [], []
    for one in shards:
        if known.issuperset(one.people) and changed is not None and changed.isdisjoint(one.people):
            out.append(one)
            continue
        (Path(plan.out) / one.file).unlink(missing_ok=True)
        out.append(_shard(plan, one.number, known.intersection(one.people)))
        todo.append(out[-1])
    return out, todo


def _found(path: Path) -> Done:
    import polars as pl

    frame = pl.scan_parquet(path).select(pl.len().alias("rows"), pl.col("person").n_unique().alias("people")).collect()
    return Done(path.name, int(frame["people"][0]), 0, int(frame["rows"][0]), 0, 0.0)

"""MEMENTO's two stages: an agent acts and remembers, then meets instructions that presuppose what it remembers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import polars as pl

from sartor.data.world.household import Action, Episode, Home
from sartor.errors import ConfigError, EmptyData
from sartor.progress import bar
from sartor.represent.encoder import TextEncoder


@dataclass(frozen=True)
class Record:
    """One episode as it is remembered."""

    id: str
    scene: str
    instruction: str
    trace: str
    """What was done, one action a line."""


@dataclass(frozen=True)
class Plan:
    """What an agent wants to do, or what it does not know."""

    actions: tuple[Action, ...] = ()
    unknown: str = ""
    """What the instruction refers to and nothing that is remembered explains; nothing is done then."""


class Agent(Protocol):
    """Who is tested."""

    def plan(self, instruction: str, home: Home, memory: Sequence[Record]) -> Plan:
        """What to do in a home, given what was recalled, best first."""
        ...


Recall = Callable[[str, Sequence[str]], np.ndarray]
"""From a query and texts to the texts' numbers, best first."""


def dense(encoder: TextEncoder) -> Recall:
    """By cosine of sentence vectors; texts are encoded once."""
    known: dict[str, np.ndarray] = {}

    def recall(query: str, texts: Sequence[str]) -> np.ndarray:
        if missing := [one for one in dict.fromkeys([query, *texts]) if one not in known]:
            known.update(zip(missing, encoder.encode(missing), strict=True))
        return np.argsort(-np.stack([known[one] for one in texts]) @ known[query], kind="stable")

    return recall


def lexical() -> Recall:
    """By BM25."""
    from sartor.retrieve.bm25 import BM25

    known: dict[tuple[str, ...], BM25] = {}

    def recall(query: str, texts: Sequence[str]) -> np.ndarray:
        key = tuple(texts)
        if key not in known:
            known[key] = BM25().build(list(texts))
        return np.argsort(-known[key].scores([query])[0], kind="stable")

    return recall


def at_random(seed: int = 0) -> Recall:
    """In a random order."""
    rng = np.random.default_rng([seed, 97])
    return lambda _, texts: rng.permutation(len(texts))


@dataclass(frozen=True, eq=False)
class MementoResult:
    """What was measured; homes are symbols, so results are "symbolic"."""

    rows: pl.DataFrame
    """One per episode: id, stage, type, subtypes, complete (share of propositions), success, unknown (it said that it does not know), failed
    (actions that could not be done), acquired (whether what it presupposes was ever said to it), recalled (all of it was among the recalled)."""

    def table(self) -> pl.DataFrame:
        """By stage and type: n, complete, success, unknown, wrong (neither), recall, success where recalled. Of what was acquired alone."""
        known = self.rows.filter(pl.col("acquired"))
        return known.group_by("stage", "type", maintain_order=True).agg(*_columns()).sort("stage", "type")

    def stages(self) -> dict[str, dict[str, float]]:
        """The same by stage, over all types."""
        known = self.rows.filter(pl.col("acquired")).group_by("stage", maintain_order=True).agg(*_columns())
        return {row.pop("stage"): row for row in known.to_dicts()}

    def gap(self, stage: Literal["single", "joint"] = "single") -> float:
        """Success in the acquisition stage less success in this one."""
        found = self.stages()
        return found["acquisition"]["success"] - found[stage]["success"]

    def strangers(self) -> dict[str, float]:
        """Of instructions that refer to what was never said: n, share answered "unknown", share acted on, share of these that met the goal."""
        rows = self.rows.filter(~pl.col("acquired"))
        acted = rows.filter(~pl.col("unknown"))
        share = float(rows["unknown"].mean()) if rows.height else float("nan")  # type: ignore[arg-type]
        lucky = float(acted["success"].mean()) if acted.height else float("nan")  # type: ignore[arg-type]
        return {"n": float(rows.height), "unknown": share, "acted": 1 - share, "lucky": lucky}


def _columns() -> list[pl.Expr]:
    wrong = (~pl.col("success") & ~pl.col("unknown")).mean().alias("wrong")
    given = pl.col("success").filter(pl.col("recalled")).mean().alias("success where recalled")
    return [
        pl.len().alias("n"), pl.col("complete").mean(), pl.col("success").mean(), pl.col("unknown").mean(), wrong,
        pl.col("recalled").mean().alias("recall"), given,
    ]  # fmt: skip


def memento(
    agent: Agent, episodes: Sequence[Episode], *, recall: Recall | None = None, k: int = 5, scope: Literal["scene", "all"] = "scene",
    oracle: bool = False, forgotten: Collection[str] = (), limit: int = 40, progress: bool = False,
) -> MementoResult:  # fmt: skip
    """Both stages.

    Parameters
    ----------
    episodes: of all stages, as `load` or `Homes(...).episodes()` give them.
    recall: orders remembered instructions for a new one; None, without `oracle`, hands over nothing.
    k: remembered episodes that the agent is given.
    scope: among those of the same home, or all.
    oracle: give exactly the episodes in which what is presupposed was said.
    forgotten: ids of acquisition episodes that never take place.
    limit: actions of an episode.

    Raises `EmptyData` without episodes of the first stage or of a later one, `ConfigError` for settings that cannot be.
    """
    first = [one for one in episodes if one.stage == "acquisition" and one.id not in forgotten]
    later = [one for one in episodes if one.stage != "acquisition"]
    if not first or not later:
        raise EmptyData(f"{len(first)} episodes to acquire by, {len(later)} to use it", fix="give episodes of both stages")
    if k < 0 or limit < 1 or scope not in ("scene", "all") or (oracle and recall is not None):
        raise ConfigError(f"k {k}, limit {limit}, scope {scope}", fix="k >= 0, limit >= 1, scope 'scene' or 'all', and oracle without recall")
    records, rows = list[Record](), []
    with bar("memento", len(first) + len(later), enabled=progress, unit="episode") as shown:
        for one in first:
            plan = agent.plan(one.instruction, one.home, ())
            records.append(Record(one.id, one.scene, one.instruction, "\n".join(map(str, plan.actions))))
            rows.append(_row(one, plan, limit, acquired=True, recalled=True))
            shown.advance()
        known = {one.id: one for one in records}
        for one in later:
            pool = [record for record in records if scope == "all" or record.scene == one.scene]
            if oracle:
                given = [known[at] for at in one.related if at in known]
            elif recall is None or not pool:
                given = []
            else:
                given = [pool[at] for at in recall(one.instruction, [record.instruction for record in pool])[:k]]
            acquired = all(at in known for at in one.related)
            recalled = {record.id for record in given} >= set(one.related)
            rows.append(_row(one, agent.plan(one.instruction, one.home, given), limit, acquired=acquired, recalled=recalled))
            shown.advance()
    return MementoResult(pl.DataFrame(rows))


def _row(one: Episode, plan: Plan, limit: int, *, acquired: bool, recalled: bool) -> dict[str, object]:
    homes, failed = one.home.run(() if plan.unknown else plan.actions, limit)
    complete, success = one.done(homes)
    about: dict[str, object] = {"id": one.id, "stage": one.stage, "type": one.type, "subtypes": list(one.subtypes)}
    done = {"complete": complete, "success": success, "unknown": bool(plan.unknown), "failed": failed}
    return about | done | {"acquired": acquired, "recalled": recalled}


def recall_at(episodes: Sequence[Episode], recall: Recall, ks: Sequence[int] = (1, 5), *, scope: Literal["scene", "all"] = "all") -> pl.DataFrame:
    """How often the acquisition episode of a single-memory one is among the first k: bool columns "@k", one row per episode."""
    first = [one for one in episodes if one.stage == "acquisition"]
    rows = []
    for one in episodes:
        if one.stage == "single":
            pool = [other for other in first if scope == "all" or other.scene == one.scene]
            order = [pool[at].id for at in recall(one.instruction, [other.instruction for other in pool])]
            place = order.index(one.related[0]) if one.related[0] in order else len(order)
            rows.append({"id": one.id, "type": one.type, "pool": len(pool)} | {f"@{k}": place < k for k in ks})
    if not rows:
        raise EmptyData("there is no episode that presupposes one memory", fix="load the stage 'single'")
    return pl.DataFrame(rows)

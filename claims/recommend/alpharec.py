"""Is taste readable from titles: for items nobody has clicked, for another shop, for a sentence, and among well-known items?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from _compare import judge, mean, scales

import sartor
from sartor.data import Population
from sartor.data.datasets import dataset
from sartor.data.splits import Split, make
from sartor.data.world import World
from sartor.evaluate import evaluate
from sartor.evaluate.claim import Claim, Outcome
from sartor.progress import track

CLAIM = Claim(
    slug="alpharec",
    paper="A linear map of advanced language representations already recommends well; the full model outperforms leading id-based collaborative "
    "filtering; zero-shot ability and awareness of intention. No figure in the abstract.",
    passes="Equal epochs, epoch picked on validation, means over 5 seeds, Recall@20: (1) cold items (20% of items hidden from training, ranked "
    "among themselves): titles >= 2x the random-vector control and >= 2x the id model; (2) zero-shot from shop A to shop B >= 70% of trained on B "
    "and >= 2x random ranking; (3) a sentence naming a genre (a = 0.5) raises its share in the top 10 >= 3x while keeping >= 70% of Recall@20; "
    "(4) warm: MLP within 10% of LightGCN with ids, linear map >= 75% of MLP.",
    data=("ml-100k", "world (two shops)"),
    seeds=(41, 42, 43, 44, 45),
)

METRICS = ("recall@20", "ndcg@20")
EPOCHS = 15
WORDS: dict[str, Any] = {"encoder": "minilm", "hidden_dim": 128, "learning_rate": 3e-3, "embedding_dim": 64}
GENRES = ("title", "categories")
ID_RATES = (5e-3, 2e-2)
ASKED = 150
"""People who say what they want."""


def run(split: Split, slug: str, seed: int, **settings: Any) -> Any:
    """One arm at equal epochs and negatives; the best of three epochs on validation."""
    common = {"layers": 2, "loss": "softmax", "temperature": 0.15, "negatives": 256, "batch_size": 4096, "l2": 0.0, "epochs": EPOCHS}
    method = sartor.make(slug, **common, validate_every=5, patience=0, seed=seed, **settings)
    return method.fit(split.train, validation=split.validation, progress=False)


def ids(split: Split, seed: int, chosen: dict[str, float], key: str, **options: Any) -> Any:
    """The same propagation and loss over a table of ids, with the learning rate that the first seed's validation prefers."""
    if key in chosen:
        return run(split, "lightgcn", seed, learning_rate=chosen[key])
    tried = [run(split, "lightgcn", seed, learning_rate=rate) for rate in ID_RATES]
    best = int(np.argmax([judge(one, split, METRICS, on="validation", **options)["recall@20"] for one in tried]))
    chosen[key] = ID_RATES[best]
    return tried[best]


def warm(split: Split, seed: int, chosen: dict[str, float]) -> tuple[dict[str, dict[str, float]], dict[str, Any]]:
    """Everything among well-known items."""
    arms = {
        "ids (LightGCN)": ids(split, seed, chosen, "warm"),
        "titles, MLP": run(split, "alpharec", seed, **WORDS),
        "titles, linear": run(split, "alpharec", seed, projection="linear", **WORDS),
        "titles and genres, MLP": run(split, "alpharec", seed, text_fields=GENRES, **WORDS),
        "random vectors, MLP": run(split, "alpharec", seed, control="random", **WORDS),
    }
    return {name: judge(method, split, METRICS) for name, method in arms.items()}, arms


def cold(population: Population, seed: int, chosen: dict[str, float]) -> dict[str, dict[str, float]]:
    """Items without a training event, ranked among themselves; epochs are picked on other hidden items."""
    split = make("cold-item", population, seed=seed, test=0.2, validation=0.1)
    # Nobody may lean on the events of the hidden items that validation used.
    split = replace(split, evidence=split.train)
    hidden = split.test.events.select("item").unique().collect()["item"].sort().to_list()
    validation = split.validation.events.select("item").unique().collect()["item"].sort().to_list()
    arms = {
        "ids (LightGCN)": ids(split, seed, chosen, "cold", candidates=validation),
        "random vectors, MLP": run(split, "alpharec", seed, control="random", **WORDS),
        "titles, MLP": run(split, "alpharec", seed, **WORDS),
    }
    found = {name: judge(method, split, METRICS, candidates=hidden) for name, method in arms.items()}
    return found | {"chance": {"recall@20": 20 / len(hidden), "ndcg@20": float("nan"), "tie_share": 0.0}}


def shops(seed: int) -> tuple[Split, Split]:
    """Two shops of one world: no item and no customer in common, the same words."""
    world = World.preset("two-shops", people=1200, items=1000, events_per_person=25.0, reviews=0.0, preferences=0, seed=seed)
    population = world.population()
    items, events = population.items.select("item", "title", "text", "shop").collect(), population.events.select("person", "item").collect()
    splits = []
    for name in items["shop"].unique().sort().to_list():
        own = items.filter(pl.col("shop") == name).drop("shop")
        some = events.join(own.select("item"), on="item", how="semi")
        splits.append(make("random", Population.from_frames(name=name, events=some, items=own), seed=seed))
    return splits[0], splits[1]


def zero_shot(seed: int) -> dict[str, dict[str, float]]:
    """Trained in shop A, asked in shop B."""
    a, b = shops(seed)
    texts = {**WORDS, "text_fields": ("title", "text")}
    trained = run(b, "alpharec", seed, **texts)
    out = {
        "trained on B": judge(trained, b, METRICS),
        "zero-shot A to B": judge(run(a, "alpharec", seed, **texts).for_catalogue(b.train), b, METRICS),
        "zero-shot A to B, random vectors": judge(run(a, "alpharec", seed, control="random", **texts).for_catalogue(b.train), b, METRICS),
    }
    items = len(trained.items_)
    return out | {"random ranking": {"recall@20": 20 / items, "ndcg@20": float("nan"), "tie_share": 0.0}}


def intention(method: Any, split: Split, seed: int) -> dict[str, float]:
    """Share of a genre in the top 10, and Recall@20, before and after saying "I want to watch ... movies"."""
    frame = split.train.item_frame(method.items_)
    genres = sorted({genre for own in frame["categories"].to_list() if own for genre in own} - {"unknown"})
    has = np.array([[genre in (own or []) for genre in genres] for own in frame["categories"].to_list()])
    people = split.test.events.select("person").unique().collect()["person"].sort().sample(ASKED, seed=seed).to_list()
    states = [method.adapt(split.evidence.only([person])[person]) for person in people]
    truth = split.test.only(people).interactions(items=method.items_)
    relevant = [np.setdiff1d(truth.history(truth.people.number(person)), state["items"]) for person, state in zip(people, states, strict=True)]

    def look(own: Sequence[Any]) -> tuple[np.ndarray, float]:
        best = method.recommend(own, 20).indices
        hits = [np.isin(row, good).sum() / max(1, good.size) for row, good in zip(best, relevant, strict=True) if good.size]
        return has[best[:, :10]].mean((0, 1)), float(np.mean(hits))

    before, recall = look(states)
    after, recalls = [], []
    for at, genre in enumerate(genres):
        share, found = look([method.steer(state, f"I want to watch {genre} movies", weight=0.5) for state in states])
        after.append(share[at])
        recalls.append(found)
    return {
        "share before": float(before.mean()), "share after": float(np.mean(after)), "share, times": float(np.mean(after) / before.mean()),
        "recall@20 before": recall, "recall@20 after": float(np.mean(recalls)), "recall@20, kept": float(np.mean(recalls) / recall),
    }  # fmt: skip


def by_name(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """The four parts."""
    population = dataset("ml-100k").positives(4)
    chosen: dict[str, float] = {}
    warms, colds, moves, said, last = [], [], [], [], None
    for seed in track(seeds, "alpharec", enabled=progress):
        split = make("random", population, seed=seed)
        found, arms = warm(split, seed, chosen)
        warms.append(found)
        said.append(intention(arms["titles and genres, MLP"], split, seed))
        last = (arms["titles, MLP"], split)
        colds.append(cold(population, seed, chosen))
        moves.append(zero_shot(seed))
    assert last is not None
    measured: dict[str, Any] = {
        "warm": by_name(warms),
        "cold items": by_name(colds),
        "another shop": by_name(moves),
        "intention": mean(said),
        "id learning rates": chosen,
    }
    recall = {part: {name: row["recall@20"] for name, row in measured[part].items()} for part in ("warm", "cold items", "another shop")}
    titles, rest, moved = recall["cold items"]["titles, MLP"], recall["cold items"], recall["another shop"]
    verdicts = {
        "1 cold": titles >= 2 * rest["random vectors, MLP"] and titles >= 2 * rest["ids (LightGCN)"],
        "2 zero-shot": moved["zero-shot A to B"] >= 0.7 * moved["trained on B"] and moved["zero-shot A to B"] >= 2 * moved["random ranking"],
        "3 intention": measured["intention"]["share, times"] >= 3 and measured["intention"]["recall@20, kept"] >= 0.7,
        "4 warm": recall["warm"]["titles, MLP"] >= 0.9 * recall["warm"]["ids (LightGCN)"]
        and recall["warm"]["titles, linear"] >= 0.75 * recall["warm"]["titles, MLP"],
    }
    baseline = {"warm": recall["warm"]["ids (LightGCN)"], "cold items": {name: rest[name] for name in ("ids (LightGCN)", "random vectors, MLP")}} | {
        "another shop": moved["trained on B"]
    }
    notes = (
        f"MiniLM (384 dimensions), hidden layer 128, {EPOCHS} epochs validated every 5th, 256 negatives; the id model's learning rate chosen on the "
        "first seed's validation events. Parts 1 and 4 are judged by titles alone. Part 3 says 'I want to watch GENRE "
        f"movies' for every genre to {ASKED} people of the titles-and-genres model. gain, swap gap and cost: titles, warm, last seed."
    )
    measured["verdicts"] = verdicts
    return Outcome(passed=all(verdicts.values()), measured=measured, baseline=baseline, notes=notes, **scales(evaluate(*last, seed=seeds[-1])))

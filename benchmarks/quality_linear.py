"""How good are ALS, EASE, item-kNN and BPR beside the best peers' (implicit, LensKit), tuned alike on the same validation split?

MovieLens 1M with its published test part (validation carved from train), and MovieLens 100K split at random. Both sides try the same grid, are
chosen by NDCG@10 on validation, are fitted again on train and validation with what was chosen, and are judged once on test: full ranking, what
the person has already left out, ties by lottery, by our evaluator; the peer's factors or similarities go through the same ranking. One line per
trial and one for the chosen setting are appended to `quality.jsonl`.

    python benchmarks/quality_linear.py ml-100k als ours
    python benchmarks/quality_linear.py ml-100k als peer
    python benchmarks/quality_linear.py ml-100k als peer --package lenskit
    python benchmarks/quality_linear.py --report
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from sartor.data import dataset, splits
from sartor.data.ids import IdMap
from sartor.evaluate.evaluator import evaluate
from sartor.method import learned
from sartor.recommend._base import ItemRecommender, VectorRecommender
from sartor.systems import make

RESULTS = Path(__file__).parent / "quality.jsonl"
THREADS = int(os.environ.get("SARTOR_BENCH_THREADS", "1"))
SPLITS: dict[str, tuple[str, dict[str, Any]]] = {"ml-1m": ("published", {}), "ml-100k": ("random", {})}
GRIDS: dict[str, dict[str, list[Any]]] = {
    "als": {"factors": [64], "regularization": [1.0, 10.0, 40.0], "alpha": [0.5, 2.0, 8.0], "iterations": [15]},
    "ease": {"regularization": [100.0, 250.0, 600.0]},
    "item-knn": {"similarity": ["cosine", "tfidf", "bm25"], "neighbours": [50, 150, 400]},
    "bpr": {"factors": [64], "learning_rate": [0.01, 0.03], "regularization": [0.01, 0.03, 0.1], "epochs": [15, 60]},
}


@dataclasses.dataclass(kw_only=True, eq=False)
class PeerALS(VectorRecommender):
    """implicit's ALS; people by its own exact fold-in."""

    factors: int
    regularization: float
    alpha: float
    iterations: int

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        from implicit.als import AlternatingLeastSquares

        # Its confidence is alpha times the value, ours 1 + alpha times the weight.
        self.model = AlternatingLeastSquares(
            factors=self.factors, regularization=self.regularization, iterations=self.iterations, num_threads=THREADS, random_state=self.seed
        )
        self.model.fit(self._confidence(data), show_progress=False)
        self.item_vectors_, self.population_vector_ = self.model.item_factors, self.model.user_factors.mean(0)

    def _confidence(self, data: Any) -> Any:
        matrix = data.matrix()
        matrix.data = 1 + np.float32(self.alpha) * matrix.data
        return matrix

    def _encode(self, histories: Any) -> dict[str, np.ndarray]:
        return {"vector": self.model.recalculate_user(np.arange(len(histories.people)), self._confidence(histories))}


@dataclasses.dataclass(kw_only=True, eq=False)
class LensKitALS(VectorRecommender):
    """LensKit's implicit ALS; people by its own exact fold-in."""

    factors: int
    regularization: float
    alpha: float
    iterations: int

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        from lenskit.als import ImplicitMFScorer
        from lenskit.training import TrainingOptions

        # Its confidence is 1 + weight, as ours is 1 + alpha.
        self.model = ImplicitMFScorer(
            embedding_size=self.factors, epochs=self.iterations, regularization=self.regularization, weight=self.alpha, use_ratings=False
        )
        self.model.train(_lenskit(data), TrainingOptions(rng=self.seed))
        self.item_vectors_ = np.zeros((len(data.items), self.factors), np.float32)
        self.item_vectors_[np.asarray(self.model.items.ids()).astype(np.int64)] = self.model.item_embeddings
        self.population_vector_ = np.asarray(self.model.user_embeddings).mean(0)

    def _encode(self, histories: Any) -> dict[str, np.ndarray]:
        from lenskit.data import ItemList

        own = np.zeros((len(histories.people), self.factors), np.float32)
        for row, (start, stop) in enumerate(itertools.pairwise(histories.indptr.tolist())):
            if stop > start:
                own[row], _ = self.model.new_user_embedding(None, ItemList(item_ids=np.unique(histories.indices[start:stop])))
        return {"vector": own}


@dataclasses.dataclass(kw_only=True, eq=False)
class PeerBPR(VectorRecommender):
    """implicit's BPR; people by the row it fitted for them, since it cannot fold in."""

    factors: int
    learning_rate: float
    regularization: float
    epochs: int
    people_: IdMap = learned()

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        from implicit.bpr import BayesianPersonalizedRanking

        model = BayesianPersonalizedRanking(
            factors=self.factors, learning_rate=self.learning_rate, regularization=self.regularization, iterations=self.epochs,
            num_threads=THREADS, random_state=self.seed,
        )  # fmt: skip
        model.fit(data.matrix(), show_progress=False)
        self.people_, self.rows = data.people, model.user_factors
        self.item_vectors_, self.population_vector_ = model.item_factors, model.user_factors.mean(0)

    def _encode(self, histories: Any) -> dict[str, np.ndarray]:
        return {"vector": self.rows[self.people_.numbers(histories.people.ids)]}


@dataclasses.dataclass(kw_only=True, eq=False)
class LensKitBPR(VectorRecommender):
    """LensKit's BPR (FlexMF: Adam on batches of 8,192 pairs, weight decay); people by the row it fitted for them, since it cannot fold in."""

    factors: int
    learning_rate: float
    regularization: float
    epochs: int
    people_: IdMap = learned()

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        import torch
        from lenskit.flexmf import FlexMFImplicitScorer
        from lenskit.training import TrainingOptions

        torch.set_num_threads(THREADS)
        scorer = FlexMFImplicitScorer(
            preset="bpr", embedding_size=self.factors, learning_rate=self.learning_rate, regularization=self.regularization, epochs=self.epochs
        )
        scorer.train(_lenskit(data), TrainingOptions(rng=self.seed))
        people, items = (np.asarray(known.ids()).astype(np.int64) for known in (scorer.users, scorer.items))
        self.item_vectors_ = np.zeros((len(data.items), self.factors), np.float32)
        self.item_vectors_[items] = scorer.model.i_embed.weight.detach().numpy()
        self.people_, self.rows = data.people, np.zeros((len(data.people), self.factors), np.float32)
        self.rows[people] = scorer.model.u_embed.weight.detach().numpy()
        self.population_vector_ = self.rows.mean(0)

    def _encode(self, histories: Any) -> dict[str, np.ndarray]:
        return {"vector": self.rows[self.people_.numbers(histories.people.ids)]}


@dataclasses.dataclass(kw_only=True, eq=False)
class PeerSimilarity(ItemRecommender):
    """Scores are the history times an item-by-item matrix."""

    def _encode(self, histories: Any) -> dict[str, np.ndarray]:
        return {}

    def _score(self, states: Any, items: np.ndarray | None) -> np.ndarray:
        from scipy.sparse import csr_matrix, issparse

        own = [np.unique(state["items"]) for state in states]
        indptr = np.concatenate([[0], np.cumsum([one.size for one in own])])
        history = csr_matrix((np.ones(indptr[-1], np.float32), np.concatenate(own), indptr), shape=(len(own), len(self.items_)))
        scores = history @ self.matrix
        return np.asarray(scores.toarray() if issparse(scores) else scores, np.float32)


@dataclasses.dataclass(kw_only=True, eq=False)
class PeerKNN(PeerSimilarity):
    """implicit's nearest neighbours."""

    similarity: str
    neighbours: int

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender

        kinds = {"cosine": CosineRecommender, "tfidf": TFIDFRecommender, "bm25": BM25Recommender}
        # It counts the item itself among its neighbours.
        model = kinds[self.similarity](K=self.neighbours + 1, num_threads=THREADS)
        model.fit(data.matrix(), show_progress=False)
        self.matrix = model.similarity.tocsr().astype(np.float32)


@dataclasses.dataclass(kw_only=True, eq=False)
class PeerEASE(PeerSimilarity):
    """LensKit's EASE."""

    regularization: float

    def _learn(self, data: Any, population: Any, run: Any) -> None:
        from lenskit.knn.ease import EASEScorer

        model = EASEScorer(regularization=self.regularization)
        model.train(_lenskit(data))
        known = np.asarray(model.items.ids()).astype(np.int64)
        weights = np.zeros((len(data.items), len(data.items)), np.float32)
        weights[np.ix_(known, known)] = np.asarray(model.weights)
        self.matrix = weights


def _lenskit(data: Any) -> Any:
    """The pairs as LensKit's data set."""
    import pandas as pd
    from lenskit.data import from_interactions_df

    pairs = data.matrix().tocoo()
    return from_interactions_df(pd.DataFrame({"user_id": pairs.row, "item_id": pairs.col}))


PEERS: dict[str, dict[str, type[ItemRecommender]]] = {
    "als": {"implicit": PeerALS, "lenskit": LensKitALS},
    "ease": {"lenskit": PeerEASE},
    "item-knn": {"implicit": PeerKNN},
    "bpr": {"implicit": PeerBPR, "lenskit": LensKitBPR},
}


def trial(split: Any, name: str, package: str, settings: dict[str, Any], *, final: bool, seed: int = 0) -> tuple[float, list[float], float]:
    """NDCG@10 with its interval, and seconds to fit: on validation after train, or on test after train and validation."""
    method = make(name, seed=seed, **settings) if package == "sartor" else PEERS[name][package](seed=seed, **settings)
    start = time.perf_counter()
    method.fit(split.evidence if final else split.train, progress=False)
    seconds = time.perf_counter() - start
    found = evaluate(method, split, on="test" if final else "validation", ks=(), seed=seed, population_baseline=False, swap=None, resamples=200)
    return found.value, list(found.intervals["ndcg@10"]), seconds


def main(data: str, name: str, side: str, package: str | None, values: dict[str, list[Any]]) -> None:
    rule, options = SPLITS[data]
    split = splits.make(rule, dataset(data), seed=0, **options)
    space = GRIDS[name] | values
    grid = [dict(zip(space, chosen, strict=True)) for chosen in itertools.product(*space.values())]
    package = "sartor" if side == "ours" else package or next(iter(PEERS[name]))
    facts = {"data": data, "split": rule, "method": name, "side": side, "package": package, "package_version": importlib.metadata.version(package)}
    trials = []
    for settings in grid:
        value, _, seconds = trial(split, name, package, settings, final=False)
        trials.append((value, settings))
        append(facts | {"stage": "validation", "settings": settings, "ndcg@10": value, "fit_seconds": round(seconds, 3)})
    chosen = max(trials, key=lambda one: one[0])[1]
    value, interval, seconds = trial(split, name, package, chosen, final=True)
    append(
        facts | {"stage": "test", "settings": chosen, "ndcg@10": value, "interval": interval, "fit_seconds": round(seconds, 3), "trials": len(grid)}
    )


def append(line: dict[str, Any]) -> None:
    stamped = line | {"date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    print(json.dumps(stamped), flush=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(stamped) + "\n")


def report() -> None:
    """Every method of every package, of all grids the one with the best validation, and ours over each peer's."""
    lines = [line for line in map(json.loads, RESULTS.read_text().splitlines()) if line.get("method") in GRIDS]
    best: dict[tuple[str, str, str], tuple[float, dict[str, Any]]] = {}
    for line in lines:
        key = line["data"], line["method"], line["package"]
        if line["stage"] == "test":
            same = [one for one in lines if (one["data"], one["method"], one["package"]) == key and one["stage"] == "validation"]
            found = [one["ndcg@10"] for one in same if one["settings"] == line["settings"]][-1]
            if key not in best or found >= best[key][0]:
                best[key] = found, line
    for (data, name, package), (_, peer) in sorted(best.items()):
        if package != "sartor" and (data, name, "sartor") in best:
            ours = best[data, name, "sartor"][1]
            a, b = ours["ndcg@10"], peer["ndcg@10"]
            print(f"{data:8} {name:9} ours {a:.4f} {package:8} {b:.4f} ratio {a / b:.4f}   {ours['settings']}   {peer['settings']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=SPLITS)
    parser.add_argument("method", nargs="?", choices=GRIDS)
    parser.add_argument("side", nargs="?", choices=("ours", "peer"))
    parser.add_argument("--grid", default="{}", help='other values than the file says, as JSON: {"epochs": [15]}; give both sides the same')
    parser.add_argument("--package", help="which peer, where there are several")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    if given.report:
        report()
    else:
        main(given.data, given.method, given.side, given.package, json.loads(given.grid))

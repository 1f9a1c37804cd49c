"""One call: the families of numbers a recommender must be judged by, which of them disagree, and which to trust for a goal.

Source: Jadon and Patil, A Comprehensive Survey of Evaluation Techniques for Recommendation Systems, 2023. Differs from the survey in: ranks the
whole catalogue, states intervals, breaks ties by lottery, turns distances round before they are used as similarities, divides MAP by
min(k, relevant) (the survey's is `map_ref`), and adds gain, swap gap, cost, popularity bias and fairness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.data.population import Population
from sartor.errors import BadValue
from sartor.evaluate import slices
from sartor.evaluate.advice import GOALS, LOWER_IS_BETTER, goal, rank_correlations
from sartor.evaluate.evaluator import evaluate
from sartor.evaluate.extras import Meaning, Row, extras
from sartor.evaluate.metrics.business import business
from sartor.evaluate.metrics.fairness import demographic_gap
from sartor.parts.statistics import holm, paired
from sartor.progress import track

if TYPE_CHECKING:
    from sartor.data.ids import IdMap
    from sartor.data.splits import Split
    from sartor.evaluate.result import Evaluation
    from sartor.method import Recommender

BEYOND = ("coverage", "distributional_coverage", "gini", "novelty", "arp", "aplt")
SCHEMA = {
    "model": pl.String, "family": pl.String, "metric": pl.String, "k": pl.Int64, "value": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "n": pl.Int64, "notes": pl.String,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Report:
    """What `report` found; `table.to_arrow()` gives it as an Arrow table."""

    table: pl.DataFrame
    """model, family, metric, k, value, low, high, n, notes."""
    evaluations: Mapping[str, Evaluation]
    correlations: pl.DataFrame
    """a, b, rho, n: Spearman correlation of every two metrics, most opposed first; see `over`. Metrics where lower is better are turned
    round first, so that a negative rho means that two metrics disagree about what is good."""
    over: str
    """What the correlations are over: "models" with three or more, else "people" of the first model."""
    k: int
    """Cut-off of the correlations and comparisons."""

    def disagreements(self, below: float = 0.0) -> pl.DataFrame:
        """Pairs of metrics that order the cases differently: choose by one, and you lose by the other."""
        return self.correlations.filter(pl.col("rho") < below)

    def comparisons(self) -> pl.DataFrame:
        """Every two models on the same people: difference of the headline, its interval, p (Wilcoxon) corrected for the number of pairs."""
        names, rows = list(self.evaluations), []
        for at, a in enumerate(names):
            for b in names[at + 1 :]:
                one, other = self.evaluations[a], self.evaluations[b]
                found = paired(one.per_person[one.headline].to_numpy(), other.per_person[other.headline].to_numpy())
                rows.append(
                    {"a": a, "b": b, "difference": found.difference, "low": found.interval[0], "high": found.interval[1], "p": found.wilcoxon}
                )
        schema = {"a": pl.String, "b": pl.String, **dict.fromkeys(("difference", "low", "high", "p"), pl.Float64)}
        frame = pl.DataFrame(rows, schema=schema)
        return frame.with_columns(p=pl.Series(holm(frame["p"].to_list()))) if rows else frame

    def advice(self, name: str) -> dict[str, Any]:
        """For a goal (one of `advice.GOALS`): what to trust and watch, why, the values here, and where these disagree on this data."""
        wanted = goal(name)
        here = self.table.filter((pl.col("k").is_null()) | (pl.col("k") == self.k) | (pl.col("metric") == "candidate_recall"))
        values: dict[str, dict[str, float]] = {metric: {} for metric in (*wanted.trust, *wanted.watch)}
        for model, metric, value in here.select("model", "metric", "value").iter_rows():
            # A gap stands there once per column of the people frame: "demographic_gap gender".
            name_of, _, column = metric.partition(" ")
            if name_of in values:
                values[name_of][f"{model} ({column})" if column else model] = value
        concerned = pl.col("a").str.split(" ").list.first().is_in(list(values)) & pl.col("b").str.split(" ").list.first().is_in(list(values))
        against = self.disagreements().filter(concerned)
        return {
            "goal": name, "trust": list(wanted.trust), "watch": list(wanted.watch), "why": wanted.why, "values": values,
            "not_measured": [metric for metric, found in values.items() if not found],
            "disagree": [f"{a} and {b} (rho {rho:+.2f} over {self.over})" for a, b, rho in against.select("a", "b", "rho").iter_rows()],
        }  # fmt: skip

    def plot(self, path: str | Path) -> Path:
        """The models side by side: headline, gain and swap gap with intervals (PNG, SVG or PDF by suffix)."""
        from sartor.evaluate.plots import comparison_figure

        return comparison_figure(dict(self.evaluations), Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        from sartor.evaluate.claim import plain

        found: dict[str, Any] = plain({
            "table": self.table.to_dicts(), "evaluations": {name: one.to_dict() for name, one in self.evaluations.items()},
            "correlations": self.correlations.to_dicts(), "over": self.over, "advice": {name: self.advice(name) for name in GOALS},
        })  # fmt: skip
        return found


def report(
    models: Recommender | Mapping[str, Recommender],
    data: Population | Split,
    *,
    split: str = "random",
    ks: Sequence[int] = (5, 10, 20),
    headline: str = "ndcg@10",
    meaning: Meaning = "ranking",
    logs: pl.DataFrame | pl.LazyFrame | None = None,
    people: int = 1000,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Judge one or several recommenders by all families of metrics.

    Parameters
    ----------
    models: one, or several by name. Those not fitted yet are fitted on the split's training events.
    data: a split; or a population, which is then split by the rule `split`.
    headline: what gain, swap gap and comparisons are of.
    meaning: what the scores are: an order only, ratings, or click probabilities. RMSE and the like are only computed where they mean something.
    logs: person, item, kind (impression, click, buy), ...: adds the business family (see `metrics.business`).
    people: measure diversity, serendipity, AUC, similarity and exposure on so many random people; all else is on everybody.
    """
    case: Split = _split_of(data, split, seed)
    named: dict[str, Recommender] = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    k = int(headline.partition("@")[2])
    evaluations: dict[str, Evaluation] = {}
    rows: list[dict[str, Any]] = []
    for name, method in track(list(named.items()), "reporting", enabled=progress):
        if not method.fingerprint_:
            with case.guard():
                method.fit(case.train, validation=case.validation, progress=False)
        found = evaluations[name] = evaluate(method, case, ks=ks, headline=headline, seed=seed)
        own = [
            *_ranking_rows(found),
            *extras(method, case, found.ks, meaning=meaning, people=people, seed=seed),
            *_served(found, case),
            *_scales(found),
        ]
        rows += [{"model": name, **asdict(row)} for row in own]
    if logs is not None:
        goods = case.train.items if "items" in case.train else None
        rows += [{"model": "logs", **asdict(Row("business", name, None, value))} for name, value in business(logs, goods).items()]
    table = pl.DataFrame(rows, schema=SCHEMA)
    over, correlations = _agreement(table, evaluations, k)
    return Report(table, evaluations, correlations, over, k)


def _split_of(data: Population | Split, rule: str, seed: int) -> Split:
    if not isinstance(data, Population):
        return data
    from sartor.data import splits

    return splits.make(rule, data, seed=seed)


def _ranking_rows(found: Evaluation) -> list[Row]:
    rows = []
    for metric, k, value, low, high, n, notes in found.table().select("metric", "k", "value", "low", "high", "n", "notes").iter_rows():
        rows.append(Row("candidate generation" if metric in BEYOND else "ranking", metric, k, value, low, high, n, notes))
    return rows


def _served(found: Evaluation, case: Split) -> list[Row]:
    """How evenly people are served: variance over people, and gaps between groups of the people frame."""
    values = found.per_person[found.headline].to_numpy()
    k = int(found.headline.partition("@")[2])
    rows = [Row("fairness", "served_variance", k, float(np.nanvar(values)), n=values.size, notes=f"of {found.headline} over people")]
    columns: dict[str, np.ndarray] = {}
    for name, mask in slices.of_groups(case.train, _ids(found)):
        column, _, value = name.partition(" = ")
        columns.setdefault(column, np.full(values.size, "", object))[mask] = value
    for column, groups in columns.items():
        known = groups != ""
        try:
            gap = demographic_gap(values[known], groups[known].astype(str))
        except BadValue as too_few:
            rows.append(Row("fairness", f"demographic_gap {column}", k, float("nan"), notes=too_few.what))
            continue
        worst = min(gap.means, key=gap.means.__getitem__)
        notes = f"worst served: {worst} at {gap.means[worst]:.3f}; ratio {gap.ratio:.2f}; {len(gap.means)} groups"
        rows.append(Row("fairness", f"demographic_gap {column}", k, gap.difference, *gap.interval, int(known.sum()), notes))
    return rows


def _ids(found: Evaluation) -> IdMap:
    from sartor.data.ids import IdMap

    return IdMap(found.per_person["person"], name="person")


def _scales(found: Evaluation) -> list[Row]:
    n, k = found.counts["people"], int(found.headline.partition("@")[2])
    over = (found.gain_over_popularity, *found.gain_over_popularity_interval)
    rows = [
        Row("scales", "gain", k, found.gain, *found.gain_interval, n, f"{found.headline}: own state - no state"),
        Row("scales", "gain_over_popularity", k, *over, n, f"{found.headline}: own state - popularity"),
        Row("scales", "swap_gap", k, found.swap_gap, *found.swap_gap_interval, n, f"{found.headline}: own state - another's"),
        Row("scales", "tie_share", None, found.tie_share, n=n, notes="places decided by the lottery between equal scores"),
    ]
    return rows + [Row("scales", name, None, float("nan") if value is None else value, n=n) for name, value in found.cost.items()]


def _agreement(table: pl.DataFrame, evaluations: Mapping[str, Evaluation], k: int) -> tuple[str, pl.DataFrame]:
    if len(evaluations) >= 3:
        here = table.filter((pl.col("k") == k) | (pl.col("metric") == "candidate_recall") | (pl.col("metric") == "auc"))
        wide = here.filter(pl.col("model") != "logs").pivot("metric", index="model", values="value", aggregate_function="first")
        return "models", rank_correlations({name: _better(name, wide[name].to_numpy()) for name in wide.columns[1:]})
    first = next(iter(evaluations.values()))
    end = f"@{first.headline.partition('@')[2]}"
    columns = [name for name in first.per_person.columns if name.endswith(end) and " " not in name.removesuffix(end)]
    return "people", rank_correlations({(own := name.removesuffix(end)): _better(own, first.per_person[name].to_numpy()) for name in columns})


def _better(metric: str, values: np.ndarray) -> np.ndarray:
    """The values so that higher is better."""
    return -values if metric.partition(" ")[0] in LOWER_IS_BETTER else values

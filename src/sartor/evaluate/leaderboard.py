"""A leaderboard that keeps the runs behind its numbers: a row stands only while its run file, measured again, gives the same figures.

    board = Leaderboard("leaderboard.jsonl")
    board.add(run(name, collection), collection)               # writes runs/<...>.trec, measures it, appends a line
    board.table(); board.radar(); board.verify([collection])

One JSON object per line: method, version, dataset, split, seed, metrics, queries, index_bytes, queries_per_second, latency_ms, build_seconds,
run (file), run_sha256, commit, date, and for searches of persons gain, swap_gap, state_bytes with their intervals.

Source: Kamalloo et al., Resources for Brewing BEIR: Reproducible Reference Models and an Official Leaderboard, 2023.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from sartor.errors import ConfigError, CorruptFile, FileProblem, SartorError
from sartor.evaluate.claim import commit, plain
from sartor.evaluate.collections import Collection
from sartor.evaluate.ir import OFFICIAL, Measured, measure, read_run, write_run
from sartor.parts.statistics import holm, paired

if TYPE_CHECKING:
    from sartor.evaluate.retrievers import Run

SAME = 1e-9
"""What a figure may differ by when a run is measured again."""


class Leaderboard:
    """Rows in a JSON-lines file, and beside it the folder `runs`.

    Parameters
    ----------
    path: of the file; need not be there yet.
    metrics: of new rows.
    """

    def __init__(self, path: str | Path, *, metrics: Sequence[str] = OFFICIAL) -> None:
        self.path, self.metrics = Path(path), tuple(metrics)

    # --- rows

    def rows(self) -> list[dict[str, Any]]:
        """All rows, oldest first; raises `CorruptFile` with the line."""
        if not self.path.is_file():
            return []
        out = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                if not isinstance(row["metrics"], dict) or not all(isinstance(row[name], str) for name in ("method", "dataset", "split", "run")):
                    raise KeyError("metrics")
                if not row["metrics"] or not all(isinstance(value, int | float) for value in row["metrics"].values()):
                    raise KeyError("metrics")
            except (json.JSONDecodeError, KeyError, TypeError) as cause:
                raise CorruptFile("this line is no row of a leaderboard", fix="take it out", file=self.path, row=number) from cause
            out.append(row)
        return out

    def latest(self) -> list[dict[str, Any]]:
        """The newest row of each method, dataset, split and seed."""
        return list({(row["method"], row["dataset"], row["split"], row.get("seed", 0)): row for row in self.rows()}.values())

    def add(self, run: Run, collection: Collection, *, seed: int = 0, extra: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Keep a run and append its row; `extra` are further columns, such as gain and swap_gap."""
        from sartor import __version__

        if (run.collection, run.split) != (collection.name, collection.split):
            raise ConfigError(
                f"the run is of {run.collection}/{run.split}, not of {collection.name}/{collection.split}", fix="give its own collection"
            )
        file = write_run(run.table, self.path.parent / "runs" / _file_name(collection.name, collection.split, run.name, str(seed)), run.name)
        found = measure(read_run(file), collection.qrels, self.metrics)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        row = {
            "method": run.name, "version": __version__, "dataset": collection.name, "split": collection.split, "seed": seed,
            "metrics": found.means, "queries": found.per_query.height, "excluded": found.excluded, "missing": found.missing,
            "documents": collection.documents.height, "index_bytes": run.index_bytes, "queries_per_second": round(run.queries_per_second, 1),
            "latency_ms": round(run.latency_ms, 3), "build_seconds": round(run.build_seconds, 3), **(extra or {}),
            "run": file.relative_to(self.path.parent).as_posix(), "run_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "commit": commit(self.path.parent), "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }  # fmt: skip
        with self.path.open("a", encoding="utf-8") as board:
            board.write(json.dumps(plain(row), ensure_ascii=False) + "\n")
        return row

    # --- the gate

    def problem(self, row: Mapping[str, Any], collection: Collection) -> str:
        """Why a row does not stand; empty when it does."""
        try:
            found = self._measured(row, collection)
        except SartorError as problem:  # no file, not a run, or a metric that there is not
            return problem.what
        for name, value in row["metrics"].items():
            # So written that NaN does not stand.
            if not abs(found.means[name] - value) <= SAME:
                return f"{name} is {found.means[name]:.6f} when its run is measured again, the row says {value:.6f}"
        return ""

    def verify(self, collections: Sequence[Collection]) -> list[tuple[dict[str, Any], str]]:
        """Rows that do not stand, each with the reason. Rows of collections that are not given are not looked at."""
        known = {(one.name, one.split): one for one in collections}
        pairs = [(row, known[row["dataset"], row["split"]]) for row in self.latest() if (row["dataset"], row["split"]) in known]
        return [(row, why) for row, collection in pairs if (why := self.problem(row, collection))]

    def _measured(self, row: Mapping[str, Any], collection: Collection) -> Measured:
        file = (self.path.parent / row["run"]).resolve()
        if self.path.parent.resolve() not in file.parents:
            raise FileProblem("the row names a run file outside the leaderboard's folder", fix="keep runs beside the leaderboard", file=row["run"])
        return measure(read_run(file), collection.qrels, list(row["metrics"]))

    # --- looking at it

    def table(self) -> pl.DataFrame:
        """One row per method and dataset: metrics, queries per second, latency in ms, MB."""
        rows = [
            {
                "dataset": row["dataset"], "method": row["method"], **row["metrics"], "queries/s": row.get("queries_per_second"),
                "latency ms": row.get("latency_ms"), "MB": row.get("index_bytes", 0) / 1e6,
                **{name: row[name] for name in ("gain", "swap_gap", "state_bytes") if name in row},
            }
            for row in self.latest()
        ]  # fmt: skip
        frame = pl.DataFrame(rows, infer_schema_length=None)
        return frame.sort("dataset", self.metrics[0], descending=[False, True]) if rows else frame

    def radar(self, collections: Sequence[Collection], *, against: str = "bm25", metric: str = OFFICIAL[0]) -> pl.DataFrame:
        """Per dataset and method, the difference to one method: paired bootstrap interval, and t-test p-values corrected for all comparisons.

        Columns: dataset, method, difference, low, high, p, p_holm (Holm, 1979), queries. Methods without a run of a given collection, and
        rows that do not stand, are left out there; `ConfigError` when `against` has none at all.
        """
        known = {(one.name, one.split): one for one in collections}
        rows = [row for row in self.latest() if (row["dataset"], row["split"]) in known]
        values = {
            (row["dataset"], row["method"]): self._measured(row, known[row["dataset"], row["split"]]).per_query.sort("query")[metric].to_numpy()
            for row in rows if metric in row["metrics"] and not self.problem(row, known[row["dataset"], row["split"]])
        }  # fmt: skip
        bases = {dataset: value for (dataset, method), value in values.items() if method == against}
        if not bases:
            raise ConfigError(f"no collection has a run of '{against}'", fix=f"there are {', '.join(sorted({method for _, method in values}))}")
        out = []
        for (dataset, method), value in sorted(values.items()):
            if method != against and dataset in bases:
                test = paired(value, bases[dataset])
                out.append((dataset, method, test.difference, *test.interval, test.t_test, value.size))
        names = ["dataset", "method", "difference", "low", "high", "p", "queries"]
        frame = pl.DataFrame(out, schema=names, orient="row")
        corrected = holm(frame["p"].to_list()) if frame.height else np.empty(0)
        return frame.with_columns(p_holm=pl.Series(corrected, dtype=pl.Float64))


def _file_name(*parts: str) -> str:
    """Readable, and another for other parts: "a:b" and "a-b" must not write over each other's runs."""
    if not any(re.search(r"[^\w.]", part) for part in parts):
        return "-".join(parts) + ".trec"
    mark = hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()
    return re.sub(r"[^\w.-]+", "-", "-".join(parts)).strip("-") + f"-{mark}.trec"

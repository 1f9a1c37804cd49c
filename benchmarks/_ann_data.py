"""Vectors for the benchmarks of approximate search: real sentence embeddings, and generated ones of more dimensions with two kinds of queries.

384 dimensions: MiniLM embeddings of job titles, tasks and technology (O*NET) and of sentences (STS benchmark, SciFact) under ../shared/data,
topped up by generated vectors with the same clusters and the same spectrum around them. 768 and 1,536: 1,000 Zipf clusters with a power-law
spectrum, unit length; queries are drawn like the items ("same") or through a linear map that mixes every direction with another ("shifted").
All are kept in the temporary folder, from one run to the next.
"""

from __future__ import annotations

import csv
import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

SEED, REAL, QUERIES, LEARNED = 0, 40_000, 1_000, 2_000
KEPT = Path(tempfile.gettempdir()) / "sartor-ann"
DATA = Path(__file__).parents[2] / "shared" / "data"


def texts() -> list[str]:
    """Different texts, in an order that mixes their sources."""
    found: list[str] = []
    onet = DATA / "onet"
    for name, column in (("Alternate Titles", 1), ("Task Statements", 2), ("Technology Skills", 1), ("Occupation Data", 2)):
        rows = csv.reader((onet / f"{name}.txt").open(encoding="utf-8"), delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        found += [row[column] for row in rows]
    for name in ("train", "dev", "test"):
        with (DATA / "stsbenchmark" / f"sts-{name}.csv").open(encoding="utf-8") as file:
            found += [text for line in file for text in line.rstrip("\n").split("\t")[5:7]]
    with zipfile.ZipFile(DATA / "scifact" / "scifact.zip") as archive:
        rows = csv.reader(io.TextIOWrapper(archive.open("corpus_train.csv"), "utf-8"))
        at = next(rows).index("title")
        found += [row[at] for row in rows]
    unique = sorted({text.strip() for text in found if text.strip()})
    return [unique[at] for at in np.random.default_rng(SEED).permutation(len(unique))]


def real() -> np.ndarray:
    """float32 [REAL, 384], unit length: the first REAL texts by MiniLM."""
    file = KEPT / f"minilm-{REAL}.npy"
    if not file.is_file():
        from sartor.represent.text import text_encoder

        _keep(file, text_encoder("minilm").encode(texts()[:REAL], progress=True).astype(np.float32))
    return np.load(file)


def minilm(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items float32 [n, 384] (the real ones first), queries and learning queries: real ones that are no items."""
    file = KEPT / f"minilm-world-{n}.npy"
    vectors = real()
    held, vectors = vectors[: QUERIES + LEARNED], vectors[QUERIES + LEARNED :][:n]
    if not file.is_file():
        _keep(file, np.concatenate([vectors, _like(vectors, n - len(vectors))]) if n > len(vectors) else vectors)
    return np.load(file), held[:QUERIES], held[QUERIES:]


def _like(vectors: np.ndarray, n: int) -> np.ndarray:
    """Generated vectors: clusters in the sizes of the real ones, and around each centre the spectrum of what lies around the real centres."""
    from sartor.retrieve.inverted import cells, nearest

    rng = np.random.default_rng([SEED, 1])
    centres = cells(vectors, 1_000, SEED)
    labels = nearest(vectors, centres)
    apart = vectors - centres[labels]
    values, directions = np.linalg.eigh(apart.T @ apart / len(apart))
    drawn = rng.choice(labels, n)
    made = centres[drawn] + ((rng.standard_normal((n, vectors.shape[1])) * np.sqrt(np.maximum(values, 0))) @ directions.T).astype(np.float32)
    return _unit(made)


def generated(n: int, dim: int, queries: str = "same") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items float32 [n, dim], queries and learning queries, each "same" or "shifted"; unit length."""
    rng = np.random.default_rng([SEED, dim])
    scales = np.arange(1, dim + 1) ** -0.5
    centres, weights = rng.normal(size=(1_000, dim)) * scales, 1 / np.arange(1, 1_001)
    total = n + QUERIES + LEARNED
    chosen = rng.choice(1_000, total, p=weights / weights.sum())
    made = np.empty((total, dim), np.float32)
    for at in range(0, total, 10_000):
        part = chosen[at : at + 10_000]
        made[at : at + 10_000] = centres[part] + 0.7 * rng.normal(size=(len(part), dim)) * scales
    asked = made[n:]
    if queries == "shifted":
        # Half of every query's coordinates come from a random mix of all of them: other directions matter than among the items.
        asked = asked + asked @ (rng.normal(size=(dim, dim)) / np.sqrt(dim)).astype(np.float32)
    asked = _unit(asked)
    return _unit(made[:n]), asked[:QUERIES], asked[QUERIES:]


def truth(vectors: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """The true k of each query, int64 [q, k], by inner product."""
    scores = queries @ vectors.T
    best = np.argpartition(-scores, k, axis=1)[:, :k]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)


def recall(found: np.ndarray, best: np.ndarray) -> float:
    return float((best[:, :, None] == found[:, None, :]).any(2).mean())


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def _keep(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part.npy")
    np.save(part, array)
    part.replace(file)

"""Searching over HTTP: seconds until a server with a search model is ready, and milliseconds per request, as one JSON object.

50,000 items with titles and texts of 40 words (drawn from 30,000 made-up words by Zipf's law), the hashed encoder's 512 dimensions, ALS as
taste, people with 20 events each. Queries are two words of an item and come from people with states, with reasons, one after the other, and
from four connections at once. Run it on a quiet machine: `python benchmarks/serve_search.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _serve

NAME = "serve-search"
PEOPLE, ITEMS, EVENTS, WORDS = int(os.environ.get("SARTOR_BENCH_SEARCHERS", "2000")), _serve.ITEMS, 20, 30_000
REQUESTS = int(os.environ.get("SARTOR_BENCH_REQUESTS", "300"))


def _texts(count: int) -> tuple[list[str], list[str]]:
    """Titles of four words, texts of forty."""
    import numpy as np

    draw = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(draw.choice(letters, size)) for size in draw.integers(3, 10, WORDS)])
    titles = words[draw.integers(0, WORDS, (count, 4))]
    bodies = words[draw.zipf(1.3, (count, 40)) % WORDS]
    return [" ".join(row) for row in titles], [" ".join(row) for row in bodies]


def built() -> Path:
    """Folder of a store with a search model that serves and everybody's states; made once and kept."""
    folder = Path(tempfile.gettempdir()) / f"sartor-bench-search-{PEOPLE}-{ITEMS}-{_serve._version()}"
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(folder)
        (folder / "done").touch()
    return folder


def _build(folder: Path) -> None:
    import numpy as np
    import polars as pl

    import sartor
    from sartor.engine import Engine
    from sartor.recommend.als import ALS
    from sartor.recommend.personal_search import PersonalSearch

    draw = np.random.default_rng(1)
    titles, texts = _texts(ITEMS)
    chosen = draw.zipf(1.2, PEOPLE * EVENTS) % ITEMS
    events = pl.DataFrame({
        "person": np.repeat([f"p{number}" for number in range(PEOPLE)], EVENTS), "item": [f"i{item}" for item in chosen],
        "time": np.tile(np.arange(EVENTS) * 1000, PEOPLE),
    })  # fmt: skip
    items = pl.DataFrame({"item": [f"i{number}" for number in range(ITEMS)], "title": titles, "text": texts})
    population = sartor.Population.from_frames(events=events, items=items)
    method = PersonalSearch(taste=ALS(factors=64, iterations=2), teaching_people=100).fit(population, progress=False)
    with Engine(f"sqlite:///{folder}/people.db", background=False) as engine:
        engine.observe_many(events)
        engine.install(method, population, verb="search")
        if not engine.catch_up(600):
            raise RuntimeError("not everybody has a state")


def _queries(count: int) -> list[tuple[str, str]]:
    """(person, query)."""
    import random

    draw, (titles, _) = random.Random(2), _texts(ITEMS)
    return [(f"p{draw.randrange(PEOPLE)}", " ".join(draw.choice(titles).split()[:2])) for _ in range(count)]


def _timed(call: Callable[[str, str], object], asked: list[tuple[str, str]]) -> dict[str, float]:
    took = []
    for person, query in asked:
        started = time.perf_counter()
        call(person, query)
        took.append((time.perf_counter() - started) * 1000)
    took.sort()
    return {"p50_ms": round(took[len(took) // 2], 2), "p99_ms": round(took[int(len(took) * 0.99)], 2)}


def opening(folder: Path) -> dict[str, float]:
    """In a process of its own: seconds to open the engine, to its first search (which opens the index), and of the next searches alone."""
    import subprocess

    code = (
        "import json, sys, time; sys.path.insert(0, sys.argv[2]); start = time.perf_counter()\n"
        "from sartor.engine import Engine; import serve_search\n"
        "with Engine(f'sqlite:///{sys.argv[1]}/people.db', background=False) as engine:\n"
        "    opened = time.perf_counter(); engine.search(None, 'first'); first = time.perf_counter()\n"
        "    found = serve_search._timed(lambda person, query: engine.search(person, query), serve_search._queries(100))\n"
        "    print(json.dumps({'engine_seconds': round(opened - start, 2), 'index_seconds': round(first - opened, 2), **found}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder), str(Path(__file__).parent)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> dict[str, Any]:
    folder = built()
    secret = _serve.key(folder)
    found: dict[str, Any] = {"people": PEOPLE, "items": ITEMS, "in_process": opening(folder)}
    asked = _queries(REQUESTS)
    with _serve.serving(folder) as (url, child, took):
        from sartor.serve import Client

        found["ready_seconds"], found["resident_mb"] = round(took, 2), round(_serve.rss(child.pid) / 1e6)
        with Client(url, secret) as client:
            client.search(*asked[0])
            found["over_http"] = _timed(lambda person, query: client.search(person, query), asked)
        bodies = [json.dumps({"person": person, "query": query}).encode() for person, query in asked]
        for connections in (1, 4):
            found[f"connections_{connections}"] = _serve.load(url, "/v1/search", connections=connections, secret=secret, bodies=bodies)
    found["kept"] = {"index < 3 s": found["in_process"]["index_seconds"] < 3, "request p50 < 25 ms": found["over_http"]["p50_ms"] < 25}
    return found


if __name__ == "__main__":
    print(json.dumps(main(), indent=2))

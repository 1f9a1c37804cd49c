"""What the benchmarks of the server share: a store of the promised size, a server process, and a load from another process.

Sizes can be made smaller for a try: SARTOR_BENCH_PEOPLE, SARTOR_BENCH_ITEMS, SARTOR_BENCH_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PEOPLE = int(os.environ.get("SARTOR_BENCH_PEOPLE", "100000"))
ITEMS = int(os.environ.get("SARTOR_BENCH_ITEMS", "50000"))
SECONDS = float(os.environ.get("SARTOR_BENCH_SECONDS", "8"))
WORKERS = int(os.environ.get("SARTOR_BENCH_WORKERS", "1"))
FACTORS = 64
EVENTS = 5
"""Of each person."""


def built() -> Path:
    """Folder of a store with `PEOPLE` people, `ITEMS` items and everybody's 64-dimensional ALS state; made once, a minute or two, and kept."""
    folder = Path(tempfile.gettempdir()) / f"sartor-bench-serve-{PEOPLE}-{ITEMS}-{_version()}"
    if (folder / "done").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _build(folder)
    (folder / "done").touch()
    return folder


def _version() -> str:
    from sartor.profile import schema

    columns = sorted(str(column) for table in schema.metadata.tables.values() for column in table.columns)
    return hashlib.sha256(" ".join(columns).encode()).hexdigest()[:8]


def _build(folder: Path) -> None:
    import numpy as np
    import polars as pl

    import sartor
    from sartor.engine import Engine
    from sartor.profile.records import Record
    from sartor.recommend.als import ALS

    rng = np.random.default_rng(0)
    chosen = (rng.zipf(1.2, PEOPLE * EVENTS) % ITEMS).reshape(PEOPLE, EVENTS)
    people = [f"p{number}" for number in range(PEOPLE)]
    events = pl.DataFrame({"person": np.repeat(people, EVENTS), "item": [f"i{item}" for item in chosen.ravel()]})
    items = pl.DataFrame({"item": [f"i{number}" for number in range(ITEMS)], "title": [f"Title {number}" for number in range(ITEMS)]})
    population = sartor.Population.from_frames(events=events, items=items)
    method = ALS(factors=FACTORS, iterations=2).fit(population, progress=False)
    with Engine(f"sqlite:///{folder}/people.db", background=False) as engine:
        for start in range(0, PEOPLE, 5_000):
            rows = zip(people[start : start + 5_000], chosen[start : start + 5_000], strict=True)
            engine.store.append("default", [Record(person, content={"item": f"i{item}"}) for person, own in rows for item in own])
        engine.install(method, population)
        if not engine.catch_up(600):
            raise RuntimeError("not everybody has a state")


def key(folder: Path) -> str:
    """A new key that may do everything."""
    from sartor.profile.access import SCOPES
    from sartor.profile.store import ProfileStore

    with ProfileStore.open(f"sqlite:///{folder}/people.db") as store:
        return store.create_key("default", label="bench", scopes=SCOPES)[1]


@contextlib.contextmanager
def serving(folder: Path, *, workers: int = WORKERS, rate: str = "1000000000/minute") -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """A server process over a store, with its rate limit counting but never reached: its address, the process, and seconds until it answered."""
    code = (
        "from sartor.serve.run import run; from sartor.serve import Settings; "
        f"run('sqlite:///{folder}/people.db', port={{port}}, workers={workers}, settings=Settings(rate={rate!r}, log_requests=False))"
    )
    with process(code) as found:
        yield found


@contextlib.contextmanager
def process(code: str) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Python code that serves on `{port}` in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-c", code.format(port=port)])
    try:
        url = f"http://127.0.0.1:{port}"
        while time.perf_counter() - started < 120:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    break
            time.sleep(0.005)
        yield url, child, time.perf_counter() - started
    finally:
        child.terminate()
        child.wait(30)


HELLO = """
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Hello(BaseModel):
    message: str
@app.get("/hello/{{name}}")
async def hello(name: str) -> Hello:
    return Hello(message="hello " + name)
@app.get("/readyz")
async def ready() -> Hello:
    return Hello(message="ready")
uvicorn.run(app, port={port}, log_level="warning", access_log=False)
"""


# --- load

_LUA = """
local job = dofile(os.getenv("LOAD_JOB"))
local first = 0
function setup(thread) thread:set("seed", first); first = first + 1 end
function init() math.randomseed(os.time() + seed * 7919); n = seed * 31 end
function request()
  n = n + 1
  local path = job.path:gsub("{}", tostring(math.random(0, job.most - 1)))
  if #job.bodies > 0 then return wrk.format("POST", path, job.headers, job.bodies[n % #job.bodies + 1]) end
  return wrk.format("GET", path, job.headers)
end
if job.pause > 0 then
  function delay() return math.floor(-job.pause * math.log(1 - math.random()) + 0.5) end
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def load(
    url: str, path: str, *, connections: int, seconds: float = SECONDS, secret: str = "", most: int = PEOPLE, pause: float = 0.0,
    bodies: Sequence[bytes] = (), kind: str = "application/json",
) -> dict[str, float]:  # fmt: skip
    """Requests from another process: wrk where it is installed, else a loop in Python.

    Parameters
    ----------
    path: with {} for a random number below `most`.
    connections: each sends its next request when the last one is answered, and after a random (exponential) pause.
    pause: its mean, in milliseconds.
    bodies: sent by POST, in turn.

    Returns requests/s as `rate`, latency `p50` and `p99` in milliseconds, the number of `errors` (anything but 2xx), and the `tool`.
    """
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    if bodies:
        headers["Content-Type"] = kind
    wrk = shutil.which("wrk")
    with tempfile.TemporaryDirectory() as folder:
        if wrk:
            found = _wrk(wrk, Path(folder), url, path, headers, connections, seconds, most, pause, bodies)
        else:
            job = {"url": url, "path": path, "headers": headers, "connections": connections, "seconds": seconds, "most": most, "pause": pause}
            (Path(folder) / "job.json").write_text(json.dumps(job))
            for number, body in enumerate(bodies):
                (Path(folder) / f"{number}.body").write_bytes(body)
            done = subprocess.run([sys.executable, __file__, folder], capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
    return {
        "rate": found["requests"] / found["seconds"], "p50": found["p50"] * 1000, "p99": found["p99"] * 1000, "errors": found["errors"],
        "tool": "wrk" if wrk else "python",
    }  # fmt: skip


def _wrk(
    wrk: str, folder: Path, url: str, path: str, headers: dict[str, str], connections: int, seconds: float, most: int, pause: float,
    bodies: Sequence[bytes],
) -> dict[str, float]:  # fmt: skip
    names = []
    for number, body in enumerate(bodies):
        (folder / f"{number}.body").write_bytes(body)
        names.append(f"read('{folder}/{number}.body')")
    lines = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    (folder / "job.lua").write_text(
        "local function read(name) local file = io.open(name, 'rb'); local text = file:read('*a'); file:close(); return text end\n"
        f"return {{path = {json.dumps(path)}, most = {most}, pause = {pause}, headers = {{{lines}}}, bodies = {{{', '.join(names)}}}}}"
    )
    (folder / "load.lua").write_text(_LUA)
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "-s", str(folder / "load.lua"), url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"LOAD_JOB": str(folder / "job.lua")})
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    return found


async def _python(folder: Path) -> dict[str, Any]:
    job = json.loads((folder / "job.json").read_text())
    bodies = [file.read_bytes() for file in sorted(folder.glob("*.body"))]
    host, _, port = job["url"].removeprefix("http://").partition(":")
    headers = "".join(f"{name}: {value}\r\n" for name, value in job["headers"].items())
    took: list[float] = []
    errors = 0
    until = time.perf_counter() + job["seconds"]

    async def one(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        while time.perf_counter() < until:
            if job["pause"]:
                await asyncio.sleep(random.expovariate(1000 / job["pause"]))
            path = job["path"].replace("{}", str(random.randrange(job["most"])))
            body = bodies[(number := number + 1) % len(bodies)] if bodies else b""
            sent = time.perf_counter()
            writer.write(f"{'POST' if bodies else 'GET'} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            await reader.readexactly(length)
            took.append(time.perf_counter() - sent)
            errors += not head.startswith(b"HTTP/1.1 2")
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(one(number * 31) for number in range(job["connections"])))
    took.sort()
    return {
        "requests": len(took), "seconds": time.perf_counter() - started, "p50": took[len(took) // 2], "p99": took[int(len(took) * 0.99)],
        "errors": errors,
    }  # fmt: skip


def highest(url: str, path: str, secret: str = "", connections: Sequence[int] = (8, 32, 64)) -> tuple[float, int, int]:
    """Most requests per second, at how many connections, and how many errors there were."""
    load(url, path, connections=connections[0], seconds=2, secret=secret)
    found = [(load(url, path, connections=count, secret=secret), count) for count in connections]
    best, count = max(found, key=lambda one: one[0]["rate"])
    return best["rate"], count, int(sum(one["errors"] for one, _ in found))


def at_rate(url: str, path: str, rate: float, secret: str = "", connections: int = 32) -> dict[str, float]:
    """Latencies at about a rate: connections that pause between requests."""
    pause = connections / rate * 1000
    found = load(url, path, connections=connections, secret=secret, pause=pause)
    # An answer's own time is no pause: shorten it by what was seen, so that the rate is met.
    again = max(0.5, pause - (connections / found["rate"] * 1000 - pause))
    return load(url, path, connections=connections, secret=secret, pause=again)


def rss(pid: int) -> int:
    """Bytes of memory of a process and its children."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            facts = dict(line.split(":", 1) for line in stat.read_text().splitlines() if ":" in line)
            if int(stat.parent.name) == pid or int(facts["PPid"]) == pid:
                total += int(facts.get("VmRSS", "0 kB").split()[0]) * 1024
    return total


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_python(Path(sys.argv[1])))))

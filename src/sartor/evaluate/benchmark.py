"""Benchmarks against peers: ours and the peer's in turn, each run in a process of its own, medians, as a ratio.

A benchmark is a file `benchmarks/<name>.py` with `NAME`, `UNIT`, `PEER` (the peer's distribution name) and two functions, `ours()` and
`peer()`, that each time themselves and return `{"value": ..., "quality": ..., "size": {...}}`. `value` is better when smaller, unless the
file says `HIGHER_IS_BETTER = True`. Set-up, warm-up and compilation belong outside the timed part, on both sides alike.

Results are appended to `benchmarks/results.jsonl`: one line for NAME and one for NAME-rss, the peak memory of the whole process.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from sartor.errors import FileProblem, SartorError
from sartor.progress import bar

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


class BenchmarkFailed(SartorError):
    """A run of a benchmark ended with an error."""


def folder() -> Path:
    """Where the benchmarks are: $SARTOR_BENCHMARKS, or `benchmarks` here or beside the package's source."""
    places = [Path(os.environ["SARTOR_BENCHMARKS"])] if "SARTOR_BENCHMARKS" in os.environ else []
    places += [Path("benchmarks"), Path(__file__).parents[3] / "benchmarks"]
    for place in places:
        if place.is_dir():
            return place
    raise FileProblem("there is no benchmarks folder", fix="run this in a checkout of sartor", file=places[0])


def names() -> list[str]:
    """All benchmarks against a peer, by name."""
    return sorted(path.stem.replace("_", "-") for path in folder().glob("*.py") if "def peer()" in path.read_text() and not path.stem.startswith("_"))


def run(name: str, *, runs: int = 5, threads: int = 2, progress: bool = True) -> list[dict[str, Any]]:
    """Measure one benchmark and append what was measured to `results.jsonl` beside it.

    Parameters
    ----------
    name: of the file, with - or _.
    runs: counted runs of each side; one more of each goes before them.
    threads: allowed to each side.

    Returns the two lines that were appended: for the time (or whatever `UNIT` says) and for the memory.
    """
    path = folder() / f"{name.replace('-', '_')}.py"
    if not path.is_file():
        raise FileProblem("there is no such benchmark", fix=f"there are {', '.join(names())}", file=path)
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    with bar(name, 2 * (runs + 1), enabled=progress, unit="run") as shown:
        for number in range(runs + 1):
            # Who goes first changes, so that neither always meets a warm machine.
            for side in ("ours", "peer") if number % 2 else ("peer", "ours"):
                measured = _one(path, side, threads)
                if number:
                    sides[side].append(measured)
                shown.advance(note=f"{side} {measured['value']:.4g}")
    module = _module(path)
    facts = {
        "peer_name": module.PEER, "peer_version": importlib.metadata.version(module.PEER), "threads": threads, "runs": runs,
        "size": sides["ours"][0].get("size"), "commit": _commit(path.parent),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip

    def line(suffix: str, key: str, unit: str, higher: bool) -> dict[str, Any]:
        ours, peer = (statistics.median(one[key] for one in sides[side]) for side in ("ours", "peer"))
        quality = {f"quality_{side}": _median([one.get("quality") for one in sides[side]]) for side in ("ours", "peer")}
        ratio = ours / peer if higher else peer / ours
        return {"name": module.NAME + suffix, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, **quality, **facts}

    lines = [line("", "value", module.UNIT, getattr(module, "HIGHER_IS_BETTER", False)), line("-rss", "rss", "bytes", False)]
    with (path.parent / "results.jsonl").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)
    return lines


def _one(path: Path, side: str, threads: int) -> dict[str, Any]:
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"SARTOR_BENCH_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-m", __spec__.name, str(path), side], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"'{side}' failed: {done.stderr.strip()[-2000:]}", fix="see the error above", file=path)
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def _module(path: Path) -> Any:
    # Benchmarks may share a module that lies beside them.
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _commit(where: Path) -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=where, check=False)
    return done.stdout.strip() or "unknown"


def _child(path: Path, side: str) -> None:
    import resource

    measured = getattr(_module(path), side)()
    # Kilobytes on Linux, bytes on macOS.
    scale = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({**measured, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale}))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2])

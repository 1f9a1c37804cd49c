"""Claim checks: small experiments with a pass condition that was fixed before they ran; every run is one line in `claims/results.jsonl`.

A check is a file `claims/<room>/<slug_with_underscores>.py` with `CLAIM = Claim(...)` and `check(seeds, *, progress=True) -> Outcome`.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from sartor import _storage
from sartor.errors import ConfigError, CorruptFile, FileProblem, UnknownId

RESULTS = "results.jsonl"
SCALES = ("gain", "gain_interval", "swap_gap", "swap_gap_interval", "state_bytes", "adapt_seconds")
"""sartor's three scales, as they stand in a result; null only with a reason."""


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what we must see to believe it."""

    slug: str
    paper: str
    """The paper's own claim, with its figure."""
    passes: str
    """The pass condition, fixed before the check ran."""
    data: tuple[str, ...]
    """Names of data sets; a generated one starts with `world`."""
    seeds: tuple[int, ...]
    """At least three."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 3:
            raise ConfigError(f"the claim check of {self.slug} has {len(set(self.seeds))} seeds", fix="use at least 3 different ones")


@dataclass
class Outcome:
    """What one run of a check measured."""

    passed: bool
    measured: Mapping[str, Any]
    baseline: Mapping[str, Any]
    """The same figures for the baseline at equal budget."""
    gain: float | None = None
    """metric(own state) - metric(no state)."""
    gain_interval: Sequence[float] | None = None
    swap_gap: float | None = None
    """metric(own state) - metric(another's state)."""
    swap_gap_interval: Sequence[float] | None = None
    state_bytes: float | None = None
    adapt_seconds: float | None = None
    why_null: str | None = None
    """Why a scale does not apply; needed as soon as one is None."""
    notes: str = ""

    def __post_init__(self) -> None:
        if (missing := [name for name in SCALES if getattr(self, name) is None]) and not self.why_null:
            raise ConfigError(f"{', '.join(missing)} are None without a reason", fix="measure them, or say in why_null why they do not apply")


def folder() -> Path:
    """Where the checks are: $SARTOR_CLAIMS, or `claims` here or beside the package's source."""
    places = [Path(os.environ["SARTOR_CLAIMS"])] if "SARTOR_CLAIMS" in os.environ else []
    places += [Path("claims"), Path(__file__).parents[3] / "claims"]
    for place in places:
        if place.is_dir():
            return place
    raise FileProblem("there is no folder of claim checks", fix="run this in a checkout of sartor, or set SARTOR_CLAIMS", file=places[0])


def checks() -> dict[str, Path]:
    """All claim checks there are: slug -> file."""
    return {path.stem.replace("_", "-"): path for path in sorted(folder().glob("*/*.py")) if not path.stem.startswith("_")}


def load(check: str | Path) -> tuple[Claim, ModuleType, Path]:
    """A check by slug or path: its claim, its module, its file."""
    path = Path(check)
    if path.suffix != ".py":
        known, slug = checks(), str(check).lower().replace("_", "-")
        if slug not in known:
            raise UnknownId("there is no claim check of this name", id=check, fix=f"there are {', '.join(known) or 'none'}")
        path = known[slug]
    if not path.is_file():
        raise FileProblem("there is no such claim check", fix=f"there are {', '.join(checks())}", file=path)
    spec = importlib.util.spec_from_file_location(f"sartor_claim_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FileProblem("this is not a Python file", file=path)
    module = importlib.util.module_from_spec(spec)
    # Registered, so that dataclasses and functions defined in the check find their module.
    sys.modules[spec.name] = module
    # Checks of one room may share a module that lies beside them.
    if str(path.parent.resolve()) not in sys.path:
        sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    claim = getattr(module, "CLAIM", None)
    if not isinstance(claim, Claim) or not callable(getattr(module, "check", None)):
        raise ConfigError("a claim check needs CLAIM = Claim(...) and a function check(seeds, *, progress)", fix="add them", file=path)
    return claim, module, path


def run(check: str | Path, *, seeds: Sequence[int] | None = None, progress: bool = True) -> dict[str, Any]:
    """Run one check by slug or path, append one line to `results.jsonl` beside it, and return it.

    With other seeds than the claim's own the run is recorded too, with these seeds. A check that raises leaves no line.
    """
    claim, module, path = load(check)
    used = tuple(claim.seeds if seeds is None else seeds)
    if len(set(used)) < 3:
        raise ConfigError(f"{len(set(used))} seeds", fix="a claim check needs at least 3 different ones")
    hashes = {name: data_hash(name) for name in claim.data}
    cpu, start = _cpu_seconds(), time.monotonic()
    outcome = module.check(used, progress=progress)
    if not isinstance(outcome, Outcome):
        raise ConfigError(f"check() gave a {type(outcome).__name__}", fix="return an Outcome", file=path)
    cpu, seconds = _cpu_seconds() - cpu, time.monotonic() - start
    record = _record(claim, outcome, used, path) | {"data_hash": hashes, "cpu_seconds": round(cpu, 2), "seconds": round(seconds, 2)}
    results = _results_file(path)
    results.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(plain(record), allow_nan=False) + "\n"
    with results.open("a", encoding="utf-8") as file:
        file.write(line)
    written: dict[str, Any] = json.loads(line)
    return written


def _record(claim: Claim, outcome: Outcome, seeds: Sequence[int], path: Path) -> dict[str, Any]:
    from sartor import __version__

    facts = {f.name: getattr(outcome, f.name) for f in dataclasses.fields(outcome)}
    return {
        "slug": claim.slug, "passed": bool(facts.pop("passed")), "seeds": list(seeds), "data": list(claim.data), "claim": claim.paper,
        "passes": claim.passes, **facts, "version": __version__, "libraries": _libraries(), "commit": commit(path.parent),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def last_results(path: str | Path | None = None) -> dict[str, dict[str, Any]]:
    """The newest result of every system, by slug; an empty dict when no check has run."""
    file = Path(path) if path is not None else folder() / RESULTS
    newest: dict[str, dict[str, Any]] = {}
    if not file.is_file():
        return newest
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            newest[record["slug"]] = record
        except (ValueError, KeyError, TypeError) as cause:
            raise CorruptFile("this line is not a claim check's result", fix="remove the line", file=file, row=number) from cause
    return newest


def data_hash(name: str) -> str:
    """32 hex digits over names and bytes of a data set's files; for a generated one a note that code and seeds make it."""
    if name.startswith("world"):
        return "generated from the seeds by this version"
    from sartor.data.datasets import find

    return _storage.digest(find(name))


def plain(value: Any) -> Any:
    """Numpy values, tuples and paths as JSON has them; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)


def commit(where: Path) -> str:
    """Short hash of the checkout, with a + when tracked files differ from it; "unknown" outside a checkout."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(["git", *words], capture_output=True, text=True, cwd=where, check=False).stdout.strip()
        except OSError:
            return ""

    head = git("rev-parse", "--short", "HEAD")
    return (head + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")) if head else "unknown"


def _results_file(path: Path) -> Path:
    """Beside the room's folder where the check lies in `claims/<room>/`, else beside the check."""
    return path.resolve().parents[1] / RESULTS if path.resolve().parents[1].name == folder().resolve().name else path.parent / RESULTS


def _libraries() -> dict[str, str]:
    import importlib.metadata

    found = {"python": sys.version.split()[0]}
    for name in ("numpy", "scipy", "polars", "numba", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

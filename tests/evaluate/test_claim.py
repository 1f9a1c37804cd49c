"""A claim check leaves one line with everything that is needed to believe or doubt it."""

import json
from pathlib import Path

import pytest

from sartor.errors import ConfigError, CorruptFile, UnknownId
from sartor.evaluate import claim
from sartor.evaluate.claim import Claim, Outcome

CHECK = """
import numpy as np
from sartor.evaluate.claim import Claim, Outcome
CLAIM = Claim(slug="my-method", paper="10% better", passes="gain > 0 on every seed", data=("world-clicks",), seeds=(1, 2, 3))
def check(seeds, *, progress=True):
    total = sum(i * i for i in range(200_000))
    return Outcome(passed=np.bool_(True), measured={"ndcg": np.float32(0.5), "seeds": list(seeds), "odd": float("nan")}, baseline={"ndcg": 0.4},
                   gain=0.1, gain_interval=(0.05, 0.15), why_null="no personal state")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "claims" / "room").mkdir(parents=True)
    (tmp_path / "claims" / "room" / "my_method.py").write_text(CHECK)
    monkeypatch.setenv("SARTOR_CLAIMS", str(tmp_path / "claims"))
    return tmp_path / "claims"


def test_a_run_appends_one_complete_line(folder: Path) -> None:
    assert claim.last_results() == {}
    first = claim.run("my-method", progress=False)
    second = claim.run(folder / "room" / "my_method.py", seeds=(7, 8, 9), progress=False)
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert lines == [first, second]
    needed = {
        "slug", "passed", "seeds", "data", "claim", "measured", "baseline", "gain", "gain_interval", "swap_gap", "swap_gap_interval", "state_bytes",
        "adapt_seconds", "cpu_seconds", "version", "commit", "date", "why_null",
    }  # fmt: skip
    assert needed <= set(first)
    assert first["passed"] is True
    assert first["measured"] == {"ndcg": 0.5, "seeds": [1, 2, 3], "odd": None}
    assert first["swap_gap"] is None
    assert first["cpu_seconds"] > 0
    assert claim.last_results()["my-method"]["seeds"] == [7, 8, 9]


def test_mistakes_are_named(folder: Path) -> None:
    with pytest.raises(UnknownId, match="my-method"):
        claim.run("your-method")
    with pytest.raises(ConfigError, match="at least 3"):
        claim.run("my-method", seeds=(1, 2))
    with pytest.raises(ConfigError, match="2 seeds"):
        Claim(slug="a", paper="", passes="", data=(), seeds=(1, 2, 2))
    with pytest.raises(ConfigError, match="without a reason"):
        Outcome(passed=True, measured={}, baseline={})
    (folder / "room" / "empty.py").write_text("")
    with pytest.raises(ConfigError, match="CLAIM"):
        claim.run("empty")
    (folder / "results.jsonl").write_text('{"slug": "a"}\nnot json\n')
    with pytest.raises(CorruptFile, match="row 2"):
        claim.last_results()


def test_every_check_of_the_repository_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CLAIMS", str(Path(__file__).parents[2] / "claims"))
    from sartor.systems import SYSTEMS

    for slug in claim.checks():
        found, _, path = claim.load(slug)
        assert found.slug == slug
        assert SYSTEMS[slug].room == path.parent.name
        assert found.paper
        assert found.passes

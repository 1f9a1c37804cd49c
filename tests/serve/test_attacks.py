"""The attack suite against everything that stands: what quoting and the rules about evidence promise, and that nobody reaches anybody else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_shop import opened

import attacks as suite
from _attacks import attacks
from _upstream import Upstream, serving
from sartor.engine import Engine


@pytest.fixture(scope="module")
def gullible() -> Iterator[Upstream]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with suite.engine_for(tmp_path_factory.mktemp("attacks")) as made:
        yield made


def test_the_suite_is_large_and_would_work_without_defences(gullible: Upstream, engine: Engine) -> None:
    given = attacks()
    assert len(given) >= 200
    assert len({one.word for one in given}) == len(given)
    some = given[::9]
    found = suite.measured(gullible, engine, suite.ROWS[0], some)
    for families in found.values():
        for family, counts in families.items():
            got = sum(count for way, count in counts.items() if way != "tried")
            assert got >= 0.6 * counts["tried"], family


def test_no_memory_reaches_a_model_as_an_order(gullible: Upstream, engine: Engine) -> None:
    """Of every third attempt (`benchmarks/attacks.py` makes all), none: what stands outside the block is never a memory's."""
    found = suite.measured(gullible, engine, suite.ROWS[-1], attacks()[::3], ["gullible"])["gullible"]
    for family, counts in found.items():
        assert sum(counts.values()) == counts["tried"] > 10, family


def test_nobody_reaches_anybody_else(gullible: Upstream, tmp_path: Path, model: Any) -> None:
    """Every way to somebody else's memories: none works, whoever's key is used."""
    with opened(tmp_path, model, upstream=f"endpoint:{gullible.url}#believer", remember=True) as shop:
        keys = {"bound": shop.key(person="mallory"), "other": shop.keys["other"]}
        tried, worked = suite.leaked(shop.http.request, shop.engine, keys, lambda: json.dumps(gullible.seen))
        assert tried >= 60
        assert worked == []
        # The same attempts with the right to everybody's memories do work: the suite would have seen it.
        assert len(suite.leaked(shop.http.request, shop.engine, keys | {"bound": shop.keys["default"]}, lambda: json.dumps(gullible.seen))[1]) > 5

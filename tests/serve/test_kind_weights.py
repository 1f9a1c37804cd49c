"""Weights of kinds over HTTP."""

from __future__ import annotations

import pytest
from serve_shop import Shop


def test_weights_of_kinds_are_read_and_set(own: Shop) -> None:
    assert own.get("/v1/kinds").json() == {"weights": {"dislike": 0.0, "hide": 0.0, "return": 0.0}, "default": True}
    own.call("POST", "/v1/events", json={"events": [{"person": "ana", "item": "i30"}, {"person": "ana", "item": "i1", "kind": "tried"}]})
    put = own.call("PUT", "/v1/kinds", json={"weights": {"tried": 0, "buy": 3}})
    assert put.json() == own.get("/v1/kinds").json() == {"weights": {"buy": 3.0, "tried": 0.0}, "default": False}
    assert own.engine.catch_up(30)
    answer = own.get("/v1/people/ana/recommendations?k=3").json()
    assert answer["note"].startswith("2 events, 1 known to the model")
    assert own.call("PUT", "/v1/kinds", json={"weights": None}).json()["default"] is True


@pytest.mark.parametrize("weights", [{"a": -1}, {"a": 1e9}, {"a": "x"}, {"": 1}, 3, {f"k{n}": 1 for n in range(300)}])
def test_bad_weights_are_refused(own: Shop, weights: object) -> None:
    assert own.call("PUT", "/v1/kinds", json={"weights": weights}).status_code == 422


def test_weights_need_the_scope(own: Shop) -> None:
    key = own.key(scopes=("read", "write", "profile", "admin"))
    assert own.call("PUT", "/v1/kinds", key=key, json={"weights": {}}).status_code == 403

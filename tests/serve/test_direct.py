"""The short way to recommendations answers what the framework's own way answers: to everybody, also to who asks wrongly."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from serve_shop import Shop

from sartor.serve.direct import Direct
from sartor.serve.edge import Edge

VOLATILE = ("seconds", "request_id", "age_seconds")
ODD = "a/b c%2F ü"
Asked = tuple[str, str, str | None, dict[str, str]]


def told(shop: Shop, method: str, path: str, key: str | None, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
    answer = shop.call(method, path, key=key, headers=headers)
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in VOLATILE} | {"state": bool(body.get("state"))}
    kept = {name: value for name, value in answer.headers.items() if name not in ("date", "x-request-id", "content-length")}
    return answer.status_code, kept, body


def test_both_ways_answer_alike_and_only_what_is_unusual_takes_the_long_one(shared: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shared.observe("direct", "i1", "i2")
    shared.observe(ODD, "i3")
    hers, blind = shared.key(person="direct"), shared.key(scopes=("write",))
    path = "/v1/people/{}/recommendations"
    direct: list[Asked] = [
        ("GET", path.format(person) + query, key, {})
        for person in ("direct", "nobody", quote(ODD, safe=""), "x" * 512)
        for query in ("", "?k=3&exclude=none", "?personal=false", "?where=year%20%3E%202000", "?diversity=0.5")
        for key in (None, hers)
    ]
    direct += [("HEAD", path.format("direct"), None, {}), ("GET", path.format("direct"), None, {"X-Request-Id": "mine"})]
    for query in ("?k=0", "?k=many", "?k=3&k=4", "?where=year%20%3E", "?unknown=1", "?diversity=2", "?exclude=all"):
        direct.append(("GET", path.format("direct") + query, None, {}))
    direct += [("GET", path.format("direct"), key, {}) for key in ("", "sk_sartor_wrong", blind, shared.keys["other"])]
    long: list[Asked] = [("POST", path.format("direct"), None, {}), ("GET", path.format("x" * 513), None, {}), ("GET", path.format(""), None, {})]
    long += [("GET", path.format("a/b"), None, {}), ("GET", path.format("direct") + "/", None, {}), ("OPTIONS", path.format("direct"), None, {})]

    edge = shared.app.way  # type: ignore[attr-defined]
    assert isinstance(edge, Edge)
    assert isinstance(edge.app, Direct)
    framework, taken = edge.app.app, []

    async def counted(*given: Any) -> None:
        taken.append(given[0]["path"])
        await framework(*given)

    monkeypatch.setattr(edge.app, "app", counted)
    short = [told(shared, *one) for one in direct]
    assert not taken
    unusual = [told(shared, *one) for one in long]
    assert len(taken) == len(long)
    log = list(shared.app.state.server.log.ring)[-len(direct) - len(long) :]

    monkeypatch.setattr(edge, "app", framework)
    assert short == [told(shared, *one) for one in direct]
    assert unusual == [told(shared, *one) for one in long]
    assert {one[0] for one in short} == {200, 401, 403, 422}
    assert {one[0] for one in unusual} == {404, 405, 422}
    again = list(shared.app.state.server.log.ring)[-len(direct) - len(long) :]
    assert [(one.tenant, one.method, one.route, one.verb, one.status) for one in log] == [
        (one.tenant, one.method, one.route, one.verb, one.status) for one in again
    ]


def test_what_nobody_expected_is_a_problem_without_words_of_it_either_way(own: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the secret of p0")

    monkeypatch.setattr(own.app.state.server.batcher, "work", broken)
    edge = own.app.way  # type: ignore[attr-defined]
    for way in (edge.app, edge.app.app):
        monkeypatch.setattr(edge, "app", way)
        answer = own.get("/v1/people/p0/recommendations")
        assert (answer.status_code, answer.json()["type"].rsplit(":", 1)[-1].rsplit("/", 1)[-1]) == (500, "internal-error")
        assert "secret" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"

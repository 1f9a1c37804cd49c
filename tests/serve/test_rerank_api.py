"""`POST /v1/rerank`: a list that came from elsewhere goes back in a person's order; whom a key may ask about, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from serve_shop import Shop

from sartor.serve import Client

LIST = ["i1", "i30", "nowhere", "i3", "i35"]


def test_a_list_goes_back_in_her_order_over_http_and_by_the_client(own: Shop) -> None:
    own.observe("ana", "i31", "i32", "i33", "i34")
    alike = [{"item": item, "score": 1} for item in LIST if item != "nowhere"]
    mine = own.call("POST", "/v1/rerank", json={"person": "ana", "items": alike}).json()
    assert {one["item"] for one in mine["items"][:2]} == {"i30", "i35"}
    answer = own.call("POST", "/v1/rerank", json={"person": "ana", "items": LIST}).json()
    assert [one["rank"] for one in answer["items"]] == [1, 2, 3, 4, 5]
    assert [LIST[one["place"] - 1] for one in answer["items"]] == [one["item"] for one in answer["items"]]
    assert (answer["personal"], answer["fallback"], answer["state"]["lag"]) == (True, None, 0)
    with Client(own.url, own.keys["default"]) as client:
        assert [one.item for one in client.rerank("ana", LIST).items] == [one["item"] for one in answer["items"]]
        scored = client.rerank(None, LIST, scores=[1, 2, 3, 4, 5], k=2)
        assert [(one.item, one.place, one.score) for one in scored.items] == [("i35", 5, 5.0), ("i3", 4, 4.0)]
        texts = client.rerank("ana", texts=["one", "two"])
        assert ([one.text for one in texts.items], texts.fallback) == (["one", "two"], "no model")
    other = own.call("POST", "/v1/rerank", key=own.keys["other"], json={"person": "ana", "items": LIST}).json()
    assert ([one["item"] for one in other["items"]], other["fallback"]) == (LIST, "unknown person")
    bound = own.key(person="ben")
    assert own.call("POST", "/v1/rerank", key=bound, json={"person": "ana", "items": LIST}).status_code == 403
    assert own.call("POST", "/v1/rerank", key=bound, json={"items": LIST}).status_code == 200, "nobody's order is everybody's"
    assert own.call("POST", "/v1/rerank", key=own.key(scopes=("write",)), json={"items": LIST}).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {}, {"items": []}, {"items": "i1"}, {"items": ["i1"], "texts": ["a"]}, {"items": ["i1", "i1"]}, {"items": [True]},
        {"items": [{"item": "i1"}]},
        {"items": ["i1", {"item": "i2", "score": 1}]}, {"items": [{"item": "i1", "score": "high"}]}, {"items": [{"item": "i1", "score": 1e31}]},
        {"items": ["i1"], "k": 0}, {"items": ["i1"], "strength": 2}, {"items": ["i1"], "more": 1}, {"texts": ["x" * 2001]}, {"texts": [""] * 201},
        {"person": "", "items": ["i1"]}, {"items": [f"i{number}" for number in range(1001)]},
    ],
)  # fmt: skip
def test_what_is_no_list_is_a_problem_that_says_where(shared: Shop, body: dict[str, Any]) -> None:
    answer = shared.call("POST", "/v1/rerank", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]

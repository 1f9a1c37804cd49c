"""`/v1/decisions`: a budget shared over HTTP and by the client, what is kept of it, whom a key may ask about, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from serve_shop import Shop

from sartor.data.population import Population
from sartor.data.world.allocation import Allocation
from sartor.decide.wireless_allocation import WirelessAllocation
from sartor.decide.zone_of_tolerance import ZoneOfTolerance
from sartor.serve import Client


def test_a_budget_is_shared_over_http_and_by_the_client(own: Shop) -> None:
    nothing = own.call("POST", "/v1/decisions", json={"people": [{"person": "ana"}], "budget": 3}).json()
    assert (nothing["people"], nothing["model"]) == ([], None)
    population = Population.from_frames(events=Allocation(people=30, seed=8).ratings(25))
    own.engine.install(WirelessAllocation(response=ZoneOfTolerance(levels=50)).fit(population, progress=False), verb="decide")
    rows = Allocation(people=1, seed=7).ratings(10).drop("person", "time").to_dicts()
    sent = [{"person": "ana", "item": row["item"], "value": row["value"], "context": {"level": row["level"]}} for row in rows]
    assert own.call("POST", "/v1/events", json={"events": sent}).status_code < 300
    assert own.engine.catch_up()
    body = {"people": [{"person": "ana", "target": 0.5, "efficiency": 2.0}, {"person": "nobody"}], "budget": 6.0}
    answer = own.call("POST", "/v1/decisions", json=body).json()
    ana, nobody = answer["people"]
    assert answer["spent"] <= 6
    assert ana["expected"] >= 0.5
    assert (ana["unit"], answer["unit"], ana["state"]["version"] >= 1, ana["fallback"]) == ("Mbps", "MHz", True, None)
    assert (nobody["fallback"], nobody["state"], nobody["id"]) == ("unknown person", None, None)
    kept = own.get("/v1/people/ana/decisions").json()["items"]
    assert [one["id"] for one in kept] == [ana["id"]]
    assert kept[0]["about"]["price"] == answer["price"]
    with Client(own.url, own.keys["default"]) as client:
        again = client.decide({"ana": {"target": 0.5, "efficiency": 2.0}, "nobody": {}}, budget=6.0, log=False)
        assert again.people[0].action == ana["action"]
        assert len(client.decisions("ana").items) == 1
        assert client.decide(["ana"], budget=6.0, personal=False).people[0].state is None
    small = own.call("POST", "/v1/decisions", json={"people": [{"person": "ana", "target": 0.9}], "budget": 0.1})
    assert small.status_code == 422
    assert "least" in small.json()["detail"]
    wrong = own.call("POST", "/v1/events", json={"events": [sent[0] | {"value": 1.4}]})
    assert wrong.status_code == 422
    assert "from 0 to 1" in wrong.text
    bound = own.key(person="ben")
    assert own.call("POST", "/v1/decisions", key=bound, json=body).status_code == 403
    assert own.call("POST", "/v1/decisions", key=own.key(scopes=("read",)), json=body).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {}, {"people": []}, {"people": ["ana"]}, {"people": [{"person": "ana"}, {"person": "ana"}]}, {"people": [{"person": "ana", "target": 1}]},
        {"people": [{"person": "ana", "efficiency": 0}]}, {"people": [{"person": "ana", "context": {"target": 0.5}}]},
        {"people": [{"person": "ana"}], "budget": -1}, {"people": [{"person": "ana"}], "budget": 1e400}, {"people": [{"person": "ana"}], "more": 1},
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_a_problem_that_says_where(shared: Shop, body: dict[str, Any]) -> None:
    answer = shared.call(
        "POST", "/v1/decisions", content=repr(body).replace("'", '"').replace("inf", "1e400"), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"

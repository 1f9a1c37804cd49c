"""`POST /v1/search`: its shape, whose order it gives, whom a key may ask about, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from serve_shop import ITEMS, Shop, opened, shop

from sartor import errors
from sartor.recommend.personal_search import PersonalSearch
from sartor.serve import Client


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[Shop]:
    # Of what people took its weights are learned: things of one kind, of which each person likes one half.
    known = shop()
    kinds = known.items.collect().with_columns(categories=pl.Series([[f"kind{number % 4}"] for number in range(ITEMS)]))
    search = PersonalSearch(teaching_people=60).fit(known.replace(items=kinds), progress=False)
    with opened(tmp_path_factory.mktemp("searching"), model) as made:
        for tenant in ("default", "other"):
            made.engine.for_tenant(tenant).install(search, verb="search")
        yield made


def ask(made: Shop, person: str | None = None, query: str = "title", **more: Any) -> Any:
    return made.call("POST", "/v1/search", json={"query": query, **({"person": person} if person else {}), **more})


def items(answer: Any) -> list[str]:
    return [one["item"] for one in answer.json()["items"]]


def test_a_search_changes_with_what_a_person_did_and_back(searching: Shop) -> None:
    nobody = ask(searching, k=5)
    assert set(nobody.json()) == {
        "person", "query", "items", "personal", "strength", "plan", "model", "state", "fallback", "note", "seconds",
    }  # fmt: skip
    assert [(one["rank"], one["population_rank"]) for one in nobody.json()["items"]] == [(n, n) for n in range(1, 6)]
    assert ask(searching, "ana").json()["fallback"] == "unknown person"
    searching.observe("ana", "i30", "i31", "i32", "i33")
    own = ask(searching, "ana", k=5).json()
    assert (own["personal"], own["fallback"], own["state"]["lag"]) == (True, None, 0)
    assert all(int(one["item"][1:]) >= 20 for one in own["items"]), "somebody who likes the second half finds the second half"
    assert {reason["item"] for one in own["items"] for reason in one["reasons"]} <= {"i30", "i31", "i32", "i33"}
    assert own["items"][0]["reasons"][0]["title"].startswith("Title 3")
    assert own["items"][0]["attributes"] is None
    assert items(ask(searching, "ana", k=5, strength=0)) == items(ask(searching, "ana", k=5, personal=False)) == items(nobody)
    some = ask(searching, "ana", k=5, where="year < 2005 and title like '%2%'", explain=False, attributes=True).json()["items"]
    assert some
    assert all(one["attributes"]["year"] < 2005 and not one["reasons"] for one in some)
    other = searching.call("POST", "/v1/search", key=searching.keys["other"], json={"person": "ana", "query": "title", "k": 5})
    assert (other.json()["fallback"], items(other)) == ("unknown person", items(nobody))

    searching.call("PUT", "/v1/people/ana/consents", json={"purposes": {"search": False}})
    refused = ask(searching, "ana", k=5).json()
    assert (refused["personal"], refused["fallback"], refused["state"]) == (False, "no consent", None)
    assert [one["item"] for one in refused["items"]] == items(nobody)
    searching.call("PUT", "/v1/people/ana/consents", json={"purposes": {"search": True}})
    assert searching.engine.catch_up(30)
    assert ask(searching, "ana", k=5).json()["personal"]
    hidden = own["items"][0]["item"]
    searching.call("PATCH", f"/v1/items/{hidden}", json={"hidden": True})
    assert hidden not in items(ask(searching, "ana", k=40))
    searching.call("PATCH", f"/v1/items/{hidden}", json={"hidden": False})
    assert searching.call("DELETE", "/v1/people/ana").json()["removed"]
    assert ask(searching, "ana").json()["fallback"] == "unknown person"


def test_a_key_of_one_person_searches_for_that_person_or_for_nobody(searching: Shop) -> None:
    bound = searching.key(person="ana", scopes=("read",))
    for person, status in (("ana", 200), (None, 200), ("ben", 403)):
        done = searching.call("POST", "/v1/search", key=bound, json={"query": "title", "person": person})
        assert done.status_code == status
    writer = searching.key(scopes=("write",))
    assert searching.call("POST", "/v1/search", key=writer, json={"query": "title"}).status_code == 403
    assert searching.call("POST", "/v1/search", key="", json={"query": "title"}).status_code == 401


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "invalid-request"),
        ({"query": ""}, "invalid-request"),
        ({"query": "  "}, "invalid-request"),
        ({"query": "x" * 1001}, "invalid-request"),
        ({"query": 3}, "invalid-request"),
        ({"query": "title", "k": 0}, "invalid-request"),
        ({"query": "title", "k": 1001}, "invalid-request"),
        ({"query": "title", "strength": 1.01}, "invalid-request"),
        ({"query": "title", "strength": "1e999"}, "invalid-request"),
        ({"query": "title", "person": ""}, "invalid-request"),
        ({"query": "title", "person": "a\nb"}, "invalid-request"),
        ({"query": "title", "persn": "ana"}, "invalid-request"),
        ({"query": "title", "where": "yeer > 3"}, "config-error"),
        ({"query": "title", "where": "1; DROP TABLE people"}, "config-error"),
        ({"query": "title", "where": "item in (select item from items)"}, "config-error"),
    ],
)
def test_what_is_wrong_is_said(searching: Shop, body: dict[str, Any], kind: str) -> None:
    done = searching.call("POST", "/v1/search", json=body)
    assert done.status_code == 422, done.text
    assert done.json()["type"].endswith(kind)


def test_strange_words_are_searched_for_like_others(searching: Shop) -> None:
    for query in ("qqqqq", "'; DROP TABLE people; --", "\u202e\U0001f600", "%_\\", "title " * 150, "\u0130\u0307"):
        assert ask(searching, query=query).status_code == 200


def test_the_client_searches_and_words_stay_out_of_numbers_and_logs(searching: Shop, shared: Shop) -> None:
    with Client(searching.url, searching.keys["default"]) as client:
        searching.observe("cli/ent", "i3", "i4", "i5")
        found = client.search("cli/ent", "title secretword", 3, where="year < 2010", strength=0.5)
        assert [one.rank for one in found.items] == [1, 2, 3]
        assert found.items[0].reasons[0].item in {"i3", "i4", "i5"}
        assert client.search(None, "title").personal is False
        with pytest.raises(errors.ConfigError, match="filter"):
            client.search("x", "title", where="no such column > 1")
    metrics = searching.get("/metrics").text
    assert 'verb="search"' in metrics
    seen = searching.get("/v1/requests").text
    for private in ("secretword", "cli/ent"):
        assert private not in metrics + seen
    assert ask(shared).json()["fallback"] == "no model"
    card = next(one for one in searching.get("/v1/models").json()["items"] if one["verb"] == "search")
    wrong = searching.call("POST", f"/v1/models/{card['fingerprint']}/activate", json={})
    assert (wrong.status_code, wrong.json()["type"].rpartition(":")[2]) == (404, "unknown-id")
    assert searching.call("POST", f"/v1/models/{card['fingerprint']}/activate", json={"verb": "search"}).status_code == 202

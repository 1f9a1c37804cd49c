"""The typed client against a real server, and over a line that fails."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
import polars as pl
import pytest
from serve_shop import Shop

from sartor import errors
from sartor.engine import training
from sartor.errors import ConfigError, SartorError
from sartor.serve import AsyncClient, Client
from sartor.serve.answers import AnswerOut
from sartor.serve.client import ServerFailed
from sartor.serve.slugs import error_of, slug


class Losing(httpx.HTTPTransport):
    """A line that loses the first answers, after the server has done what was asked."""

    def __init__(self, lost: int) -> None:
        super().__init__()
        self.lost, self.sent = lost, 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        self.sent += 1
        if self.sent <= self.lost:
            response.read()
            raise httpx.ReadError("lost")
        return response


def test_everything_a_client_is_for(shared: Shop) -> None:
    with Client(shared.url, shared.keys["default"]) as client:
        when = datetime(2026, 5, 1, tzinfo=UTC)
        assert client.observe([{"person": "cli/ent", "item": "i1", "time": when}, {"person": "cli/ent", "item": "i2"}]).accepted == 2
        assert client.observe_frame(pl.DataFrame({"person": ["cli/ent"], "item": ["i3"]})).accepted == 1
        assert shared.engine.catch_up(30)
        answer = client.recommend("cli/ent", k=3)
        assert isinstance(answer, AnswerOut)
        assert (answer.person, len(answer.items), answer.fallback) == ("cli/ent", 3, None)
        assert client.recommend("cli/ent", k=3, personal=False, where="year < 2000", exclude="none").items
        assert client.recommend_many(["cli/ent", 7], k=2, candidates=["i1", "i9"], exclude="none").answers[1].person == "7"
        assert client.similar("i1", k=2).items
        assert client.explain("cli/ent", answer.items[0].item).reasons
        assert client.what_if("cli/ent", add=[{"item": "i30"}]).moved
        assert [one.item for one in client.events("cli/ent").items] == ["i3", "i2", "i1"]
        assert client.events("cli/ent").items[-1].time == "2026-05-01T00:00:00.000Z"
        assert client.set_attributes("cli/ent", {"language": "de"}).attributes == {"language": "de"}
        assert client.set_consents("cli/ent", {"train": True}).purposes["train"].granted
        assert client.people(query="cli/").items[0].person == "cli/ent"
        assert client.states("cli/ent").items[0].bytes > 0
        assert client.put_items([{"item": "fresh", "title": "Fresh"}]).items == 1
        assert client.hide_item("fresh").hidden
        assert client.item("fresh").title == "Fresh"
        client.delete_item("fresh")
        assert client.status().tenant == client.me().tenant == "default"
        assert client.models().items[0].status == "active"
        assert client.evaluation().note
        made = client.create_key("one", ["read"], person="cli/ent", days=1)
        client.revoke_key(made.key.id)
        assert client.export("cli/ent").startswith(b"PK")
        assert client.forget("cli/ent").verified


def test_consents_assumed_of_everybody_make_a_first_fit_possible(own: Shop) -> None:
    with Client(own.url, own.keys["default"]) as client:
        client.observe([{"person": f"p{n}", "item": f"i{n % 9}"} for n in range(40)])
        client.set_consents("p0", {"train": False})
        assert not client.default_consents({}).purposes["train"]
        assert client.set_kinds({"purchase": 3, "dislike": 0}).weights == client.kinds().weights == {"dislike": 0.0, "purchase": 3.0}
        assert client.set_kinds(None).default
        assert client.default_consents({"train": True, "share": False}).purposes["recommend"]
        assert client.consents("p1").purposes["train"].granted
        assert not client.consents("p0").purposes["train"].granted
        assert set(training.population(own.engine.store, "default").events.collect()["person"]) == {f"p{n}" for n in range(1, 40)}
        assert not own.engine.store.allowed("other", "p1", "train")
        switch = client.activate(client.models().items[0].fingerprint)
        assert [job.status for job in client.follow(switch.id, every=0.1)][-1] == "done"
    assert own.get("/v1/consents", key=own.key(scopes=("profile", "models", "write"))).status_code == 403
    assert own.call("PUT", "/v1/consents", key=own.key(person="p1"), json={"purposes": {"train": False}}).status_code == 403


def test_the_same_without_waiting(shared: Shop) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(shared.url, shared.keys["default"]) as client:
            await client.observe([{"person": "later", "item": "i1"}])
            answers = await asyncio.gather(*(client.recommend(f"p{number}", k=1 + number % 4) for number in range(40)))
            with pytest.raises(errors.UnknownId):
                await client.profile("nobody-there")
            return answers

    answers = asyncio.run(run())
    assert [one.person for one in answers] == [f"p{number}" for number in range(40)]
    assert [len(one.items) for one in answers] == [1 + number % 4 for number in range(40)]


def test_a_lost_answer_counts_nothing_twice(shared: Shop) -> None:
    who = uuid.uuid4().hex
    line = Losing(2)
    with Client(shared.url, shared.keys["default"], transport=line) as client:
        receipt = client.observe([{"person": who, "item": "i1"}, {"person": who, "item": "i2"}])
        assert (line.sent, receipt.accepted, receipt.duplicates) == (3, 0, 2)
        assert client.profile(who).records == 2
    line = Losing(1)
    with Client(shared.url, shared.keys["default"], transport=line) as client:
        with pytest.raises(ServerFailed, match="reached"):
            client.create_key("never twice", ["read"])
        assert line.sent == 1, "a key made twice would be a key that nobody knows of"
        kept = [one for one in client.keys().items if one.label == "never twice"]
        assert len(kept) == 1


def test_problems_come_back_as_the_errors_they_were(shared: Shop) -> None:
    with Client(shared.url, shared.keys["default"]) as client:
        with pytest.raises(errors.UnknownId) as unknown:
            client.profile("nobody-there")
        assert unknown.value.fix
        assert unknown.value.where["request_id"]
        with pytest.raises(errors.BadValue, match="item"):
            client.observe([{"person": "x"}])
        with pytest.raises(errors.ConfigError, match="filter"):
            client.recommend("x", where="no such column > 1")
    with Client(shared.url, "sk_sartor_wrong") as client, pytest.raises(errors.AccessDenied):
        client.me()
    with Client("http://127.0.0.1:9", retries=0) as client, pytest.raises(ServerFailed, match="reached"):
        client.me()
    with pytest.raises(ConfigError):
        Client("ftp://x")
    names = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, SartorError) and one is not errors.MissingExtra]
    assert all(type(error_of({"type": f"urn:sartor:problem:{slug(one)}", "detail": "d"})) is one for one in names)


def test_both_clients_can_do_the_same() -> None:
    def face(client: type) -> set[str]:
        return {name for name in dir(client) if not name.startswith("_")}

    assert face(Client) - {"follow"} == face(AsyncClient) - {"follow"}

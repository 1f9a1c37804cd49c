"""`/v1/people/{person}/memories`: told, recalled, corrected, confirmed, forgotten; whose they are; what is refused."""

from __future__ import annotations

import json

import pytest
from serve_shop import Shop

from sartor import errors
from sartor.serve import Client

BASE = "/v1/people/ana/memories"


def test_a_memory_from_the_first_word_to_the_last(own: Shop) -> None:
    with Client(own.url, own.keys["default"]) as client:
        told = client.remember(
            "ana",
            [{"role": "user", "content": "I live in Rome and I love tea."}, {"role": "assistant", "content": "I love you."}],
            id="m1",
            time=1000,
        )
        assert [one.text for one in told.added] == ["I live in Rome.", "I love tea."]
        assert not client.remember("ana", [{"content": "I live in Rome and I love tea."}], id="m1", time=1000).added
        assert [one.text for one in client.remember("ana", "I moved to Oslo.").replaced] == ["I live in Rome."]
        page = client.memories("ana", limit=1)
        rest = client.memories("ana", limit=1, after=page.next)
        assert [one.text for one in (*page.items, *rest.items)] == ["I moved to Oslo.", "I love tea."]
        assert rest.next is None
        assert page.items[0].source.startswith("api:")
        assert {one.text for one in client.memories("ana", history=True).items} > {"I live in Rome."}

        found = client.recall("ana", "did I move to Oslo?", 2, budget_tokens=50)
        assert (found.memories[0].memory.text, found.fallback) == ("I moved to Oslo.", None)
        assert found.memories[0].score == pytest.approx(sum(found.memories[0].parts.values()), abs=1e-5)

        tea = rest.items[0].id
        assert client.edit_memory("ana", tea, "I hate tea.").polarity == -1
        assert [one.text for one in client.memory_history("ana", tea).items] == ["I hate tea.", "I love tea."]
        waiting = client.remember("ana", ["Maybe I like mud."]).added[0]
        assert not waiting.confirmed
        assert [one.id for one in client.memories("ana", waiting=True).items] == [waiting.id]
        kept = client.confirm_memory("ana", waiting.id).memory
        assert kept is not None
        assert kept.confirmed
        assert client.confirm_memory("ana", waiting.id, right=False).memory is None
        summary = client.summarise("ana")
        assert set(summary.made_from) == {page.items[0].id, tea}
        assert client.forget_memory("ana", tea).removed == 2
        exported = client.export_memories("ana").data
        assert client.import_memories("bob", exported).added
        assert client.recall("bob", "did I move to Oslo?").memories[0].memory.text == "I moved to Oslo."
        client.set_consents("ana", {"write": False})
        assert client.recall("ana", "did I move to Oslo?").fallback == "no consent"
        with pytest.raises(errors.NoConsent):
            client.remember("ana", "I love jazz.")
        with pytest.raises(errors.UnknownId):
            client.forget_memory("ana", tea)

        # The timeline shows the record, and no vector.
        content = client.events("bob").items[0].content
        assert set(content) == {"text", "memory"}
        assert client.forget("bob").verified
        assert client.memories("bob").items == []


def test_a_key_reaches_its_own_tenant_and_person_only(shared: Shop) -> None:
    shared.call("POST", BASE, json={"text": "I love green tea."})
    other = shared.keys["other"]
    assert shared.call("GET", BASE, key=other).json()["items"] == []
    assert shared.call("POST", f"{BASE}/recall", key=other, json={"query": "tea"}).json()["fallback"] == "nothing remembered"
    bound = shared.key("default", person="bob")
    for method, rest, body in (("GET", "", None), ("POST", "/recall", {"query": "tea"}), ("GET", "/export", None), ("POST", "", {"text": "x"})):
        answer = shared.call(method, BASE + rest, key=bound, **({"json": body} if body else {}))
        assert answer.status_code == 403, (method, rest)
        assert "green" not in answer.text
    theirs = shared.call("GET", BASE).json()["items"][0]["id"]
    for method, rest, body in (("DELETE", "", None), ("PATCH", "", {"text": "x"}), ("POST", "/confirm", {}), ("GET", "/history", None)):
        answer = shared.call(method, f"/v1/people/bob/memories/{theirs}{rest}", key=bound, **({"json": body} if body is not None else {}))
        assert answer.status_code == 404, (method, rest)
    reader = shared.key("default", scopes={"read"})
    assert shared.call("POST", f"{BASE}/recall", key=reader, json={"query": "tea"}).status_code == 200
    assert shared.call("POST", BASE, key=reader, json={"text": "I love mud."}).status_code == 403


@pytest.mark.parametrize(
    ("rest", "body", "status"),
    [
        ("", {}, 422),
        ("", {"text": "x", "messages": []}, 422),
        ("", {"text": ""}, 422),
        ("", {"text": "x" * 8_001}, 422),
        ("", {"messages": [{"content": 5}]}, 422),
        ("", {"text": "x", "time": 1e15}, 422),
        ("/recall", {"query": "  "}, 422),
        ("/recall", {"query": "tea", "k": 0}, 422),
        ("/recall", {"query": "tea", "budget_tokens": 0}, 422),
        ("/import", {"data": [{"memory": "a"}, {}]}, 422),
        ("/import", {"data": 7}, 422),
    ],
)
def test_what_is_wrong_is_said(shared: Shop, rest: str, body: dict[str, object], status: int) -> None:
    answer = shared.call("POST", f"/v1/people/eve/memories{rest}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]
    if rest == "/import" and isinstance(body["data"], list):
        assert answer.json()["where"] == {"record": "2", "field": "memory"}
    assert shared.call("GET", "/v1/people/eve/memories").json()["items"] == []


def test_a_long_message_is_read_and_its_parts_are_joined(shared: Shop) -> None:
    long = "I love tea. " + "word " * 100_000
    told = shared.call(
        "POST", "/v1/people/zoe/memories", content=json.dumps({"messages": [{"content": long}]}), headers={"Content-Type": "application/json"}
    )
    assert [one["text"] for one in told.json()["added"]] == ["I love tea."]
    parts = [{"type": "text", "text": "I live in Rome."}, {"type": "text", "text": "I hate mud."}]
    told = shared.call("POST", "/v1/people/zoe/memories", json={"messages": [{"content": parts}]})
    assert [one["text"] for one in told.json()["added"]] == ["I live in Rome.", "I hate mud."]


def test_an_import_may_be_larger_than_other_requests(shared: Shop) -> None:
    rows = [{"id": str(at), "memory": "I love tea." if at else "I live in Rome.", "metadata": {"note": "x" * 100_000}} for at in range(12)]
    told = shared.call("POST", "/v1/people/lia/memories/import", json={"data": rows})
    assert told.status_code == 200, told.text
    assert [one["text"] for one in told.json()["added"]] == ["I live in Rome.", "I love tea."]
    assert len(told.json()["known"]) == 10

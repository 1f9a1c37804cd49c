"""The chat endpoint before a real upstream process: what goes in, what comes out, who is who, and what happens when something fails."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_shop import Shop, opened

from _upstream import Upstream, serving
from sartor.errors import ConfigError
from sartor.serve import Settings

CHAT = "/v1/chat/completions"
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}]


@pytest.fixture(scope="module")
def parrot() -> Iterator[Upstream]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory, model: Any, parrot: Upstream) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("chat"), model, upstream=f"endpoint:{parrot.url}#parrot", upstream_seconds=10.0) as shop:
        shop.engine.remember("ana", "I am allergic to peanuts.")
        shop.engine.remember("ana", "I live in Lisbon.")
        shop.engine.remember("bob", "I love peanuts.")
        shop.engine.remember("carl", "I am a secret agent.")
        shop.engine.consent("carl", "write", False)
        yield shop


def ask(shop: Shop, text: str, *, key: str | None = None, **fields: Any) -> httpx.Response:
    return shop.call("POST", CHAT, key=key, json={"messages": [{"role": "user", "content": text}], **fields})


def got(parrot: Upstream, mark: str) -> dict[str, Any]:
    """What the upstream was sent in the one request whose last message holds a mark."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = [one["body"] for one in parrot.seen if "messages" in one.get("body", {}) and mark in str(one["body"]["messages"][-1])]
        if found:
            return found[-1]
        time.sleep(0.01)
    raise AssertionError("the upstream was not asked")


def test_what_is_remembered_reaches_the_model_and_the_answer_says_so(chats: Shop, parrot: Upstream) -> None:
    answer = ask(
        chats, "SAY mark-1 snacks with peanuts?", user="ana", model="parrot", temperature=0.5, custom={"kept": True}, safety_identifier="ana"
    )
    assert answer.status_code == 200, answer.text
    body = got(parrot, "mark-1")
    system, user = body["messages"]
    assert system["role"] == "system"
    assert "I am allergic to peanuts." in system["content"].split("<memories>")[-1]
    assert user == {"role": "user", "content": "SAY mark-1 snacks with peanuts?"}
    assert (body["temperature"], body["custom"], body["model"]) == (0.5, {"kept": True}, "parrot")
    # The upstream learns who it is as little as it must.
    assert body["user"] == body["safety_identifier"] != "ana"
    assert "sartor" not in body
    told = answer.json()
    assert told["choices"][0]["message"]["content"] == "mark-1 snacks with peanuts?"
    assert told["sartor"]["personal"] is True
    first = told["sartor"]["used"][0]
    assert first["text"] == "I am allergic to peanuts."
    assert first["why"]
    assert answer.headers["x-sartor-personal"] == "true"
    assert first["id"] in answer.headers["x-sartor-used"].split(",")
    plain = chats.key(scopes=("read",))
    assert "text" not in ask(chats, "peanuts?", user="ana", key=plain).json()["sartor"]["used"][0]


def test_the_systems_own_words_stay_and_parts_pass_through(chats: Shop, parrot: Upstream) -> None:
    parts = [{"type": "text", "text": "SAY mark-2 peanuts"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    messages = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": parts}]
    assert chats.call("POST", CHAT, json={"messages": messages, "user": "ana"}).status_code == 200
    body = got(parrot, "mark-2")
    assert body["messages"][0]["role"] == "developer"
    assert body["messages"][0]["content"][0] == {"type": "text", "text": "Be brief."}
    assert "peanuts" in body["messages"][0]["content"][1]["text"]
    assert body["messages"][1]["content"] == parts
    # A model that is left to the server.
    assert body["model"] == "parrot"


def test_a_stream_arrives_as_it_was_sent(chats: Shop) -> None:
    fields = {
        "messages": [{"role": "user", "content": "SAY to be\u2028 or\u0085 not, peanuts"}],
        "stream": True,
        "user": "ana",
        "sartor": {"explain": True},
    }
    with chats.http.stream("POST", CHAT, json=fields, headers={"Authorization": f"Bearer {chats.keys['default']}"}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-sartor-personal"] == "true"
        lines = [line for line in answer.read().decode().split("\n") if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line[6:]) for line in lines[:-1]]
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in events) == "to be\u2028 or\u0085 not, peanuts"
    assert [at for at, one in enumerate(events) if "sartor" in one] == [0]
    assert events[0]["sartor"]["used"]


def test_tools_and_their_results_pass_through(chats: Shop, parrot: Upstream) -> None:
    first = ask(chats, "TOOL mark-3", user="ana", tools=TOOLS, tool_choice="auto", response_format={"type": "text"}).json()
    call = first["choices"][0]["message"]["tool_calls"][0]
    assert (call["function"]["name"], first["choices"][0]["finish_reason"]) == ("weather", "tool_calls")
    body = got(parrot, "mark-3")
    assert (body["tools"], body["tool_choice"], body["response_format"]) == (TOOLS, "auto", {"type": "text"})
    messages = [
        {"role": "user", "content": "weather?"}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "mark-4 sunny"},
    ]  # fmt: skip
    assert chats.call("POST", CHAT, json={"messages": messages, "user": "ana", "tools": TOOLS}).status_code == 200
    assert got(parrot, "mark-4")["messages"][-3:] == messages


@pytest.mark.parametrize(
    ("fields", "fallback"),
    [
        ({}, "no person"),
        ({"user": "nobody-known"}, "nothing remembered"),
        ({"user": "carl"}, "no consent"),
        ({"user": "ana", "sartor": {"personal": False}}, "not personal"),
        ({"user": "ana", "sartor": {"k": 0}}, "not personal"),
    ],
)
def test_everybodys_answer_says_that_it_is(chats: Shop, parrot: Upstream, fields: dict[str, Any], fallback: str) -> None:
    mark = f"mark-{fallback.replace(' ', '-')}-{len(fields.get('sartor', {}))}"
    answer = ask(chats, f"{mark} secret agent peanuts", **fields)
    assert answer.headers["x-sartor-fallback"] == fallback
    assert answer.headers["x-sartor-personal"] == "false"
    assert answer.json()["sartor"]["note"]
    assert len(got(parrot, mark)["messages"]) == 1


def test_keys_of_one_person_speak_for_that_person_alone(chats: Shop) -> None:
    bound = chats.key(person="bob", scopes=("read", "profile"))
    used = ask(chats, "peanuts?", key=bound).json()["sartor"]["used"]
    assert [one["text"] for one in used] == ["I love peanuts."]
    refused = ask(chats, "peanuts?", key=bound, user="ana")
    assert refused.status_code == 403
    # Chat clients ask for models first; what was measured on everybody is not for the key of one.
    listed = chats.get("/v1/models", key=bound).json()
    assert ([one["id"] for one in listed["data"]], listed["items"]) == (["parrot"], [])
    assert chats.get("/v1/models/parrot", key=bound).json()["id"] == "parrot"
    other = chats.keys["other"]
    assert ask(chats, "peanuts?", key=other, user="ana").json()["sartor"]["fallback"] == "nothing remembered"


def test_two_people_through_one_key_at_once_never_meet(chats: Shop, parrot: Upstream) -> None:
    secrets = {f"eve{n}": f"my codeword is zebra{n}q" for n in range(6)}
    for person, secret in secrets.items():
        chats.engine.remember(person, secret)
    wrong: list[str] = []

    def talk(person: str) -> None:
        with httpx.Client(base_url=chats.url, timeout=30) as http:
            for turn in range(6):
                body = {"messages": [{"role": "user", "content": f"{person} turn {turn}: what is my codeword?"}], "user": person}
                told = http.post(CHAT, json=body, headers={"Authorization": f"Bearer {chats.keys['default']}"}).json()["sartor"]["used"]
                if [one["text"] for one in told] != [secrets[person]]:
                    wrong.append(person)

    threads = [threading.Thread(target=talk, args=(person,)) for person in secrets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    for one in parrot.seen:
        last = str(one.get("body", {}).get("messages", [{}])[-1])
        for person, secret in secrets.items():
            if secret in str(one.get("body")):
                assert f"{person} turn" in last


def test_what_she_says_is_kept_when_she_lets_it_and_replies_never_are(chats: Shop, parrot: Upstream) -> None:
    def texts() -> list[str]:
        return [one.text for one in chats.engine.memories("dora")]

    assert ask(chats, "I love rye bread.", user="dora").status_code == 200
    assert texts() == []
    messages = [
        {"role": "assistant", "content": "I love caviar."}, {"role": "tool", "tool_call_id": "x", "content": "I love truffles."},
        {"role": "user", "content": "I love rye bread."},
    ]  # fmt: skip
    for stream in (False, True):
        body = {"messages": messages, "user": "dora", "stream": stream, "sartor": {"remember": True}}
        assert chats.call("POST", CHAT, json=body).status_code == 200
    until = time.monotonic() + 10
    while not texts() and time.monotonic() < until:
        time.sleep(0.02)
    assert len(texts()) == 1
    assert "rye bread" in texts()[0]
    assert ask(chats, "I love jam.", user="dora", key=chats.key(scopes=("read",)), sartor={"remember": True}).status_code == 403
    assert ask(chats, "I love figs.", user="gil", sartor={"remember": True, "confirm": "always"}).status_code == 200
    while not (waiting := chats.engine.memories("gil")) and time.monotonic() < until:
        time.sleep(0.02)
    assert [one.confirmed for one in waiting] == [False]
    chats.engine.consent("fay", "write", False)
    assert ask(chats, "I love jam.", user="fay", sartor={"remember": True}).status_code == 200
    time.sleep(0.2)
    assert chats.engine.memories("fay") == []


def test_models_and_embeddings(chats: Shop) -> None:
    listed = chats.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == ["parrot"]
    assert listed["items"][0]["method"] == "EASE"
    assert chats.get("/v1/models/parrot").json()["id"] == "parrot"
    assert chats.get("/v1/models/none").status_code == 404
    made = chats.call("POST", "/v1/embeddings", json={"input": ["ab", "abc"], "model": "parrot", "user": "ana"}).json()
    assert [one["embedding"] for one in made["data"]] == [[2.0, 1.0], [3.0, 1.0]]


# --- what goes wrong


def error(answer: httpx.Response, status: int, slug: str, code: str | None = None) -> dict[str, Any]:
    """A refusal that both kinds of client can read."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert told["type"] == f"urn:sartor:problem:{slug}"
    assert told["detail"]
    assert told["fix"]
    found: dict[str, Any] = told["error"]
    assert set(found) == {"message", "type", "param", "code"}
    assert told["detail"] in found["message"]
    assert found["code"] == (code or slug)
    return found


@pytest.mark.parametrize(
    ("body", "status", "slug"),
    [
        (b"{", 400, "malformed-json"),
        (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400, "malformed-json"),
        (b'{"messages": [{"role": "user", "content": "\\ud83d"}]}', 400, "malformed-json"),
        (b"{}", 422, "invalid-request"),
        (b'{"messages": []}', 422, "invalid-request"),
        (b'{"messages": [{"content": "x"}]}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": 7}]}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "user": ["ana", "bob"]}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "user": ""}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "stream": "false"}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": "x"}], "sartor": {"nothing": 1}}', 422, "invalid-request"),
        (b'{"messages": [{"role": "user", "content": "peanuts"}], "user": "ana", "sartor": {"budget": 3}}', 422, "budget-too-small"),
    ],
)
def test_requests_that_cannot_be_meant(chats: Shop, body: bytes, status: int, slug: str) -> None:
    error(chats.call("POST", CHAT, content=body, headers={"Content-Type": "application/json"}), status, slug)


def test_refusals_at_the_door_have_both_shapes(chats: Shop) -> None:
    assert error(ask(chats, "hi", key=""), 401, "access-denied")["type"] == "authentication_error"
    assert error(ask(chats, "hi", key=chats.key(scopes=("write",))), 403, "forbidden")["type"] == "permission_error"
    error(chats.call("POST", CHAT, content=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported-media-type")
    error(chats.call("POST", CHAT, content=b" " * 20_000_001, headers={"Content-Type": "application/json"}), 413, "too-large")
    error(chats.call("GET", CHAT), 405, "method-not-allowed")


def test_a_message_of_a_megabyte_is_answered(chats: Shop, parrot: Upstream) -> None:
    answer = ask(chats, "peanuts " * 125_000 + "SAY mark-5", user="ana")
    assert answer.status_code == 200
    assert answer.json()["sartor"]["used"][0]["text"] == "I am allergic to peanuts."


@pytest.fixture
def failing(tmp_path: Path, model: Any) -> Any:
    """A shop before an upstream that fails as it is told."""

    def make(*failures: str, key: str = "-", **settings: Any) -> Any:
        class Both:
            def __enter__(self) -> tuple[Shop, Upstream]:
                self.server = serving(*failures, key=key)
                upstream = self.server.__enter__()
                given = {"upstream": f"endpoint:{upstream.url}#parrot", "upstream_seconds": 1.0} | settings
                self.shop = opened(tmp_path, model, **given)
                return self.shop.__enter__(), upstream

            def __exit__(self, *args: Any) -> None:
                self.shop.__exit__(*args)
                self.server.__exit__(*args)

        return Both()

    return make


def test_what_passes_is_waited_out_and_what_lasts_is_told(failing: Any) -> None:
    failures = ("503", "close", "", "500", "500", "500", "429", "wait:1", "429", "404", "422", "words", "hollow")
    with failing(*failures, upstream_seconds=60.0) as (shop, upstream):
        assert ask(shop, "SAY hi").json()["choices"][0]["message"]["content"] == "hi"
        assert "500" in error(ask(shop, "hi"), 502, "endpoint-failed")["message"]
        limited = ask(shop, "hi")
        assert error(limited, 429, "rate-limited")["type"] == "rate_limit_error"
        assert limited.headers["retry-after"]
        for status in (404, 422):
            assert f"failure {status}" in error(ask(shop, "hi"), status, "upstream-refused")["message"]
        for _ in ("words", "hollow"):
            error(ask(shop, "hi"), 502, "endpoint-failed")
        assert ask(shop, "SAY still there").status_code == 200
        counted = shop.call("GET", "/metrics").text
        host = upstream.url.removeprefix("http://").split("/")[0]

        def calls(outcome: str) -> str:
            labels = f'operation="chat",outcome="{outcome}",upstream="{host}"'
            return next(line.split()[-1] for line in counted.splitlines() if line.startswith(f"sartor_upstream_requests_total{{{labels}}}"))

        assert [calls(outcome) for outcome in ("ok", "failed", "limited", "refused")] == ["2.0", "3.0", "1.0", "2.0"]
        # Twice before the first answer, twice in vain, twice for being asked too much.
        assert f'sartor_upstream_retries_total{{upstream="{host}"}} 6.0' in counted
        assert f'sartor_upstream_seconds_count{{operation="chat",upstream="{host}"}} 2.0' in counted


def test_an_upstream_that_says_nothing_is_not_waited_for(failing: Any) -> None:
    with failing("hang", "hang", "hang") as (shop, _):
        assert "ReadTimeout" in error(ask(shop, "hi"), 502, "endpoint-failed")["message"]
        assert 'operation="chat",outcome="failed"' in shop.call("GET", "/metrics").text


def test_answers_that_are_hardly_answers(failing: Any) -> None:
    with failing("half", "deep", "zip", "coded", "wait:99999999999999999999") as (shop, _):
        half = ask(shop, "hi")
        assert half.status_code == 200
        assert half.json()["choices"][0]["message"]["content"] == "\ud83d half"
        error(ask(shop, "hi"), 502, "endpoint-failed")
        assert "DecodingError" in error(ask(shop, "hi"), 502, "endpoint-failed")["message"]
        coded = ask(shop, "hi")
        assert error(coded, 400, "upstream-refused", "context_length_exceeded")["param"] == "messages"
        limited = ask(shop, "hi")
        error(limited, 429, "rate-limited")
        assert int(limited.headers["retry-after"]) <= 3_600
    with failing("zip", upstream_retries=0) as (shop, _):
        body = {"messages": [{"role": "user", "content": "SAY hi"}], "stream": True}
        told = shop.call("POST", CHAT, json=body).text
        assert "DecodingError" in json.loads(told.strip().split("\n")[-1].removeprefix("data: "))["error"]["message"]


def test_the_servers_key_stays_with_the_server(failing: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SARTOR_UPSTREAM_KEY", "sk-upstream-secret")
    with failing("echo", key="sk-upstream-secret", log_requests=True) as (shop, upstream):
        told = ask(shop, "my diary", user="ana")
        assert "sk-upstream-secret" not in told.text
        assert "***" in told.text
        assert ask(shop, "SAY fine").status_code == 200
        assert {one["key"] for one in upstream.asked(2)} == {"Bearer sk-upstream-secret"}
    monkeypatch.setenv("SARTOR_UPSTREAM_KEY", "sk-wrong")
    with failing(key="sk-right") as (shop, _):
        refused = ask(shop, "hi")
        assert "SARTOR_UPSTREAM_KEY" in error(refused, 502, "endpoint-failed")["message"]
        assert "sk-" not in refused.text
    written = capfd.readouterr()
    assert "diary" not in written.out + written.err
    assert "sk-upstream" not in written.out + written.err


def test_a_stream_that_breaks_ends_in_an_error_event(failing: Any) -> None:
    with failing("break", "garble", "stall") as (shop, _):
        for said in ("too early", "no part of an answer", "ReadTimeout"):
            with shop.http.stream(
                "POST", CHAT, json={"messages": [{"role": "user", "content": "SAY to be"}], "stream": True},
                headers={"Authorization": f"Bearer {shop.keys['default']}"},
            ) as answer:  # fmt: skip
                lines = [line for line in answer.iter_lines() if line]
            assert "to" in lines[1]
            assert said in json.loads(lines[-1][6:])["error"]["message"]
        assert 'operation="stream",outcome="failed"' in shop.call("GET", "/metrics").text


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_takes_its_upstream_request_along(failing: Any, stream: bool) -> None:
    with failing("stall" if stream else "hang", upstream_seconds=30.0, upstream_requests=1) as (shop, upstream):
        body = {"messages": [{"role": "user", "content": "SAY to be or not"}], "stream": stream}
        headers = {"Authorization": f"Bearer {shop.keys['default']}"}
        # Who waits for a stream goes when she likes; who waits for an answer goes when her time is up.
        with httpx.Client(base_url=shop.url, timeout=30.0 if stream else 2.0) as http:
            if stream:
                with http.stream("POST", CHAT, json=body, headers=headers) as answer:
                    lines = answer.iter_lines()
                    assert next(lines)
                    # One is all it takes: who comes meanwhile is told to come again.
                    assert error(ask(shop, "hi"), 503, "overloaded")["type"] == "server_error"
            else:
                with pytest.raises(httpx.ReadTimeout):
                    http.post(CHAT, json=body, headers=headers)
        until = time.monotonic() + 10
        while time.monotonic() < until and (free := ask(shop, "SAY free")).status_code == 503:
            time.sleep(0.05)
        assert free.json()["choices"][0]["message"]["content"] == "free"
        if stream:
            assert {"cancelled": True} in upstream.asked(3)
        counted = shop.call("GET", "/metrics").text
        for outcome in ("gone", "busy") if stream else ("gone",):
            assert f'outcome="{outcome}"' in counted


def test_an_upstream_that_is_down_and_none_at_all(own: Shop, tmp_path: Path, model: Any) -> None:
    error(ask(own, "hi"), 404, "no-upstream")
    error(own.call("POST", "/v1/embeddings", json={"input": "x"}), 404, "no-upstream")
    assert own.get("/v1/models").json()["data"] == []
    folder = tmp_path / "down"
    folder.mkdir()
    with opened(folder, model, upstream="endpoint:http://127.0.0.1:9/v1", upstream_retries=0) as shop:
        assert "cannot be reached" in error(ask(shop, "hi", model="m"), 502, "endpoint-failed")["message"]
        error(ask(shop, "hi"), 422, "bad-value")
        assert shop.get("/v1/models").json()["data"] == []


def test_a_model_in_this_process_answers(tmp_path: Path, model: Any) -> None:
    from sartor.write.parts.causal_lm import CausalLM, LMConfig
    from sartor.write.parts.language_model import LanguageModel
    from sartor.write.parts.tokenizer import Tokenizer

    tokenizer = Tokenizer.learn(["the cat sat on the mat"], vocabulary=320)
    lm = LanguageModel(CausalLM(LMConfig(vocabulary=len(tokenizer), max_tokens=1_024)), tokenizer)
    folder = lm.save(tmp_path / "lm")
    with opened(tmp_path, model, upstream=f"tiny:{folder}", embeddings="hashed:16") as shop:
        shop.engine.remember("ana", "I like cats.")
        fields = {"max_tokens": 6, "temperature": 0, "user": "ana"}
        told = ask(shop, "the cat", **fields).json()
        assert told["sartor"]["personal"]
        assert told["usage"]["completion_tokens"] <= 6
        body = {"messages": [{"role": "user", "content": "the cat"}], "stream": True, "stream_options": {"include_usage": True}} | fields
        with shop.http.stream("POST", CHAT, json=body, headers={"Authorization": f"Bearer {shop.keys['default']}"}) as answer:
            events = [json.loads(line[6:]) for line in answer.read().decode().split("\n") if line and line != "data: [DONE]"]
        said = "".join(one["choices"][0]["delta"].get("content") or "" for one in events if one["choices"])
        assert events[-2]["choices"][0]["finish_reason"] == told["choices"][0]["finish_reason"] == "length"
        assert events[-1]["usage"]["total_tokens"] > 6
        assert said == told["choices"][0]["message"]["content"]
        for name, value in (("n", 2), ("tools", TOOLS), ("top_p", 0.5), ("logit_bias", {"1": 5})):
            assert name in error(ask(shop, "hi", **{name: value}), 422, "bad-value")["message"]
        error(ask(shop, "hi", max_tokens=0), 422, "config-error")
        error(ask(shop, "hi", response_format={"type": "json_object"}), 422, "bad-value")
        error(ask(shop, "word " * 2_000), 413, "too-large")
        made = shop.call("POST", "/v1/embeddings", json={"input": ["a", "b"]}).json()
        assert [len(one["embedding"]) for one in made["data"]] == [16, 16]
        error(shop.call("POST", "/v1/embeddings", json={"input": [[1, 2]]}), 422, "bad-value")


def test_calls_of_the_upstream_are_spans(parrot: Upstream) -> None:
    from contextlib import contextmanager

    from sartor.serve.metrics import Metrics
    from sartor.serve.upstream import upstream
    from sartor.serve.upstream_watch import Watched

    open_, seen = [], []

    @contextmanager
    def span(name: str) -> Iterator[None]:
        open_.append(name)
        yield
        seen.append(open_.pop())

    async def talk() -> None:
        inner = upstream(Settings(upstream=f"endpoint:{parrot.url}#parrot"))
        assert inner is not None
        watched = Watched(inner, Metrics(), span)
        body = {"messages": [{"role": "user", "content": "SAY hi"}]}
        assert (await watched.chat(body))["choices"]
        async with watched.stream(body | {"stream": True}) as lines:
            assert not open_
            assert [line async for line in lines][-1] == b"data: [DONE]"
        await watched.close()

    asyncio.run(talk())
    assert (seen, open_) == (["upstream chat", "upstream stream"], [])


def test_settings_that_cannot_be() -> None:
    for wrong in ({"upstream_seconds": 0.0}, {"upstream_requests": 0}, {"upstream_retries": -1}, {"memories": 0}, {"confirm": "perhaps"}):
        with pytest.raises(ConfigError):
            Settings(**wrong)  # type: ignore[arg-type]

"""What the server refuses, and that nobody learns of anybody else."""

from __future__ import annotations

import gzip
import io
import json
import socket
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_shop import Shop, opened

from sartor.errors import ConfigError
from sartor.profile import access
from sartor.profile.rotate import rotate_master
from sartor.profile.store import ProfileStore
from sartor.serve import Settings, auth, create_app
from sartor.serve.run import run

JSON = {"Content-Type": "application/json"}
ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}
EVENT = {"person": "x", "item": "i1"}


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The problem details of a refused request, checked for what all of them must have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    told: dict[str, Any] = response.json()
    assert told["type"] == f"urn:sartor:problem:{slug}"
    assert told["status"] == status
    assert told["request_id"] == response.headers["x-request-id"]
    assert told["detail"]
    assert told["fix"]
    assert not any(word in response.text for word in ("Traceback", 'File "', "sqlalchemy", "site-packages", "SELECT "))
    return told


def arrow(table: pa.Table, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return buffer.getvalue()


# --- every refusal is problem details


@pytest.mark.parametrize(
    ("method", "path", "given", "status", "slug"),
    [
        ("GET", "/v1/nothing", {}, 404, "not-found"),
        ("GET", "/v1/people/ana/", {}, 404, "not-found"),
        ("POST", "/v1/me", {}, 405, "method-not-allowed"),
        ("OPTIONS", "/v1/events", {}, 405, "method-not-allowed"),
        ("TRACE", "/v1/me", {}, 405, "method-not-allowed"),
        ("GET", "/v1/items/none", {}, 404, "unknown-id"),
        ("GET", "/v1/people/nobody-at-all", {}, 404, "unknown-id"),
        ("GET", "/v1/people/p/explanations/none", {}, 404, "unknown-id"),
        ("GET", "/v1/jobs/none", {}, 404, "unknown-id"),
        ("DELETE", "/v1/keys/none", {}, 404, "unknown-id"),
        ("POST", "/v1/models/none/activate", {"json": {}}, 404, "unknown-id"),
        ("GET", "/v1/people/p/recommendations?k=0", {}, 422, "invalid-request"),
        ("GET", "/v1/people/p/recommendations?k=ten", {}, 422, "invalid-request"),
        ("GET", "/v1/people/p/recommendations?k=5&k=6", {}, 422, "invalid-request"),
        ("GET", "/v1/people/p/recommendations?personel=false", {}, 422, "invalid-request"),
        ("GET", "/v1/people/p/recommendations?diversity=NaN", {}, 422, "invalid-request"),
        ("GET", "/v1/people/p/recommendations?where=1;DROP TABLE people", {}, 422, "config-error"),
        ("GET", "/v1/people/p/recommendations?where=" + "(" * 900 + "1" + ")" * 900, {}, 422, "config-error"),
        ("GET", f"/v1/people/{'a' * 600}/recommendations", {}, 422, "invalid-request"),
        ("GET", f"/v1/people/{'a' * 10_000}/recommendations", {}, 414, "address-too-long"),
        ("GET", f"/v1/people/p/recommendations?where={'a' * 10_000}", {}, 414, "address-too-long"),
        ("POST", "/v1/recommendations", {"json": {"people": ["x"] * 1000, "k": 1000}}, 422, "invalid-request"),
        ("GET", "/v1/people/a%00b/recommendations", {}, 422, "invalid-request"),
        ("GET", "/v1/people/a%0Ab/recommendations", {}, 422, "invalid-request"),
        ("GET", "/v1/people/%FF/recommendations", {}, 400, "malformed-request"),
        ("POST", "/v1/events", {"content": b"{", "headers": JSON}, 400, "malformed-json"),
        ("POST", "/v1/events", {"content": b'{"events": [{"person": "x", "item": "i1", "value": NaN}]}', "headers": JSON}, 400, "malformed-json"),
        ("POST", "/v1/events", {"content": b'{"events": [{"person": "x", "item": "i1", "value": 1e999}]}', "headers": JSON}, 422, "invalid-request"),
        ("POST", "/v1/events", {"content": b'{"events": [{"person": "x", "item": 1' + b"0" * 400 + b"}]}", "headers": JSON}, 422, "invalid-request"),
        ("POST", "/v1/events", {"content": b'{"events": ' + b"[" * 100_000, "headers": JSON}, 400, "malformed-json"),
        ("POST", "/v1/events", {"content": b'{"events": [{"person": "\\ud800", "item": "i"}]}', "headers": JSON}, 400, "malformed-json"),
        ("POST", "/v1/events", {"content": b"\xff\xfe", "headers": JSON}, 400, "malformed-json"),
        ("POST", "/v1/events", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
        ("POST", "/v1/events", {"content": gzip.compress(b"{}"), "headers": JSON | {"Content-Encoding": "gzip"}}, 415, "unsupported-media-type"),
        ("POST", "/v1/recommendations", {"content": b'{"people": ["x"]}', "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
        ("POST", "/v1/events", {"json": {"events": []}}, 422, "bad-value"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"persn": "y"}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"item": True}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"person": ""}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"person": "a\u0000b"}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"time": "yesterday"}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"time": 1.7e12}]}}, 422, "invalid-request"),
        ("POST", "/v1/events", {"json": {"events": [EVENT | {"purposes": ["selling"]}]}}, 422, "invalid-request"),
        ("PUT", "/v1/people/p/consents", {"json": {"purposes": {"selling": True}}}, 422, "invalid-request"),
        ("PUT", "/v1/items", {"json": {"items": [{"item": "a", "price": {"deep": 1}}]}}, 422, "invalid-request"),
        ("POST", "/v1/keys", {"json": {"label": "x", "scopes": ["read"], "days": 1, "expires": 2e9}}, 422, "invalid-request"),
        ("POST", "/v1/keys", {"json": {"label": "x", "scopes": ["read"], "expires": 1e9}}, 422, "bad-value"),
        ("POST", "/v1/events", {"content": b"not arrow", "headers": ARROW}, 400, "malformed-arrow"),
    ],
)  # fmt: skip
def test_bad_requests(shared: Shop, method: str, path: str, given: dict[str, Any], status: int, slug: str) -> None:
    told = problem(shared.call(method, path, **given), status, slug)
    assert "yesterday" not in json.dumps(told), "what was sent may be personal"


def test_methods_that_there_are_are_named(shared: Shop) -> None:
    assert shared.call("POST", "/v1/items").headers["allow"] == "GET, HEAD, PUT"
    head = shared.call("HEAD", "/v1/me")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(shared.get("/v1/me").content), "and the connection goes on"


def test_what_goes_wrong_inside_stays_inside(shared: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ana's secret")

    monkeypatch.setattr(shared.engine.store, "people", broken)
    response = shared.get("/v1/people")
    problem(response, 500, "internal-error")
    log, until = "", time.monotonic() + 60
    while "RuntimeError" not in log and time.monotonic() < until:  # it is written once the answer is out
        time.sleep(0.01)
        log += capsys.readouterr().err
    assert "secret" not in response.text + log
    assert "test_security.py" in log


# --- sizes


def test_bodies_have_a_limit_also_when_they_do_not_say_how_long_they_are(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, body_bytes=1000, bulk_bytes=5000, bulk_rows=3) as made:
        big = {"people": ["x" * 400] * 10}
        problem(made.call("POST", "/v1/recommendations", json=big), 413, "too-large")
        text = json.dumps(big).encode()
        problem(made.call("POST", "/v1/recommendations", content=iter([text[:500], text[500:]]), headers=JSON), 413, "too-large")
        problem(made.call("POST", "/v1/events", json={"events": [EVENT] * 4}), 413, "too-large")
        assert made.call("POST", "/v1/events", json={"events": [EVENT] * 3}).status_code == 200
        problem(made.call("POST", "/v1/events", content=b" " * 5001, headers=JSON), 413, "too-large")


@pytest.mark.parametrize(
    ("table", "status"),
    [
        (pa.table({"person": pa.nulls(2_000_000, pa.string()), "item": pa.nulls(2_000_000, pa.string())}), 413),
        (pa.table({"person": pa.array(["x" * 30_000]).dictionary_encode(), "item": ["i1"]}), 413),
        (pa.table({"person": pa.array(["x" * 30_000], pa.string_view()), "item": ["i1"]}), 413),
        (pa.table({"person": pa.nulls(10), "item": ["i1"] * 10}), 422),
        (pa.table({"person": [["x"]], "item": ["i1"]}), 422),
        (pa.table({"person": ["x"]}), 422),
        (pa.table({"person": ["x"], "item": ["i1"], "other": [1]}), 422),
        (pa.table({"person": ["x"], "item": pa.array([None], pa.string())}), 422),
        (pa.table({"person": ["x"], "item": ["i1"], "value": [float("nan")]}), 422),
        (pa.table({"person": ["x"], "item": ["i1"], "context": ['{"a": NaN}']}), 400),
    ],
)
def test_streams_that_are_not_what_they_seem(shared: Shop, table: pa.Table, status: int) -> None:
    refused = shared.call("POST", "/v1/events", content=arrow(table), headers=ARROW)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_streams_are_refused_before_they_are_unpacked(shared: Shop, codec: str) -> None:
    bomb = arrow(pa.table({"person": ["x" * 1_000_000] * 20, "item": ["i1"] * 20}), compression=codec)
    assert len(bomb) < 200_000
    problem(shared.call("POST", "/v1/events", content=bomb, headers=ARROW), 415, "unsupported-media-type")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_streams_are_refused(shared: Shop, data: st.DataObject) -> None:
    whole = bytearray(arrow(pa.table({"person": ["fuzz", "fuzz"], "item": ["i1", "i2"], "kind": pa.array(["a", "b"]).dictionary_encode()})))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=8)):
        whole[at] = value
    assert shared.call("POST", "/v1/events", content=bytes(whole), headers=ARROW).status_code in (200, 400, 413, 415, 422)


# --- keys


def test_keys_open_only_what_they_are_for(own: Shop) -> None:
    problem(own.get("/v1/me", key=""), 401, "access-denied")
    assert own.get("/v1/me", key="").headers["www-authenticate"].startswith("Bearer")
    for bad in ("sk_sartor_" + "a" * 43, "nonsense", own.keys["default"] + "x", own.keys["default"][:-1]):
        problem(own.get("/v1/me", key=bad), 401, "access-denied")
    problem(own.http.get("/v1/me", headers=[("Authorization", f"Bearer {own.keys['default']}")] * 2), 401, "access-denied")
    needs = {
        "read": ("GET", "/v1/items", None), "write": ("POST", "/v1/events", {"events": [EVENT]}), "profile": ("GET", "/v1/people/x/consents", None),
        "erase": ("DELETE", "/v1/people/x", None), "models": ("GET", "/v1/jobs", None), "admin": ("GET", "/v1/keys", None),
    }  # fmt: skip
    for held in needs:
        key = own.key(scopes=(held,))
        for wanted, (method, path, body) in needs.items():
            done = own.call(method, path, key=key, json=body)
            if held == wanted:
                assert done.status_code == 200, done.text
            else:
                assert problem(done, 403, "forbidden")["where"] == {"scope": wanted}
    problem(own.call("POST", "/v1/keys", key=own.key(scopes=("admin",)), json={"label": "more", "scopes": ["erase"]}), 403, "forbidden")
    problem(own.get("/metrics", key=own.key(scopes=("read",))), 403, "forbidden")
    problem(own.get("/metrics", key=""), 401, "access-denied")


def test_keys_end(own: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = own.call("POST", "/v1/keys", json={"label": "short", "scopes": ["read"], "expires": time.time() + 600}).json()
    assert made["secret"] not in own.get("/v1/keys").text
    assert own.get("/v1/items", key=made["secret"]).status_code == 200
    later = SimpleNamespace(time=lambda: time.time() + 601)
    # The clock of who believes the key for a while, and of who looks it up.
    for clock, told in ((auth, "has expired"), (access, "not valid any more")):
        with monkeypatch.context() as moved:
            moved.setattr(clock, "time", later)
            own.app.state.server.keys.forget()
            assert told in problem(own.get("/v1/items", key=made["secret"]), 401, "access-denied")["detail"]
    assert own.get("/v1/items", key=made["secret"]).status_code == 200
    second = own.call("POST", "/v1/keys", json={"label": "gone", "scopes": ["read"], "days": 1}).json()
    assert own.get("/v1/items", key=second["secret"]).status_code == 200
    assert own.call("DELETE", f"/v1/keys/{second['key']['id']}").status_code == 204
    problem(own.get("/v1/items", key=second["secret"]), 401, "access-denied")


def test_a_key_of_one_person_opens_nothing_of_another(own: Shop) -> None:
    own.observe("ana", "i1", "i2")
    own.observe("ben", "i30", "i31")
    key = own.key(person="ana")
    assert own.get("/v1/people/ana/events", key=key).status_code == 200
    assert own.get("/v1/me", key=key).json()["person"] == "ana"
    assert own.call("POST", "/v1/events", key=key, json={"events": [{"person": "ana", "item": "i3"}]}).status_code == 200
    assert own.call("POST", "/v1/recommendations", key=key, json={"people": ["ana"]}).status_code == 200

    def refusal(method: str, path: str, body: Any = None) -> tuple[int, str]:
        done = own.call(method, path, key=key, json=body)
        told = problem(done, 403, "forbidden")
        return done.status_code, told["detail"]

    for path in ("", "/events", "/recommendations", "/states", "/consents", "/export", "/explanations/i1"):
        assert refusal("GET", f"/v1/people/ben{path}") == refusal("GET", f"/v1/people/never-seen{path}")
    for path in ("/v1/people", "/v1/items", "/v1/models", "/v1/keys", "/v1/requests", "/v1/status", "/v1/evaluation", "/v1/jobs"):
        refusal("GET", path)
    refusal("DELETE", "/v1/people/ben")
    refusal("DELETE", "/v1/people/ben/events/1")
    refusal("POST", "/v1/events", {"events": [{"person": "ana", "item": "i1"}, {"person": "ben", "item": "i1"}]})
    refusal("POST", "/v1/recommendations", {"people": ["ana", "ben"]})
    refusal("POST", "/v1/keys", {"label": "x", "scopes": ["read"]})
    assert len(own.get("/v1/people/ben/events").json()["items"]) == 2
    own.call("DELETE", "/v1/people/ana")
    problem(own.get("/v1/me", key=key), 401, "access-denied")


def test_one_key_is_not_everybodys_limit(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, rate="30/minute") as made:
        for _ in range(30):
            assert made.get("/v1/me").status_code == 200
        stopped = made.get("/v1/me")
        problem(stopped, 429, "rate-limited")
        assert 1 <= int(stopped.headers["retry-after"]) <= 60
        assert made.get("/v1/me", key=made.keys["other"]).status_code == 200
        assert made.get("/healthz", key="").status_code == 200
        assert made.get("/v1/people/x/explanations/i1", key=made.keys["other"]).status_code == 200
        costly = [made.get("/v1/people/x/explanations/i1", key=made.keys["other"]).status_code for _ in range(3)]
        assert costly[-1] == 429, "an explanation counts ten times"
    with pytest.raises(ConfigError, match="rate"):
        create_app(made.engine, settings=Settings(rate="many"))


def test_too_many_at_once_are_told_to_come_again(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, open_requests=1, jobs=False) as made:
        job = made.call("POST", "/v1/models", json={"method": "popularity"}).json()["id"]
        key = {"Authorization": f"Bearer {made.keys['default']}"}
        with made.http.stream("GET", f"/v1/jobs/{job}/stream", headers=key) as followed:
            told = followed.iter_lines()
            assert next(told) == "event: progress"
            refused = httpx.get(f"{made.url}/v1/me", headers=key)
            problem(refused, 503, "overloaded")
            assert refused.headers["retry-after"]
            assert httpx.get(f"{made.url}/healthz").status_code == 200
            made.engine.store.cancel_job("default", job)
            assert "event: end" in list(told)
        until = time.monotonic() + 60
        while made.get("/v1/me").status_code != 200 and time.monotonic() < until:
            time.sleep(0.01)
        assert made.get("/v1/me").status_code == 200


# --- ids, headers, origins


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(lambda text: text not in (".", "..")))
def test_any_printable_id_is_itself_and_nobody_else(shared: Shop, name: str) -> None:
    here = f"/v1/people/{quote(name, safe='')}"
    before = len(shared.get(f"{here}/events").json()["items"])
    assert shared.call("POST", "/v1/events", json={"events": [{"person": name, "item": "i1"}]}).status_code == 200
    assert len(shared.get(f"{here}/events").json()["items"]) == before + 1
    assert shared.get(here).json()["person"] == name
    assert shared.get(f"{here}/recommendations").json()["person"] == name


@pytest.mark.parametrize("name", ["a/b", "../b", "a/../b", "x/recommendations", "' OR 1=1 --", "%2e%2e", "a%2Fb", "é", "e\u0301", "p1\u200b", "．．"])
def test_odd_ids_reach_only_their_own(shared: Shop, name: str) -> None:
    shared.observe(name, "i7")
    for other in ("a", "b", "x", "p1", "1"):
        if other != name:
            assert all(one["item"] != "i7" for one in shared.get(f"/v1/people/{other}/events").json().get("items", []))
    assert [one["item"] for one in shared.get(f"/v1/people/{quote(name, safe='')}/events").json()["items"]] == ["i7"]


def test_raw_requests_that_no_client_would_send(shared: Shop) -> None:
    port = int(shared.url.rpartition(":")[2])

    def raw(text: str) -> str:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(text.encode("latin-1"))
            connection.settimeout(60)
            return connection.recv(65536).decode("latin-1")

    key = f"Authorization: Bearer {shared.keys['default']}\r\nHost: x\r\nConnection: close\r\n"
    assert " 400 " in raw(f"GET /v1/me HTTP/1.1\r\n{key}Bad Header\r\n\r\n").splitlines()[0]
    assert " 404 " in raw(f"GET /v1/people/../me HTTP/1.1\r\n{key}\r\n").splitlines()[0]
    assert " 413 " in raw(f"POST /v1/events HTTP/1.1\r\n{key}Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n").splitlines()[0]
    split = raw(f"GET /v1/me HTTP/1.1\r\n{key}X-Request-ID: a b\r\n\r\n")
    assert "x-request-id: a b" not in split
    told = raw(f"GET /v1/me HTTP/1.1\r\n{key}X-Request-ID: trace-1\r\n\r\n")
    assert "x-request-id: trace-1" in told
    assert "server:" not in told.lower().split("\r\n\r\n")[0] or "uvicorn" in told


def test_headers_keep_browsers_safe(shared: Shop) -> None:
    answer = shared.get("/v1/me", headers={"Origin": "https://evil.example"})
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    page = shared.get("/docs")
    assert "'unsafe-inline'" not in page.headers["content-security-policy"]


def test_origins_that_were_named_may_call(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, origins=("https://shop.example",)) as made:
        ask = {"Access-Control-Request-Method": "GET"}
        assert made.call("OPTIONS", "/v1/me", headers=ask | {"Origin": "https://shop.example"}).headers["access-control-allow-origin"]
        assert "access-control-allow-origin" not in made.call("OPTIONS", "/v1/me", headers=ask | {"Origin": "https://evil.example"}).headers
    with pytest.raises(ConfigError):
        Settings(origins=("*",))


def test_without_keys_only_this_machine_is_answered(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, dev=True) as made:
        assert made.get("/v1/me", key="").json()["dev"] is True
        problem(made.get("/v1/me", key="", headers={"Host": "evil.example"}), 403, "forbidden")
        assert made.get("/v1/me", key="", headers={"Host": "localhost:8000"}).status_code == 200
    with pytest.raises(ConfigError, match="this machine"):
        run(f"sqlite:///{tmp_path}/x.db", host="0.0.0.0", dev=True)


# --- isolation


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory, model: Any) -> Iterator[Shop]:
    """A second shop, where a person is alone with her evidence."""
    with opened(tmp_path_factory.mktemp("apart"), model) as made:
        yield made


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["default", "other"]), st.sampled_from(["ana", "ben"]), st.integers(0, 39)), min_size=4, max_size=14),
    asked=st.sampled_from(["default", "other"]),
    forgotten=st.booleans(),
)
def test_interleaved_people_of_two_tenants_answer_as_if_alone(
    steps: list[tuple[str, str, int]], asked: str, forgotten: bool, shared: Shop, apart: Shop
) -> None:
    """Whatever others do, through whichever key and in whatever order, a person's answers are those she would get all alone."""
    mark = uuid.uuid4().hex
    for tenant, person, item in steps:
        body = {"events": [{"person": person + mark, "item": f"i{item}"}]}
        shared.call("POST", "/v1/events", key=shared.keys[tenant], json=body)
        shared.get(f"/v1/people/{person}{mark}/recommendations", key=shared.keys[tenant])
        if (tenant, person) == (asked, "ana"):
            apart.call("POST", "/v1/events", key=apart.keys[tenant], json=body)
    if forgotten:
        shared.call("DELETE", f"/v1/people/ben{mark}", key=shared.keys[asked])
    for made in (shared, apart):
        assert all(made.engine.for_tenant(tenant).catch_up(30) for tenant in made.keys)

    def seen(made: Shop) -> Any:
        key, ana = made.keys[asked], f"/v1/people/ana{mark}"
        answer = made.get(f"{ana}/recommendations?k=8", key=key).json()
        events = made.get(f"{ana}/events", key=key).json()["items"]
        why = made.get(f"{ana}/explanations/i5", key=key).json()
        profile = made.get(ana, key=key)
        return {
            "list": [(one["item"], round(one["score"], 4)) for one in answer["items"]], "fallback": answer["fallback"], "note": answer["note"],
            "events": [one["item"] for one in events], "why": [(one["item"], round(one["contribution"], 4)) for one in why["reasons"]],
            "profile": (profile.status_code, [one for one in profile.json().get("sentences", []) if not one.startswith("State version")]),
        }  # fmt: skip

    assert seen(shared) == seen(apart)
    assert seen(shared)["events"] == [f"i{item}" for tenant, person, item in steps if (tenant, person) == (asked, "ana")][::-1]
    listed = {one["person"] for one in shared.get(f"/v1/people?query={mark}", key=shared.keys[asked]).json()["items"]}
    assert listed <= {person + mark for tenant, person, _ in steps if tenant == asked}


def test_bodies_that_do_not_come_give_their_place_back(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, body_seconds=1.5) as shop:
        assert shop.call("POST", "/v1/events", json={"events": [{"person": "a", "item": "i1"}]}).status_code == 200
        with socket.create_connection(("127.0.0.1", int(shop.url.rpartition(":")[2])), timeout=60) as raw:
            head = f"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.keys['default']}\r\nContent-Type: application/json\r\n"
            raw.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
            answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"urn:sartor:problem:too-slow" in answer


def test_what_one_caller_gives_cannot_make_everybodys_requests_heavy(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, jobs=False) as shop:
        for context in ({"text": "x" * 30_000}, {f"n{n}": "x" * 200 for n in range(150)}):
            event = {"person": "a", "item": "i1", "context": context}
            assert shop.call("POST", "/v1/events", json={"events": [event]}).status_code == 422
        assert shop.call("PUT", "/v1/people/a/attributes", json={"about": "x" * 30_000}).status_code == 422
        items = [{"item": f"new {n}", f"own {n}": n} for n in range(700)]
        assert shop.call("PUT", "/v1/items", json={"items": items}).status_code == 200
        assert shop.engine.store.items("default").width == 502
        assert shop.get("/v1/people/p1/recommendations?where=year+%3E+1990").status_code == 200
        queued = [shop.call("POST", "/v1/models", json={"method": "ease"}) for _ in range(21)]
        assert [one.status_code for one in queued] == [202] * 20 + [409]
        assert shop.call("DELETE", f"/v1/jobs/{queued[0].json()['id']}").status_code == 200
        assert shop.call("POST", "/v1/models", json={"method": "ease"}).status_code == 202


def test_an_export_leaves_nothing_on_the_servers_disk(shared: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    shared.observe("exported", "i1", "i2")
    with shared.http.stream("GET", "/v1/people/exported/export", headers={"Authorization": f"Bearer {shared.keys['default']}"}) as answer:
        assert not list(tmp_path.iterdir())
        body = answer.read()
    assert len(body) == int(answer.headers["content-length"])
    assert zipfile.ZipFile(io.BytesIO(body)).testzip() is None
    assert shared.get("/v1/people/exported%2F..%2F..%2Fx/export").headers["content-disposition"] == 'attachment; filename="person.zip"'
    assert not list(tmp_path.iterdir())


def test_a_key_of_one_person_sees_no_numbers_of_all(shared: Shop) -> None:
    assert shared.get("/metrics", key=shared.key(person="p1")).status_code == 403
    assert shared.get("/metrics").status_code == 200


def test_a_process_with_an_old_master_key_is_not_ready(own: Shop) -> None:
    assert own.ready() == {"ready": True, "model": True}
    with ProfileStore.open(f"sqlite:///{own.engine.store.db.path}") as store:
        rotate_master(store)
    assert problem(own.get("/readyz", key=""), 503, "store-problem")["fix"] == "start this process again"
    assert own.get("/healthz", key="").status_code == 200


def test_what_is_dear_counts_for_more_and_stays_possible(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, rate="30/minute") as shop:
        searches = [shop.get("/v1/items?query=Title", key=key).status_code for key in [shop.key()] * 2]
        assert searches == [200, 429]
        assert [shop.get("/v1/items", key=key).status_code for key in [shop.key()] * 9] == [200] * 9
        exports = [shop.get("/v1/people/p1/export", key=key).status_code for key in [shop.key()] * 2]
        assert exports == [200, 429]


def test_streams_are_shared_between_tenants_and_end_with_their_key(tmp_path: Path, model: Any) -> None:
    with opened(tmp_path, model, streams=2, jobs=False, key_seconds=0.1) as shop:
        card, key = shop.engine.store.create_key("default", label="short", scopes=("models",))
        jobs = {tenant: shop.call("POST", "/v1/models", key=used, json={"method": "popularity"}).json()["id"] for tenant, used in shop.keys.items()}
        with shop.http.stream("GET", f"/v1/jobs/{jobs['default']}/stream", headers={"Authorization": f"Bearer {key}"}) as followed:
            told = followed.iter_lines()
            assert next(told) == "event: progress"
            problem(shop.get(f"/v1/jobs/{jobs['default']}/stream"), 503, "too-many-streams")
            headers = {"Authorization": f"Bearer {shop.keys['other']}"}
            with shop.http.stream("GET", f"/v1/jobs/{jobs['other']}/stream", headers=headers) as others:
                assert others.status_code == 200
            shop.engine.store.revoke_key("default", card.id)
            assert "event: end" in list(told)

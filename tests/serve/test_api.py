"""What the API does, from the first event to the receipt of forgetting."""

from __future__ import annotations

import http.server
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serve_shop import Shop, opened

from sartor.serve import Client
from sartor.serve.metrics import Metrics

ARROW = {"Content-Type": "application/vnd.apache.arrow.stream"}


def stream(**columns: Any) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_ipc_stream(buffer)
    return buffer.getvalue()


def test_a_person_from_the_first_event_to_forgetting(own: Shop) -> None:
    nobody = own.get("/v1/people/ana/recommendations?k=5").json()
    assert (nobody["fallback"], nobody["state"], len(nobody["items"])) == ("unknown person", None, 5)

    event = {"person": "ana", "item": "i30", "id": "e1", "time": "2026-05-01T12:00:00Z", "kind": "view", "context": {"page": "home"}}
    first = own.call("POST", "/v1/events", json={"events": [event, {"person": "ana", "item": "i31"}]}).json()
    again = own.call("POST", "/v1/events", json={"events": [event]}).json()
    assert (first["accepted"], again["accepted"], again["duplicates"]) == (2, 0, 1)
    own.observe("ana", "i32", "i33")

    answer = own.get("/v1/people/ana/recommendations?k=5").json()
    assert answer["fallback"] is None
    assert answer["state"]["lag"] == 0
    picked = [one["item"] for one in answer["items"]]
    assert all(int(item[1:]) >= 20 for item in picked), "somebody who likes the second half gets the second half"
    assert not set(picked) & {"i30", "i31", "i32", "i33"}
    assert answer["items"][0]["title"] == f"Title {picked[0][1:]}"
    plain = own.get("/v1/people/ana/recommendations?k=5&personal=false").json()
    assert [one["item"] for one in plain["items"]] != picked
    filtered = own.get("/v1/people/ana/recommendations", params={"where": "year < 2010", "k": 5}).json()
    assert all(int(one["item"][1:]) < 30 for one in filtered["items"])
    both = own.call("POST", "/v1/recommendations", json={"people": ["ana", "nobody"], "k": 3, "rules": {"pinned": ["i1"]}}).json()["answers"]
    assert [one["person"] for one in both] == ["ana", "nobody"]
    assert {one["items"][0]["item"] for one in both} == {"i1"}

    why = own.get(f"/v1/people/ana/explanations/{picked[0]}").json()
    assert why["verified"] is True
    assert {reason["item"] for reason in why["reasons"]} <= {"i30", "i31", "i32", "i33"}
    record = why["reasons"][0]["ids"][0]
    what_if = own.call("POST", "/v1/people/ana/what-if", json={"remove": [record], "add": [{"item": "i2"}], "k": 5}).json()
    assert what_if["moved"]
    assert what_if["before"]["items"][0]["item"] == picked[0]

    profile = own.get("/v1/people/ana").json()
    assert (profile["records"], profile["frames"], profile["stale"]) == (4, {"events": 4}, False)
    assert profile["state"]["current"] is True
    assert {array["name"] for array in profile["state"]["arrays"]} >= {"items"}
    newest = own.get("/v1/people/ana/events?limit=3").json()
    older = own.get("/v1/people/ana/events", params={"limit": 3, "before": newest["next"]}).json()
    assert [one["item"] for one in newest["items"] + older["items"]] == ["i33", "i32", "i31", "i30"]
    assert older["next"] is None
    assert older["items"][0] | {"source": "api:test", "content": {"item": "i30", "context": {"page": "home"}}} == older["items"][0]

    assert own.call("DELETE", "/v1/people/ana/events/e1").json() == {"removed": 1}
    assert own.call("DELETE", "/v1/people/ana/events/e1").json() == {"removed": 0}
    assert own.engine.catch_up(30)
    versions = own.get("/v1/people/ana/states").json()["items"]
    assert [one["version"] for one in versions] == sorted((one["version"] for one in versions), reverse=True)
    restored = own.call("POST", f"/v1/people/ana/states/{versions[-1]['version']}/restore").json()
    assert restored["held"] is True
    assert own.get("/v1/people/ana/recommendations").json()["state"]["version"] == restored["version"]
    assert own.call("POST", "/v1/people/ana/release").json()["held"] is False

    refused = own.call("PUT", "/v1/people/ana/consents", json={"purposes": {"recommend": False}, "text": "no", "version": "2"}).json()
    assert refused["purposes"]["recommend"] | {"granted": False, "text": "no", "default": False} == refused["purposes"]["recommend"]
    assert own.get("/v1/people/ana/recommendations").json()["fallback"] == "no consent"

    exported = own.get("/v1/people/ana/export")
    assert exported.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(exported.content)) as archive:
        assert any("i31" in archive.read(name).decode("utf-8", "replace") for name in archive.namelist())
    gone = own.call("DELETE", "/v1/people/ana")
    assert gone.status_code == 200, gone.text
    receipt = gone.json()
    assert receipt["verified"] is True
    assert receipt["removed"]["evidence"] == 3
    assert own.get("/v1/people/ana").status_code == 404
    assert own.get("/v1/people/ana/recommendations").json()["fallback"] == "unknown person"


def test_arrow_and_json_store_the_same(shared: Shop) -> None:
    rows = {
        "person": ["arrow", "arrow"],
        "item": ["i1", "i2"],
        "id": ["1", "2"],
        "time": [1.7e9, 1.8e9],
        "kind": ["view", None],
        "weight": [2.0, None],
    }
    done = shared.call("POST", "/v1/events", content=stream(**rows), headers=ARROW)
    assert done.json()["accepted"] == 2, done.text
    events = [{name: column[row] for name, column in rows.items() if column[row] is not None} | {"person": "json"} for row in range(2)]
    assert shared.call("POST", "/v1/events", json={"events": events}).json()["accepted"] == 2
    drop = ("received", "position")
    arrow, plain = (
        [{name: value for name, value in one.items() if name not in drop} for one in shared.get(f"/v1/people/{who}/events").json()["items"]]
        for who in ("arrow", "json")
    )
    assert arrow == plain


def test_items_are_listed_found_hidden_and_deleted(own: Shop) -> None:
    put = own.call("PUT", "/v1/items", json={"items": [{"item": "new/1", "title": "Über", "categories": ["a"], "price": 3.5}]})
    assert put.json()["items"] == 1
    assert own.get("/v1/items/new%2F1").json() == {"item": "new/1", "hidden": False, "title": "Über", "categories": ["a"], "price": 3.5}
    assert [one["item"] for one in own.get("/v1/items?query=ÜBER").json()["items"]] == ["new/1"]
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = own.get("/v1/items", params={"limit": 17, "after": after}).json()
        seen, after = seen + [one["item"] for one in page["items"]], page["next"]
    assert len(seen) == len(set(seen)) == 41
    best = own.get("/v1/people/x/recommendations?k=1").json()["items"][0]["item"]
    assert own.call("PATCH", f"/v1/items/{best}", json={"hidden": True}).json()["hidden"] is True
    assert own.get("/v1/people/x/recommendations?k=1").json()["items"][0]["item"] != best
    second = own.get("/v1/people/x/recommendations?k=1").json()["items"][0]["item"]
    assert own.call("DELETE", f"/v1/items/{second}").status_code == 204
    assert [own.get(f"/v1/items/{second}").status_code, own.call("PATCH", f"/v1/items/{second}", json={"hidden": False}).status_code] == [404, 404]
    left = {one["item"] for one in own.get("/v1/people/x/recommendations?k=100").json()["items"]}
    assert len(left) == 38
    assert not left & {best, second}
    assert own.get("/v1/status").json()["counts"]["items"] == 40
    assert own.call("PUT", "/v1/items", json={"items": [{"item": second, "title": "Back"}]}).status_code == 200
    assert own.get("/v1/people/x/recommendations?k=1").json()["items"][0]["item"] == second
    assert own.call("DELETE", "/v1/items/new%2F1").status_code == 204
    assert own.call("DELETE", "/v1/items/new%2F1").status_code == 404
    assert own.get("/v1/items/i1/similar?k=3").json()["person"] is None
    assert own.get("/v1/items/none/similar").json()["type"] == "urn:sartor:problem:unknown-id"


def test_a_fit_is_a_job_that_can_be_followed_and_cancelled(own: Shop) -> None:
    body = {"events": [{"person": f"p{n}", "item": f"i{(n % 2) * 20 + (3 * n + m) % 20}"} for n in range(80) for m in range(6)]}
    assert own.call("POST", "/v1/events", json=body).status_code == 200
    own.engine.store.set_default_consent("default", ["recommend", "train"])
    started = own.call("POST", "/v1/models", json={"method": "popularity", "min_gain": -1.0})
    assert started.status_code == 202
    job = started.json()["id"]
    assert started.headers["location"] == f"/v1/jobs/{job}"
    told = [json.loads(line[6:]) for line in own.get(f"/v1/jobs/{job}/stream").text.splitlines() if line.startswith("data: {")]
    last = told[-2]
    assert last["status"] == "done", last
    assert told[-1] == {}
    models = own.get("/v1/models").json()["items"]
    assert {one["method"] for one in models} == {"EASE", "Popularity"}
    evaluation = own.get("/v1/evaluation").json()
    assert evaluation["model"] == next(one["fingerprint"] for one in models if one["status"] == "active")
    other = next(one["fingerprint"] for one in models if one["status"] != "active")
    switch = own.call("POST", f"/v1/models/{other}/activate", json={"force": True}).json()
    assert switch["kind"] == "switch"
    own.get(f"/v1/jobs/{switch['id']}/stream")
    assert next(one["fingerprint"] for one in own.get("/v1/models").json()["items"] if one["status"] == "active") == other
    wrong = own.call("POST", "/v1/models", json={"method": "no-such-method"}).json()["id"]
    own.get(f"/v1/jobs/{wrong}/stream")
    assert own.get(f"/v1/jobs/{wrong}").json()["status"] == "failed"
    assert own.call("DELETE", f"/v1/jobs/{wrong}").json()["status"] == "failed", "what is over cannot be cancelled"


def test_the_whole_can_be_seen(shared: Shop) -> None:
    shared.get("/v1/people/secret-name/recommendations")
    status = shared.get("/v1/status").json()
    assert status["tenant"] == "default"
    assert status["queue"]["people"] >= 0
    systems = {one["slug"]: one for one in shared.get("/v1/systems").json()["items"]}
    assert systems["ease"]["kind"] == "baseline"
    newest = shared.get("/v1/requests").json()["items"]
    assert newest[0]["route"] == "/v1/systems"
    assert shared.get("/v1/requests", key=shared.keys["other"]).json()["items"] == []
    numbers = shared.get("/metrics").text
    for name in ("sartor_requests_total", "sartor_request_seconds_bucket", "sartor_fallback_total", "sartor_queue_depth", "sartor_erase_total"):
        assert name in numbers
    assert "secret-name" not in numbers + json.dumps(newest)
    assert shared.get("/healthz", key="").json()["ok"] is True
    assert shared.ready() == {"ready": True, "model": True}
    page = shared.get("/docs", key="")
    assert "/v1/people/{person}/recommendations" in page.text
    assert not re.search(r"<script|src=|https?://", page.text)


def test_metrics_of_several_workers_add_up(tmp_path: Path) -> None:
    code = "from sartor.serve.metrics import Metrics; m = Metrics(); m.request('recommend', 'GET', 200, 0.01); print(m.text().decode())"
    env = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    outputs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=env).stdout.decode() for _ in range(2)]
    assert 'sartor_requests_total{method="GET",outcome="ok",verb="recommend"} 2.0' in outputs[1]
    assert "PROMETHEUS_MULTIPROC_DIR" not in os.environ
    assert b"sartor_requests_total" in Metrics().text()


def test_the_log_says_what_happened_but_not_to_whom(tmp_path: Path, model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path, model, log_requests=True) as made:
        capsys.readouterr()
        made.observe("very-secret", "i1")
        made.get("/v1/people/very-secret/recommendations?where=year+%3C+1985")
        made.get("/v1/people/very-secret")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    by_route = {line["route"]: line for line in lines}
    assert by_route["/v1/events"]["status"] == 200
    hashes = {line["person"] for line in lines if "person" in line}
    assert len(hashes) == 1
    assert not re.search(f"very-secret|i1|1985|{made.keys['default']}", json.dumps(lines))


def test_traces_are_sent_where_the_environment_says(tmp_path: Path, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="traces need the extra 'otel'")
    got: list[bytes] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        with opened(tmp_path, model) as made:
            made.observe("very-secret", "i1")
            assert made.get("/v1/people/very-secret/recommendations", headers=parent).status_code == 200
        collector.shutdown()
    sent = b"".join(got)
    for name in (b"GET /v1/people/{person}/recommendations", b"recommend", b"observe", bytes.fromhex("0af7651916cd43dd8448eb211c80319c")):
        assert name in sent
    assert b"very-secret" not in sent


@pytest.mark.parametrize("workers", [1, 2])
def test_a_real_process_serves_and_stops_without_losing_anything(tmp_path: Path, workers: int, model: Any) -> None:
    from sartor.engine import Engine
    from sartor.profile.store import ProfileStore

    url = f"sqlite:///{tmp_path}/people.db"
    with Engine(url, background=False) as engine:
        engine.install(model)
        key = engine.store.create_key("default", label="test", scopes=["read", "write", "models", "admin", "profile"])[1]
    code = f"from sartor.serve.run import run; run({url!r}, port={_port()}, workers={workers})"
    port = int(re.search(r"port=(\d+)", code)[1])  # type: ignore[index]
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    try:
        with Client(f"http://127.0.0.1:{port}", key, retries=8) as client:
            client.observe([{"person": "ana", "item": f"i{n}"} for n in (30, 31, 32)])
            until = time.monotonic() + 60
            while (answer := client.recommend("ana", k=3)).state is None and time.monotonic() < until:
                time.sleep(0.1)
            assert answer.fallback is None
            assert {client.me().tenant for _ in range(6)} == {"default"}
            if workers == 1:
                job = client.fit("no-such-method")
                assert list(client.follow(job.id))[-1].status == "failed", "in a process of its own"
            assert client.observe([{"person": "ana", "item": "i33"}]).accepted == 1
    finally:
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=90)
    assert process.returncode in (0, -signal.SIGTERM), told
    assert "Traceback" not in told
    with ProfileStore.open(url) as store:
        assert store.count("default", "ana") == 4


def _port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

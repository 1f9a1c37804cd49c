"""Files into the store: what is taken, what is refused and where, twice as once; and what an administrator looks after."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import Any

import polars as pl
import pytest
from serve_shop import Shop, opened

from sartor.serve import imports

FILE = {"Content-Type": "application/octet-stream"}


def send(shop: Shop, content: bytes, format: str, columns: dict[str, str], into: str = "events", **more: Any) -> dict[str, Any]:
    """The ended job."""
    query = {"into": into, "format": format, "columns": json.dumps(columns), **more}
    answer = shop.call("POST", "/v1/imports", params=query, content=content, headers=FILE)
    assert answer.status_code == 202, answer.text
    return ended(shop, answer.json()["id"])


def ended(shop: Shop, job: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        found: dict[str, Any] = shop.get(f"/v1/imports/{job}").json()
        if found["finished"]:
            return found
        time.sleep(0.02)
    raise AssertionError("the import has not ended")


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


FRAME = pl.DataFrame(
    {"user_id": ["f1", "f1", "f1", "f2"], "sku": ["i1", "i1", "i2", "i3"], "ts": [1_700_000_000_000] * 4, "stars": [4.5, 4.5, 1.0, 2.0],
     "page": ["home, top", "home, top", 'the "best"', "line\nbreak"]}
)  # fmt: skip
FILES = {
    "csv": FRAME.write_csv().encode(),
    "semicolons": b"\xef\xbb\xbf" + FRAME.write_csv(separator=";").encode(),
    "jsonl": FRAME.write_ndjson().encode(),
    "parquet": parquet(FRAME),
}
COLUMNS = {"person": "user_id", "item": "sku", "time": "ts", "value": "stars"}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_looked_at_and_imported_once(own: Shop, name: str) -> None:
    content, format = FILES[name], "csv" if name == "semicolons" else name
    seen = own.call("POST", "/v1/imports/preview", params={"format": format}, content=content, headers=FILE).json()
    assert seen["columns"] == FRAME.columns
    assert [row["cells"][4] for row in seen["rows"]] == FRAME["page"].to_list()
    assert seen["guess"] == {"person": "user_id", "item": "sku", "time": "ts", "value": "stars"} or "value" not in seen["guess"]
    told = {"keep": '["page"]', "unit": "ms"}
    first = send(own, content, format, COLUMNS, **told)
    assert (first["status"], first["progress"], first["kind"]) == ("done", 1.0, "import"), first
    # Doing the same twice is two events, sending the file twice is one.
    assert {name: first["result"][name] for name in ("rows", "stored", "duplicates", "bad")} == {"rows": 4, "stored": 4, "duplicates": 0, "bad": 0}
    again = send(own, content, format, COLUMNS, **told)
    assert (again["result"]["stored"], again["result"]["duplicates"]) == (0, 4)
    kept = own.get("/v1/people/f1/events").json()["items"]
    assert sorted((one["item"], one["value"], one["content"]["context"]["page"]) for one in kept) == [
        ("i1", 4.5, "home, top"), ("i1", 4.5, "home, top"), ("i2", 1.0, 'the "best"'),
    ]  # fmt: skip
    assert {one["time"] for one in kept} == {"2023-11-14T22:13:20.000Z"}
    assert kept[0]["source"] == "import:test"


def test_a_grown_file_adds_what_is_new(own: Shop) -> None:
    head, rows = b"person,item\n", b"g1,i1\ng1,i1\n"
    assert send(own, head + rows, "csv", {"person": "person", "item": "item"})["result"]["stored"] == 2
    grown = send(own, head + rows + b"g1,i1\ng1,i2\n", "csv", {"person": "person", "item": "item"})
    assert (grown["result"]["stored"], grown["result"]["duplicates"]) == (2, 2)


def test_bad_rows_are_named_and_nothing_is_stored_unless_they_are_left_out(own: Shop) -> None:
    content = b"who,what,when,stars\nb1,i1,2026-05-01,3\nb1,,1,1\nb1,i2,soon,1\nb1,i3,99999999999,1\nb1,i4,1,secret-word\n"
    columns = {"person": "who", "item": "what", "time": "when", "value": "stars"}
    job = send(own, content, "csv", columns)
    assert (job["status"], job["error"]) == ("failed", "4 of 5 rows cannot be taken; nothing was stored")
    found = [(one["row"], one["column"]) for one in job["result"]["problems"]]
    assert found == [(3, "what"), (4, "when"), (5, "when"), (6, "stars")]
    assert "secret-word" not in json.dumps(job)
    assert own.get("/v1/people/b1").status_code == 404
    left = send(own, content, "csv", columns, bad="skip")
    assert (left["status"], left["result"]["stored"], left["result"]["bad"]) == ("done", 1, 4)


@pytest.mark.parametrize(
    ("content", "format", "said"),
    [
        (b"person,item\na,b,c\n", "csv", "row 2: the row has 3 cells, the header 2"),
        (b'person,item\n"a,b\n', "csv", "row 2: the row cannot be read"),
        (b"person,item\n\xff,b\n", "csv", "row 2, byte 1: this is not UTF-8"),
        (b"person,item\n", "csv", "the file has no rows"),
        (b'{"person": "a", "item": "b"}\n[1]\n', "jsonl", "row 2: the line is not a JSON object"),
        (b'{"person": "a", "item": "b"}\n{"person": NaN}\n', "jsonl", "row 2: the line is not JSON"),
        (b"x" * 1_000_100, "jsonl", "row 1: a line has more than"),
    ],
)
def test_files_that_cannot_be_read_say_where(shared: Shop, content: bytes, format: str, said: str) -> None:
    job = send(shared, content, format, {"person": "person", "item": "item"})
    assert job["status"] == "failed"
    assert said in job["error"]
    assert job["result"]["stored"] == 0


def test_what_does_not_fit_is_refused_at_once(shared: Shop) -> None:
    def refused(content: bytes, status: int, **query: str) -> str:
        asked = {"into": "events", "format": "csv", "columns": '{"person": "a", "item": "b"}'} | query
        answer = shared.call("POST", "/v1/imports", params=asked, content=content, headers=FILE)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])

    assert "no such column" in refused(b"a,c\n1,2\n", 422)
    assert "no column is given for 'item'" in refused(b"a,b\n1,2\n", 422, columns='{"person": "a"}')
    assert "are no fields" in refused(b"a,b\n1,2\n", 422, columns='{"person": "a", "item": "b", "x": "y"}')
    assert "used twice" in refused(b"a,b\n1,2\n", 422, keep='["a"]')
    assert "same name" in refused(b"a,a\n1,2\n", 422)
    assert "empty" in refused(b"", 422)
    assert "whole Parquet" in refused(b"PAR1", 422, format="parquet")
    assert shared.call("POST", "/v1/imports/preview?format=csv", content=b"a", headers={"Content-Type": "text/csv"}).status_code == 415
    deep = parquet(pl.DataFrame({"a": [{"x": 1}], "b": [1]}))
    assert "type that is not taken" in refused(deep, 422, format="parquet")


def test_limits_of_files_and_of_imports_at_once(tmp_path: Any, model: Any) -> None:
    with opened(tmp_path, model, import_bytes=1_000) as shop:
        query = {"into": "events", "format": "csv", "columns": '{"person": "person", "item": "item"}'}
        assert shop.call("POST", "/v1/imports", params=query, content=b"x" * 1_001, headers=FILE).status_code == 413
        importer = shop.app.state.server.importer
        for _ in range(imports.AT_ONCE):
            importer.take()
        assert shop.call("POST", "/v1/imports", params=query, content=b"person,item\na,b\n", headers=FILE).status_code == 409
        importer.leave()
        # Whoever was refused has given its place back.
        assert send(shop, b"person,item\nq,i1\n", "csv", {"person": "person", "item": "item"})["status"] == "done"


def test_two_files_come_in_at_once_and_neither_waits_for_the_other(own: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    met = threading.Barrier(2)
    put = imports._Work._put

    def together(work: Any, batch: Any) -> None:
        # Passed only when both are storing; an import that waited for the other would break it.
        met.wait(60)
        put(work, batch)

    monkeypatch.setattr(imports._Work, "_put", together)
    query = {"into": "events", "format": "csv", "columns": '{"person": "person", "item": "item"}'}
    sent = [own.call("POST", "/v1/imports", params=query, content=f"person,item\n{who},i1\n".encode(), headers=FILE) for who in ("one", "two")]
    assert [one.status_code for one in sent] == [202, 202]
    assert [ended(own, one.json()["id"])["result"]["stored"] for one in sent] == [1, 1]
    assert all(own.engine.store.count("default", who) == 1 for who in ("one", "two"))


def test_an_import_is_cancelled_and_a_dead_one_is_ended(own: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "EVERY", 0.0)
    monkeypatch.setattr(imports, "BATCH", 5)
    rows = b"person,item\n" + b"".join(b"c%d,i1\n" % n for n in range(20_000))
    query = {"into": "events", "format": "csv", "columns": '{"person": "person", "item": "item"}'}
    job = own.call("POST", "/v1/imports", params=query, content=rows, headers=FILE).json()["id"]
    assert own.call("DELETE", f"/v1/imports/{job}").status_code == 200
    gone = ended(own, job)
    assert gone["status"] == "cancelled"
    assert gone["result"]["stored"] < 20_000
    assert own.call("DELETE", "/v1/imports/no-such-job").status_code == 404

    store = own.engine.store
    dead = imports.Jobs(store.db, store.keyring).put("default", "import", {}, None, worker="gone", lease=-1.0)
    own.app.state.server.wake_jobs()
    found = ended(own, dead.id)
    assert (found["status"], found["error"]) == ("failed", imports.ENDED)


def test_items_come_with_their_attributes_as_numbers(own: Shop) -> None:
    content = b"sku,name,genres,year,code,new\nx1,One,a|b,1999,007,true\nx2,Two,,2001.5,8,false\nx3,Three,c,,9,true\n"
    columns = {"item": "sku", "title": "name", "categories": "genres"}
    job = send(own, content, "csv", columns, "items", keep='["year", "code", "new"]')
    assert (job["status"], job["result"]["stored"]) == ("done", 3)
    one = own.get("/v1/items/x1").json()
    assert {name: one[name] for name in ("title", "categories", "year", "code", "new")} == {
        "title": "One", "categories": ["a", "b"], "year": 1999.0, "code": "007", "new": True,
    }  # fmt: skip
    found = own.get("/v1/data").json()
    assert found["counts"]["items"] == 43
    assert {"name": "year", "kind": "Float64", "items": 42} in found["attributes"]


def test_what_is_here_counts_no_small_group(own: Shop) -> None:
    send(own, b"person,item,kind\nr1,i1,rare\n", "csv", {"person": "person", "item": "item", "kind": "kind"})
    send(own, b"".join([b"person,item,kind,time\n", *(b"d%d,i1,common,1700000000\n" % n for n in range(6))]), "csv",
         {name: name for name in ("person", "item", "kind", "time")})  # fmt: skip
    kinds = {one["kind"]: one for one in own.get("/v1/data").json()["kinds"]}
    assert (kinds["rare"]["records"], kinds["rare"]["people"], kinds["rare"]["first"]) == (1, None, None)
    assert (kinds["common"]["people"], kinds["common"]["first"], kinds["common"]["untimed"]) == (6, "2023-11-14T22:13:20.000Z", 0)


def test_retention_is_tried_set_audited_and_taken_away(own: Shop) -> None:
    send(own, b"person,item,time\no1,i1,1000000000\no1,i2,1000000000\n", "csv", {name: name for name in ("person", "item", "time")})
    rule = {"frame": "events", "kind": "", "seconds": 86_400.0, "half_life": None}
    tried = own.call("PUT", "/v1/retention?dry=true", json=rule).json()
    assert (tried["would_delete"], tried["items"]) == (2, [rule])
    assert own.get("/v1/retention").json()["items"] == []
    assert own.call("PUT", "/v1/retention", json=rule).json()["would_delete"] == 2
    assert own.call("PUT", "/v1/retention", json=rule | {"kind": "view", "seconds": None, "half_life": 60.0}).status_code == 200
    assert [one["kind"] for one in own.get("/v1/retention").json()["items"]] == ["view", ""]
    assert own.engine.store.stale("default").people > 0, "what counts how much has changed"
    assert own.call("PUT", "/v1/retention", json={"frame": "events"}).json()["items"][0]["kind"] == "view"
    assert own.call("PUT", "/v1/retention", json={"frame": "no frame", "seconds": 5}).status_code == 422
    assert own.call("PUT", "/v1/retention", json={"seconds": 0}).status_code == 422
    lines = own.get("/v1/audit").json()["items"]
    assert [one["action"] for one in lines[:3]] == ["retention"] * 3
    assert lines[2]["detail"]["seconds"] == 86_400.0


def test_limits_are_told_to_administrators_alone(shared: Shop) -> None:
    told = shared.get("/v1/limits").json()
    assert told["server"]["bulk_rows"] == 50_000
    assert told["store"]["database"] == "sqlite"
    reader = shared.key(scopes=("read", "write", "profile", "models"))
    assert {shared.get(path, key=reader).status_code for path in ("/v1/limits", "/v1/audit", "/v1/retention")} == {403}
    bound = shared.key(person="p1")
    assert shared.call("POST", "/v1/imports/preview?format=csv", key=bound, content=b"a\n", headers=FILE).status_code == 403

"""What was forgotten or withdrawn does not come back by a side door: an old log, an archive, a line written too late."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from sartor.errors import CorruptFile
from sartor.profile import audit, forget
from sartor.profile.archive import ArchiveWriter
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore


def test_tombstones_outlast_the_bounded_log(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEPT", 5)
    monkeypatch.setattr(audit, "_SWEEP", 2)
    store.append("shop", [Record("ana", id="1")])
    store.forget("shop", "ana", scan_files=False)
    for _ in range(20):
        store.audit("shop", "something else")
    assert len(store.audits("shop")) <= 5 + 2 + 1
    store.append("shop", [Record("ana", id="1")])  # as an older backup has her
    stones = {stone: when + 1e6 for stone, when in forget.tombstones(store, "shop").items()}
    assert forget.forget_again(store, "shop", stones) == 1


def test_an_archive_brings_its_consents_before_its_records(store: ProfileStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.append("shop", [Record("ana", id="1", content={"item": 1})])
    store.consent("shop", "ana", "recommend", True, text="yes")
    store.consent("shop", "ana", "recommend", False, text="no")
    said = store.consent_history("shop", "ana")
    archive = store.export("shop", "ana")
    monkeypatch.setattr(store._appender, "append", lambda *_: pytest.fail("killed"))
    with pytest.raises(pytest.fail.Exception):
        store.import_("other", archive)
    monkeypatch.undo()
    assert not store.allowed("other", "ana", "recommend")
    store.import_("other", archive)
    assert store.evidence("other", "ana", purpose="recommend") == []
    assert store.consent_history("other", "ana") == said, "when she said it is part of what she said"


def test_an_archive_with_an_unknown_purpose_stores_nothing(store: ProfileStore) -> None:
    store.append("shop", [Record("ana", id="1", content={"item": 1})])
    store.consent("shop", "ana", "train", True)
    target = io.BytesIO()
    writer = ArchiveWriter(target)
    with zipfile.ZipFile(io.BytesIO(store.export("shop", "ana"))) as given:
        for name in given.namelist():
            data = given.read(name)
            if name == "consents.jsonl":
                rows: list[dict[str, Any]] = [json.loads(line) for line in data.splitlines()]
                data = b"".join(json.dumps(row | {"purpose": "sell"}).encode() + b"\n" for row in rows)
            if name != "manifest.json":
                writer.add(name, data)
    writer.close({"person": "ana"})
    with pytest.raises(CorruptFile):
        store.import_("other", target.getvalue())
    assert store.people("other") == []


def test_work_that_ends_after_a_forget_leaves_no_line_about_her(store: ProfileStore) -> None:
    store.append("shop", [Record("ana", id="1")])
    store.audit("shop", "looked at", person="ana")
    assert len(store.audits("shop", "ana")) == 1
    store.forget("shop", "ana", scan_files=False)
    store.audit("shop", "export", person="ana")
    assert store.audits("shop", "ana") == []
    assert store.audits("shop")[0].action == "export"
    assert not store.forget("shop", "ana").known


def test_an_id_that_is_also_an_items_is_no_trace_of_her(store: ProfileStore) -> None:
    if store.dialect != "sqlite":
        pytest.skip("PostgreSQL's files are not scanned without being asked")
    store.put_items("shop", [{"item": "100001"}])
    store.append("shop", [Record("100001", id="1")])
    receipt = store.forget("shop", "100001")
    assert receipt.verified
    assert not receipt.compacted
    assert "item" in receipt.note

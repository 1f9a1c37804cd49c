"""The byte scan finds what is there, in every form and at every place, and nothing that is not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor.profile import scan as module
from sartor.profile.scan import scan

WRITERS = {
    "utf-8": str.encode,
    "utf-16": lambda text: text.encode("utf-16-le"),
    "json": lambda text: json.dumps({"person": text}).encode(),
    "url": lambda text: f"GET /v1/people/{quote(text, safe='')}/events".encode(),
    "hex": lambda text: text.encode().hex().encode(),
    "base64": lambda text: base64.b64encode(text.encode()),
    "base64 in the middle": lambda text: base64.b64encode(b"user:" + text.encode() + b":end"),
}


def noise(nbytes: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(nbytes)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    needle=st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=100),
    writer=st.sampled_from(sorted(WRITERS)),
    before=st.integers(0, 300),
    seed=st.integers(0, 9),
)
def test_a_planted_needle_is_found_wherever_chunks_end(
    needle: str, writer: str, before: int, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 97)
    planted = noise(before, seed) + WRITERS[writer](needle) + noise(50, seed + 1)
    (tmp_path / "file").write_bytes(planted)
    found = scan([tmp_path], {"id": [needle], "other": ["not in there at all"]})
    assert {hit.what for hit in found.hits} == {"id"}
    assert not found.clean
    for hit in found.hits:
        pattern = module.forms(needle)
        written = next(data for name, data in pattern.items() if name == hit.form)
        assert planted[hit.offset : hit.offset + len(written)] == written


def test_hits_are_those_of_a_plain_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 1000)
    needles = [noise(16, seed) for seed in range(20)]
    data = bytearray(noise(20_000, 99))
    for number, needle in enumerate(needles * 2):
        data[number * 495 : number * 495 + 16] = needle
    (tmp_path / "file").write_bytes(data)
    found = scan([tmp_path / "file"], {"key": needles})
    expected = [(at, needle) for needle in needles for at in range(len(data)) if data.startswith(needle, at)]
    assert sorted((hit.offset, bytes(data[hit.offset : hit.offset + 16])) for hit in found.hits) == sorted(expected)
    assert (found.files, found.nbytes) == (1, len(data))


def test_random_data_holds_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(noise(5_000_000, 5))
    found = scan([tmp_path, tmp_path / "absent"], {"id": [f"person-{number}" for number in range(500)], "short": ["ana", "1"]})
    assert found.clean
    assert found.too_short == ("short",)  # "1" is everywhere; "ana" is still looked for in its longer forms


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").write_bytes(b"x")

    def refuse(self: object, path: Path) -> None:
        raise PermissionError(13, "no", str(path))

    monkeypatch.setattr(module._Finder, "file", refuse)
    found = scan([tmp_path], {"id": ["somebody"]})
    assert not found.clean
    assert found.unreadable == (str(tmp_path / "locked"),)

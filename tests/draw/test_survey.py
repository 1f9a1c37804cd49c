"""The map of the room: every method has one place, and nothing of it is left out in silence."""

import json

import pytest

from sartor import systems
from sartor.draw import survey as room
from sartor.draw.survey import GAPS, PLACES, SCHEMES, SPACES, WAYS, Place, markdown, survey, uncovered, unplaced
from sartor.errors import ConfigError


def test_every_method_of_the_room_has_a_place_and_every_value_a_method_or_a_note():
    assert unplaced() == []
    assert uncovered() == []
    assert {*GAPS} <= {*SPACES, *WAYS, *SCHEMES}
    used = {value for slug, one in PLACES.items() if slug in systems.SYSTEMS for value in (one.space, one.way, one.scheme)}
    assert not used & {*GAPS}


def test_rows_have_what_was_measured_and_never_a_zero_in_its_place():
    rows = survey({"neti": {"passed": False, "gain": 0.0, "swap_gap": 0.2, "state_bytes": 4000.0, "adapt_seconds": 12.34}})
    text = markdown(rows)
    by = {row["slug"]: row for row in rows}
    assert by["neti"]["gain"] == 0.0
    assert by["core"]["gain"] is None
    assert "| neti | word by time and layer | optimisation | subject | 4,000 | 12.3 | 0.00 | 0.20 | failed |" in text
    assert "| core | word | optimisation | subject | not measured | not measured | not measured | not measured | not measured |" in text
    assert all(f"- Not covered: {name}" in text for name in GAPS)
    assert json.loads(json.dumps(rows)) == rows


def test_a_value_outside_the_vocabulary_and_a_method_without_a_place_are_named(monkeypatch):
    with pytest.raises(ConfigError, match="no way 'magic'") as found:
        Place("word", "magic", "subject")
    assert "training-free, optimisation, learning, hybrid" in str(found.value)
    monkeypatch.delitem(room.PLACES, "neti")
    with pytest.raises(ConfigError, match="neti has no place"):
        survey()
    assert uncovered() == ["word by time and layer"]

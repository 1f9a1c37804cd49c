"""`sartor recognize`: from folders of pictures to who is on others, and to nothing at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from calls import Call
from PIL import Image

from sartor.data.world.identity import IdentityWorld

WORLD = IdentityWorld(6)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recognize")
    shots = WORLD.shots(np.arange(44), 6, cameras=1, free=0.0, occluded=0.0)
    for image, person, shot in zip(WORLD.render(shots), shots.person, shots.shot, strict=True):
        file = place / ("all" if person < 40 else "new") / f"p{person}" / f"{shot}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    return place


def test_from_pictures_to_names_and_forgotten(place: Path, call: Call, call_json: Call) -> None:
    model, people = place / "model", place / "enrolled"
    pixels = ("--set", "encoder=pixels")
    code, fitted = call_json("recognize", "fit", place / "all", "--out", model, *pixels)
    assert code == 0, fitted
    assert fitted["pictures"] == 240
    for who in ("p40", "p41"):
        shown = [place / "new" / who / f"{number}.png" for number in range(4)]
        code, done = call_json("recognize", "enrol", model, who, *shown, "--people", people)
        assert (code, done["pictures"]) == (0, 4), done
    code, found = call_json("recognize", "identify", model, place / "new" / "p40", place / "new" / "p43" / "1.png", "--people", people)
    assert code == 0, found
    names = [[one["person"] for one in row["people"]] for row in found["pictures"]]
    assert names[:4] == [["p40"]] * 4
    assert ["p41"] not in names
    code, same = call_json("recognize", "verify", model, "p41", place / "new" / "p41" / "0.png", place / "new" / "p40" / "0.png", "--people", people)
    assert [one["same"] for one in same["pictures"]] == [True, False]
    code, _, said = call("recognize", "enrol", model, "p41", place / "new" / "p43", "--people", people)
    assert code != 0
    assert "do not look like" in said
    assert call_json("recognize", "forget", "p41", "--people", people)[1]["left"] == 0
    code, _, said = call("recognize", "verify", model, "p41", place / "new" / "p41" / "0.png", "--people", people)
    assert code != 0
    assert "nobody is enrolled" in said
    assert {one.name for one in people.iterdir()} == {"p40.state"}
    code, table, _ = call("recognize", "identify", model, place / "new" / "p40" / "1.png", "--people", people)
    assert "p40" in table
    # What cannot be compared is named by its file, not left out.
    whole = (people / "p40.state").read_bytes()
    (people / "p39.state").write_bytes(whole[:100])
    code, _, said = call("recognize", "identify", model, place / "new" / "p40" / "1.png", "--people", people)
    assert code != 0
    assert "p39.state" in said
    (people / "p39.state").unlink()
    code, few = call_json("recognize", "fit", place / "new", "--out", place / "few", *pixels, "--set", "held_out=0", "--set", "whiten=false")
    assert (code, few["calibrated_on"]) == (0, 0)
    assert "more strangers" in few["note"]
    code, _, said = call("recognize", "identify", place / "few", place / "new" / "p40" / "1.png", "--people", people)
    assert code != 0
    assert "p40.state" in said


def test_a_table_of_ones_own_folder(place: Path, call: Call, call_json: Call) -> None:
    code, made = call_json("recognize", "evaluate", place / "all", "-m", "pixels", "--seed", 0, "--shots", 2)
    assert code == 0, made
    run = made["methods"]["pixels"][0]
    assert run["gain"] > 0.3 > run["swapped"]
    code, table, _ = call("recognize", "evaluate", place / "all", "-m", "pixels", "--seed", 0, "--shots", 2)
    assert (code, "strangers" in table) == (0, True)


def test_what_does_not_fit_is_one_sentence(place: Path, call: Call) -> None:
    for words in (
        ["recognize", "fit", place / "nowhere", "--out", place / "x"],
        ["recognize", "fit", place, "--out", place / "x", "-m", "popularity"],
        ["recognize", "forget", "../p1", "--people", place],
        ["recognize", "identify", place / "model", place / "new", "--people", place / "nowhere"],
        ["recognize", "evaluate", place / "new", "-m", "pixels", "--seed", 0],
    ):
        code, _, said = call(*words)
        assert code != 0
        assert "Traceback" not in said

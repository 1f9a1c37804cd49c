"""DocXPand: zones as the standard has them, labels that hold after the homography, metrics equal to closed forms, and named errors."""

import datetime
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sartor.data.world.identity import IdentityWorld
from sartor.data.world.identity.mrz import ALPHABET, Zone, check_digit, checked_places, decode, encode, failures, transliterated, undetected
from sartor.data.world.identity.papers import papers
from sartor.data.world.identity.portraits import TALL, WIDE, portraits
from sartor.data.world.identity.scenes import cut, homography, insert, scanned, through, warped
from sartor.data.world.identity.templates import TEMPLATES, Template
from sartor.errors import BadValue, ConfigError, CorruptFile, EmptyData, FileProblem
from sartor.evaluate.docxpand import DocXPand, character_error_rate, polygon_iou
from sartor.evaluate.docxpand_archive import read
from sartor.recognize.parts.corners import CornerTrainer, located

WORLD = IdentityWorld(4)
BIRTH, EXPIRY = datetime.date(1974, 8, 12), datetime.date(2012, 4, 15)
ANNA = Zone("td3", "P", "UTO", "UTO", "L898902C3", "Eriksson", "Anna Maria", BIRTH, "F", EXPIRY, "ZE184226B")
STANDARD = {
    # Examples of ICAO Doc 9303, parts 4 to 6.
    "td3": ("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10"),
    "td2": ("I<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<", "D231458907UTO7408122F1204159<<<<<<<6"),
    "td1": ("I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F1204159UTO<<<<<<<<<<<6", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"),
}  # fmt: skip


def test_zones_equal_the_standards_examples() -> None:
    assert encode(ANNA) == STANDARD["td3"]
    for size in ("td1", "td2"):
        card = replace(ANNA, size=size, code="I", number="D23145890", optional="")  # type: ignore[arg-type]
        assert encode(card) == STANDARD[size]
    assert all(not failures(lines) for lines in STANDARD.values())
    assert decode(STANDARD["td3"]) == replace(ANNA, surname="ERIKSSON", given="ANNA MARIA")
    assert check_digit("AB2134<<<") == "5"


@given(st.text("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=14), st.sampled_from(["td1", "td2"]), st.sampled_from(["", "M", "F"]))
def test_zones_come_back(number: str, size: str, sex: str) -> None:
    zone = replace(ANNA, size=size, code="I", number=number, sex=sex, optional="", surname="O'Farran Øst", given="Jürgen")  # type: ignore[arg-type]
    if size == "td2" and len(number) > 14:
        return
    back = decode(encode(zone))
    assert (back.number, back.sex, back.birth, back.expiry) == (number, sex, BIRTH, EXPIRY)
    assert (back.surname, back.given) == ("OFARRAN OEST", "JUERGEN")


def test_what_a_check_digit_misses_is_known_exactly() -> None:
    lines = STANDARD["td3"]
    for line, at in checked_places("td3"):
        for other in ALPHABET.replace(lines[line][at], ""):
            changed = list(lines)
            changed[line] = changed[line][:at] + other + changed[line][at + 1 :]
            assert bool(failures(tuple(changed))) == (other not in undetected(lines[line][at]))


def test_bad_zones_are_named() -> None:
    with pytest.raises(BadValue, match="has no place"):
        transliterated("Ωmega")
    assert transliterated("Weißhaupt-Łąć") == "WEISSHAUPT<LAC"
    with pytest.raises(BadValue, match="before its bearer is born"):
        encode(replace(ANNA, expiry=datetime.date(1970, 1, 1)))
    with pytest.raises(BadValue, match="9 at the most"):
        encode(replace(ANNA, number="L898902C31"))
    with pytest.raises(BadValue, match=r"optional: .*more than 14"):
        encode(replace(ANNA, optional="X" * 15))
    with pytest.raises(BadValue, match="check digit of birth"):
        decode((STANDARD["td3"][0], STANDARD["td3"][1].replace("740812", "740813")))
    never = "741399"
    line = f"L898902C36UTO{never}{check_digit(never)}F1204159ZE184226B<<<<<1"
    composite = check_digit(line[0:10] + line[13:20] + line[21:43])
    with pytest.raises(BadValue, match=r"birth: 741399 is no date"):
        decode((STANDARD["td3"][0], line + composite))
    with pytest.raises(BadValue, match="lines of"):
        failures(("AB", "CD"))


@pytest.mark.parametrize("name", list(TEMPLATES))
def test_every_design_says_on_each_side_what_its_fields_say(name: str) -> None:
    zones = []
    for side, boxes in TEMPLATES[name].sides.items():
        (one,) = papers(WORLD, np.array([17]), name, side=side)
        assert {field for field in boxes if field not in ("zone", "birth name")} <= set(one.fields)
        height, width = one.image.shape[:2]
        assert set(one.fields) == set(one.quads)
        for quad in one.quads.values():
            assert (quad >= 0).all()
            assert (quad <= [width, height]).all()
        zones += [one.zone] if one.zone else []
        # Ink is where the label says that it is.
        blank = papers(WORLD, np.array([17]), replace(TEMPLATES[name], sides={**TEMPLATES[name].sides, side: {}}), side=side)[0].image
        if "number" in one.quads:
            (left, top), (right, bottom) = one.quads["number"][0].astype(int), np.ceil(one.quads["number"][2]).astype(int)
            changed = (blank != one.image).any(-1)
            assert changed[top:bottom, left:right].mean() > 0.1
    assert len(zones) == 1
    assert decode(zones[0]).issuer == TEMPLATES[name].issuer


def test_papers_follow_from_seed_and_person() -> None:
    many, alone = papers(WORLD, np.arange(5), "card-b"), papers(WORLD, np.array([3]), "card-b")
    assert (many[3].image == alone[0].image).all()
    assert many[3].fields == alone[0].fields
    assert len({one.fields["number"] for one in many}) == 5


def test_bad_papers_are_named() -> None:
    with pytest.raises(BadValue, match=r"surname: .*too long"):
        papers(WORLD, np.array([1]), "card-a", facts={"surname": "Wolkenkratzer" * 8})
    with pytest.raises(BadValue, match="dates in order"):
        papers(WORLD, np.array([1]), "card-a", facts={"expiry": datetime.date(1990, 1, 1)})
    with pytest.raises(ConfigError, match="no design"):
        papers(WORLD, np.array([1]), "card-z")
    with pytest.raises(ConfigError, match="no side"):
        papers(WORLD, np.array([1]), "passport-a", side="back")
    with pytest.raises(ConfigError, match="no field 'shoes'"):
        papers(WORLD, np.array([1]), "card-a", facts={"shoes": "42"})
    plain = {"name": "mine", "zone": "td1", "issuer": "XAA", "title": "CARD", "code": "I", "size": [85.6, 54.0], "colours": [1, 2, 3],
             "waves": [3, 2.0, 1.0], "dates": "%Y", "years": 5, "sides": {"front": {"surname": [10, 10, 40, 4]}}}  # fmt: skip
    (mine,) = papers(WORLD, np.array([1]), Template.from_dict(plain))
    assert set(mine.fields) == {"surname"}
    with pytest.raises(ConfigError, match=r"mine\.years: it is missing"):
        Template.from_dict({key: value for key, value in plain.items() if key != "years"})
    with pytest.raises(ConfigError, match=r"mine\.sides\.front\.hat: there is no such field"):
        Template.from_dict({**plain, "sides": {"front": {"hat": [0, 0, 1, 1]}}})
    with pytest.raises(ConfigError, match=r"mine\.sides\.front\.surname: the box leaves"):
        Template.from_dict({**plain, "sides": {"front": {"surname": [80, 10, 40, 4]}}})


def test_labels_go_through_the_homography_with_the_picture() -> None:
    (paper,) = papers(WORLD, np.array([6]), "passport-a")
    scene = insert(paper, side=96, seed=2)
    assert np.allclose(through(scene.homography, paper.corners), scene.corners)
    assert scene.corners.min() > 0
    assert scene.corners.max() < 96
    assert (insert(paper, side=96, seed=2).image == scene.image).all()
    assert not np.allclose(insert(paper, side=96, seed=3).corners, scene.corners)
    # A quad that is cut out of a scene is what stood there.
    plain = insert(paper, side=400, seed=2, plain=True)
    back = cut(plain.image, plain.quads["portrait"], (WIDE, TALL))
    direct = cut(paper.image, paper.quads["portrait"], (WIDE, TALL))
    assert np.abs(back.astype(float) - direct).mean() < 12
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4.0]])
    assert np.allclose(homography(square, 2 * square + 1), [[2, 0, 1], [0, 2, 1], [0, 0, 1]])
    mark = np.zeros((20, 20), np.uint8)
    mark[5, 7] = 255
    assert warped(mark, np.array([[1, 0, 3], [0, 1, 2], [0, 0, 1.0]]), (20, 20))[7, 10] == 255
    with pytest.raises(ConfigError, match="on a line"):
        homography(square, np.array([[0, 0], [1, 0], [2, 0], [0, 1.0]]))


def test_scans_differ_from_what_was_printed_but_not_much() -> None:
    faces = portraits(WORLD, np.arange(4), 0, studio=True)
    made = scanned(faces[0], seed=1)
    assert (made == scanned(faces[0], seed=1)).all()
    assert 2 < np.abs(made.astype(float) - faces[0]).mean() < 30


def test_portraits_show_genes() -> None:
    studio, again = portraits(WORLD, np.arange(40), 1, studio=True), portraits(WORLD, np.arange(40), 2, studio=True)
    assert (portraits(WORLD, np.array([7]), 1, studio=True)[0] == studio[7]).all()
    # Faces without clothes and wall, of one person and of others.
    faces, others = (shown[:, 6:32, 10:30].reshape(40, -1).astype(float) for shown in (studio, again))
    apart = ((faces[:, None] - others[None]) ** 2).mean(-1)
    assert (apart.argmin(1) == np.arange(40)).mean() > 0.5
    # Eyes are not under the hair.
    assert (studio[:, 14:26, 8:32].min((1, 2, 3)) < 60).mean() > 0.9
    with pytest.raises(ConfigError, match="shots"):
        portraits(WORLD, np.arange(2), 5000)


def test_metrics_equal_closed_forms() -> None:
    square = np.array([[0, 0], [2, 0], [2, 2], [0, 2.0]])
    assert polygon_iou(square, square + np.array([1, 0])) == pytest.approx(1 / 3)
    assert polygon_iou(square, square[::-1]) == pytest.approx(1)
    assert polygon_iou(square, square + 5) == 0
    diamond = np.array([[1, -1], [3, 1], [1, 3], [-1, 1.0]])
    assert polygon_iou(square, diamond) == pytest.approx(4 / 8)
    turned = np.array([[1, 0], [2, 1], [1, 2], [0, 1.0]])
    assert polygon_iou(square, turned) == pytest.approx(2 / 4)
    assert character_error_rate("kitten", "sitting") == pytest.approx(3 / 7)
    assert character_error_rate(" A  b", "A b") == 0
    assert character_error_rate("osterlund", "Österlund", name=True) == 0
    with pytest.raises(EmptyData):
        character_error_rate("a", " ")


def test_the_benchmark_scores_locating_reading_and_naming() -> None:
    bench = DocXPand(WORLD, np.arange(45), side=32, seed=1)
    assert np.unique(bench.designs[bench.test], return_counts=True)[1].tolist() == [1] * 9
    truth = {id(paper.image): paper for paper in bench.papers}

    def perfect(image: np.ndarray, quad: np.ndarray) -> str:
        paper = truth[id(image)]
        return next(text for name, text in paper.fields.items() if paper.quads[name] is quad)

    assert bench.read(perfect) == {"code": 0, "date": 0, "name": 0, "zone": 0}
    assert bench.read(lambda image, quad: "")["date"] == 1
    assert bench.locate(bench.corners[bench.test]).min() == pytest.approx(1)
    assert bench.classify(bench.designs[bench.test]) == 1
    untrained = CornerTrainer(steps=1).fit(bench.images[~bench.test], bench.corners[~bench.test])
    trained = CornerTrainer(steps=40, batch=16).fit(bench.images[~bench.test], bench.corners[~bench.test])
    before, after = (bench.locate(located(network, bench.images[bench.test])).mean() for network in (untrained, trained))
    assert after > before + 0.15
    with pytest.raises(ConfigError, match="give 45 or more"):
        DocXPand(WORLD, np.arange(10))
    with pytest.raises(ConfigError, match="corners of shape"):
        bench.locate(np.zeros((3, 4, 2)))


def test_the_published_archive_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    position = {f"p{at + 1}": {"x": x, "y": y} for at, (x, y) in enumerate([(0.1, 0.2), (0.9, 0.2), (0.9, 0.8), (0.1, 0.8)])}
    note = {"_id": 1, "template": "id_card_td1_a", "position": position, "fields": {"family_name": "ØST"}}
    (tmp_path / "all.json").write_text(json.dumps({"info": {}, "documents": [{"_id": "x", "filename": "a.png", "annotations": [note]}]}))
    (one,) = read(tmp_path / "all.json", tmp_path)
    assert one.corners.tolist() == [[20, 20], [180, 20], [180, 80], [20, 80]]
    assert (one.template, one.fields, one.picture().shape) == ("id_card_td1_a", {"family_name": "ØST"}, (100, 200, 3))
    (tmp_path / "bad.json").write_text(json.dumps({"documents": [{"filename": "a.png", "annotations": [{**note, "position": {}}]}]}))
    with pytest.raises(BadValue, match=r"documents\.0\.annotations\.0\.position"):
        read(tmp_path / "bad.json", tmp_path)
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(CorruptFile, match="no list of annotated"):
        read(tmp_path / "bad.json", tmp_path)
    with pytest.raises(FileProblem):
        read(tmp_path / "none.json", tmp_path)

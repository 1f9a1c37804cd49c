"""Drawing through the engine: photos kept, states learned in the background, nobody's thing in somebody else's picture, everything forgotten."""

import io
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from sartor import Engine
from sartor.data.world.shapes import VOCABULARY, ShapesWorld
from sartor.draw._shown import Shown
from sartor.draw.break_a_scene import BreakAScene
from sartor.draw.disendiff import DisenDiff
from sartor.draw.parts.picture_files import facts_in
from sartor.draw.parts.prior import Prior
from sartor.draw.ppd import PPD
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import BadImage, BadPrompt, BadValue, ConfigError
from sartor.recommend.popularity import Popularity

WORLD = ShapesWorld()
PROMPT = "a <pip> on snow"


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    made = Prior.small(VOCABULARY, widths=(16, 16), text_width=16)
    made.save(folder := tmp_path_factory.mktemp("prior") / "small")
    return folder


@pytest.fixture(scope="module")
def model(prior):
    return TextualInversion(prior=str(prior), steps=2, batch=2, sampling_steps=2, learning_rate=0.5).fit()


def photos(number, count=2):
    found = []
    for one in WORLD.references(WORLD.subjects(3, noun="critter")[number], count).render():
        Image.fromarray(one).save(out := io.BytesIO(), "PNG")
        found.append(out.getvalue())
    return found


def shown(number, name="<pip>"):
    return Shown(name=name, class_word="critter", images=WORLD.references(WORLD.subjects(3, noun="critter")[number], 2).render())


@pytest.fixture
def engine(tmp_path, model):
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as engine:
        engine.show("ana", "pip", photos(0), class_word="critter")
        engine.show("ben", "pip", photos(1), class_word="critter")
        engine.observe("cleo", ["heat"])
        engine.install(model, verb="draw")
        yield engine


def test_everybody_gets_her_own_thing_and_nobody_elses(engine, model):
    drawn = {person: engine.draw(person, PROMPT, seed=7) for person in ("ana", "ben")}
    for number, person in enumerate(("ana", "ben")):
        wanted = model.draw([PROMPT], [model.learn(shown(number))], seeds=[7])
        assert (drawn[person].pictures == wanted).all()
        assert (drawn[person].things, drawn[person].fallback, drawn[person].state_version) == (("<pip>",), None, 1)
    assert not (drawn["ana"].pictures == drawn["ben"].pictures).all()
    assert drawn["ana"].facts["concepts"] != drawn["ben"].facts["concepts"]
    # Whoever has shown nothing gets everybody's picture, which says nothing of the others; "pip" is no word of this model.
    for person in ("cleo", "stranger", None):
        with pytest.raises(BadPrompt, match="'pip'"):
            engine.draw(person, "a <pip> on snow")
        plain = engine.draw(person, "a <critter> on snow", seed=7)
        assert (plain.pictures == model.draw(["a critter on snow"], [None], seeds=[7])).all()
        assert (plain.things, plain.state_version) == ((), None)
    facts = facts_in(drawn["ana"].png(0))
    assert (facts["prompt"], facts["seed"], facts["method"]) == (PROMPT, 7, "textual-inversion")
    assert "ana" not in json.dumps(facts)
    several = engine.draw("ana", [PROMPT, "a critter on snow"], seed=7)
    assert np.abs(several.pictures[0].astype(int) - drawn["ana"].pictures[0]).max() <= 2
    assert several.seeds == (7, 8)


def test_states_follow_photos_and_nothing_else(engine, monkeypatch):
    taught, plain = [], TextualInversion._learn
    monkeypatch.setattr(
        TextualInversion, "_learn", lambda self, prior, references, one, *rest: taught.append(one.name) or plain(self, prior, references, one, *rest)
    )
    engine.observe("ana", ["heat", "ronin"])
    assert engine.catch_up()
    assert engine.status().stale == 0
    assert taught == []
    assert engine.draw("ana", PROMPT).state_version == 1
    engine.show("ana", "rex", photos(2), class_word="critter")
    waiting = engine.draw("ana", PROMPT)
    assert (waiting.state_version, waiting.lag) == (1, 2)
    assert engine.catch_up()
    assert taught == ["<rex>"]
    after = engine.draw("ana", ["a <pip> on snow", "a <rex> on snow"])
    assert (after.state_version, after.lag, after.things) == (2, 0, ("<pip>", "<rex>"))
    # A photo taken back: the thing is learned again without it, and gone with its last one.
    ids = [one.id for one in engine.store.evidence("default", "ana", frames=["images"]) if one.content["item"] == "pip"]
    engine.correct("ana", ids[:1])
    assert engine.catch_up()
    assert taught == ["<rex>", "<pip>"]
    engine.correct("ana", ids[1:])
    assert engine.catch_up()
    with pytest.raises(BadPrompt, match="<pip> is not a concept here"):
        engine.draw("ana", PROMPT)
    assert taught == ["<rex>", "<pip>"]


def test_photos_wait_beside_other_models_and_are_learned_in_the_background(tmp_path, model):
    from sartor.data.population import Population

    events = {"person": ["x", "y"], "item": ["heat", "ronin"]}
    with Engine(f"sqlite:///{tmp_path / 'both.db'}", master_key=bytes(range(32))) as engine:
        engine.install(Popularity().fit(Population.from_frames(events=events), progress=False))
        engine.install(model, verb="draw")
        engine.observe("ana", ["heat"])
        assert engine.draw("ana", "a critter on snow").fallback is not None
        engine.show("ana", "pip", photos(0), class_word="critter")
        assert engine.catch_up(60)
        assert engine.draw("ana", PROMPT).state_version is not None
        assert engine.recommend("ana").state_version is not None


def test_consent_and_forgetting_of_photos(engine, tmp_path):
    engine.consent("ana", "draw", False)
    refused = engine.draw("ana", "a <critter> on snow")
    assert (refused.fallback, refused.things) == ("no consent", ())
    engine.consent("ana", "draw", True)
    # Only for drawing were they given.
    assert engine.store.evidence("default", "ana", purpose="train", frames=["images"]) == []
    (kept, _) = engine.store.evidence("default", "ana", frames=["images"])
    with zipfile.ZipFile(engine.export("ana", tmp_path / "ana.zip")) as archive:
        assert kept.content["data"] in archive.read("evidence/images.jsonl").decode()
    receipt = engine.forget("ana")
    assert receipt.verified
    assert receipt.removed["evidence"] == 2
    assert receipt.removed["states"] == 1
    assert engine.draw("ana", "a <critter> on snow").fallback == "unknown person"
    assert engine.draw("ben", PROMPT).things == ("<pip>",)


def test_where_a_photo_was_taken_is_not_kept(engine):
    exif = Image.Exif()
    exif[0x010E] = "at home, 52.5 north"
    Image.new("RGB", (900, 600), "red").save(out := io.BytesIO(), "JPEG", exif=exif)
    engine.observe("dan", images=[{"data": out.getvalue(), "item": "wall", "class_word": "critter"}])
    import base64

    (kept,) = engine.store.evidence("default", "dan", frames=["images"])
    data = base64.b64decode(kept.content["data"])
    assert b"52.5" not in data
    assert Image.open(io.BytesIO(data)).size == (600, 600)


def test_what_cannot_be_drawn_or_shown(engine, model, tmp_path):
    cases = [
        (lambda: engine.draw("ana", []), ConfigError, "0 pictures"),
        (lambda: engine.draw("ana", [PROMPT] * 17), ConfigError, "17 pictures"),
        (lambda: engine.draw("ana", " "), BadPrompt, "empty"),
        (lambda: engine.draw("ana", "a" * 2_000), BadPrompt, "2000 characters"),
        (lambda: engine.draw("ana", PROMPT, seed=-1), ConfigError, "seeds"),
        (lambda: engine.draw("ana", PROMPT, strength=0.5), ConfigError, "no strength"),
        (lambda: engine.draw("ana", PROMPT, strength=9.0), ConfigError, "strength is 9"),
        (lambda: engine.draw("ana", "a <rex> on snow"), BadPrompt, "<rex> is not a concept here"),
        (lambda: engine.show("ana", "pip", []), BadValue, "no pictures"),
        (lambda: engine.show("ana", "two words", photos(0)), BadValue, "one word"),
        (lambda: engine.show("ana", "pip", [b"nothing"]), BadImage, "cannot be read"),
        (lambda: engine.show("ana", "pip", photos(0), class_word="submarine"), BadValue, "'submarine', which the text encoder does not know"),
        (lambda: engine.show("ana", "submarine", photos(0)), BadValue, "row 1, person ana"),
        (lambda: engine.observe("ana", images=[{"data": "%%%", "item": "pip"}]), BadImage, "base64"),
        (lambda: engine.fit("textual-inversion", verb="draw"), ConfigError, "not fitted here"),
        (lambda: engine.install(model), ConfigError, "does not recommend"),
        # What people leave here are photos of one thing each, and no choices between pictures.
        (lambda: engine.install(PPD(), verb="draw"), ConfigError, "'PPD' does not draw things that people show"),
        (lambda: engine.install(BreakAScene(), verb="draw"), ConfigError, "several things out of one picture"),
        (lambda: engine.install(DisenDiff(), verb="draw"), ConfigError, "several things out of one picture"),
    ]
    for call, kind, words in cases:
        with pytest.raises(kind, match=words):
            call()
    with Engine(f"sqlite:///{tmp_path / 'none.db'}", master_key=bytes(range(32)), background=False) as empty:
        assert (empty.draw("ana", PROMPT).fallback, empty.draw("ana", PROMPT).pictures) == ("no model", None)

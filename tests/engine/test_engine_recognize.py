"""Recognition through the engine: only with her own consent, only vectors are kept, and what is forgotten or taken back is found by nobody."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sartor import Engine
from sartor.data.world.identity import IdentityWorld
from sartor.engine.gallery import Gallery
from sartor.errors import BadImage, ConfigError, Conflict, NoConsent, StoreProblem
from sartor.recognize._base import centres
from sartor.recognize.faim import FAIM
from sartor.recognize.nearest_centroid import NearestCentroid
from sartor.recognize.parts.pictures import read_pictures

WORLD = IdentityWorld(seed=5)
NUMBER = {"ana": 500, "ben": 501, "cleo": 502}


def _pictures(number: int, each: int, first: int = 0) -> list[bytes]:
    out = []
    for one in WORLD.render(WORLD.shots(np.array([number]), each, first=first, cameras=1, free=0.0, occluded=0.0)):
        Image.fromarray(one).save(file := io.BytesIO(), "PNG")
        out.append(file.getvalue())
    return out


@pytest.fixture(scope="module")
def model() -> NearestCentroid:
    shots = WORLD.shots(np.arange(60), 6, cameras=1, free=0.0, occluded=0.0)
    return NearestCentroid(encoder="pixels").fit_pictures(WORLD.render(shots), shots.person)


@pytest.fixture
def engine(tmp_path: Path, model: Any) -> Any:
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as engine:
        engine.install(model, verb="recognize")
        for person in ("ana", "ben"):
            engine.consent(person, "recognize", True)
            engine.enrol(person, _pictures(NUMBER[person], 4))
        yield engine


def test_who_has_agreed_is_found_and_nobody_else(engine: Any) -> None:
    found = engine.identify([*_pictures(500, 2, first=4), *_pictures(501, 2, first=4)])
    assert [one.people[0][0] if one.people else None for one in found] == ["ana", "ana", "ben", "ben"]
    with pytest.raises(NoConsent):
        engine.enrol("cleo", _pictures(502, 2))
    assert engine.store.state("default", "cleo", "recognize") is None
    strangers = [engine.identify(_pictures(number, 1))[0].people for number in range(700, 730)]
    assert sum(map(bool, strangers)) <= 2
    same = engine.verify("ana", [*_pictures(500, 1, first=5), *_pictures(501, 1, first=5)])
    assert [one.same for one in same] == [True, False]
    unknown = engine.verify("nobody", _pictures(500, 1))[0]
    assert not unknown.same
    assert unknown.score is None
    assert unknown.fallback == "unknown person"


def test_what_is_taken_back_counts_from_the_next_request_on(engine: Any) -> None:
    probe = _pictures(500, 1, first=4)
    assert engine.identify(probe)[0].people[0][0] == "ana"
    engine.consent("ana", "recognize", False)
    assert engine.identify(probe)[0].people == []
    assert engine.verify("ana", probe)[0].fallback == "no consent"
    engine.consent("ana", "recognize", True)
    assert engine.identify(probe)[0].people[0][0] == "ana"


def test_what_is_forgotten_is_found_by_nobody_in_any_process(engine: Any, tmp_path: Path) -> None:
    probe = _pictures(500, 1, first=4)
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as other:
        assert other.identify(probe)[0].people[0][0] == "ana"
        engine.forget("ana")
        assert engine.identify(probe)[0].people == [] == other.identify(probe)[0].people
    assert engine.store.state("default", "ana", "recognize") is None
    assert "ana" not in engine._recognizing._galleries._galleries["default", engine.models()[0].fingerprint].people
    engine.forget("ben")
    assert engine.identify(probe)[0].note == "nobody is enrolled"


def _gallery(engine: Any) -> Gallery:
    """After a question, what it was answered from."""
    engine.identify(_pictures(500, 1, first=4))
    gallery: Gallery = engine._recognizing._galleries._galleries["default", engine.models()[0].fingerprint]
    return gallery


def _vector(gallery: Gallery, person: str) -> np.ndarray:
    assert gallery.index is not None
    return np.array(gallery.index._vectors.array[gallery.index._row[person]])


def _centre(engine: Any, person: str) -> np.ndarray:
    return centres([engine.store.state("default", person, "recognize").state])[0]


def test_another_process_lets_go_of_vectors_with_the_next_question(engine: Any, tmp_path: Path) -> None:
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as other:
        held = []
        changes = (
            lambda: None, lambda: engine.forget("ana"), lambda: engine.consent("ben", "recognize", False),
            lambda: engine.consent("ben", "recognize", True), lambda: engine.unenrol("ben"),
        )  # fmt: skip
        for change in changes:
            change()
            held.append(sorted(_gallery(other).people))
    assert held == [["ana", "ben"], ["ben"], [], ["ben"], []]


def test_a_vector_that_goes_is_overwritten(engine: Any) -> None:
    gallery, gone = _gallery(engine), _centre(engine, "ana")
    index = gallery.index
    assert index is not None
    assert (index._vectors.array == gone).all(1).any()
    engine.forget("ana")
    assert not (index._vectors.array == gone).all(1).any()
    assert "ana" not in index.ids


def test_what_screens_vectors_is_overwritten_with_them() -> None:
    vectors = np.random.default_rng(0).normal(size=(600, 24)).astype(np.float32)
    gallery = Gallery()
    gallery.put(names := [f"p{row}" for row in range(600)], vectors)
    gallery.people, gallery.seen = {name: name.encode() for name in names}, {name.encode(): (1, 0, 0.0) for name in names}
    index = gallery.index
    assert index is not None
    before = {name: array.copy() for name, array in index._arrays().items()}
    gallery.drop("p3")
    gallery.drop("p599")
    after = index._arrays()
    assert not after["vectors"][[3, 599]].any()
    assert not after["codes"][0, :, 3].any()
    assert not after["facts"][0, :, 3].any()
    others = np.delete(np.arange(512), 3)
    for name in ("codes", "facts"):
        old, new = (one[name].transpose(0, 2, 1).reshape(512, -1) for one in (before, after))
        np.testing.assert_array_equal(old[others], new[others])
    hits, left = index.search(vectors[:5], 3), np.delete(np.arange(600), [3, 599])
    wanted = left[np.argsort(-vectors[:5] @ vectors[left].T, axis=1)[:, :3]]
    assert [hits[row] for row in range(5)] == [[f"p{one}" for one in row] for row in wanted]


def test_an_index_holds_no_more_rows_for_what_people_do(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = _gallery(engine)
    assert gallery.index is not None
    version = gallery.index.version
    for one in range(3):
        engine.observe("ana", [str(one)])
        assert _gallery(engine) is gallery
    assert (gallery.index.version, gallery.index.rows) == (version, 2)
    monkeypatch.setattr("sartor.engine.gallery.SPARE", 0)
    rows = []
    for one in range(5):
        engine.enrol("ana", _pictures(500, 1, first=6 + one))
        gallery = _gallery(engine)
        assert gallery.index is not None
        rows.append(gallery.index.rows)
        np.testing.assert_array_equal(_vector(gallery, "ana"), _centre(engine, "ana"))
    assert rows == [3, 4, 5, 2, 3]


def test_who_is_enrolled_is_found_whatever_became_of_the_note(engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = engine.store.evidence("default", "ana")[0].id
    assert engine.store.remove("default", "ana", [note]) == 1
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as other:
        assert other.identify(_pictures(500, 1, first=4))[0].people[0][0] == "ana"

    def fails(*_: Any) -> None:
        raise StoreProblem("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(engine.store._appender, "_insert", fails)
        with pytest.raises(StoreProblem):
            engine.enrol("ben", _pictures(501, 2, first=6))
    # The state and its note come together or not at all.
    assert [one.version for one in engine.store.history("default", "ben", "recognize")] == [1]


def test_an_older_state_that_serves_again_is_compared(engine: Any) -> None:
    first = _vector(_gallery(engine), "ana")
    engine.enrol("ana", _pictures(500, 2, first=6))
    second = _vector(_gallery(engine), "ana")
    assert not np.array_equal(first, second)
    engine.store.restore("default", "ana", "recognize", 1)
    np.testing.assert_array_equal(_vector(_gallery(engine), "ana"), first)
    engine.enrol("ana", _pictures(500, 1, first=9))
    np.testing.assert_array_equal(_vector(_gallery(engine), "ana"), first)
    engine.store.release("default", "ana", "recognize")
    np.testing.assert_array_equal(_vector(_gallery(engine), "ana"), _centre(engine, "ana"))
    assert not np.array_equal(_vector(_gallery(engine), "ana"), first)


def test_the_threshold_is_of_those_who_take_part(engine: Any, model: Any) -> None:
    assert engine.identify(_pictures(500, 1))[0].threshold == model.threshold(2)
    engine.consent("ben", "recognize", False)
    assert engine.identify(_pictures(500, 1))[0].threshold == model.threshold(1)
    engine.consent("ben", "recognize", True)
    assert engine.identify(_pictures(500, 1))[0].threshold == model.threshold(2)
    assert model.threshold(1) != model.threshold(2)


def test_no_picture_is_kept_and_an_enrolment_is_among_her_records(engine: Any) -> None:
    records = engine.store.evidence("default", "ana")
    assert [one.kind for one in records] == ["enrolment"]
    assert records[0].content["context"]["pictures"] == 4
    assert engine.store.state("default", "ana", "recognize").nbytes < 5_000


def test_enrolled_twice_adds_and_somebody_elses_pictures_are_refused(engine: Any) -> None:
    more = engine.enrol("ana", _pictures(500, 2, first=6))
    assert (more.pictures, more.state_version) == (6, 2)
    with pytest.raises(Conflict):
        engine.enrol("ana", _pictures(501, 2, first=6))
    assert engine.enrol("ana", _pictures(501, 1, first=6), sure=True).pictures == 7


def test_what_she_is_recognized_by_is_seen_and_deleted_alone(engine: Any) -> None:
    kept = engine.enrolment("ana")
    assert (kept.agreed, kept.state_version, kept.pictures) == (True, 1, 4)
    assert 0 < kept.nbytes < 10_000
    assert engine.enrolment("nobody").state_version == 0
    assert engine.unenrol("ana") == 1
    assert engine.unenrol("ana") == 0
    assert engine.enrolment("ana").state_version == 0
    assert engine.identify(_pictures(500, 1, first=4))[0].people == []
    assert engine.store.consents("default", "ana")["recognize"].granted
    assert engine.enrol("ana", _pictures(500, 4)).pictures == 4
    assert engine.identify(_pictures(500, 1, first=4))[0].people[0][0] == "ana"


def test_of_a_stranger_the_closest_is_named_when_asked_and_only_who_agreed(engine: Any) -> None:
    probe = next(one for one in (_pictures(number, 1) for number in range(700, 730)) if not engine.identify(one)[0].people)
    assert engine.identify(probe)[0].closest is None
    found = engine.identify(probe, closest=True)[0]
    assert found.people == []
    assert found.closest is not None
    name, score = found.closest
    assert score < found.threshold
    assert score == pytest.approx(engine.verify(name, probe)[0].score, abs=1e-5)
    engine.consent(name, "recognize", False)
    other = engine.identify(probe, closest=True)[0].closest
    assert other[0] == ({"ana", "ben"} - {name}).pop()
    assert engine.identify(_pictures(500 if other[0] == "ana" else 501, 1, first=4), closest=True)[0].closest is None


def _meanwhile(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    """Let `what` happen once, while pictures of an enrolment are being encoded."""
    plain, todo = NearestCentroid.enrol, [what]

    def enrol(self: Any, *args: Any, **more: Any) -> Any:
        if todo:
            todo.pop()()
        return plain(self, *args, **more)

    monkeypatch.setattr(NearestCentroid, "enrol", enrol)


def test_who_is_forgotten_or_takes_back_her_word_meanwhile_is_not_enrolled(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _meanwhile(monkeypatch, lambda: engine.forget("ana"))
    with pytest.raises(NoConsent):
        engine.enrol("ana", _pictures(500, 2, first=6))
    assert engine.store.state("default", "ana", "recognize") is None
    assert engine.store.evidence("default", "ana") == []
    _meanwhile(monkeypatch, lambda: engine.consent("ben", "recognize", False))
    with pytest.raises(NoConsent):
        engine.enrol("ben", _pictures(501, 2, first=6))
    assert engine.identify(_pictures(501, 1, first=4))[0].people == []
    # Nothing made of these pictures is kept, not even where nobody looks.
    assert [one.version for one in engine.store.history("default", "ben", "recognize")] == [1]
    assert [one.kind for one in engine.store.evidence("default", "ben")] == ["enrolment"]
    engine.consent("cleo", "recognize", True)
    _meanwhile(monkeypatch, lambda: engine.consent("cleo", "recognize", False))
    with pytest.raises(NoConsent):
        engine.enrol("cleo", _pictures(502, 2))
    assert engine.store.history("default", "cleo", "recognize") == []


def test_of_two_enrolments_at_once_neither_is_lost(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _meanwhile(monkeypatch, lambda: engine.enrol("ana", _pictures(500, 1, first=8)))
    assert engine.enrol("ana", _pictures(500, 2, first=6)).pictures == 7


def test_what_was_unenrolled_meanwhile_does_not_come_back(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def again() -> None:
        engine.unenrol("ana")
        engine.enrol("ana", _pictures(500, 1, first=8))

    _meanwhile(monkeypatch, again)
    more = engine.enrol("ana", _pictures(500, 2, first=6))
    assert (more.pictures, more.state_version) == (3, 2)


def test_a_method_that_compares_everybody_at_once_leaves_out_who_took_back_her_word(tmp_path: Path) -> None:
    shots = WORLD.shots(np.arange(40), 4, cameras=1, free=0.0, occluded=0.0)
    images = WORLD.render(shots)
    faim: Any = FAIM(steps=6, dim=16).fit_pictures(images, shots.person, outfits=shots.outfit_id)
    with Engine(f"sqlite:///{tmp_path / 'people.db'}", master_key=bytes(range(32)), background=False) as engine:
        engine.install(faim, verb="recognize")
        for person in NUMBER:
            engine.consent(person, "recognize", True)
            engine.enrol(person, _pictures(NUMBER[person], 4), sure=True)
        engine.consent("ben", "recognize", False)
        known = {}
        for name in ("ana", "cleo"):
            stored = engine.store.state("default", name, "recognize")
            assert stored is not None
            known[name] = stored.state
        probe = _pictures(500, 1)
        found = engine.identify(probe, k=3)[0]
        assert found.threshold == faim.threshold(2)
        wanted = [one for one in faim.recognize(read_pictures([*probe], (64, 32)), known, k=3)[0] if one[0] is not None]
        assert [name for name, _ in found.people] == [name for name, _ in wanted]
        assert [score for _, score in found.people] == pytest.approx([score for _, score in wanted])


def test_other_work_goes_on_beside(engine: Any) -> None:
    engine.observe("ana", ["a", "b"])
    assert engine.catch_up(10)
    assert engine.identify(_pictures(500, 1, first=4))[0].people[0][0] == "ana"


def test_what_does_not_fit_has_a_name(engine: Any, tmp_path: Path) -> None:
    with pytest.raises(BadImage):
        engine.identify([b"no picture"])
    with pytest.raises(ConfigError):
        engine.identify([])
    with pytest.raises(ConfigError):
        engine.identify(_pictures(500, 1), k=0)
    Image.new("RGB", (32, 64), (9, 9, 9)).save(file := io.BytesIO(), "PNG")
    assert engine.identify([file.getvalue()])[0].note == "the picture shows nothing"
    with Engine(f"sqlite:///{tmp_path / 'none.db'}", master_key=bytes(range(32)), background=False) as empty, pytest.raises(ConfigError):
        empty.identify(_pictures(500, 1))

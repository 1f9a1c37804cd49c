"""One statement for a batch says what the single questions say."""

from __future__ import annotations

import numpy as np

from sartor.method import State
from sartor.profile.records import Record
from sartor.profile.store import ProfileStore

MODEL, OTHER = "a" * 32, "b" * 32
PEOPLE = ["ana", "ben", "cem", "dor", "eva", "nobody"]


def state(value: float, model: str = MODEL) -> State:
    return State({"vector": np.full(4, value, np.float32)}, "ALS", model)


def test_standing_is_what_the_single_questions_say(store: ProfileStore) -> None:
    for tenant in ("default", "other"):
        store.append(tenant, [Record(person, content={"item": "i1"}) for person in PEOPLE[:-1]])
    position = store.position("default")
    store.put_states("default", "recommend", {"ana": state(1), "ben": state(2), "dor": state(3)}, model=MODEL, position=position)
    store.put_states("default", "recommend", {"ana": state(4, OTHER), "cem": state(5, OTHER)}, model=OTHER, position=position)
    store.put_states("other", "recommend", {"ana": state(9), "eva": state(9)}, model=MODEL, position=store.position("other"))
    store.consent("default", "ben", "recommend", False)
    first = store.history("default", "dor", "recommend")[0].version
    store.put_states("default", "recommend", {"dor": state(6)}, model=MODEL, position=store.position("default"))
    store.restore("default", "dor", "recommend", first, hold=True)
    store.append("default", [Record("ana", content={"item": "i2"})])

    for model in (MODEL, OTHER):
        found = store.standing("default", PEOPLE, purpose="recommend", verb="recommend", model=model)
        assert list(found) == PEOPLE
        for person, one in found.items():
            assert one.known == (store.count("default", person) > 0)
            assert one.allowed == store.allowed("default", person, "recommend")
            stored = store.state("default", person, "recommend", model=model) if one.allowed else None
            assert (one.stored is None) == (stored is None), person
            if one.stored is not None and stored is not None:
                assert one.stored.version == stored.version
                assert one.stored.held == stored.held
                assert np.array_equal(one.stored.state["vector"], stored.state["vector"])
            if one.allowed:
                after = stored.position if stored is not None else 0
                assert one.newer == bool(store.evidence("default", person, after=after)), person
    assert store.standing("default", ["dor"], purpose="recommend", verb="recommend", model=MODEL)["dor"].stored.held  # type: ignore[union-attr]
    assert store.standing("default", ["ana"], purpose="train", verb="recommend", model=MODEL)["ana"].allowed is False


def test_pages_of_records_and_items(store: ProfileStore) -> None:
    store.append("default", [Record("ana", id=str(number), content={"item": "i"}) for number in range(7)])
    seen: list[str] = []
    before = None
    while page := store.evidence("default", "ana", newest_first=True, limit=3, before=before):
        seen, before = seen + [one.id for one in page], page[-1].position
    assert seen == [str(number) for number in range(6, -1, -1)]
    store.put_items("default", [{"item": f"i{number}", "title": f"Émile {number}"} for number in range(5)] + [{"item": "x"}])
    assert store.items("default", after="i2", limit=2)["item"].to_list() == ["i3", "i4"]
    assert store.items("default", query="ÉMILE 3")["item"].to_list() == ["i3"]
    assert store.items("default", query="X")["item"].to_list() == ["x"]
    assert store.items("other").height == 0

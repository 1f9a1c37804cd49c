"""Those who write at once wait for each other in one order: nobody is thrown out by the database."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from sartor.errors import UnknownId
from sartor.method import State
from sartor.profile.forget import forget
from sartor.profile.records import Record
from sartor.profile.rotate import rotate_person
from sartor.profile.store import ProfileStore

PEOPLE = [f"p{number}" for number in range(30)]
STATE = State({"x": np.zeros(4)}, "Fake", "m")


def test_appending_adapting_restoring_and_forgetting_at_once(open_store: Callable[[], ProfileStore]) -> None:
    stores = [open_store() for _ in range(4)]
    stores[0].append("shop", [Record(person, id="0") for person in PEOPLE])
    problems: list[BaseException] = []
    start = threading.Barrier(4)

    def append(store: ProfileStore, chance: random.Random, number: int) -> None:
        store.append("shop", [Record(person, id=str(number)) for person in chance.sample(PEOPLE, 20)])

    def adapt(store: ProfileStore, chance: random.Random, number: int) -> None:
        states = dict.fromkeys(chance.sample(PEOPLE, 20), STATE)
        store.put_states("shop", "recommend", states, model="m", position=store.position("shop"))

    def keys(store: ProfileStore, chance: random.Random, number: int) -> None:
        person = PEOPLE[number % 5]
        if store.count("shop", person) and (history := store.history("shop", person, "recommend")):
            with suppress(UnknownId):  # pruned meanwhile: newer versions came
                store.restore("shop", person, "recommend", history[0].version)
            rotate_person(store, "shop", person)

    def leave(store: ProfileStore, chance: random.Random, number: int) -> None:
        forget(store, "shop", PEOPLE[5 + number % 25], scan_files=False)

    def again_and_again(act: Callable[[ProfileStore, random.Random, int], None], store: ProfileStore, seed: int) -> None:
        chance = random.Random(seed)
        start.wait()
        try:
            for number in range(1, 41):
                act(store, chance, number)
        except BaseException as problem:
            problems.append(problem)

    acts = (append, adapt, keys, leave)
    threads = [threading.Thread(target=again_and_again, args=(act, store, seed)) for seed, (act, store) in enumerate(zip(acts, stores, strict=True))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems

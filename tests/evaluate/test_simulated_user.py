"""Simulated users: they like what is theirs, and as noisily as asked."""

import numpy as np
import pytest

from sartor.data.world import World
from sartor.data.world.persona import Personas
from sartor.errors import ConfigError
from sartor.evaluate.simulated_user import SimulatedUsers


@pytest.fixture(scope="module")
def personas() -> Personas:
    return World(people=200, items=400, seed=6).personas(noisy=1.0)


def test_people_like_their_own_words_best(personas: Personas) -> None:
    users, asked = SimulatedUsers(personas=personas, noise=0.0), personas.requests(n=4)
    own, others = personas.replies(asked), personas.replies(asked, by=np.roll(asked.person, 4))
    wrong = personas.replies(asked, wrong=np.ones(len(asked), bool))
    reacted, to_others = users.react(own, asked), users.react(others, asked)
    assert (reacted["rating"] == 5).all()
    assert reacted["accepted"].all()
    assert reacted["answer"].equals(own, check_names=False)
    assert to_others["rating"].mean() < 4
    assert not users.react(wrong, asked)["accepted"].any()
    assert to_others.filter(~to_others["accepted"])["answer"].equals(own.filter(~to_others["accepted"]), check_names=False)
    assert users.choose(own, others, asked).mean() > 0.9
    assert users.react([None] * len(asked), asked)["rating"].max() == 1


def test_noise_is_as_planted(personas: Personas) -> None:
    users, asked = SimulatedUsers(personas=personas, noise=0.3), personas.requests(n=20)
    reacted = users.react(personas.replies(asked), asked)
    assert reacted["noisy"].mean() == pytest.approx(0.3, abs=0.03)
    assert (reacted.filter(~reacted["noisy"])["rating"] == 5).all()
    assert reacted.filter(reacted["noisy"])["rating"].mean() == pytest.approx(3, abs=0.15)
    assert reacted.equals(users.react(personas.replies(asked), asked))
    other = SimulatedUsers(personas=personas, noise=0.3, seed=1).react(personas.replies(asked), asked)
    assert not reacted.equals(other)
    with pytest.raises(ConfigError, match="noise"):
        SimulatedUsers(personas=personas, noise=2)

"""The identity world: a picture follows from (seed, person, shot) alone, and everything that is said of it is true of its pixels."""

from typing import Any

import numpy as np
import pytest

from sartor.data.world.identity import HEIGHT, WIDTH, IdentityWorld, clips, dressed
from sartor.errors import ConfigError

WORLD = IdentityWorld(seed=7)


def test_a_picture_follows_from_seed_person_and_shot() -> None:
    many = WORLD.shots(np.arange(10), each=4, domains=(0, 1), days=40, night=0.2)
    alone = WORLD.shots(np.array([6]), each=2, first=2, domains=(0, 1), days=40, night=0.2)
    rows = np.flatnonzero((many.person == 6) & (many.shot >= 2))
    assert (WORLD.render(many)[rows] == WORLD.render(alone)).all()
    assert WORLD.render(many).shape == (40, HEIGHT, WIDTH, 3)
    other = IdentityWorld(seed=8)
    assert (other.render(other.shots(np.array([6]), each=2, first=2, days=40)) != WORLD.render(alone)).any()


def test_genomes_of_different_people_differ() -> None:
    looks = WORLD.people(np.arange(2000)).looks
    apart = np.sqrt(((looks[:200, None] - looks[None, 200:]) ** 2).mean(-1))
    assert apart.min() > 0.35 * apart.mean()


def test_an_outfit_is_worn_all_day_and_new_every_season() -> None:
    one = WORLD.shots(np.arange(30), each=12, days=1)
    assert all(len(set(one.outfit_id[one.person == who])) == 1 for who in range(30))
    year = WORLD.shots(np.arange(30), each=12, days=364, wardrobe=2)
    shared = {(outfit, season) for outfit, season in zip(year.outfit_id.tolist(), year.season.tolist(), strict=True)}
    assert len(shared) == len({outfit for outfit, _ in shared})
    # Of one body in two outfits, what differs lies within the figure.
    again = dressed(one, one.outfit + 50)
    (first, mask, _), (second, other, _) = WORLD.seen(one), WORLD.seen(again)
    changed = (first != second).any(-1)
    near = (mask + other) > 0
    near = np.logical_or.reduce([np.roll(near, step, axis) for axis in (1, 2) for step in (-1, 0, 1)])
    assert changed.mean() > 0.03
    # The camera's blur carries it a pixel further.
    assert (changed & ~near).mean() < 0.01


def test_cameras_take_turns_and_what_stands_in_front_hides() -> None:
    shots = WORLD.shots(np.arange(40), each=6, cameras=6, occluded=0.5)
    assert all(len(set(shots.camera[shots.person == who])) == 6 for who in range(40))
    _, mask, visible = WORLD.seen(shots)
    covered = shots.occluder[:, 0] < WIDTH
    assert visible[~covered].min() > 0.999
    assert visible[covered].mean() < 0.9
    assert mask.sum((1, 2)).min() > 20


def test_night_is_dark() -> None:
    day, night = (WORLD.render(WORLD.shots(np.arange(60), each=2, night=share)).mean() for share in (0.0, 1.0))
    assert night < 0.75 * day


def test_clips_have_people_who_come_and_go_in_no_order() -> None:
    made = clips(WORLD, np.arange(30), 12, frames=4, missing=0.5)
    sizes = {(c, f): rows for c in range(12) for f in range(4) if (rows := np.flatnonzero((made.clip == c) & (made.frame == f))).size}
    assert all(np.unique(made.person[rows]).size == rows.size for rows in sizes.values())
    stays = [set(made.person[sizes[c, 0]]) == set(made.person[sizes[c, 3]]) for c in range(12) if (c, 0) in sizes and (c, 3) in sizes]
    assert not all(stays)
    orders = [tuple(made.person[sizes[c, f]]) for c in range(12) for f in (0, 1) if (c, f) in sizes]
    assert any(set(a) == set(b) and a != b for a, b in zip(orders[::2], orders[1::2], strict=False)) or len(set(orders)) > 12
    assert made.visible.min() < 0.7 < np.median(made.visible)
    again = clips(WORLD, np.arange(30), 1, frames=4, missing=0.5, first=3)
    assert (again.images == made.images[made.clip == 3]).all()


@pytest.mark.parametrize("wrong", [{"each": 0}, {"days": 0}, {"domains": ()}, {"first": 4090}, {"wardrobe": 0}])
def test_numbers_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        WORLD.shots(np.arange(3), **{"each": 8, **wrong})
    with pytest.raises(ConfigError):
        WORLD.shots(np.array([-1]))
    with pytest.raises(ConfigError):
        clips(WORLD, np.arange(2), 1, actors=(3, 8))

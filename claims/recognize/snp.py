"""Does a searched fifth of a large pool train as well as all of it, and better than any other fifth?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sartor.data.world.identity import IdentityWorld, Shots
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.identification import identification_by_vectors
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.recognize.parts.descriptors import appearance
from sartor.recognize.parts.networks import encode
from sartor.recognize.parts.selection import Moments, frechet, k_center, union_frechet
from sartor.recognize.parts.trainer import IdentityTrainer
from sartor.recognize.snp import Pool, SnP

CLAIM = Claim(
    slug="snp",
    paper="Searched and pruned training sets are 80 % smaller than the source pool with similar or even higher re-identification accuracy, and "
    "better than random sampling and greedy sampling at the same size.",
    passes="Identity world, figures: a pool of 1,000 people x 6 pictures from 10 sources of their own place, fashion, season and share of nights, "
    "2 unseen targets (by night; by day in summer), 20 clusters, a budget of 20 % of people, the same small network and steps for every set. Means "
    "over seeds and targets: mAP on the target's 100 other people (camera rule) of SnP >= random + 0.03 and >= greedy, and >= the whole pool's - "
    "0.01; Frechet distance of SnP < random's in every run. Distances of normal distributions equal the closed form; radii of farthest points fall.",
    data=("world-identity",),
    seeds=(0, 1, 2),
)
PEOPLE, EACH, SHARE = 100, 6, 0.2
"""Of each source."""
USUAL: dict[str, Any] = {"days": 30, "wardrobe": 1}
"""One outfit each: what differs between sources is the place, its fashion, the season and the hour."""
SOURCES: tuple[dict[str, Any], ...] = tuple(
    {"domains": (place,), "night": 1.0 if place < 3 else 0.0, "start": 182 if place % 2 else 0, **USUAL} for place in range(10)
)
TARGETS: tuple[dict[str, Any], ...] = (
    {"domains": (40,), "night": 1.0, "start": 0, **USUAL},
    {"domains": (41,), "night": 0.0, "start": 182, **USUAL},
)
STEPS = 160


def _taken(world: IdentityWorld, first: int, settings: dict[str, Any]) -> tuple[np.ndarray, Shots]:
    """Pictures of 100 people from number `first` on, and what they show."""
    shots = world.shots(np.arange(first, first + PEOPLE), each=EACH, **settings)
    return world.render(shots), shots


def _closed() -> float:
    """Largest error against the closed form of normal distributions whose covariances commute, and 0 if radii rise."""
    rng, worst = np.random.default_rng(3), 0.0
    for _ in range(20):
        axes = np.linalg.qr(rng.normal(size=(6, 6)))[0]
        mean, spread, other, wide = rng.normal(size=6), rng.uniform(0.2, 2, 6), rng.normal(size=6), rng.uniform(0.2, 2, 6)
        found = frechet(Moments(mean, (axes * spread**2) @ axes.T, 9), Moments(other, (axes * wide**2) @ axes.T, 9))
        worst = max(worst, abs(found - ((mean - other) ** 2).sum() - ((spread - wide) ** 2).sum()))
    return worst


def _falling() -> bool:
    _, radii = k_center(np.random.default_rng(4).normal(size=(300, 8)), 60, np.array([0]))
    return bool((np.diff(radii) <= 1e-12).all())


def _one(seed: int) -> list[dict[str, Any]]:
    world = IdentityWorld(seed)
    parts = [_taken(world, number * PEOPLE, one) for number, one in enumerate(SOURCES)]
    images, person = np.concatenate([one for one, _ in parts]), np.concatenate([shots.person for _, shots in parts])
    pool = Pool(appearance(images), person, np.repeat(np.arange(len(SOURCES)), PEOPLE * EACH))
    budget = int(SHARE * PEOPLE * len(SOURCES))

    def trained(rows: np.ndarray) -> Any:
        return IdentityTrainer(steps=STEPS, seed=seed).fit(images[rows], person[rows])

    everything = trained(np.arange(len(images)))
    ways = {way: SnP(clusters=20, budget=budget, way=way, seed=seed) for way in ("snp", "greedy", "random")}
    out: list[dict[str, Any]] = []
    for number, target in enumerate(TARGETS):
        features = appearance(_taken(world, 5000 + 1000 * number, target)[0])
        test, seen = _taken(world, 5500 + 1000 * number, target)
        chosen = {name: way.search(features, pool) for name, way in ways.items()}
        # Random people do not know the target: they are the same for both.
        if not out:
            chance = trained(chosen["random"].rows)
        networks = {"random": chance, **{name: trained(chosen[name].rows) for name in ("snp", "greedy")}, "whole pool": everything}
        scores = {}
        for name, network in networks.items():
            made = encode(network, test)
            found = identification_by_vectors(
                made, made, seen.person, seen.person, query_camera=seen.camera, gallery_camera=seen.camera, itself=np.arange(len(made))
            )
            scores[name] = {"mAP": found.mean_ap, "rank-1": found.cmc(1)}
        apart = {name: one.frechet for name, one in chosen.items()}
        whole = union_frechet(pool.features, features, np.random.default_rng(seed))
        out.append(
            {
                "scores": scores, "frechet": {**apart, "whole pool": whole}, "sources": {name: one.sources for name, one in chosen.items()},
                "searched": chosen["snp"].searched, "people": chosen["snp"].people, "bytes": len(chosen["snp"].to_bytes()),
            }
        )  # fmt: skip
    return out


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every world and target."""
    runs = []
    with bar("snp", len(seeds), enabled=progress) as step:
        for seed in seeds:
            runs += _one(seed)
            step.advance()
    score = {name: np.array([run["scores"][name]["mAP"] for run in runs]) for name in runs[0]["scores"]}
    means = {name: {kind: float(np.mean([run["scores"][name][kind] for run in runs])) for kind in ("mAP", "rank-1")} for name in score}
    apart = {name: [run["frechet"][name] for run in runs] for name in runs[0]["frechet"]}
    conditions = {
        "mAP: SnP >= random + 0.03": means["snp"]["mAP"] >= means["random"]["mAP"] + 0.03,
        "mAP: SnP >= greedy": means["snp"]["mAP"] >= means["greedy"]["mAP"],
        "mAP: SnP >= whole pool - 0.01": means["snp"]["mAP"] >= means["whole pool"]["mAP"] - 0.01,
        "Frechet distance: SnP < random in every run": all(a < b for a, b in zip(apart["snp"], apart["random"], strict=True)),
        "closed form of normal distributions (1e-9)": _closed() <= 1e-9,
        "radii of farthest points fall": _falling(),
    }
    gain = score["snp"] - score["random"]
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "target": means, "mAP by seed and target (night, day, night, ...)": {name: one.tolist() for name, one in score.items()},
            "Frechet distance": apart, "pictures by source, SnP": [run["sources"]["snp"] for run in runs],
            "people in the prefix": [run["searched"] for run in runs], "people chosen": [run["people"] for run in runs],
            "SnP - random, interval": bootstrap(gain).tolist(), "conditions": conditions,
        },
        baseline={name: means[name]["mAP"] for name in ("random", "greedy", "whole pool")},
        state_bytes=float(runs[0]["bytes"]),
        why_null="a training set belongs to a site's cameras and is compared with others of its size: nobody has a state of their own",
        notes=f"Generated people; features are `appearance`, nothing learned. {STEPS} batches of 128 for every set, also for the whole pool. "
        "The card's pool of 3,000 people is 1,000 here.",
    )  # fmt: skip

"""Are the documents' labels right, do their zones catch mistakes, and can papers be found and their bearers known?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sartor.data.world.identity import IdentityWorld
from sartor.data.world.identity.mrz import ALPHABET, checked_places, decode, failures, undetected
from sartor.data.world.identity.papers import Paper, papers
from sartor.data.world.identity.portraits import TALL, WIDE, portraits
from sartor.data.world.identity.scenes import cut, insert, scanned
from sartor.data.world.identity.templates import TEMPLATES
from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.docxpand import DocXPand
from sartor.evaluate.identification import unit, verification
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.recognize.parts.corners import CornerTrainer, located
from sartor.recognize.parts.networks import IdentityNet, encode
from sartor.recognize.parts.trainer import IdentityTrainer

CLAIM = Claim(
    slug="docxpand",
    paper="No figure of a method: 24,994 labelled pictures of fictitious documents of 9 designs, about 5,800 real backgrounds; a benchmark of "
    "classification, localisation and reading.",
    passes="600 documents of generated people, 9 own designs, in generated scenes. (a) Every zone passes its check digits, and of 20 random changes "
    "of one character of a checked field in each zone >= 90 % are noticed, within 1 % of what modulo 10 allows. (b) 40 marks on papers are found "
    "less than 0.5 pixels from where their labels say, all of them. (c) A small network trained on 480 scenes finds the 120 others' corners with a "
    "mean IoU >= 0.85; trained on the same papers on one plain table it has at least 0.05 less. (d) Bearers of 150 documents, printed and scanned, "
    "against two photographs of themselves: equal error rate <= 1.3 x that of their plain portraits; the encoder learned from 200 other people. "
    "Means over seeds.",
    data=("world-identity",),
    seeds=(0, 1, 2),
)
DOCUMENTS, BEARERS, CHANGES, MARKS, STEPS = 600, 150, 20, 40, 500


def _zones(world: IdentityWorld, bench: DocXPand) -> list[tuple[str, ...]]:
    """Of all documents; those of some cards are on the back."""
    return [one.zone or papers(world, np.array([one.person]), one.template, side="back")[0].zone for one in bench.papers]


def _noticed(zones: list[tuple[str, ...]], seed: int) -> tuple[float, float, float]:
    """Share of zones that are whole; share of random changes that are noticed; and what it should be, exactly."""
    rng = np.random.default_rng([seed, 5])
    found, allowed = [], []
    for zone in zones:
        places = checked_places(decode(zone).size)
        allowed.append(1 - np.mean([len(undetected(zone[line][at])) / (len(ALPHABET) - 1) for line, at in places]))
        for _ in range(CHANGES):
            line, at = places[int(rng.integers(len(places)))]
            others = ALPHABET.replace(zone[line][at], "")
            changed = zone[line][:at] + others[int(rng.integers(len(others)))] + zone[line][at + 1 :]
            found.append(bool(failures((*zone[:line], changed, *zone[line + 1 :]))))
    return float(np.mean([not failures(zone) for zone in zones])), float(np.mean(found)), float(np.mean(allowed))


def _marked(paper: Paper, column: int, row: int) -> Paper:
    """A black paper with a white mark; a mark beyond its edge leaves it black."""
    rows, columns = np.mgrid[: paper.image.shape[0], : paper.image.shape[1]] + 0.5
    mark = (rows - row) ** 2 + (columns - column) ** 2 <= 16
    return replace(paper, image=np.repeat((255 * mark).astype(np.uint8)[..., None], 3, 2), quads={"mark": np.full((4, 2), [column, row], float)})


def _off(bench: DocXPand, seed: int) -> list[float]:
    """Pixels between where marks are seen and where labels say that they are."""
    rng = np.random.default_rng([seed, 6])
    out = []
    for number in rng.choice(len(bench.papers), MARKS, replace=False):
        paper = bench.papers[number]
        column, row = (int(rng.integers(12, size - 12)) for size in paper.image.shape[1::-1])
        with_it, without = (insert(one, side=96, seed=seed, plain=True) for one in (_marked(paper, column, row), _marked(paper, -99, -99)))
        seen = with_it.image.astype(float).mean(-1) - without.image.astype(float).mean(-1)
        rows, columns = np.mgrid[:96, :96] + 0.5
        centre = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        out.append(float(np.linalg.norm(centre - with_it.quads["mark"][0])))
    return out


def _located(bench: DocXPand, seed: int) -> dict[str, float]:
    learn, images = ~bench.test, bench.images
    plain = np.stack([insert(paper, side=bench.side, seed=bench.seed, plain=True).image for paper in bench.papers])
    out = {}
    for name, shown in (("varied", images), ("plain", plain)):
        network = CornerTrainer(steps=STEPS, seed=seed).fit(shown[learn], bench.corners[learn])
        out[name] = float(bench.locate(located(network, images[bench.test])).mean())
        if name == "plain":
            out["plain, on plain scenes"] = float(bench.locate(located(network, plain[bench.test])).mean())
    return out


def _encoder(world: IdentityWorld, seed: int) -> IdentityNet:
    """Of 200 people who bear none of the documents: five photographs, a portrait, and two scans of it."""
    others = np.arange(5000, 5200)
    studio = portraits(world, others, 0, studio=True)
    scans = [np.stack([scanned(one, seed=1000 * turn + at) for at, one in enumerate(studio)]) for turn in (1, 2)]
    photographs = [portraits(world, others, shot) for shot in range(5)]
    images = np.concatenate([*photographs, studio, *scans])
    return IdentityTrainer(steps=300, colour=0.2, erase=0.2, seed=seed).fit(images, np.tile(others, 8))


def _verified(network: IdentityNet, shown: np.ndarray, photographs: list[np.ndarray]) -> float:
    """Equal error rate of everybody's picture against everybody's photographs."""
    own = unit(encode(network, shown))
    scores = np.stack([own @ unit(encode(network, one)).T for one in photographs])
    same = np.eye(len(shown), dtype=bool)
    return verification(scores[:, same], scores[:, ~same]).eer


def _one(seed: int) -> dict[str, Any]:
    world = IdentityWorld(seed)
    bench = DocXPand(world, np.arange(DOCUMENTS), seed=seed)
    whole, noticed, allowed = _noticed(_zones(world, bench), seed)
    network = _encoder(world, seed)
    bearers = bench.papers[:BEARERS]
    photographs = [portraits(world, np.arange(BEARERS), shot) for shot in (10, 11)]
    scans = np.stack([cut(scanned(one.image, seed=seed + one.person), one.quads["portrait"], (WIDE, TALL)) for one in bearers])
    plain = portraits(world, np.arange(BEARERS), 4_000, studio=True)
    return {
        "whole": whole, "noticed": noticed, "allowed": allowed, "off": _off(bench, seed), "iou": _located(bench, seed),
        "eer": {"plain portraits": _verified(network, plain, photographs), "printed and scanned": _verified(network, scans, photographs)},
    }  # fmt: skip


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every world."""
    runs = []
    with bar("docxpand", len(seeds), enabled=progress) as step:
        for seed in seeds:
            runs.append(_one(seed))
            step.advance()
    iou = {name: np.array([run["iou"][name] for run in runs]) for name in runs[0]["iou"]}
    eer = {name: float(np.mean([run["eer"][name] for run in runs])) for name in runs[0]["eer"]}
    mean = {name: float(np.mean([run[name] for run in runs])) for name in ("whole", "noticed", "allowed")}
    worst = max(max(run["off"]) for run in runs)
    lost = iou["varied"] - iou["plain"]
    conditions = {
        "every zone passes its check digits": mean["whole"] == 1,
        "changes noticed >= 90 %": mean["noticed"] >= 0.90,
        "as many as modulo 10 allows, within 1 %": abs(mean["noticed"] - mean["allowed"]) <= 0.01,
        "marks within 0.5 pixels of their labels": worst < 0.5,
        "IoU >= 0.85": float(iou["varied"].mean()) >= 0.85,
        "without variety of scenes at least 0.05 less": float(lost.mean()) >= 0.05,
        "scans: EER <= 1.3 x plain portraits'": eer["printed and scanned"] <= 1.3 * eer["plain portraits"],
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "changes of one character": {"noticed": mean["noticed"], "modulo 10 allows": mean["allowed"]}, "farthest mark, pixels": worst,
            "IoU of corners": {name: {"mean": float(one.mean()), "by seed": one.tolist()} for name, one in iou.items()},
            "variety - plain, interval": bootstrap(lost).tolist(), "equal error rate": eer, "equal error rate by seed": [run["eer"] for run in runs],
            "designs": len(TEMPLATES), "conditions": conditions,
        },
        baseline={"IoU, trained on one plain table": float(iou["plain"].mean()), "EER, plain portraits": eer["plain portraits"]},
        why_null="a generator and a benchmark: nobody has a state of their own",
        notes="Generated people, designs and scenes: no real document, background or face. Scenes are 64 x 64 pixels, portraits 40 x 48. "
        "Reading is scored by the benchmark, and not part of this check: there is no reader here.",
    )  # fmt: skip

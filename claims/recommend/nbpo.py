"""Does learning flips of observed negatives beat BPO and BPR at equal training, and do the flips find what was hidden?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from _compare import core, judge, mean, person_auc, scales

import sartor
from sartor.data import Population
from sartor.data.datasets import dataset
from sartor.data.splits import Split, make
from sartor.data.world import World
from sartor.evaluate import evaluate
from sartor.evaluate.claim import Claim, Outcome
from sartor.progress import track

CLAIM = Claim(
    slug="nbpo",
    paper="Significant improvement in F1@k and NDCG@k over BPR and other optimisation on Amazon (14-core) and MovieLens; no figure in the abstract.",
    passes="At equal epochs, with lambda from a 3-value grid on validation for each of BPR, BPO and NBPO: (1) on both data sets NDCG@10 of NBPO "
    ">= 1.05x the better of BPO and BPR on every seed, and F1@2 >= 1.05x on the mean of 5 seeds; (2) on a world with 30% of true positives "
    "hidden, AUC of s(gamma) s(R) for hidden positives among unvoted items >= 0.65 and above that of R alone trained by BPO (mean over people "
    "and seeds).",
    data=("ml-100k", "amazon-beauty", "world (30% of positives hidden)"),
    seeds=(11, 12, 13, 14, 15),
)

METRICS = ("ndcg@10", "f1@2")
EPOCHS = 40
GRID = (0.5, 1.0, 2.0)
VARIANTS = ("nbpo", "bpo", "bpr")
# The authors' step sizes and flip regularisation, by data set; BPR has NBPO's step, since they publish none.
SETTINGS: dict[str, dict[str, dict[str, float]]] = {
    "ml-100k": {
        "nbpo": {"learning_rate": 0.02, "flip_regularization": 1.0}, "bpo": {"learning_rate": 0.01}, "bpr": {"learning_rate": 0.02},
    },
    "amazon-beauty": {
        "nbpo": {"learning_rate": 0.05, "flip_regularization": 5.0}, "bpo": {"learning_rate": 0.05}, "bpr": {"learning_rate": 0.05},
    },
}  # fmt: skip


def populations() -> dict[str, Population]:
    """ml-100k with ratings of at least 4, and a dense core of Amazon Beauty in place of the authors' 14-core file."""
    return {"ml-100k": dataset("ml-100k").positives(4), "amazon-beauty": core(dataset("amazon-beauty"), 8)}


def fitted(variant: str, split: Split, seed: int, **settings: Any) -> Any:
    """One arm; the epoch is picked on validation, at equal epochs for all."""
    method = sartor.make("nbpo", variant=variant, seed=seed, epochs=EPOCHS, validate_every=20, patience=0, **settings)
    return method.fit(split.train, validation=split.validation, progress=False)


def world(seed: int) -> World:
    """600 people with 2 to 4 interests in 500 items, 30% of what they like never shown."""
    return World(
        people=600, items=500, topics=20, interests=(2, 4), noise=0.0, drift=0.0, hidden_positives=0.3, events_per_person=40.0, reviews=0.0,
        preferences=0, seed=seed,
    )  # fmt: skip


def hidden(made: World, split: Split, arms: Mapping[str, Any]) -> dict[str, float]:
    """AUC of finding hidden positives among the items a person has not voted for."""
    out: dict[str, float] = {}
    truth = made.truth["hidden"]
    for variant, method in arms.items():
        states = method.adapt_all(split.train)
        own = list(states.values())
        had = np.zeros((len(own), len(method.items_)), bool)
        for row, state in enumerate(own):
            had[row, state["items"]] = True
        label, row_of = np.zeros_like(had), {person: row for row, person in enumerate(states)}
        for person, item in zip(truth["person"].to_list(), method.items_.numbers(truth["item"]).tolist(), strict=True):
            if person in row_of and item >= 0:
                label[row_of[person], item] = True
        rows, columns = np.nonzero(~had)
        scores = method.score(own)
        found = {f"{variant}: R alone": scores}
        if variant == "nbpo":
            found["nbpo: s(gamma) s(R)"] = method.flip_probabilities(own) / (1 + np.exp(-scores))
            found["nbpo: posterior of a hidden positive"] = method.hidden_positives(own)
        out |= {name: person_auc(rows, label[rows, columns], one[rows, columns]) for name, one in found.items()}
    return out


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Train, judge, compare."""
    measured: dict[str, Any] = {}
    passed, last = True, None
    for name, population in populations().items():
        rows: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
        chosen: dict[str, float] = {}
        for seed in track(seeds, name, enabled=progress):
            split = make("random", population, seed=seed)
            for variant in VARIANTS:
                if variant not in chosen:
                    tried = [fitted(variant, split, seed, regularization=one, **SETTINGS[name][variant]) for one in GRID]
                    found = [judge(method, split, METRICS, on="validation")["ndcg@10"] for method in tried]
                    chosen[variant] = GRID[int(np.argmax(found))]
                    measured[f"{name}: {variant} validation ndcg@10 by lambda"] = dict(zip(map(str, GRID), found, strict=True))
                    method = tried[int(np.argmax(found))]
                else:
                    method = fitted(variant, split, seed, regularization=chosen[variant], **SETTINGS[name][variant])
                rows[variant].append(judge(method, split, METRICS))
                if variant == "nbpo":
                    last = (method, split) if name == "ml-100k" else last
        ratio = [n["ndcg@10"] / max(a["ndcg@10"], b["ndcg@10"]) for n, a, b in zip(*(rows[variant] for variant in VARIANTS), strict=True)]
        f1 = mean(rows["nbpo"])["f1@2"] / max(mean(rows["bpo"])["f1@2"], mean(rows["bpr"])["f1@2"])
        measured[name] = {variant: mean(rows[variant]) for variant in VARIANTS} | {
            "lambda": chosen,
            "ndcg@10 over the better baseline, by seed": [round(one, 4) for one in ratio],
            "f1@2 over the better baseline": round(f1, 4),
        }
        passed &= min(ratio) >= 1.05 and f1 >= 1.05
    finds: list[dict[str, float]] = []
    chosen_from: dict[str, str] = {}
    for seed in track(seeds, "hidden positives", enabled=progress):
        made = world(seed)
        split = make("random", made.population().replace(items=None), seed=seed)
        arms = {}
        for variant in ("nbpo", "bpo"):
            # The authors publish two settings: the better one on the first seed's validation events is kept.
            if variant not in chosen_from:
                both = {name: fitted(variant, split, seed, **SETTINGS[name][variant]) for name in SETTINGS}
                score = {name: judge(method, split, METRICS, on="validation")["ndcg@10"] for name, method in both.items()}
                chosen_from[variant] = max(score, key=lambda name: score[name])
                arms[variant] = both[chosen_from[variant]]
            else:
                arms[variant] = fitted(variant, split, seed, **SETTINGS[chosen_from[variant]][variant])
        finds.append(hidden(made, split, arms))
    apart = mean(finds)
    measured["hidden positives, AUC"] = apart | {"settings of": chosen_from}
    passed &= apart["nbpo: s(gamma) s(R)"] >= 0.65 and apart["nbpo: s(gamma) s(R)"] > apart["bpo: R alone"]
    assert last is not None
    baseline = {name: {variant: measured[name][variant] for variant in ("bpo", "bpr")} for name in ("ml-100k", "amazon-beauty")}
    notes = (
        f"{EPOCHS} epochs, epoch (20 or {EPOCHS}) picked on validation; lambda chosen on the first seed's validation split and kept. The authors' "
        "Amazon 14-core file is not among our data: amazon-beauty's 8-core (1,766 people, 803 items, 32,963 events; random 80/10/10) stands in. "
        "Everybody is folded in from the training events, by the same steps for all arms. gain, swap gap and cost: ml-100k, last seed."
    )
    return Outcome(passed=bool(passed), measured=measured, baseline=baseline, notes=notes, **scales(evaluate(*last, seed=seeds[-1])))

"""Does a wearer with hardly any labels get a recogniser that fits, from a labelled set of three strangers and everybody's unlabelled windows?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.federated import most_different
from sartor.federate import datasets
from sartor.federate.federation import Client, Examples, Federation
from sartor.federate.parts import partition
from sartor.federate.parts.networks import Flat
from sartor.federate.parts.shards import Shards
from sartor.federate.parts.training import Optimizer, classify, train
from sartor.federate.semipfl import SemiPFL
from sartor.parts.statistics import bootstrap
from sartor.progress import bar

CLAIM = Claim(
    slug="semipfl",
    paper="Better than federated baselines in accuracy, network footprint and computation on wearable and IoT sets; works from no label at all and "
    "improves with labels and with the number of users. No figure in the abstract.",
    passes="wisdm-ar, 42 features of ten-second windows, six activities: 3 wearers with all activities are the server, the others users, judged on "
    "the last third of each of their activities by macro-F1, means over users and 3 seeds, 50 rounds x 5 epochs of all users. At 3 labels per class: "
    ">= own labels alone + .15 and >= the server's classifier alone + .02; not falling from 0 to 1 to 3 to 10 labels per class; within .02 of one "
    "averaged autoencoder with the same classifiers and tuning; a state >= 20 times smaller than an autoencoder and a classifier.",
    data=("wisdm-ar",),
    seeds=(0, 1, 2),
)
LABELS = (0, 1, 3, 10)
SETTINGS: dict[str, Any] = {"rounds": 50, "epochs": 5, "hidden": (192, 96), "code": 32, "batch": 64}


def _people(seed: int) -> tuple[Examples, Federation]:
    """The server's three people together, and the users with all their labels."""
    chosen, users = partition.apart(datasets.wisdm(test=1 / 3, seed=seed), 3, seed=seed)
    parts = [one.train for one in chosen]
    return Examples(np.concatenate([one.x for one in parts]), np.concatenate([one.y for one in parts])), users


def _f1(answers: np.ndarray, truth: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(truth, answers, labels=np.unique(truth), average="macro", zero_division=0))


def _scores(users: Federation, predict: Callable[[int, np.ndarray], np.ndarray]) -> np.ndarray:
    return np.array([_f1(predict(number, one.test.x).argmax(1), one.test.y) for number, one in enumerate(users)])


def _mlps(parts: Sequence[Examples], classes: int, seed: int) -> Callable[[int, np.ndarray], np.ndarray]:
    """A network 42-64-16-classes for each part, learned to the end: 300 steps of Adam on all its labels at once."""
    net = Flat.of(nn.Sequential(nn.Linear(parts[0].x.shape[1], 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes)))
    start = net.initial(seed).repeat(len(parts), 1)
    optimizer = Optimizer("adam", 3e-3, weight_decay=1e-4)
    ends = train(net, start, Shards(parts), classify(net), optimizer, epochs=300, batch=0, key=(seed, 63))
    return lambda number, x: net.logits(ends[number], torch.from_numpy(x)).detach().numpy()


def _labelled(part: Examples) -> Examples:
    return part.take(part.y >= 0)


def _own(method: SemiPFL, users: Federation, states: Any) -> np.ndarray:
    return _scores(users, lambda number, x: method.predict(x, states[users.clients[number].id]))


def _with(method: SemiPFL, users: Federation) -> Any:
    """States of a fitted method when its users have these labels: only the last step looks at them."""
    part = method._participants()
    clients = [Client(one.id, Examples(method._standard(one.train.x), one.train.y), one.test) for one in users]
    object.__setattr__(part, "federation", Federation(clients, users.classes))
    return method.states()


def _one(seed: int) -> tuple[dict[tuple[str, int], np.ndarray], dict[str, Any]]:
    """Macro-F1 of every user by arm and labels per class, and what else one seed shows."""
    server, users = _people(seed)
    arms = {"semipfl": SemiPFL(**SETTINGS, seed=seed), "averaged autoencoder": SemiPFL(**SETTINGS, seed=seed, personal=False)}
    three = partition.few_labels(users, 3, seed=seed)
    for method in arms.values():
        method.fit(three, server=server, progress=False)
    alone = _mlps([server], users.classes, seed)
    # The rounds look at no label: the same autoencoders serve every number of them.
    found = {(name, 0): _own(method, users, method.states(tuned=False)) for name, method in arms.items()}
    found["server alone", 3] = _scores(users, lambda number, x: alone(0, x))
    for labels in LABELS[1:]:
        few = partition.few_labels(users, labels, seed=seed)
        found |= {(name, labels): _own(method, users, _with(method, few)) for name, method in arms.items()}
        parts = [_labelled(one.train) for one in few]
        found["own labels alone", labels] = _scores(users, _mlps(parts, users.classes, seed))
        both = Examples(np.concatenate([server.x, *(one.x for one in parts)]), np.concatenate([server.y, *(one.y for one in parts)]))
        pooled = _mlps([both], users.classes, seed)

        def for_all(number: int, x: np.ndarray, pooled: Callable[[int, np.ndarray], np.ndarray] = pooled) -> np.ndarray:
            return pooled(0, x)

        found["pooled, not private", labels] = _scores(users, for_all)
    own = arms["semipfl"]
    states, other, ids = _with(own, three), most_different(three), [one.id for one in users]
    found["swapped", 3] = _scores(users, lambda number, x: own.predict(x, states[ids[int(other[number])]]))
    found["no state", 3] = _scores(users, lambda number, x: own.predict(x))
    start = time.perf_counter()
    own.adapt(three.clients[0].train)
    size = float(np.mean([one.nbytes for one in states.values()]))
    return found, {"seconds": time.perf_counter() - start, "bytes": size, "whole": 4 * (own._net.size + own._mixture.head.size)}


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Autoencoders once per seed, written and averaged; then every number of labels."""
    each: dict[tuple[str, int], list[np.ndarray]] = {}
    facts = []
    with bar("semipfl", len(seeds), enabled=progress) as step:
        for seed in seeds:
            found, more = _one(seed)
            for key, scores in found.items():
                each.setdefault(key, []).append(scores)
            facts.append(more)
            step.advance()
    mean = {key: float(np.mean(np.concatenate(scores))) for key, scores in each.items()}
    own, curve = mean["semipfl", 3], [mean["semipfl", labels] for labels in LABELS]
    gain, swap = (np.concatenate(each["semipfl", 3]) - np.concatenate(each[other, 3]) for other in ("no state", "swapped"))
    whole, size = facts[0]["whole"], float(np.mean([one["bytes"] for one in facts]))
    conditions = {
        "3 labels: >= own labels alone + .15": own >= mean["own labels alone", 3] + 0.15,
        "3 labels: >= the server's classifier + .02": own >= mean["server alone", 3] + 0.02,
        "not falling with labels": all(a <= b for a, b in pairwise(curve)),
        "within .02 of the averaged autoencoder": own >= mean["averaged autoencoder", 3] - 0.02,
        "state >= 20 times smaller": whole >= 20 * size,
    }
    table = {name: {str(labels): one for (arm, labels), one in mean.items() if arm == name} for name in dict.fromkeys(arm for arm, _ in mean)}
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "conditions": conditions, "macro-F1 by labels per class": table.pop("semipfl"), "whole model in bytes": whole,
            "by seed at 3": [float(one.mean()) for one in each["semipfl", 3]],
        },
        baseline=table,
        gain=float(gain.mean()), gain_interval=bootstrap(gain).tolist(), swap_gap=float(swap.mean()), swap_gap_interval=bootstrap(swap).tolist(),
        state_bytes=size, adapt_seconds=float(np.mean([one["seconds"] for one in facts])),
        notes="A user's macro-F1 is over the activities in its test part. Own labels alone, the server's classifier and pooled are networks "
        "42-64-16-6 on the features themselves, learned to the end.",
    )  # fmt: skip

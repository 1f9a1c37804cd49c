"""Do walks tell a node's role and its community at once, on graphs and for nodes that were not there in training?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _roles import role_graph

from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.represent.clustering import normalised_mutual_information
from sartor.represent.fastrp import FastRP
from sartor.represent.irwe import IRWE

CLAIM = Claim(
    slug="irwe",
    paper="Superior to many baselines for transductive and inductive inference of identity and position embeddings, without attributes. No figure in "
    "the abstract.",
    passes="Generated graphs of 700 to 1,000 nodes in which community (4 to 8) and role (hub, bridge, leaf, member of a clique) are independent; "
    "trained on 3 graphs without a fifth of their nodes, tested on 2 new graphs, means over seeds: micro-F1 of the role from identity vectors "
    "(logistic probe trained on the training graphs' nodes) >= that from the degree + 0.05; NMI of k-means on position vectors with the communities "
    ">= 0.6; identity tells roles better than position by >= 0.10 F1, and position communities better than identity by >= 0.10 NMI.",
    data=("world (roles and communities)",),
    seeds=(1, 2, 3),
)

TRAINED, NEW, HELD_OUT = 3, 2, 0.2


def _graph(rng: np.random.Generator) -> Any:
    return role_graph(int(rng.integers(700, 1000)), int(rng.integers(4, 9)), rng)


def _f1(vectors: Sequence[np.ndarray], roles: Sequence[np.ndarray], new: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each new node's role was told, by a logistic probe (micro-F1 of one label each is the share of these)."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(np.concatenate(vectors))
    probe = LogisticRegression(max_iter=1000).fit(scaler.transform(np.concatenate(vectors)), np.concatenate(roles))
    return probe.predict(scaler.transform(np.concatenate(new))) == np.concatenate(truth)


def _communities(vectors: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    from sklearn.cluster import KMeans

    found = [KMeans(int(own.max()) + 1, n_init=4, random_state=0).fit_predict(one).astype(np.int64) for one, own in zip(vectors, truth, strict=True)]
    return float(np.mean([normalised_mutual_information(one, own) for one, own in zip(found, truth, strict=True)]))


def _degrees(graph: Any) -> np.ndarray:
    """Degree features: the degree, its root and its logarithm."""
    degree = np.diff(graph.indptr).astype(float)
    return np.stack([degree, np.sqrt(degree), np.log1p(degree)], axis=1)


def _wider(graph: Any) -> np.ndarray:
    """A histogram of the neighbours' degrees beside them, in the manner of GraphWave's spread."""
    buckets = np.minimum(np.log2(np.maximum(np.diff(graph.indptr), 1)).astype(int), 7)
    around = np.asarray(graph @ np.eye(8)[buckets]) / np.maximum(np.diff(graph.indptr), 1)[:, None]
    return np.concatenate([_degrees(graph), around], axis=1)


def _one(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 0])
    made = [_graph(rng) for _ in range(TRAINED + NEW)]
    graphs, communities, roles = map(list, zip(*made, strict=True))
    hidden = [rng.random(graph.shape[0]) < HELD_OUT for graph in graphs[:TRAINED]]
    # Nodes whose neighbours are all hidden stay, without edges.
    start = time.process_time()
    method = IRWE(seed=seed).fit([one[~gone][:, ~gone] for one, gone in zip(graphs, hidden, strict=False)], progress=False)
    trained = time.process_time() - start
    found = [method.embed(graph) for graph in graphs]
    start = time.perf_counter()
    method.embed(graphs[-1], np.arange(50))
    seconds = (time.perf_counter() - start) / 50
    identity, position = [one.identity for one in found], [one.position for one in found]

    def parts(vectors: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        known = [one[~gone] for one, gone in zip(vectors, hidden, strict=False)]
        labels = [one[~gone] for one, gone in zip(roles, hidden, strict=False)]
        held = [one[gone] for one, gone in zip(vectors, hidden, strict=False)], [one[gone] for one, gone in zip(roles, hidden, strict=False)]
        return {"new graphs": _f1(known, labels, vectors[TRAINED:], roles[TRAINED:]), "held-out nodes": _f1(known, labels, *held)}

    role = {"identity": parts(identity), "position": parts(position), "degree": parts([_degrees(one) for one in graphs])}
    role["degree and neighbours' degrees"] = parts([_wider(one) for one in graphs])
    new = slice(TRAINED, None)
    place = {name: _communities(vectors[new], communities[new]) for name, vectors in (("position", position), ("identity", identity))}
    place["position, training graphs"] = _communities(position[:TRAINED], communities[:TRAINED])
    place["FastRP fitted to each new graph"] = _communities(
        [FastRP(64, weights=(1.0, 1.0, 1.0, 1.0), seed=seed).fit(one) for one in graphs[new]], communities[new]
    )
    truth = np.concatenate(roles[new])
    commonest = np.bincount(np.concatenate(roles[:TRAINED])).argmax()
    own = role["identity"]["new graphs"]
    return {
        "role": role, "community": place, "seconds": seconds, "trained": trained, "own": own, "none": truth == commonest,
        "swapped": _swapped(identity, roles, hidden, rng), "bytes": 2 * identity[0].shape[1] * 2,
    }  # fmt: skip


def _swapped(identity: Sequence[np.ndarray], roles: Sequence[np.ndarray], hidden: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Roles told from another node's vector."""
    known = [one[~gone] for one, gone in zip(identity, hidden, strict=False)]
    labels = [one[~gone] for one, gone in zip(roles, hidden, strict=False)]
    others = [one[rng.permutation(len(one))] for one in identity[TRAINED:]]
    return _f1(known, labels, others, roles[TRAINED:])


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Three training graphs and two new ones per seed; one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with bar("irwe", len(seeds), enabled=progress) as step:
            runs = []
            for seed in seeds:
                runs.append(_one(seed))
                step.advance()
    finally:
        torch.set_num_threads(threads)

    def f1(arm: str, where: str = "new graphs") -> float:
        return float(np.mean([run["role"][arm][where].mean() for run in runs]))

    def nmi(arm: str) -> float:
        return float(np.mean([run["community"][arm] for run in runs]))

    conditions = {
        "role, new graphs: identity >= degree + 0.05": f1("identity") >= f1("degree") + 0.05,
        "community, new graphs: NMI >= 0.6": nmi("position") >= 0.6,
        "role: identity >= position + 0.10": f1("identity") >= f1("position") + 0.10,
        "community: position >= identity + 0.10": nmi("position") >= nmi("identity") + 0.10,
    }
    own, none, swapped = (np.concatenate([run[arm] for run in runs]).astype(float) for arm in ("own", "none", "swapped"))
    return Outcome(
        passed=all(conditions.values()),
        measured={
            "role micro-F1": {arm: {where: f1(arm, where) for where in ("new graphs", "held-out nodes")} for arm in runs[0]["role"]},
            "community NMI": {arm: nmi(arm) for arm in runs[0]["community"]},
            "CPU seconds of training": float(np.mean([run["trained"] for run in runs])), "conditions": conditions,
        },
        baseline={
            "role micro-F1": {arm: f1(arm) for arm in ("degree", "degree and neighbours' degrees")},
            "community NMI": {"FastRP fitted to each new graph": nmi("FastRP fitted to each new graph")},
        },
        gain=float((own - none).mean()), gain_interval=bootstrap(own - none).tolist(),
        swap_gap=float((own - swapped).mean()), swap_gap_interval=bootstrap(own - swapped).tolist(),
        state_bytes=float(runs[0]["bytes"]), adapt_seconds=float(np.mean([run["seconds"] for run in runs])),
        notes="Gain and swap gap: share of nodes of the new graphs whose role is told, against the commonest role for all and against another node's "
        "vector. node2vec has no vectors for new graphs; FastRP's are fitted to each. Before training, the position unit is close to a mean of the "
        "codes met on walks, which does most of the work. Sizes and steps were chosen on seed 100.",
    )  # fmt: skip

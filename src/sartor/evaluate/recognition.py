"""Few-shot identification of people whom no model has seen: enrol a few pictures of each, and find them again, among strangers too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sartor.errors import EmptyData
from sartor.evaluate.identification import open_set, verification
from sartor.method import State
from sartor.parts.statistics import bootstrap
from sartor.progress import bar


@dataclass(frozen=True)
class Protocol:
    """Who is learned from, who is enrolled, who stays a stranger."""

    shots: int = 3
    """Pictures that are enrolled of each."""
    learned: float = 0.6
    """Share of the identities that the model is fitted on; the others it has never seen."""
    strangers: float = 0.3
    """Share of the others who are not enrolled."""

    def split(self, identity: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names of who is learned from, enrolled, and not. Raises `EmptyData` for fewer than ten identities, or too few pictures of one."""
        names, counts = np.unique(identity, return_counts=True)
        names = names[counts > self.shots]
        if names.size < 10:
            raise EmptyData(f"{names.size} identities with more than {self.shots} pictures", fix="give at least ten, or fewer shots")
        order = np.random.default_rng([seed, 23]).permutation(names)
        first = int(self.learned * names.size)
        second = first + max(2, int((1 - self.strangers) * (names.size - first)))
        return order[:first], order[first:second], order[second:]


def few_shot(method: Any, images: np.ndarray, identity: np.ndarray, *, protocol: Protocol | None = None, seed: int = 0) -> dict[str, Any]:
    """Fit an unfitted recognizer on some identities, and judge it on others.

    Answers: `rank-1` of own states, `nobody` (no state: nobody is recognized), `swapped` (everybody under the next one's name), gain and swap gap
    with intervals over people; `EER` and `TAR` of verification; open-set `DIR` at 1 % of strangers accepted; the share of strangers that are accepted
    and of known people that are named rightly at the method's own threshold; bytes and seconds.
    """
    rules = protocol or Protocol()
    fitted, known, strange = rules.split(identity, seed)
    rows = np.isin(identity, fitted)
    begun = time.process_time()
    method.fit_pictures(images[rows], identity[rows])
    fit_seconds = time.process_time() - begun
    rng = np.random.default_rng([seed, 29])
    states: dict[Any, State] = {}
    probes, truth = [], []
    begun = time.process_time()
    for number, name in enumerate(known):
        own = rng.permutation(np.flatnonzero(identity == name))
        states[str(name)] = method.enrol(images[own[: rules.shots]])
        probes.append(own[rules.shots :])
        truth += [number] * (own.size - rules.shots)
    adapt_seconds = (time.process_time() - begun) / len(states)
    asked, right = np.concatenate(probes), np.array(truth)
    names = list(states)
    scores = method.compare(images[asked], states)
    begun = time.process_time()
    answers = [row[0][0] for row in method.recognize(images[asked], states)]
    recognize_seconds = (time.process_time() - begun) / len(asked)
    best = scores.argmax(1)
    own_right = np.array([(best[right == one] == one).mean() for one in range(len(names))])
    # Everybody under the next one's name: whoever is found is called wrongly.
    swapped = np.array([((best[right == one] - 1) % len(names) == one).mean() for one in range(len(names))])
    mine = scores[np.arange(len(asked)), right]
    verified = verification(mine, scores[np.arange(len(names))[None] != right[:, None]])
    result: dict[str, Any] = {
        "rank-1": float(own_right.mean()), "nobody": 0.0, "swapped": float(swapped.mean()), "people": len(names), "probes": len(asked),
        "gain": float(own_right.mean()), "gain_interval": bootstrap(own_right).tolist(), "swap_gap": float((own_right - swapped).mean()),
        "swap_gap_interval": bootstrap(own_right - swapped).tolist(), "EER": verified.eer, "TAR at 1 %": verified.tar(0.01),
        "state_bytes": float(np.mean([one.nbytes for one in states.values()])), "adapt_seconds": adapt_seconds,
        "recognize_seconds": recognize_seconds, "fit_seconds": fit_seconds,
        "named rightly": float(np.mean([names[one] == answer for one, answer in zip(right, answers, strict=True)])),
    }  # fmt: skip
    if strange.size:
        others = np.flatnonzero(np.isin(identity, strange))
        taken = [row[0][0] is not None for row in method.recognize(images[others], states)]
        result |= {
            "DIR at 1 %": open_set(scores, right, method.compare(images[others], states)).rate(0.01),
            "strangers accepted": float(np.mean(taken)), "strangers": int(strange.size), "aimed at": method.false_accepts,
        }  # fmt: skip
    return result


def compare(
    methods: dict[str, Any], images: np.ndarray, identity: np.ndarray, *, seeds: Sequence[int] = (0, 1, 2), protocol: Protocol | None = None,
    progress: bool = True,
) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
    """`few_shot` of several methods, each made anew for every seed by a function of the seed; results by name, one a seed."""
    out: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    with bar("identifying", len(methods) * len(seeds), enabled=progress) as shown:
        for seed in seeds:
            for name, make in methods.items():
                out[name].append(few_shot(make(seed), images, identity, protocol=protocol, seed=seed))
                shown.advance(note=name)
    return out

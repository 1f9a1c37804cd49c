"""Do experts in one encoder reach separate models where domains contradict each other, and does it matter whose expert is asked?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sartor.evaluate.claim import Claim, Outcome
from sartor.parts.pair_sampler import PairSampler, co_occurring
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.represent.contrastive import ContrastiveTrainer
from sartor.represent.moe_embed import ExpertEncoder
from sartor.represent.small_encoder import SmallEncoder

CLAIM = Claim(
    slug="moe-embed",
    paper="N experts reach the quality of N individually fine-tuned models (five biomedical domains); a single expert layer gets about 85% of the "
    "gain, and encoders under some 100M parameters do not profit.",
    passes="Five generated domains of one vocabulary whose rules of similarity conflict (same disease, same drug, ...), a 4-layer encoder trained "
    "here on paraphrases, then equal steps per domain for: one shared model, five separate models, and one model with five experts (full, "
    "last layer only, LoRA). Pair AUC on unseen texts, mean over domains and 3 seeds: full experts within 0.01 of the separate models or "
    "better, and >= shared + 0.05; asking another domain's expert costs >= 0.05.",
    data=("world-abstracts",),
    seeds=(0, 1, 2),
)

ASPECTS = ("disease", "drug", "organ", "method", "people")
VALUES, SYNONYMS, FILLERS, FILLED = 12, 3, 60, 3
DIM, LAYERS, BATCH, RATE, RANK = 64, 4, 32, 1e-3, 8
WARM_UP, STEPS = 150, 150
PAPERS, CITING, CITED, TEST = 600, 120, 5, 200
ARMS = ("shared", "separate", "experts", "experts, another's")
CHEAPER = ("last-layer experts", "LoRA experts", "LoRA experts, another's")
"""Reported for the first seed only."""


class Abstracts:
    """Short texts that name one value of each of five aspects in any order and wording, among words that mean nothing."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 21])
        syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
        words = list(dict.fromkeys("".join(self.rng.choice(syllables, 3)) for _ in range(1_000)))
        self.fillers, rest = words[:FILLERS], iter(words[FILLERS:])
        self.words = [[[next(rest) for _ in range(SYNONYMS)] for _ in range(VALUES)] for _ in ASPECTS]

    def facts(self, count: int) -> np.ndarray:
        """int64 [count, aspects]: the value of every aspect."""
        return self.rng.integers(0, VALUES, (count, len(ASPECTS)))

    def write(self, facts: np.ndarray) -> list[str]:
        out = []
        for row in facts:
            said = [self.words[aspect][value][self.rng.integers(SYNONYMS)] for aspect, value in enumerate(row)]
            out.append(" ".join(self.rng.permutation([*said, *self.rng.choice(self.fillers, FILLED)])))
        return out

    def cited_together(self, aspect: int, facts: np.ndarray) -> np.ndarray:
        """Pairs int64 [n, 2] of papers that a later paper cites together, because they share the value that its domain goes by."""
        values = self.rng.integers(0, VALUES, CITING)
        chosen = [np.flatnonzero(facts[:, aspect] == value) for value in values]
        chosen = [self.rng.permutation(one)[:CITED] for one in chosen]
        groups = np.repeat(np.arange(CITING), [one.size for one in chosen])
        return co_occurring(groups, np.concatenate(chosen), CITED, self.rng)


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """How often a positive pair is nearer than a negative one."""
    order = np.argsort(np.concatenate([negative, positive]), kind="stable")
    ranks = np.empty(order.size)
    ranks[order] = np.arange(1, order.size + 1)
    return float((ranks[negative.size :].sum() - positive.size * (positive.size + 1) / 2) / (positive.size * negative.size))


def best_f1(positive: np.ndarray, negative: np.ndarray) -> float:
    """At the threshold where it is highest."""
    scores, truth = np.concatenate([positive, negative]), np.repeat([1, 0], [positive.size, negative.size])
    hits = np.cumsum(truth[np.argsort(-scores, kind="stable")])
    return float((2 * hits / (np.arange(1, scores.size + 1) + positive.size)).max())


def _seed(seed: int, *, cheaper: bool) -> dict[str, Any]:
    world = Abstracts(seed)
    facts = world.facts(PAPERS)
    texts, again = world.write(facts), world.write(facts)
    base = SmallEncoder(vocabulary=1_000, dim=DIM, layers=LAYERS, heads=4, max_tokens=32, dropout=0.0, seed=seed).learn_words(texts + again)
    # The encoder that everything starts from knows synonyms, and takes all aspects for equally important.
    ContrastiveTrainer(sampler=PairSampler(batch_size=BATCH, steps=WARM_UP), learning_rate=RATE, seed=seed).fit(base, texts, again)

    pairs = [world.cited_together(aspect, facts) for aspect in range(len(ASPECTS))]
    domains = np.repeat(np.arange(len(ASPECTS)), [len(one) for one in pairs])
    first, second = np.concatenate(pairs).T
    a, b = [texts[at] for at in first], [texts[at] for at in second]
    # Two pairs of one value are no negatives of each other: the domain's rule makes them alike.
    ids = domains * VALUES + facts[first, domains]

    def train(encoder: ExpertEncoder, rows: np.ndarray, experts: np.ndarray, steps: int) -> tuple[ExpertEncoder, float, float]:
        sampler = PairSampler(batch_size=BATCH, steps=steps, domains=domains[rows], mixed=False)
        start = time.process_time()
        ContrastiveTrainer(sampler=sampler, learning_rate=RATE, swap=0.5, seed=seed).fit(
            encoder, [a[at] for at in rows], [b[at] for at in rows], ids=ids[rows], experts=experts
        )
        return encoder, sampler.crossing, time.process_time() - start

    every, names = np.arange(len(a)), list(ASPECTS)
    total = STEPS * len(ASPECTS)
    shared, _, _ = train(ExpertEncoder(base, ["all"], seed=seed), every, np.zeros_like(domains), total)
    separate = []
    for number, name in enumerate(names):
        rows = np.flatnonzero(domains == number)
        separate.append(train(ExpertEncoder(base, [name], seed=seed), rows, np.zeros_like(rows), STEPS)[0])
    full, crossing, seconds = train(ExpertEncoder(base, names, seed=seed), every, domains, total)
    small: dict[str, ExpertEncoder] = {}
    if cheaper:
        small["last-layer experts"] = train(ExpertEncoder(base, names, layers="last", seed=seed), every, domains, total)[0]
        small["LoRA experts"] = train(ExpertEncoder(base, names, rank=RANK, seed=seed), every, domains, total)[0]

    found: dict[str, Any] = {arm: {"auc": [], "f1": []} for arm in (*ARMS, *CHEAPER, "untuned")}
    for number, name in enumerate(names):
        left = world.facts(2 * TEST)
        right = world.facts(2 * TEST)
        right[:TEST, number] = left[:TEST, number]
        # What is not meant to be alike is not alike by chance.
        right[TEST:, number] = (left[TEST:, number] + world.rng.integers(1, VALUES, TEST)) % VALUES
        one, other = world.write(left), world.write(right)

        def put(arm: str, encoders: list[tuple[Any, str | None]], one: list[str] = one, other: list[str] = other) -> None:
            values = []
            for encoder, domain in encoders:
                more = {} if domain is None else {"domains": domain}
                cosine = (encoder.encode(one, **more) * encoder.encode(other, **more)).sum(1)
                values.append((auc(cosine[:TEST], cosine[TEST:]), best_f1(cosine[:TEST], cosine[TEST:])))
            found[arm]["auc"].append(float(np.mean([value[0] for value in values])))
            found[arm]["f1"].append(float(np.mean([value[1] for value in values])))

        others = [names[(number + step) % len(names)] for step in (1, 2)]
        put("untuned", [(base, None)])
        put("shared", [(shared, None)])
        put("separate", [(separate[number], None)])
        put("experts", [(full, name)])
        put("experts, another's", [(full, wrong) for wrong in others])
        for arm, encoder in small.items():
            put(arm, [(encoder, name)])
        if cheaper:
            put("LoRA experts, another's", [(small["LoRA experts"], wrong) for wrong in others])
    models = {"experts": full, **small}
    sizes = {arm: sum(one.nbytes for one in model.expert_state(names[0]).values()) for arm, model in models.items()}
    parameters = sum(weight.numel() for weight in base.network.parameters())
    return {"found": found, "crossing": crossing, "seconds": seconds / len(names), "bytes": sizes, "parameters": parameters}


def _share(part: np.ndarray, start: np.ndarray, whole: np.ndarray) -> float:
    """How much of the way from start to whole the part goes, on the first seed."""
    return float((part[0].mean() - start[0].mean()) / (whole[0].mean() - start[0].mean()))


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """Every arm and seed; one thread."""
    torch.set_num_threads(1)
    runs: list[dict[str, Any]] = []
    with bar("moe-embed", len(seeds), enabled=progress) as step:
        for seed in seeds:
            runs.append(_seed(seed, cheaper=not runs))
            step.advance()

    def of(arm: str, what: str = "auc") -> np.ndarray:
        return np.array([run["found"][arm][what] for run in runs if run["found"][arm][what]])

    def told(arm: str) -> dict[str, Any]:
        return {
            "AUC": float(of(arm).mean()),
            "best F1": float(of(arm, "f1").mean()),
            "AUC by domain": dict(zip(ASPECTS, of(arm).mean(0).tolist(), strict=True)),
        }

    gained = of("experts").mean() - of("shared").mean()
    conditions = {
        "experts: within 0.01 of separate models": bool(of("experts").mean() >= of("separate").mean() - 0.01),
        "experts: >= shared + 0.05": bool(gained >= 0.05),
        "another's expert costs >= 0.05": bool(of("experts").mean() - of("experts, another's").mean() >= 0.05),
    }
    return Outcome(
        passed=all(conditions.values()),
        measured={
            **{arm: told(arm) for arm in (*ARMS[2:], *CHEAPER)},
            "share of the gain with the last layer only": _share(of("last-layer experts"), of("shared"), of("experts")),
            "a small encoder profits": bool(gained > 0), "parameters of the encoder": runs[0]["parameters"], "bytes per expert": runs[0]["bytes"],
            "in-batch negatives across domains": runs[0]["crossing"], "conditions": conditions,
        },
        baseline={"shared": told("shared"), "separate": told("separate"), "untuned": told("untuned")},
        gain=float(gained),
        gain_interval=bootstrap((of("experts") - of("shared")).ravel()).tolist(),
        swap_gap=float((of("experts") - of("experts, another's")).mean()),
        swap_gap_interval=bootstrap((of("experts") - of("experts, another's")).ravel()).tolist(),
        state_bytes=float(runs[0]["bytes"]["LoRA experts"]),
        adapt_seconds=float(np.mean([run["seconds"] for run in runs])),
        notes="Gain is over the one shared model, swap gap over two other domains' experts, both in AUC, full experts; state_bytes is one LoRA "
        f"expert of rank {RANK} in float32, adapt_seconds a domain's share of the training of all five. Every batch holds one domain; pairs of "
        "one value are not negatives of each other. Last-layer and LoRA experts: first seed only.",
    )  # fmt: skip

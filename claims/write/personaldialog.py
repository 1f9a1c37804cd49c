"""Do declared traits decide the right words, only where they are asked for, and also in combinations that nobody had?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch
from _declared import TRAITS, asked_else, asked_traits, held_out, population, profiles, shown, with_prefix

from sartor.data.world import World
from sartor.evaluate.claim import Claim, Outcome
from sartor.method import State
from sartor.parts.statistics import bootstrap
from sartor.progress import bar
from sartor.write.personaldialog import PersonalDialog
from sartor.write.population_lm import PopulationLM, population_lm

CLAIM = Claim(
    slug="personaldialog",
    paper="Models with persona-aware attention and bias address proper traits in different contexts.",
    passes="Generated dialogues with 4 declared traits (one a list), half of the posts trait-seeking; people never seen by a fit. Every seed: the "
    "best variant's trait accuracy on trait-seeking posts >= that without traits + 0.40; persona-aware bias or attention >= traits as text "
    "in front of the post, at a perplexity of at most 1.02 times its (equal tokens trained on); a trait said in <= 0.10 of the answers to "
    "other posts; people whose pair of city and job nobody in the fit has within 0.10 of the others; a dial at 0 gives the population's "
    "words exactly.",
    data=("world-personas",),
    seeds=(0, 1, 2),
)

WORLD, PEOPLE, EACH, EVALUATED = 23, 1_600, 4, 100
LM: dict[str, Any] = {"history": 0, "tokens": 500_000, "rows": 4, "learning_rate": 1e-2, "seed": 0}
STEPS, BATCH = 300, 64
ARMS: dict[str, dict[str, Any]] = {
    "attention over traits, bias": {},
    "attention over traits, attention": {"bias": False, "attention": True},
    "average of traits, bias": {"fusion": "average"},
    "average of traits, neither (a vector in front)": {"fusion": "average", "bias": False, "places": 1},
}
BEST, PREFIX, NONE = "attention over traits, bias", "traits as text", "no traits"
OF_THE_PAPER = tuple(ARMS)[:3]

Told = tuple[list[str], list[np.ndarray]]


def check(seeds: Sequence[int], *, progress: bool = True, people: int = PEOPLE, evaluated: int = EVALUATED) -> Outcome:
    personas = World(people=people, items=200, seed=WORLD).personas(changes=0.0)
    everybody = profiles(personas, np.arange(people))
    apart = pl.Series(held_out(everybody))
    learners = everybody.filter(~apart & everybody["person"].is_in(personas.fit_people.tolist()))
    fit = population(personas, learners, EACH, np.random.default_rng(1))
    base = population_lm(fit, **LM)
    # Tokens that the heads read while they learn: what is trained whole gets as many.
    tokens = LM["tokens"] + STEPS * BATCH * _tokens(base, fit)
    plain = population_lm(fit, **LM | {"tokens": tokens})
    new = everybody.filter(everybody["person"].is_in(personas.new_people.tolist()) & ~apart)
    strange = everybody.filter(apart)
    runs: list[dict[str, dict[str, float]]] = []
    checks: list[dict[str, Any]] = []
    with bar("personaldialog", len(seeds) * (len(ARMS) + 2), enabled=progress, unit="arm") as view:
        for seed in seeds:
            rng = np.random.default_rng([seed, 5])
            groups = {
                "seen": new.sample(min(evaluated, new.height), seed=seed).sort("person"),
                "unseen": strange.sample(min(evaluated, strange.height), seed=seed).sort("person"),
            }
            posts = {name: _posts(personas, who, rng) for name, who in groups.items()}
            runs.append({})

            def judge(name: str, told: Callable[[pl.DataFrame, pl.DataFrame], Told], groups: Any = groups, posts: Any = posts) -> None:
                runs[-1][name] = _scores(told, groups, posts)
                view.advance(note=f"{name} {runs[-1][name]['seen']:.2f}")

            judge(NONE, lambda asked, who: _model(plain, asked))
            text = PopulationLM(**LM | {"tokens": tokens, "seed": seed})
            text.fit(population(personas, learners, EACH, np.random.default_rng(1), prefix=True), progress=False)
            judge(PREFIX, partial(_prefixed, text))
            for name, settings in ARMS.items():
                arm = PersonalDialog(lm=base, traits=TRAITS, steps=STEPS, batch=BATCH, seed=seed, max_new=30, **settings).fit(fit, progress=False)
                judge(name, partial(_personal, arm))
                if name == BEST:
                    checks.append(_own_and_others(arm, base, groups["seen"], posts["seen"]))
    return _outcome(runs, checks)


def _posts(personas: Any, who: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    return pl.concat([asked_traits(who, 5, rng), asked_else(personas, who, 4, start=100)])


def _tokens(lm: PopulationLM, fit: Any) -> int:
    """Of a text with its post, on average."""
    texts = fit.texts.collect()
    each = [lm.model.tokenizer.encode_all(texts[name].to_list()) for name in ("prompt", "text")]
    return round(sum(len(one) + 2 for part in each for one in part) / texts.height)


def _chats(asked: pl.DataFrame) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": post}] for post in asked["prompt"]]


def _model(lm: PopulationLM, asked: pl.DataFrame) -> Told:
    """What a plain model answers, and the log-probabilities of the true answers."""
    tokenizer, chats = lm.model.tokenizer, _chats(asked)
    ends = [[*one, tokenizer.end] for one in tokenizer.encode_all(asked["text"].to_list())]
    return lm.write_all(chats, [None] * len(chats), max_new=30), lm.model.log_probs([tokenizer.chat(one) for one in chats], ends)


def _states(arm: PersonalDialog, who: pl.DataFrame) -> dict[int, State]:
    return {one["person"]: arm.edit(None, {name: one[name] for name in TRAITS}) for one in who.iter_rows(named=True)}


def _prefixed(lm: PopulationLM, asked: pl.DataFrame, who: pl.DataFrame) -> Told:
    return _model(lm, with_prefix(asked, who))


def _personal(arm: PersonalDialog, asked: pl.DataFrame, who: pl.DataFrame) -> Told:
    own = _states(arm, who)
    states, chats = [own[person] for person in asked["person"]], _chats(asked)
    return arm.write_all(chats, states), arm.log_probs(chats, asked["text"].to_list(), states)


def _scores(told: Callable[[pl.DataFrame, pl.DataFrame], Told], groups: dict[str, pl.DataFrame], posts: dict[str, pl.DataFrame]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, who in groups.items():
        texts, log_probs = told(posts[name], who)
        found, biased = shown(texts, posts[name], who), (posts[name]["asks"] != "").to_numpy()
        out[name], out[f"{name}: said unasked"] = float(found[biased].mean()), float(found[~biased].mean())
        if name == "seen":
            for kind in ("city", "job", "pet", "interests", "all"):
                out[kind] = float(found[(posts[name]["asks"] == kind).to_numpy()].mean())
            out["perplexity"] = float(np.exp(-np.concatenate(log_probs).mean()))
            out["perplexity, trait-seeking"] = float(
                np.exp(-np.concatenate([one for one, asks in zip(log_probs, biased, strict=True) if asks]).mean())
            )
            out["different answers"] = len(set(texts)) / len(texts)
    return out


def _own_and_others(arm: PersonalDialog, base: PopulationLM, who: pl.DataFrame, posts: pl.DataFrame) -> dict[str, Any]:
    """Per person with her own traits, none and another's; what a dial at 0 gives; bytes and seconds."""
    seeking, chats = posts.filter(pl.col("asks") != ""), _chats(posts.filter(pl.col("asks") != ""))
    start = time.perf_counter()
    states = _states(arm, who)
    seconds = (time.perf_counter() - start) / len(states)
    people = who["person"].to_list()
    other = dict(zip(people, [*people[1:], people[0]], strict=True))
    per_person = {}
    given: dict[str, list[State | None]] = {
        "own": [states[person] for person in seeking["person"]], "none": [None] * len(chats),
        "another's": [states[other[person]] for person in seeking["person"]],
    }  # fmt: skip
    for name, own in given.items():
        found = seeking.select("person", found=pl.Series(shown(arm.write_all(chats, own), seeking, who)))
        per_person[name] = found.group_by("person", maintain_order=True).mean()["found"].to_numpy()
    # Both ways of a dial at 0: the state's, and the head's itself with a share of 0 in every row.
    off = [arm.edit(state, strength=0.0) for state in given["own"]]
    population_words = base.write_all(chats, [None] * len(chats), max_new=arm.max_new)
    codes, _ = arm._batch(given["own"])  # type: ignore[arg-type]
    prompts = [base.model.tokenizer.chat(one) for one in chats]
    with torch.no_grad():
        more = arm.network_.decoder(base.model.network, codes, prompts, torch.zeros(len(chats)))
        raw = base.model.generate(prompts, base.model.sampling(max_tokens=arm.max_new), **more)
    same = arm.write_all(chats, off) == population_words == [base.model.tokenizer.decode(one.ids) for one in raw]
    dials = {
        strength: float(np.mean(shown(arm.write_all(chats, [arm.edit(one, strength=strength) for one in given["own"]]), seeking, who)))
        for strength in (0.5, 1.0, 2.0)
    }
    bytes_ = float(np.mean([state.nbytes for state in states.values()]))
    return per_person | {"off is the population": same, "by dial": dials, "state_bytes": bytes_, "adapt_seconds": seconds}


def _outcome(runs: list[dict[str, dict[str, float]]], checks: list[dict[str, Any]]) -> Outcome:
    def each(arm: str, name: str) -> np.ndarray:
        return np.array([one[arm][name] for one in runs])

    best = max(ARMS, key=lambda arm: each(arm, "seen").mean())
    level = [each(arm, "seen") >= each(PREFIX, "seen") for arm in OF_THE_PAPER]
    fluent = [each(arm, "perplexity") <= 1.02 * each(PREFIX, "perplexity") for arm in OF_THE_PAPER]
    conditions = {
        "trait accuracy of the best variant >= without traits + 0.40, every seed": bool((each(best, "seen") >= each(NONE, "seen") + 0.4).all()),
        "bias or attention >= traits as text, at <= 1.02 times its perplexity, every seed": bool(
            np.any([(good & same).all() for good, same in zip(level, fluent, strict=True)])
        ),
        "said unasked <= 0.10, every seed": bool((each(best, "seen: said unasked") <= 0.1).all()),
        "combinations never seen within 0.10, every seed": bool((np.abs(each(best, "seen") - each(best, "unseen")) <= 0.1).all()),
        "a dial at 0 is the population exactly, every seed": all(one["off is the population"] for one in checks),
    }
    own, none, other = (np.concatenate([one[name] for one in checks]) for name in ("own", "none", "another's"))
    return Outcome(
        passed=all(conditions.values()),
        measured={"conditions": conditions, "best": best, "arms": {arm: [one[arm] for one in runs] for arm in ARMS},
                  "by dial": [one["by dial"] for one in checks]},
        baseline={arm: [one[arm] for one in runs] for arm in (NONE, PREFIX)},
        gain=float((own - none).mean()), gain_interval=bootstrap(own - none).tolist(),
        swap_gap=float((own - other).mean()), swap_gap_interval=bootstrap(own - other).tolist(),
        state_bytes=float(np.mean([one["state_bytes"] for one in checks])), adapt_seconds=float(np.mean([one["adapt_seconds"] for one in checks])),
        notes="Gain and swap gap are of the share of asked traits that are said rightly, graded exactly. One frozen language model for all seeds; "
        "seeds differ in the heads, in the model with traits as text, and in who is judged.",
    )  # fmt: skip

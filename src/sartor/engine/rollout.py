"""From evidence to a model that serves: fit, measure on people held out, compare, make everybody's states, switch. Or refuse.

The model that was measured is the one that serves: it is not fitted again on everybody afterwards. While the states for it are made, the
active model goes on serving; the switch itself is one row of the store.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sartor.engine import cold, drift, preparing, search_validation, training, validation
from sartor.engine.evidence import READS
from sartor.engine.models import Loaded
from sartor.engine.serving import VERB
from sartor.engine.training import Work
from sartor.engine.verbs import check_verb
from sartor.engine.watch import Cancelled as Cancelled
from sartor.engine.watch import Watch as Watch
from sartor.engine.watch import stage
from sartor.errors import ConfigError, CorruptFile, LeakError, ModelRefused

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.data.splits import Split
    from sartor.engine.engine import Engine
    from sartor.method import Recommender
    from sartor.profile.records import ModelCard, ModelStatus

HEADLINE = "ndcg@10"
RETIRED = 2
"""Models that have served whose states are kept, to go back to; those of older ones are deleted, and then their folders."""
ENOUGH = 0.01
"""Share of people whose states may fail to be made; beyond it a model does not serve."""


@dataclass(frozen=True)
class Rollout:
    """What became of a fit."""

    card: ModelCard
    accepted: bool
    """Whether it may serve."""
    activated: bool
    """Whether it does."""
    sentence: str
    """Why, with the numbers."""
    seconds: float

    @property
    def refused(self) -> str | None:
        """Why it may not serve, or None."""
        return None if self.accepted else self.sentence

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.card.fingerprint

    @property
    def report(self) -> Mapping[str, Any]:
        """What was measured; see `validation.report`."""
        return self.card.report


def fit(
    engine: Engine,
    method: Recommender | str,
    settings: Mapping[str, Any] | None = None,
    *,
    population: Population | None = None,
    holdout: float = 0.1,
    min_gain: float = 0.0,
    activate: bool = True,
    progress: bool = True,
    seed: int = 0,
    headline: str = HEADLINE,
    verb: str = VERB,
    watch: Watch | None = None,
) -> Rollout:
    """Fit a model, and let it serve when it is good enough.

    Parameters
    ----------
    method: unfitted, or the slug of one with its `settings`.
    population: fit on this rather than on the store's evidence of people who consent to "train".
    holdout: share of people that are not fitted on, but measured on; always the same people (see `validation.held_out`).
    min_gain: of the headline metric, own state less no state, that the model must exceed.
    activate: False only measures: the model waits as a candidate for `switch`.
    verb: what it is to serve: "recommend", or "search" for a method that searches, which is measured on queries (`search_validation`).
    watch: is told of the progress, and may cancel.

    The same call after a crash goes on from the method's last checkpoint, on the same evidence. Raises `EmptyData` when there are too few
    people to fit and measure, `ConfigError`, `Cancelled`. A model that is not good enough is no error: see `Rollout.refused`.
    """
    started = time.perf_counter()
    if verb in ("decide", "draw", "recognize"):
        raise ConfigError(f"a model that can {verb} is not fitted here", fix=f'fit it outside, and install it with verb="{verb}"')
    if not 0 < holdout < 1:
        raise ConfigError(f"holdout is {holdout}", fix="hold out a share of people between 0 and 1, such as 0.1")
    model, store, tenant = _method(method, settings, seed, verb), engine.store, engine.tenant
    work = Work.begin(engine._models.folder, tenant, store.position(tenant), model, holdout=holdout, given=population is not None, verb=verb)
    with ExitStack() as opened:
        try:
            with stage(watch, 0.0, 0.1, "reading evidence"):
                given = population
                if given is None:
                    given = opened.enter_context(training.lazily(store, tenant, engine._models.folder, until=work.position))
                parts = validation.split(given, holdout, tenant=tenant, stops_early=training.stops_early(model))
            with stage(watch, 0.1, 0.55, "fitting"):
                fit_seconds = _learn(model, parts, work, progress)
            active = engine._models.refresh(tenant, verb)
            with stage(watch, 0.55, 0.7, "measuring"):
                verdict, facts = _measured(model, parts, active, headline, seed, min_gain, verb)
        except Exception as problem:
            # What a crash or a lost connection interrupted is gone on with; what failed before it learned anything starts anew.
            if isinstance(problem, Cancelled) or not work.has_checkpoint:
                work.end()
            raise
        counts = parts.counts()
        report = {
            **facts, "reason": verdict.sentence, "note": verdict.sentence, "holdout": holdout, "min_gain": min_gain, "seed": seed,
            "settings": _settings(model), "events": counts["train"], "stopped_by": counts["validation"], "seconds": fit_seconds,
        }  # fmt: skip
        members = training.people(parts.train)
        again = active is not None and active.fingerprint == model.fingerprint_
        status: ModelStatus = "active" if again else "candidate" if verdict.accepted else "refused"
        card = engine._models.add(tenant, verb, model, report=report, people=len(members), position=work.position, status=status)
        gone = len(members) - store.note_members(tenant, card.fingerprint, members)
        if gone and population is None:
            report["forgotten_meanwhile"] = gone
            note = f"{verdict.sentence} {gone:,} people whose evidence is in it were forgotten while it was fitted: fit again to be without them."
            card = replace(card, report=report | {"note": note})
            engine._models.note(tenant, verb, card)
        drift.remember(engine._models.folder, model, parts.train)
        work.end()
        activated = again
        if verdict.accepted and activate and not again:
            card = _serve(engine, verb, Loaded(model, card), watch)
            if verb == VERB:
                cold.serve(engine, given, work.position)
            activated = True
        if watch is not None:
            watch.report(1.0, verdict.sentence)
        return Rollout(card, verdict.accepted, activated, verdict.sentence, time.perf_counter() - started)


def install(
    engine: Engine,
    method: Recommender,
    population: Population | None = None,
    *,
    report: Mapping[str, Any] | None = None,
    verb: str = VERB,
    watch: Watch | None = None,
) -> ModelCard:
    """Let a model that was fitted elsewhere serve one verb.

    Parameters
    ----------
    population: what it was fitted on: its people are noted as members of the model, and its items become the catalogue.
    report: what was measured of it elsewhere, in the shape of `validation.report`.
    """
    store, tenant = engine.store, engine.tenant
    check_verb(method, verb)
    method.check_fitted()
    note = "Installed as it is: it was not measured here."
    members = [] if population is None else training.people(population)
    position = store.position(tenant)
    if population is not None and "items" in population:
        store.put_items(tenant, population.items.collect().to_dicts())
    facts = {"note": note, "reason": note, "settings": _settings(method), **(report or {})}
    card = engine._models.add(tenant, verb, method, report=facts, people=len(members), position=position)
    if population is not None:
        store.note_members(tenant, card.fingerprint, members)
        drift.remember(engine._models.folder, method, population)
        if verb == VERB:
            cold.serve(engine, population, position)
    return _serve(engine, verb, Loaded(method, card), watch)


def switch(engine: Engine, fingerprint: str, force: bool = False, *, verb: str = VERB, now: bool = False, watch: Watch | None = None) -> ModelCard:
    """Let a model that is there serve from now on: a candidate, or an older one again.

    Parameters
    ----------
    force: also one that was refused.
    now: at once; until their states are made again, people get the population's answer. Otherwise the states are made first.

    Raises `ModelRefused` with the reason, `UnknownId`.
    """
    loaded = engine._models.load(engine.tenant, fingerprint, verb)
    if loaded.card.status == "refused" and not force:
        raise ModelRefused(str(loaded.card.report.get("reason", "the model was refused")), fix="fit a better one, or force it", id=fingerprint)
    if loaded.card.status == "active":
        return loaded.card
    return _serve(engine, verb, loaded, watch, now=now)


def _method(method: Recommender | str, settings: Mapping[str, Any] | None, seed: int, verb: str) -> Recommender:
    if isinstance(method, str):
        from sartor.systems import make

        made: Recommender = make(method, **{"seed": seed, **(settings or {})})
    elif settings:
        raise ConfigError("settings are given beside a method", fix="set them in the method, or name the method by its slug")
    else:
        made = method
    check_verb(made, verb)
    return made


def _settings(method: Recommender) -> dict[str, Any]:
    from sartor.evaluate.claim import plain

    return {f.name: plain(getattr(method, f.name)) for f in fields(method) if f.init}


def _learn(model: Recommender, parts: Split, work: Work, progress: bool) -> float:
    """Fit on what is not held out, on from the last checkpoint when there is one that fits; seconds."""
    start = time.perf_counter()
    judged_by = parts.validation if parts.validation.events.head(1).collect().height else None
    with parts.guard():
        try:
            model.fit(parts.train, validation=judged_by, progress=progress, checkpoint=work.folder)
        except (ConfigError, CorruptFile) as problem:
            if not str(problem.where.get("file", "")).startswith(str(work.folder)):
                raise
            # Somebody was forgotten or withdrew since: what was learned with them is not gone on from.
            work.restart()
            model.fit(parts.train, validation=judged_by, progress=progress, checkpoint=work.folder)
    return time.perf_counter() - start


def _measured(
    model: Recommender, parts: Split, active: Loaded | None, headline: str, seed: int, min_gain: float, verb: str
) -> tuple[validation.Verdict, dict[str, Any]]:
    """The verdict on a model, and the report of what it rests on."""
    if verb == "search":
        return search_validation.measured(model, parts, active, headline=headline, seed=seed, min_gain=min_gain)
    found = validation.measure(model, parts, headline=headline, seed=seed)
    facts = validation.report(found)
    if active is None:
        return validation.judge(found, min_gain, None, None), facts | {"compared_with": None}
    try:
        theirs = validation.measure(active.method, validation.in_kind_of(parts, active.method), headline=headline, seed=seed, against=True)
    except LeakError as leak:
        verdict = validation.judge(found, min_gain, None, None)
        why = f"not compared with the active model: {leak.what}"
        return replace(verdict, sentence=f"{verdict.sentence.partition(';')[0].rstrip('.')}; {why}."), facts | {
            "compared_with": None,
            "not_compared": why,
        }
    difference = validation.compare(found, theirs, seed=seed)
    beside = {
        "fingerprint": active.fingerprint, "difference": difference.difference, "low": difference.interval[0], "high": difference.interval[1],
        "value": theirs.value, "people": difference.n, "t_test": difference.t_test,
    }  # fmt: skip
    return validation.judge(found, min_gain, theirs, difference), facts | {"compared_with": beside}


def _serve(engine: Engine, verb: str, loaded: Loaded, watch: Watch | None, *, now: bool = False) -> ModelCard:
    """States first, then the switch, then those who did something meanwhile; folders nobody needs any more go."""
    store, tenant, models = engine.store, engine.tenant, engine._models
    before = loaded.card
    position = store.position(tenant)
    # Pictures that people were recognized by are not kept: they are enrolled again.
    now = now or verb not in READS
    if not now:
        for card in store.models(tenant, verb):
            if card.status == "preparing" and card.fingerprint != loaded.fingerprint:
                # Whoever prepared it was killed, or is overtaken by this.
                models.note(tenant, verb, replace(card, status="candidate", switched=None))
        models.note(tenant, verb, replace(before, status="preparing", switched=time.time()))
        try:
            with stage(watch, 0.7, 0.99, "making states"):
                made, failed = preparing.everybody(engine, verb, loaded)
                if failed > ENOUGH * (made + failed):
                    raise ModelRefused(f"the states of {failed:,} of {made + failed:,} people could not be made", fix="see the log of the server")
            store.mark_stale(tenant, store.changed(tenant, position))
        except BaseException:
            models.note(tenant, verb, before)
            raise
    active = models.switch(tenant, verb, loaded.fingerprint)
    # Whoever came between the last look and the switch, or took something back meanwhile; after a switch at once, everybody.
    store.mark_stale(tenant, None if now else sorted({*store.changed(tenant, position), *store.states_behind(tenant, verb, loaded.fingerprint)}))
    retired = [card for card in store.models(tenant, verb) if card.status == "retired"]
    # The same model may serve another verb.
    serving = {card.fingerprint for card in store.models(tenant) if card.status in ("active", "preparing")}
    for card in sorted(retired, key=lambda card: card.switched or 0.0, reverse=True)[RETIRED:]:
        if card.fingerprint not in serving:
            store.drop_states(tenant, card.fingerprint)
    models.sweep()
    return active.card

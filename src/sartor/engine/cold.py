"""People of whom only attributes are known: which method answers for them, and when it is worth having."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from sartor.errors import DataError

if TYPE_CHECKING:
    from sartor.data.population import Population
    from sartor.engine.engine import Engine
    from sartor.method import Recommender

VERB = "cold"
"""Under this name the store keeps the model beside the one that recommends."""
FEWEST = 50
"""People with attributes and events that it takes; ratios of fewer are noise."""

log = logging.getLogger(__name__)


def learn(population: Population) -> Recommender | None:
    """`AttributePopularity` on the people with attributes and events; None where there are too few, or attributes turn out to say nothing.

    What decides is the likelihood of what held-out people chose: where plain popularity is as good, nobody's attributes are used.
    """
    from sartor.recommend.attribute_popularity import AttributePopularity

    if "people" not in population or "events" not in population:
        return None
    described = population.frame("people").select("person").unique().collect()["person"]
    both = population.only(described)
    if both.events.select("person").unique().collect().height < FEWEST:
        return None
    try:
        method = AttributePopularity().fit(both, progress=False)
    except DataError as problem:
        log.warning("people with only attributes will get the population's answer: %s", problem.what)
        return None
    return method if method.chosen_strength_ > 0 and method.lift_.nnz else None


def serve(engine: Engine, population: Population, position: int) -> None:
    """Learn from a population, note whose attributes were in it, and switch; where there is nothing worth learning, none serves any more.

    The one before is not kept: it was fitted on people who may have been forgotten since.
    """
    models, tenant = engine._models, engine.tenant
    learned = learn(population)
    if learned is None:
        for card in engine.store.models(tenant, VERB):
            if card.status == "active":
                models.note(tenant, VERB, replace(card, status="retired"))
        return
    members = population.frame("people").select("person").unique().collect()["person"].cast(str).to_list()
    card = models.add(tenant, VERB, learned, people=len(members), position=position)
    engine.store.note_members(tenant, card.fingerprint, members)
    models.switch(tenant, VERB, card.fingerprint)

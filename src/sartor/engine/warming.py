"""What a process does before its first request, so that nobody's request does it: read the model and the catalogue, import and compile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sartor.data.population import Evidence
from sartor.engine.serving import VERB, Ask

if TYPE_CHECKING:
    from sartor.engine.engine import Engine


def warm(engine: Engine) -> bool:
    """Make an answer for nobody and a state that is kept nowhere, as requests and the background work will; False when no model serves yet.

    Asks about no person. Another tenant's first request still reads that tenant's catalogue.
    """
    ready = [_recommending(engine), _searching(engine)]
    return any(ready)


def _recommending(engine: Engine) -> bool:
    loaded = engine._models.active(engine.tenant, VERB)
    if loaded is None:
        return False
    shelf = engine._shelf(loaded)
    engine._serving.recommend(engine.tenant, [""], Ask(personal=False))
    if len(shelf.ids):
        item = shelf.ids.ids(shelf.ids.numbers([loaded.method.items_.array[0]]))[0]  # type: ignore[attr-defined]
        state = loaded.method.adapt(Evidence.from_items([item], times=[0]))
        loaded.method.recommend([state], 1)
    engine._models.active(engine.tenant, "cold")
    return True


def _searching(engine: Engine) -> bool:
    """Opens the index of texts, too."""
    return engine.search(None, "first", 1).fallback != "no model"

"""What a method must be able to do to serve a verb."""

from __future__ import annotations

from typing import Any

from sartor.engine.evidence import READS
from sartor.engine.serving import VERB
from sartor.errors import ConfigError


def check_verb(method: Any, verb: str) -> None:
    """Raise `ConfigError` for a method that cannot do what it is to serve."""
    from sartor.method import Decider, Illustrator, Recommender, Searcher
    from sartor.recommend._base import ItemRecommender

    name = type(method).__name__
    if verb not in (*READS, "recognize"):
        raise ConfigError(f"there is no verb '{verb}' to serve", fix=f"use {', '.join(READS)}, recognize")
    if verb == "recognize" and not hasattr(method, "enrol"):
        raise ConfigError(f"'{name}' does not recognize who is enrolled", fix="use nearest-centroid")
    if verb == VERB and not isinstance(method, Recommender):
        raise ConfigError(f"'{name}' does not recommend", fix="use one of the methods that `sartor systems` lists under recommend")
    if verb == "decide" and not (isinstance(method, Decider) and hasattr(method, "items_")):
        raise ConfigError(f"'{name}' does not decide from events", fix="use zone-of-tolerance or wireless-allocation")
    if verb == "draw":
        _check_illustrator(method if isinstance(method, Illustrator) else None, name)
    if verb == "search" and not (isinstance(method, Searcher) and isinstance(method, ItemRecommender)):
        raise ConfigError(f"'{name}' does not search by people's own taste", fix="use personal-search")


def _check_illustrator(method: Any, name: str) -> None:
    """Raise `ConfigError` for what does not learn each thing by itself from photos alone, which is all that people leave here."""
    fix = "use textual-inversion, dreambooth or custom-diffusion"
    if method is None:
        raise ConfigError(f"'{name}' does not draw things that people show", fix=fix)
    from sartor.draw._base import ConceptMethod
    from sartor.draw._scene import SceneMethod

    if not isinstance(method, ConceptMethod):
        raise ConfigError(f"'{name}' does not draw things that people show", fix=fix)
    if isinstance(method, SceneMethod) or isinstance(getattr(method, "base", None), SceneMethod):
        # What a thing of hers has changed could not be taken back alone.
        raise ConfigError(f"'{name}' learns several things out of one picture", fix=fix)

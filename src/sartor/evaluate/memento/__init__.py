"""MEMENTO: can a household agent use what it lived through with a person to reach the right goal?

    episodes = load("MEMENTO/data/datasets")                  # or Homes().episodes()
    result = memento(LanguagePlanner(backend=...), episodes, recall=dense(text_encoder("minilm")))
    result.table(), result.gap("single"), result.gap("joint"), result.strangers()

Source: Kwon et al., Embodied Agents Meet Personalization, 2025. Episodes are executed symbolically; the 3D simulator is left out.
"""

from sartor.data.world.household import Homes
from sartor.evaluate.memento.agents import LanguagePlanner, RulePlanner
from sartor.evaluate.memento.load import load
from sartor.evaluate.memento.protocol import Agent, MementoResult, Plan, Recall, Record, at_random, dense, lexical, memento, recall_at

__all__ = [
    "Agent", "Homes", "LanguagePlanner", "MementoResult", "Plan", "Recall", "Record", "RulePlanner", "at_random", "dense", "lexical", "load",
    "memento", "recall_at",
]  # fmt: skip

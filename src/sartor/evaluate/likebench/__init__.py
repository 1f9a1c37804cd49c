"""LikeBench: do people like an assistant, in seven respects, and does it learn to be liked?

    result = likebench(lambda number: StyleLearner(), personas(60), sessions=6, turns=8)
    result.table(), result.memory_accuracy.mean()

A simulated person talks with the assistant over several sessions and scores every answer: the same one who speaks. The assistant sees
messages alone. With rule users (the default) messages are structured and scores exact; `language` has a user and an assistant for language models.

Source: LikeBench: Evaluating Subjective Likability in LLMs for Personalization, 2025. Rubric, rules and generators are our reading of it.
"""

from sartor.evaluate.likebench.assistants import Assistant, Oracle, ProfileBased, Remembering, Static, StyleLearner
from sartor.evaluate.likebench.language import BackendAssistant, LanguageUser
from sartor.evaluate.likebench.persona import Fact, Persona, SessionPrior, personas, priors
from sartor.evaluate.likebench.run import Adaptability, LikeBenchResult, likebench
from sartor.evaluate.likebench.user import ASPECTS, Message, Question, RuleUser, Scores, SimulatedUser

__all__ = [
    "ASPECTS", "Adaptability", "Assistant", "BackendAssistant", "Fact", "LanguageUser", "LikeBenchResult", "Message", "Oracle", "Persona",
    "ProfileBased", "Question", "Remembering", "RuleUser", "Scores", "SessionPrior", "SimulatedUser", "Static", "StyleLearner", "likebench",
    "personas", "priors",
]  # fmt: skip

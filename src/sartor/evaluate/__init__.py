"""Does personalising help, is it really this person's, and what does it cost; metrics, reports, claim checks, benchmarks."""

from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.evaluator import evaluate
from sartor.evaluate.result import Evaluation

__all__ = ["Claim", "Evaluation", "Outcome", "evaluate"]

"""Does personalising help, is it really this person's, and what does it cost; metrics, reports, claim checks, benchmarks."""

from sartor.evaluate.claim import Claim, Outcome
from sartor.evaluate.evaluator import evaluate
from sartor.evaluate.lists import Lists
from sartor.evaluate.report import Report, report
from sartor.evaluate.result import Evaluation
from sartor.evaluate.tuning import tuned

__all__ = ["Claim", "Evaluation", "Lists", "Outcome", "Report", "evaluate", "report", "tuned"]

"""Which of two answers would this person prefer? Judges with a certainty, controls for the order, calibration, and reports."""

from sartor.evaluate.judge.base import Case, Judge, Verdict
from sartor.evaluate.judge.lm import LMJudge
from sartor.evaluate.judge.order import BothOrders
from sartor.evaluate.judge.personalized_judge import JudgeReport, PersonalizedJudge, judge_report
from sartor.evaluate.judge.probe import ProbeJudge
from sartor.evaluate.judge.rule import RuleJudge

__all__ = ["BothOrders", "Case", "Judge", "JudgeReport", "LMJudge", "PersonalizedJudge", "ProbeJudge", "RuleJudge", "Verdict", "judge_report"]

"""What a persona does to a writer: more harm (universalpersona), worse answers (bias-runs-deep); and a way around it."""

from sartor.evaluate.audit.bias_runs_deep import ReasoningAudit, Task, reasoning_audit
from sartor.evaluate.audit.refusals import refuses
from sartor.evaluate.audit.two_pass import TwoPass
from sartor.evaluate.audit.universalpersona import HarmAudit, Persona, harm_audit

__all__ = ["HarmAudit", "Persona", "ReasoningAudit", "Task", "TwoPass", "harm_audit", "reasoning_audit", "refuses"]

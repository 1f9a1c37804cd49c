"""Baselines on one frozen vision transformer: everybody learns a prompt and a linear head, alone, averaged or brought together.

They are what a method that shares prompts must beat; with no tokens the head alone is learned.
Source of the averaged prompt with own heads: Jia et al., Visual Prompt Tuning, ECCV 2022, in a federation as FedPer cuts it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sartor.federate._prompted import OnPrompts
from sartor.federate.fedavg import FedAvg
from sartor.federate.fedper import FedPer
from sartor.federate.local import Local
from sartor.federate.pooled import Pooled


@dataclass(kw_only=True, eq=False)
class PromptedLocal(OnPrompts, Local):
    """A prompt and a head of each client's own; nothing is sent."""


@dataclass(kw_only=True, eq=False)
class PromptedFedAvg(OnPrompts, FedAvg):
    """One averaged prompt and one averaged head."""


@dataclass(kw_only=True, eq=False)
class PromptedFedPer(OnPrompts, FedPer):
    """One averaged prompt, heads of one's own."""


@dataclass(kw_only=True, eq=False)
class PromptedPooled(OnPrompts, Pooled):
    """One prompt and one head from everybody's examples together."""


KINDS: Mapping[str, type[OnPrompts]] = {
    "head": PromptedLocal, "local": PromptedLocal, "fedavg": PromptedFedAvg, "fedper": PromptedFedPer, "pooled": PromptedPooled,
}  # fmt: skip
"""By the slug of the baseline; `head` is one with no tokens."""

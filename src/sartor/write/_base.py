"""What writers over the small language model share: the model inside, and answers for a batch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sartor._run_key import keyed
from sartor.data.population import Population
from sartor.errors import ConfigError
from sartor.method import Run, State, States, Writer
from sartor.write.population_lm import PopulationLM

Conversation = Sequence[Mapping[str, str]]
"""Messages of {role, content}, roles system, user and assistant, oldest first."""


@dataclass(kw_only=True, eq=False)
class LMWriter(Writer):
    """A writer over a `PopulationLM`, which it never changes: fitted before, or fitted by `fit` on the same population."""

    lm: PopulationLM = field(default_factory=PopulationLM)
    """The population's own model."""
    max_new: int = 48
    """Tokens of an answer, at most."""

    population_frames: ClassVar[tuple[str, ...]] = ("texts",)

    def _fit(self, population: Population, run: Run) -> None:
        if not self.lm.fingerprint_:
            self.lm.fit(population, progress=run.progress, checkpoint=run.checkpoint / "lm" if run.checkpoint else None)
        self._learn(population, keyed(self, population, run))

    @abstractmethod
    def _learn(self, population: Population, run: Run) -> None:
        """Learn on top of the fitted model."""

    @abstractmethod
    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        """Answers to conversations, each with its prompt (`_prompt`) and its state."""

    def _prompt(self, conversation: Conversation, state: State) -> list[int]:
        """The tokens of a conversation with a state, the assistant's turn to come."""
        return self.lm.model.tokenizer.chat(conversation)

    prefix: ClassVar[int] = 0
    """Vectors that stand in front of every prompt with a state, beside its tokens."""

    def write(self, messages: Conversation, state: State | None = None) -> str:
        return self.write_all([messages], [state])[0]

    def write_all(self, conversations: Sequence[Conversation], states: States) -> list[str]:
        """The answer to each conversation with its own state; None, or a state of no evidence, is the population's answer."""
        own = self._own(conversations, states)
        plain = [row for row, state in enumerate(own) if state is None]
        out = dict(zip(plain, self.lm.write_all([conversations[row] for row in plain], [None] * len(plain), max_new=self.max_new), strict=True))
        personal = [(row, state) for row, state in enumerate(own) if state is not None]
        prompts = [self._prompt(conversations[row], state) for row, state in personal]
        if personal:
            answers = self._answers([conversations[row] for row, _ in personal], prompts, [state for _, state in personal])
            out |= dict(zip([row for row, _ in personal], answers, strict=True))
        return [out[row] for row in range(len(conversations))]

    def prompt_tokens(self, conversations: Sequence[Conversation], states: States) -> list[int]:
        """How many places each prompt takes in the model, vectors in front included."""
        chat = self.lm.model.tokenizer.chat
        own = zip(conversations, self._own(conversations, states), strict=True)
        return [len(chat(one)) if state is None else len(self._prompt(one, state)) + self.prefix for one, state in own]

    def _own(self, conversations: Sequence[Conversation], states: States) -> list[State | None]:
        self.check_fitted()
        if len(conversations) != len(states):
            raise ConfigError(f"{len(states)} states for {len(conversations)} conversations", fix="give one for each, or None")
        for state in states:
            self.check_state(state)
        return [state if state is not None and state.examples > 0 else None for state in states]

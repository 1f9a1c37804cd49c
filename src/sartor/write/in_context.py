"""A person's own past pieces in the prompt: the plainest way to write as somebody, and the one to beat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile
from sartor.method import Run, State
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.pieces import pieces_of, turns


@dataclass(kw_only=True, eq=False)
class InContext(LMWriter):
    """Writes after some of the person's own pieces, given as earlier turns of the conversation.

    Nothing is trained per person, a piece is forgotten by leaving it out, and the newest counts at once. It costs a piece's tokens at
    every request, and of many pieces only as many help as fit.

    Source: Brown et al., Language Models are Few-Shot Learners, 2020.

    State: `tokens` uint16 or int32 [all], `lengths` int32 [pieces]: the newest `keep` pieces as tokens, oldest first; 2 to 4 bytes a token.
    """

    use: int = 4
    """Pieces in a prompt, at most; fewer when there is not enough room."""
    keep: int = 64
    """Pieces in a state, at most: the newest."""
    choose: Literal["latest", "similar"] = "latest"
    """Which pieces: the newest, or those whose questions share the rarest tokens with the request (the newest of equals)."""

    def _learn(self, population: Population, run: Run) -> None:
        if self.use < 1 or self.keep < 1:
            raise ConfigError(f"use {self.use}, keep {self.keep}", fix="use at least 1 of each")

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        self.check_state(state)
        fresh = turns(self.lm.model.tokenizer, pieces := pieces_of(evidence))
        every = [*(_pieces(state) if state is not None else []), *(one.ids for one in fresh)]
        kept = every[-self.keep :]
        kind = np.uint16 if len(self.lm.model.tokenizer) < 1 << 16 else np.int32
        arrays = {
            "tokens": np.concatenate([np.empty(0, kind), *kept]).astype(kind),
            "lengths": np.array([one.size for one in kept], np.int32),
        }
        return self.make_state(arrays, before=state, examples=len(pieces), notes={"dropped": dropped} if (dropped := len(every) - len(kept)) else {})

    def _prompt(self, conversation: Conversation, state: State) -> list[int]:
        asked = self.lm.model.tokenizer.chat(conversation)
        room = self.lm.max_tokens - len(asked) - self.max_new
        chosen: list[int] = []
        pieces = _pieces(state)
        for number in self._order(asked, pieces):
            if len(chosen) < self.use and pieces[number].size <= room:
                chosen.append(number)
                room -= pieces[number].size
        # The best last: nearest to where it is needed.
        return [*(int(token) for number in reversed(chosen) for token in pieces[number]), *asked]

    def _order(self, asked: Sequence[int], pieces: Sequence[np.ndarray]) -> list[int]:
        """Numbers of pieces, best first."""
        newest = list(range(len(pieces)))[::-1]
        if self.choose == "latest":
            return newest
        end = self.lm.model.tokenizer.end
        questions = [{*piece[: int(np.argmax(piece == end))].tolist()} for piece in pieces]
        counts = Counter(token for one in questions for token in one)
        wanted = {*asked}
        return sorted(newest, key=lambda number: -sum(1 / counts[token] for token in questions[number] & wanted))

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.lm.model
        return [model.tokenizer.decode(one.ids) for one in model.generate(prompts, model.sampling(max_tokens=self.max_new))]


def _pieces(state: State) -> list[np.ndarray]:
    """The pieces of a state, oldest first; raises `CorruptFile`."""
    tokens, lengths = state.arrays.get("tokens"), state.arrays.get("lengths")
    if tokens is None or lengths is None or (lengths < 0).any() or lengths.sum() != tokens.size:
        raise CorruptFile("the state's pieces do not fit together", fix="adapt the person again")
    return np.split(tokens, np.cumsum(lengths)[:-1]) if lengths.size else []

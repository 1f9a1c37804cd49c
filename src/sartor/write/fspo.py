"""A writer that reads a few of a person's choices and answers as she would prefer; nothing is trained per person."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from sartor.data.population import Evidence, Population
from sartor.errors import ConfigError, CorruptFile, EmptyData, TooLarge
from sartor.method import Run, State, States, learned
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.answers import Branch, answer_log_probs
from sartor.write.parts.causal_lm import CausalLM
from sartor.write.parts.choices import by_person, choices_of
from sartor.write.parts.few_shot import Shot, encode, question_tokens, shot_tokens, windows
from sartor.write.parts.language_model import LanguageModel
from sartor.write.parts.lm_encoder import LMEncoder
from sartor.write.parts.preference_tuning import Lessons, Pair, tune
from sartor.write.parts.tokenizer import Tokenizer


@dataclass(kw_only=True, eq=False)
class FSPO(LMWriter):
    """Few-Shot Preference Optimization: a person is a task, some of her choices are its examples, and the model is tuned so that behind them it
    prefers what she prefers.

    First on the answers that were chosen, then on pairs against the model of the first stage. It learns to tell people apart only from choices
    that are consistent: each person's by one taste of hers.

    Source: Singh et al., FSPO: Few-Shot Preference Optimization of Synthetic Preference Data in LLMs Elicits Effective Personalization to Real
    Users, 2025. Differs from it in: a window has several queries, each alone behind the shots (read once, with gradients; theirs has one, and
    one more row that is left out); AdamW in place of RMSprop with warm-up; beta 0.1 in place of 0.01, whose margin of 50 nats is for answers
    of hundreds of tokens; the anchor; the shots of a small model are turns of a conversation in place of headings (`few_shot_prompt` has those).

    State: `tokens` uint16 or int32 [all], `lengths` int32 [shots, 3] of prompt, chosen and rejected answer: 2 to 4 bytes a token. No weights.
    """

    shots: int = 4
    choose: Literal["latest", "diverse"] = "latest"
    """Which choices become the shots: the newest, or those whose texts differ most from each other (farthest first)."""
    queries: int = 4
    """Of a window."""
    positives: bool = False
    """Show the preferred answers only."""
    objective: Literal["ipo", "dpo"] = "ipo"
    beta: float = 0.1
    anchor: float = 2.0
    """Weight of the chosen answers' own loss in the second stage; the paper has none."""
    sft_steps: int = 150
    steps: int = 400
    batch: int = 8
    """Windows in a step."""
    sft_rate: float = 2e-3
    learning_rate: float = 1e-3
    """The paper's 1e-7 and 1e-6 are for models of billions of weights."""
    context: int = 448
    """Tokens that the tuned model takes: shots, question and answer."""
    temperature: float = 0.0
    """Of answers: 0 takes the likeliest token."""

    network_: CausalLM = learned()
    reference_: CausalLM = learned()
    """The model of the first stage."""

    def _learn(self, population: Population, run: Run) -> None:
        if min(self.shots, self.queries, self.sft_steps, self.steps, self.batch) < 1 or not self.beta > 0 or min(self.temperature, self.anchor) < 0:
            what = f"shots {self.shots}, queries {self.queries}, sft_steps {self.sft_steps}, steps {self.steps}, batch {self.batch}, beta {self.beta}"
            raise ConfigError(what, fix="use at least 1 of each, beta above 0, anchor and temperature from 0")
        people = [own for own in by_person(population).values() if len(own) >= self.shots + self.queries]
        if not people:
            need = self.shots + self.queries
            raise EmptyData(f"nobody has made {need} choices ({self.shots} shots, {self.queries} queries)", fix="give more, or use fewer shots")
        tokenizer = self.lm.model.tokenizer
        stream = self._lessons([encode(tokenizer, own) for own in people])
        folder = run.checkpoint
        self.network_ = self.make_network()
        self.network_.load_state_dict(self.lm.network_.state_dict())
        tune(
            self.network_, stream, "sft", steps=self.sft_steps, batch=self.batch, learning_rate=self.sft_rate, seed=self.seed,
            progress=run.progress, checkpoint=folder / "sft" if folder else None, key=run.key,
        )  # fmt: skip
        self.reference_ = self.make_network()
        self.reference_.load_state_dict(self.network_.state_dict())
        tune(
            self.network_, stream, self.objective, steps=self.steps, batch=self.batch, learning_rate=self.learning_rate,
            reference=self.reference_, beta=self.beta, anchor=self.anchor, seed=self.seed + 1, progress=run.progress,
            checkpoint=folder / "pairs" if folder else None, key=run.key,
        )  # fmt: skip

    def _lessons(self, people: Sequence[Sequence[Shot]]) -> Callable[[np.random.Generator], Iterator[Lessons]]:
        """Windows of everybody's choices as tokens, pass after pass; those that are longer than the context are left out."""
        tokenizer = self.lm.model.tokenizer

        def stream(rng: np.random.Generator) -> Iterator[Lessons]:
            while True:
                fitted = 0
                for window in windows(people, self.shots, self.queries, rng):
                    shots = [token for one in window.shots for token in shot_tokens(tokenizer, one, positives=self.positives)]
                    pairs = [_pair(tokenizer, one) for one in window.queries]
                    if len(shots) + max(len(one.question) + max(len(one.chosen), len(one.rejected)) for one in pairs) <= self.context:
                        fitted += 1
                        yield Lessons(shots, pairs)
                if not fitted:
                    raise TooLarge(
                        f"no window of {self.shots} shots and a query fits into {self.context} tokens", fix="use fewer shots, or more context"
                    )

        return stream

    def make_network(self) -> CausalLM:
        return CausalLM(dataclasses.replace(self.lm.model.network.config, max_tokens=self.context), seed=self.seed)

    @property
    def model(self) -> LanguageModel:
        """The tuned network and its tokenizer; `model.save(folder)` writes what transformers reads."""
        self.check_fitted()
        return LanguageModel(self.network_.requires_grad_(False).eval(), self.lm.model.tokenizer)

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """The shots from the person's choices (`preferences`: prompt, chosen, rejected), those of `state` being older ones."""
        self.check_state(state)
        choices = choices_of(evidence)
        every = [*(_shots(state, len(self.lm.model.tokenizer)) if state is not None else []), *encode(self.lm.model.tokenizer, choices)]
        kept = every[-self.shots :] if self.choose == "latest" else self._diverse(every)
        kind = np.uint16 if len(self.lm.model.tokenizer) < 1 << 16 else np.int32
        tokens = [token for shot in kept for part in shot for token in part]
        lengths = np.array([[len(part) for part in shot] for shot in kept], np.int32).reshape(-1, 3)
        return self.make_state({"tokens": np.array(tokens, kind), "lengths": lengths}, before=state, examples=len(choices))

    def _diverse(self, every: Sequence[Shot]) -> list[Shot]:
        """In their order, the newest and then always the one that is farthest from those taken."""
        if len(every) <= self.shots:
            return list(every)
        decode = self.lm.model.tokenizer.decode
        vectors = LMEncoder(self.lm.model).encode([" ".join(decode(part) for part in shot) for shot in every])
        taken = [len(every) - 1]
        far = 1 - vectors @ vectors[-1]
        while len(taken) < self.shots:
            far[taken] = -np.inf
            taken.append(int(far.argmax()))
            far = np.minimum(far, 1 - vectors @ vectors[taken[-1]])
        return [every[number] for number in sorted(taken)]

    def _before(self, state: State | None, prompt: Sequence[int], answer: int) -> list[int]:
        """The tokens of a state's shots; raises `TooLarge`, saying how many fit, when they do not all fit in front of a question and its answer."""
        tokenizer = self.lm.model.tokenizer
        shots = [shot_tokens(tokenizer, one, positives=self.positives) for one in (_shots(state, len(tokenizer)) if state is not None else [])]
        room = self.context - len(prompt) - answer
        if sum(map(len, shots)) > room:
            fit = next(count for count in range(len(shots), -1, -1) if sum(map(len, shots[len(shots) - count :])) <= room or not count)
            what = f"{len(shots)} shots, the question and an answer of {answer} tokens are more than {self.context} tokens"
            raise TooLarge(what, fix=f"{fit} of the shots fit: adapt with shots={fit}, or fit with more context")
        return [token for one in shots for token in one]

    def _prompt(self, conversation: Conversation, state: State) -> list[int]:
        asked = self.lm.model.tokenizer.chat(conversation)
        return [*self._before(state, asked, self.max_new), *asked]

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        model = self.model
        sampling = model.sampling(max_tokens=self.max_new, temperature=self.temperature)
        return [model.tokenizer.decode(one.ids) for one in model.generate(prompts, sampling, seeds=[self.seed] * len(prompts))]

    @torch.no_grad()
    def reward(self, prompts: Sequence[str], texts: Sequence[str], states: States) -> np.ndarray:
        """float64 [n]: how much better each text suits its person than anybody: log pi(text | shots, prompt) - log reference(the same), in nats.

        For ranking anybody's answers. None stands for no shots.
        """
        if not len(prompts) == len(texts) == len(states):
            raise ConfigError(f"{len(prompts)} prompts, {len(texts)} texts, {len(states)} states", fix="give one of each")
        for state in states:
            self.check_state(state)
        tokenizer = self.lm.model.tokenizer
        asked, said = tokenizer.encode_all(list(prompts)), tokenizer.encode_all(list(texts))
        rows: dict[int, list[int]] = {}
        for row, state in enumerate(states):
            rows.setdefault(id(state), []).append(row)
        found = np.empty(len(texts))
        groups = list(rows.values())
        for start in range(0, len(groups), _TOGETHER):
            contexts: list[list[int]] = []
            branches: list[Branch] = []
            part = groups[start : start + _TOGETHER]
            for own in part:
                shots: list[int] = []
                for row in own:
                    question, answer = question_tokens(tokenizer, asked[row]), [*said[row], tokenizer.end]
                    shots = self._before(states[row], question, len(answer))
                    # Without shots the mark of who asks is all that is read in common.
                    ahead = question if shots else question[1:]
                    branches.append(Branch(len(contexts), [*ahead, *answer], len(ahead)))
                contexts.append(shots or question_tokens(tokenizer, [])[:1])
            policy, reference = (answer_log_probs(one, contexts, branches) for one in (self.network_, self.reference_))
            found[[row for own in part for row in own]] = (policy - reference).double().numpy()
        return found


_TOGETHER = 16
"""States whose texts are judged at once."""


def _pair(tokenizer: Tokenizer, shot: Shot) -> Pair:
    return Pair(question_tokens(tokenizer, shot.prompt), [*shot.chosen, tokenizer.end], [*shot.rejected, tokenizer.end])


def _shots(state: State, vocabulary: int) -> list[Shot]:
    """The shots of a state, oldest first; raises `CorruptFile`."""
    tokens, lengths = state.arrays.get("tokens"), state.arrays.get("lengths")
    if tokens is None or lengths is None or lengths.ndim != 2 or lengths.shape[1:] != (3,) or (lengths < 0).any() or lengths.sum() != tokens.size:
        raise CorruptFile("the state's shots do not fit together", fix="adapt the person again")
    if ((tokens < 0) | (tokens >= vocabulary)).any():
        raise CorruptFile("the state has tokens that the model has not", fix="adapt the person again")
    parts = np.split(tokens, np.cumsum(lengths.ravel()))[: lengths.size]
    return [Shot(*(one.tolist() for one in parts[3 * number : 3 * number + 3])) for number in range(len(lengths))]

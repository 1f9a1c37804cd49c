"""A frozen language model steered towards one person's mix of rewards while it writes, with a dial for each."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from sartor.data.population import Evidence, Population
from sartor.errors import BadValue, ConfigError, CorruptFile, NotFitted, UnknownId
from sartor.method import Run, State, States, learned
from sartor.parts.checkpoint import data_key
from sartor.parts.preference_losses import bradley_terry_fit
from sartor.write._base import Conversation, LMWriter
from sartor.write.parts.choices import choices_of, population_choices
from sartor.write.parts.decoding import Generated
from sartor.write.parts.logits import ValueAugmented
from sartor.write.parts.pieces import population_pieces
from sartor.write.parts.rewards import Reward, scored
from sartor.write.parts.value_model import Lookahead, Sample, ValueModel, teach_values


@dataclass(kw_only=True, eq=False)
class VAS(LMWriter):
    """Value Augmented Sampling: each step's likeliest tokens become likelier by how much better than the others the finished text will be.

    The model's weights are not touched, and a person is a handful of numbers: how much of each reward, fitted to choices (`adapt`) or set
    (`dials`). A dial counts in standard deviations of the reward over the model's own answers. It finds only what the model may write by
    itself: a word beyond the `candidates` likeliest is never made likelier.

        vas = VAS(lm=lm).use(formality=Words(["dear"], ["yo"]), brevity=Brevity(enough=12)).fit(population)
        vas.write(messages, vas.dials({"formality": 3.0, "brevity": -1.0}))

    Source: Han et al., Value Augmented Sampling for Language Model Alignment and Personalization, 2024. Differs from it in: the rewards' values
    share one trunk and adapter; the state after the last token has a value, too (the released code teaches none there, and reads it when
    the end is a candidate); rewards are standardised; dials are fitted to choices by Bradley-Terry with a normal prior around the population's.

    State: `beta` float32 [rewards] and its `covariance` float32 [rewards, rewards]: 48 bytes for three. The values are the population's.
    """

    prompts: int = 400
    """Different requests of the population to learn from, at most."""
    samples: int = 8
    """Answers of the frozen model to each, drawn at temperature 1."""
    candidates: int = 20
    """Tokens of each step that are looked at."""
    temperature: float = 0.0
    """Of answers: 0 takes the likeliest token, 1 draws from the steered model."""
    rank: int = 16
    alpha: float = 16.0
    """Of the values' LoRA."""
    gamma: float = 1.0
    lam: float = 1.0
    """Of TD(lambda). The paper's 0.95 believes later values, which must first be learned: from a few thousand samples what the first word does to the
    last one is then sometimes missed."""
    epochs: int = 4
    passes: int = 1
    """Gradient steps on each batch (the paper: 2); returns that lean on a model just begun are worth no second look."""
    batch: int = 16
    learning_rate: float = 6e-3
    """The paper's 1.41e-5 is for models of billions of weights."""
    prior: float = 1.0
    """Precision with which a person's dials are held to the population's: the weight of about four choices between quite different texts."""

    names_: Sequence[str] = learned()
    """Of the rewards, in the order of the dials."""
    centre_: np.ndarray = learned()
    scale_: np.ndarray = learned()
    """float64 [rewards], of the frozen model's own answers."""
    beta_: np.ndarray = learned()
    """float64 [rewards]: the population's dials, from its choices; 0 where it has made none."""
    network_: ValueModel = learned()
    policy_: str = learned("")
    """Fingerprint of the language model whose answers the values foretell."""

    def use(self, **rewards: Reward) -> Self:
        """Name the rewards: functions from prompts and texts to numbers. Before `fit`, and again after loading when choices are to be learned from:
        functions are code, and are not saved."""
        if self.fingerprint_ and sorted(rewards) != sorted(self.names_):
            raise ConfigError(f"the rewards {sorted(rewards)} are given", fix=f"give those of fit: {', '.join(self.names_)}")
        self._rewards = dict(rewards)
        return self

    _rewards: Mapping[str, Reward] = learned(None)

    def _learn(self, population: Population, run: Run) -> None:
        if not self._rewards:
            raise ConfigError("there are no rewards to steer towards", fix="name them first: VAS(...).use(brevity=Brevity(enough=12))")
        if min(self.prompts, self.samples, self.candidates) < 1 or self.temperature < 0 or not self.prior > 0:
            what = f"prompts {self.prompts}, samples {self.samples}, candidates {self.candidates}, prior {self.prior}, temperature {self.temperature}"
            raise ConfigError(what, fix="prompts, samples and candidates >= 1, prior > 0, temperature >= 0")
        self.names_, self.policy_ = list(self._rewards), self.lm.fingerprint_
        asked, written = self._own_answers(population)
        tokenizer = self.lm.model.tokenizer
        raw = self._raw(asked, [tokenizer.decode(one.ids) for one in written])
        self.centre_, self.scale_ = raw.mean(0), raw.std(0)
        if flat := [name for name, spread in zip(self.names_, self.scale_, strict=True) if not spread > 1e-12]:
            raise BadValue(f"all of the model's answers have the same {flat[0]}", fix="leave this reward out: there is nothing to choose from")
        rewards = (raw - self.centre_) / self.scale_
        end = {"stop": [tokenizer.end], "length": []}
        prompts = [tokenizer.chat(_request(text)) for text in asked]
        made = [Sample(prompt, [*one.ids, *end[one.finish]], own) for prompt, one, own in zip(prompts, written, rewards, strict=True)]
        self.network_ = self.make_network()
        # The rewards are functions: what they say of the answers tells them apart.
        key = f"{run.key} {data_key(rewards)}"
        teach_values(
            self.network_, made, epochs=self.epochs, passes=self.passes, batch=self.batch, learning_rate=self.learning_rate, gamma=self.gamma,
            lam=self.lam, seed=self.seed, progress=run.progress, checkpoint=run.checkpoint, key=key,
        )  # fmt: skip
        pairs = population_choices(population) if "preferences" in population else []
        count = len(self.names_)
        self.beta_ = bradley_terry_fit(self._differences(pairs), np.zeros(count), self.prior * np.eye(count))[0]

    def _own_answers(self, population: Population) -> tuple[list[str], list[Generated]]:
        """Requests of the population, and what the frozen model itself writes to each: never the steered one, whose values these would not be."""
        every = sorted({piece.prompt for own in population_pieces(population).values() for piece in own if piece.prompt})
        if not every:
            raise ConfigError("no text of the population says what it answers", fix="give texts with a column `prompt`")
        chosen = np.random.default_rng(self.seed).permutation(len(every))[: self.prompts]
        asked = [every[number] for number in sorted(chosen) for _ in range(self.samples)]
        model, out = self.lm.model, list[Generated]()
        for start in range(0, len(asked), _TOGETHER):
            prompts = [model.tokenizer.chat(_request(text)) for text in asked[start : start + _TOGETHER]]
            seeds = [(self.seed << 32) + start + row for row in range(len(prompts))]
            out += model.generate(prompts, model.sampling(max_tokens=self.max_new, temperature=1.0), seeds=seeds)
        return asked, out

    def make_network(self) -> ValueModel:
        trunk = copy.deepcopy(self.lm.model.network)
        return ValueModel(trunk, rewards=len(self.names_), dim=trunk.config.dim, rank=self.rank, alpha=self.alpha, seed=self.seed)

    def _raw(self, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """float64 [n, rewards], as the functions say."""
        if not self._rewards:
            raise NotFitted("a loaded model has no reward functions", fix=f"give them: .use({', '.join(f'{name}=...' for name in self.names_)})")
        return np.stack([scored(name, self._rewards[name], prompts, texts) for name in self.names_], 1)

    def rewards(self, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """What texts are worth, float64 [n, rewards], in standard deviations from the frozen model's own answers."""
        return (self._raw(prompts, texts) - self.centre_) / self.scale_

    def _differences(self, pairs: Sequence[Any]) -> np.ndarray:
        """float64 [choices, rewards]: of the chosen text less those of the rejected one."""
        if not pairs:
            return np.empty((0, len(self.names_)))
        prompts = [one.prompt for one in pairs]
        return self.rewards(prompts, [one.chosen for one in pairs]) - self.rewards(prompts, [one.rejected for one in pairs])

    def adapt(self, evidence: Evidence, state: State | None = None) -> State:
        """Dials from the person's choices (`preferences`: prompt, chosen, rejected); with `state`, from there on."""
        self.check_state(state)
        pairs = choices_of(evidence)
        count = len(self.names_)
        mean = self.beta_ if state is None else state["beta"].astype(np.float64)
        precision = self.prior * np.eye(count) if state is None else np.linalg.inv(state["covariance"].astype(np.float64))
        beta, covariance = bradley_terry_fit(self._differences(pairs), mean, precision)
        return self._state(beta, covariance, state, len(pairs))

    def dials(self, amounts: Mapping[str, float] | Sequence[float], state: State | None = None) -> State:
        """A state of these amounts: by name (others as in `state`, or 0), or one for each reward in the order of `names_`."""
        self.check_state(state)
        count = len(self.names_)
        there = f"there are {', '.join(self.names_)}"
        if isinstance(amounts, Mapping):
            if strange := sorted(set(amounts) - set(self.names_)):
                raise UnknownId("there is no such reward", id=strange[0], fix=there)
            before = state["beta"] if state is not None else np.zeros(count)
            beta = np.array([amounts.get(name, old) for name, old in zip(self.names_, before, strict=True)], np.float64)
        else:
            beta = np.asarray(amounts, np.float64)
        if beta.shape != (count,) or not np.isfinite(beta).all():
            raise ConfigError(f"dials of shape {list(beta.shape)}, or not finite, for {count} rewards", fix=f"give one finite number each; {there}")
        # What somebody sets is certain: choices that come later move it as they would move anything believed after many of them.
        return self._state(beta, np.eye(count) * _SET / self.prior, state, 1)

    def _state(self, beta: np.ndarray, covariance: np.ndarray, before: State | None, examples: int) -> State:
        arrays = {"beta": beta.astype(np.float32), "covariance": covariance.astype(np.float32)}
        return self.make_state(arrays, before=before, examples=examples, notes={"rewards": list(self.names_)})

    def check_state(self, state: State | None) -> None:
        super().check_state(state)
        if self.lm.fingerprint_ != self.policy_:
            what = f"the values are of the language model {self.policy_[:8]}, this is {self.lm.fingerprint_[:8]}: tokens and answers differ"
            raise ConfigError(what, fix="use the language model of fit, or fit again")
        if state is None:
            return
        count = len(self.names_)
        shapes = {name: state.arrays[name].shape if name in state.arrays else None for name in ("beta", "covariance")}
        if shapes != {"beta": (count,), "covariance": (count, count)} or not all(np.isfinite(state[name]).all() for name in shapes):
            raise CorruptFile(f"the state's dials have shapes {shapes}, or are not finite, for {count} rewards", fix="adapt the person again")

    def _own(self, conversations: Sequence[Conversation], states: States) -> list[State | None]:
        everybody = self._state(self.beta_, np.eye(len(self.names_)), None, 1) if self.fingerprint_ and self.beta_.any() else None
        return [everybody if one is None else one for one in super()._own(conversations, states)]

    def _answers(self, conversations: Sequence[Conversation], prompts: Sequence[list[int]], states: Sequence[State]) -> list[str]:
        beta = np.stack([state["beta"] for state in states])
        done = self.generate(prompts, beta, temperature=self.temperature)
        return [self.lm.model.tokenizer.decode(one.ids) for one in done]

    def generate(
        self, prompts: Sequence[Sequence[int]], beta: np.ndarray, *, temperature: float = 1.0, seeds: Sequence[int] | None = None
    ) -> list[Generated]:
        """Answers to prompts (token numbers), each with its own dials, float [prompts, rewards]; log-probabilities are the frozen model's."""
        self.check_state(None)
        if beta.shape != (len(prompts), len(self.names_)):
            what = f"dials of shape {list(beta.shape)} for {len(prompts)} prompts"
            raise ConfigError(what, fix=f"give [prompts, rewards], the rewards being {', '.join(self.names_)}")
        model, out = self.lm.model, list[Generated]()
        own = list(seeds) if seeds is not None else [self.seed] * len(prompts)
        for start in range(0, len(prompts), _TOGETHER):
            part = slice(start, start + _TOGETHER)
            hook = ValueAugmented(Lookahead(self.network_), torch.from_numpy(np.asarray(beta[part], np.float32)), self.candidates)
            sampling = model.sampling(max_tokens=self.max_new, temperature=temperature)
            out += model.generate(prompts[part], sampling, hooks=[hook], seeds=own[part])
        return out


_TOGETHER = 64
"""Prompts written at once."""
_SET = 0.04
"""Variance of a dial that was set, of the prior's."""


def _request(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]

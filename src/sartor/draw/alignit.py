"""AlignIT: only the concept's own keys and values differ from the prior's; every other word of the prompt acts as it did before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from sartor.data.population import Population
from sartor.draw._base import ConceptMethod, Plan, Taught, open_prior
from sartor.draw._scene import SceneMethod
from sartor.draw._shown import Shown
from sartor.draw.custom_diffusion import CustomDiffusion
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tap import Layer, Slots, layers_of
from sartor.draw.parts.tokens import Concept, of_word
from sartor.errors import ConfigError
from sartor.method import State

Rows = Mapping[str, tuple[Tensor, Tensor]]
"""Layer -> keys and values of a concept, [n, m, width] each."""
ALLOWED = re.compile(r".*attn2\.to_[kv]\.(A|B|weight)")
ONLY = "AlignIT applies to token and cross-attention states only"


@dataclass(kw_only=True, eq=False)
class AlignIT(ConceptMethod):
    """A repair at request time for things that another method has learned; nothing is learned anew.

    A learned word changes what the text encoder makes of all words behind it, and changed weights change the keys and values of every word. Here
    those of the prompt are the prior's own, of the prompt with the class word in the concept's place; only the concept's rows come from the
    learned word and weights, out of the neutral prompt "a <v>". Where the base says "<v> class", these are the rows of both words, and the first
    stand beside the prompt's own. It takes whatever changes tokens, keys and values of cross-attention, and refuses all else.

    Source: Agarwal et al., AlignIT: Enhancing Prompt Alignment in Customization of Text-to-Image Models, WACV 2025. Which rows are which in phrases
    of several tokens is our reading. State: what `base` keeps.
    """

    base: ConceptMethod = field(default_factory=CustomDiffusion)
    """How things are learned. One that is not fitted on this prior is fitted first."""

    says_class: ClassVar[bool] = False

    def fit(self, population: Population | None = None, *, on: Prior | None = None, **settings: Any) -> Self:
        """As the base."""
        if isinstance(self.base, SceneMethod):
            what = f"AlignIT applies to things that are learned one by one, {type(self.base).__name__} learns scenes"
            raise ConfigError(what, fix="wrap custom-diffusion, perfusion or textual-inversion")
        prior = on if on is not None else open_prior(self.prior)
        if self.base.prior_fingerprint_ != prior.fingerprint or population is not None:
            self.base.fit(population, on=prior, **settings)
        return super().fit(population, on=prior, **settings)

    def of(self, state: State) -> State:
        """Things that the base has learned, in this method's hands; raises `StateMismatch` for a state of another model."""
        self.check_fitted()
        self.base.check_state(state)
        return self.make_state(dict(state.arrays), examples=state.examples, notes=dict(state.notes))

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        self.base._check_thing(prior, shown)

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return self.base._learn(prior, references, shown, seed, progress)

    def _plan(
        self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, infuse: Literal["both", "keys", "values"] = "both",
        mix: float = 1.0, **options: Any,
    ) -> Plan:  # fmt: skip
        """`infuse`: which of the concept's own are put in; `mix`: how far, from 0 (the class word's) to 1. `options`: for the base."""
        if infuse not in ("both", "keys", "values") or not 0 <= mix <= 1:
            raise ConfigError(f"infuse '{infuse}', mix {mix}", fix="infuse both, keys or values; mix is from 0 to 1")
        said = {name: one for name, one in taught.items() if any(name in prompt for prompt in prompts)}
        own = {name: self._rows(prior, name, one, len(prompts), options) for name, one in said.items()}
        stands = []
        for name, one in said.items():
            rows = of_word(prior.text_encoder, prior.tokenizer, one.class_word)
            stands.append(Concept(name, rows[-next(iter(own[name].values()))[0].shape[1] :]))
            # Where somebody wrote "<v> class", the class word stands in for both.
            prompts = [re.sub(rf"{re.escape(name)}\s+{re.escape(one.class_word)}\b", name, prompt) for prompt in prompts]
        words = prior.words(prompts, stands)
        shares = (mix if infuse != "values" else 0.0, mix if infuse != "keys" else 0.0)

        def edit(layer: Layer, key: Tensor, value: Tensor, _context: Tensor) -> tuple[Tensor, Tensor]:
            if not layer.cross:
                return key, value
            for one in stands:
                keys, values = own[one.name][layer.name]
                places = words.places[one.name].to(key.device)
                key = _infused(key, keys, places, one.count, shares[0])
                value = _infused(value, values, places, one.count, shares[1])
            return key, value

        return Plan(context=prior.encode_words(words, stands), slots=Slots(edit=edit))

    def _places(self, one: Taught) -> int:
        raise ConfigError("AlignIT takes no regions: some of a concept's rows stand behind the prompt", fix="draw with the base, or without regions")

    @torch.no_grad()
    def _rows(self, prior: Prior, name: str, taught: Taught, count: int, options: dict[str, Any]) -> Rows:
        """Out of the neutral prompt, as often as there are prompts."""
        if strange := [key for key in taught.changes() if not ALLOWED.fullmatch(key)]:
            raise ConfigError(f"{ONLY}: {name} has changed {strange[0]}", fix="wrap a method that learns words, or keys and values")
        phrase = f"a {name} {taught.class_word}" if self.base.says_class else f"a {name}"
        plan = self.base._plan(prior, [phrase] * count, {name: taught}, **options)
        slots = plan.slots or Slots()
        if slots.context is not None or slots.streams or slots.change is not None or plan.options:
            raise ConfigError(f"{ONLY}: {type(self.base).__name__} does more", fix="wrap a method that learns words, or keys and values")
        words = prior.words([phrase], [taught.concept(name)])
        first = int((words.places[name][0] >= 0).nonzero()[0])
        context = prior.tokens(plan.context)
        here = slice(first, words.lengths[0] - 1)
        made = {}
        with plan.inside:
            for layer in layers_of(prior.unet, cross=True):
                attention: Any = prior.unet.get_submodule(layer.name)
                key, value = attention.to_k(context), attention.to_v(context)
                if slots.edit is not None:
                    key, value = slots.edit(layer, key, value, context)
                made[layer.name] = (key[:, here], value[:, here])
        return made

    @torch.no_grad()
    def disturbed(self, prompts: Sequence[str], state: State) -> tuple[np.ndarray, np.ndarray]:
        """float [prompts, tokens] each: how far the keys at each token are from those of the prompt with the class word, under the base and under
        this, as a share of their length, mean over layers; further rows of the concept are left out.

        For bases whose prompts are as long as those with the class word: words of one row that are said alone.
        """
        prior, taught = self.bundle, self.taught(state)
        plain, repaired = self._plan(prior, list(prompts), taught, mix=0.0), self._plan(prior, list(prompts), taught)
        usual = self.base._plan(prior, list(prompts), taught)
        keys = [_keys(prior, plan) for plan in (plain, usual, repaired)]
        if keys[0].shape != keys[1].shape:
            raise ConfigError("the prompts are longer with the concept than with the class word", fix="wrap a method whose words are said alone")
        before, after = ((one - keys[0]).norm(dim=-1).div(keys[0].norm(dim=-1)).mean(0).cpu().numpy() for one in keys[1:])
        return before, after


def _keys(prior: Prior, plan: Plan) -> Tensor:
    """float [layers, n, T, widest], filled up with zeros."""
    made = []
    with plan.inside:
        for layer in layers_of(prior.unet, cross=True):
            attention: Any = prior.unet.get_submodule(layer.name)
            context = prior.tokens(plan.context)
            key, value = attention.to_k(context), attention.to_v(context)
            if plan.slots is not None and plan.slots.edit is not None:
                key, _ = plan.slots.edit(layer, key, value, context)
            made.append(key)
    widest = max(one.shape[-1] for one in made)
    return torch.stack([torch.nn.functional.pad(one, (0, widest - one.shape[-1])) for one in made])


def _infused(plain: Tensor, own: Tensor, places: Tensor, count: int, share: float) -> Tensor:
    """[n, longer, width]: the last `count` of the concept's m rows in their places, the others behind; `share` 0 leaves the class word's."""
    # Behind the prompt's T rows there may be those of another concept.
    prompt, behind = plain[:, : places.shape[1]], plain[:, places.shape[1] :]
    further, width = own.shape[1] - count, plain.shape[-1]
    number = (places.clamp(min=0) + further)[..., None].expand(-1, -1, width)
    put = torch.where((places >= 0)[..., None], torch.lerp(prompt, own.gather(1, number), share), prompt)
    of_class = prompt[torch.arange(len(prompt)), (places == 0).int().argmax(1)][:, None]
    return torch.cat([put, behind, torch.lerp(of_class.expand(-1, further, -1), own[:, :further], share)], 1)

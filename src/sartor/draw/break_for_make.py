"""Break-for-Make: a content and a style in disjoint halves of one low-rank space, clicked together and polished for a short time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sartor.draw._base import ConceptMethod, Plan, Strength, Taught, strength_of
from sartor.draw._shown import Shown, listed
from sartor.draw.dreambooth import identifier
from sartor.draw.parts import halves
from sartor.draw.parts.fitting import Phase, adapt
from sartor.draw.parts.halves import DOWN, UP, Halves
from sartor.draw.parts.lora_files import write_lora
from sartor.draw.parts.objectives import denoising, noised
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.supplied import Factors, linears, supplied
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.weights import changed
from sartor.errors import BadPrompt, ConfigError, EmptyData, StateMismatch, UnknownId
from sartor.method import State, learned


class Set(NamedTuple):
    """Pictures of a content or a style, with what is said of each."""

    references: References
    texts: Sequence[str]
    word: Concept


@dataclass(kw_only=True, eq=False)
class BreakForMake(ConceptMethod):
    """Two adapters that fit into each other, whoever learned them.

        state = method.learn([Shown(name="<mug>", class_word="mug", ...), Shown(name="<ink>", class_word="", captions=[...], ...)])
        state = method.make(state, content, style)                      # optional: polish the pair on both sets of pictures
        pictures = method.draw(["a <mug> on sand <ink>"], [state])

    What has no class word is a style; its captions say what its pictures show ("a tree on sand <ink>"). In W + U D, one half of the columns of D and
    of the rows of U is frozen: disjoint rows of one orthogonal matrix, the same for everybody. A content learns the free half of D on its own
    pictures while the free half of U learns on several styles (multi-correspondence); a style learns U on its own pictures while D learns on several
    contents. Joined, D is the content's and U the style's. `make` tunes the pair on both sets, with gradients preconditioned as on the manifold of
    low-rank matrices: (U^T U + reg)^-1 dD and dU (D D^T + reg)^-1. The other sets are `Shown.options["beside"]`, or what the same call shows.

    Source: Xu et al., B4M: Breaking Low-Rank Adapter for Making Content-Style Customization, ACM TOG 2025. Differs from the authors' code in: both
    losses of a step are taken before either half moves, and neither reaches the other's half; frozen halves of projections that are not square, and
    of those behind the heads, are random below and zero above there as here. Their rates are 1e-4 and a tenth of it.
    State: the word's row, and weights.down.<layer>, weights.up.<layer> in half precision; weights.made.<style>.* of polished pairs.
    """

    rank: int = 8
    steps: int = 100
    """Of the first stage, for each content and each style."""
    learning_rate: float = 2e-2
    """Of a thing's own half. This and the two other rates are for the small prior: the best of three sets on one pair."""
    side_rate: float = 4e-3
    """Of the half that learns from the other sets."""
    sides: int = 3
    """Other sets in a step, at most."""
    make_steps: int = 60
    make_rate: float = 5e-3
    reg: float = 1e-6
    """Of the preconditioner; 0 in the authors' code, which goes on without it where a matrix has no inverse."""
    batch: int = 4
    basis: int = 0
    """Seed of the frozen halves: only adapters of one basis and rank can be joined."""
    frozen_fingerprint_: str = learned("")
    """Of the halves that nobody learns: what was learned beside others is not drawn with these."""

    says_class: ClassVar[bool] = True

    # --- break

    def _check_thing(self, prior: Prior, shown: Shown) -> None:
        if shown.class_word:
            super()._check_thing(prior, shown)
        elif shown.captions is None or len(shown.captions) != len(shown.images):
            raise ConfigError(f"{shown.name} is a style without a caption for each picture", fix=f"say e.g. 'a tree on sand {shown.name}'")
        if texts := [text for text in shown.captions or () if text.split().count(shown.name) != 1]:
            raise BadPrompt(f"'{texts[0]}' does not say {shown.name} once", fix="write it once")
        if not 1 <= self.rank <= (most := halves.widest(prior.unet)) or min(self.sides, self.batch) < 1:
            raise ConfigError(f"rank {self.rank}, sides {self.sides}, batch {self.batch}", fix=f"use at least 1, and a rank up to {most}")

    def learn(self, shown: Shown | Sequence[Shown], state: State | None = None, *, seed: int | None = None, progress: bool = False) -> State:
        """The state of somebody who shows contents and styles; a pair that was made of something learned anew is no longer made.

        Raises what `ConceptMethod.learn` raises, and `EmptyData` for a content without other styles beside it, or a style without contents.
        """
        things = listed(shown)
        beside = [one.options.get("beside") or [other for other in things if bool(other.class_word) != bool(one.class_word)] for one in things]
        things = [replace(one, options={**one.options, "beside": others}) for one, others in zip(things, beside, strict=True)]
        for one in things:
            self._beside(one)
        return self._unmade(super().learn(things, state, seed=seed, progress=progress), [one.name for one in things])

    @staticmethod
    def _beside(shown: Shown) -> Sequence[Shown]:
        found: Sequence[Shown] = shown.options.get("beside", ())
        if not found:
            what, wanted = ("content", "styles") if shown.class_word else ("style", "contents")
            raise EmptyData(f"{shown.name} is a {what} without {wanted} beside it", fix="show some in the same call, or as options['beside']")
        return found

    def without(self, state: State, name: str) -> State | None:
        """The state with one thing and the pairs made of it forgotten; None when it was the only one."""
        left = super().without(state, name)
        return None if left is None else self._unmade(left, [name])

    @staticmethod
    def _unmade(state: State, names: Sequence[str]) -> State:
        arrays = {key: value for key, value in state.arrays.items() if not any(f"/weights.made.{name}." in key for name in names)}
        return replace(state, arrays=arrays)

    def _learn(self, prior: Prior, references: References, shown: Shown, seed: int, progress: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        own = self._set(prior, shown, seed, references)
        beside = [self._set(prior, one, seed) for one in self._beside(shown)]
        live, frozen = self._started(prior, seed), self._frozen(prior)
        mine, other = (DOWN, UP) if shown.class_word else (UP, DOWN)

        def loss(numbers: Tensor) -> Tensor:
            total = self._error(prior, own, numbers, halves.joined(frozen, _only(live, mine)))
            chosen = [beside[int(one)] for one in torch.randperm(len(beside))[: self.sides]]
            through = halves.joined(frozen, _only(live, other))
            return total + torch.stack([self._error(prior, one, _some(one, self.batch), through) for one in chosen]).mean()

        record = adapt(references, [self._phase(live, self.steps, mine, loss)], lock=prior.lock, seed=seed, progress=progress)
        weights = {f"weights.{name}": value.detach() for name, value in live.items()}
        facts = {"basis": self.basis, "rank": self.rank, "prior": prior.fingerprint, "frozen": self.frozen_fingerprint_}
        return {"rows": own.word.rows, **weights}, {**record, **facts}

    def _phase(self, live: Halves, steps: int, mine: str, loss: Any) -> Phase:
        rates = {mine: self.learning_rate, DOWN if mine == UP else UP: self.side_rate}
        groups = [([value for name, value in live.items() if name.startswith(part)], rate) for part, rate in rates.items()]
        return Phase(steps=steps, parameters=groups, loss=loss, batch=self.batch)  # type: ignore[arg-type]

    def _set(self, prior: Prior, shown: Shown, seed: int, references: References | None = None) -> Set:
        self._check_thing(prior, shown)
        phrase = f"{shown.name} {shown.class_word}".strip()
        texts = [text.replace(shown.name, phrase) if f"{phrase} " not in f"{text} " else text for text in shown.captions or ()]
        word = Concept(shown.name, identifier(prior, shown.class_word or "a", seed, shown.name))
        return Set(references or References.of(prior, shown.images), texts or [f"a {phrase}"] * len(shown.images), word)

    @staticmethod
    def _error(prior: Prior, shown: Set, numbers: Tensor, factors: Factors) -> Tensor:
        context = prior.encode([shown.texts[int(one)] for one in numbers], [shown.word])
        with supplied(prior.unet, factors):
            return denoising(prior, noised(prior, shown.references.latents[numbers]), context).mean()

    # --- the two halves

    def _frozen(self, prior: Prior) -> dict[str, Tensor]:
        """The halves that nobody learns; raises `StateMismatch` where they are no longer those that this was fitted with."""
        if self.fingerprint_ and self._fingerprint(prior) != self.frozen_fingerprint_:
            raise StateMismatch("the halves that nobody learns are others than this was fitted with", fix="fit again, and learn things anew")
        return {name: half.to(prior.device) for name, half in halves.frozen(prior.unet, self.rank, self.basis).items()}

    def _fingerprint(self, prior: Prior) -> str:
        """Of the frozen halves that there are on this prior now."""
        key = (type(self).__name__, self.basis, self.rank)
        if key not in prior.kept:
            prior.kept[key] = halves.fingerprint(prior.unet, self.rank, self.basis)
        return str(prior.kept[key])

    def _seal(self) -> None:
        self.frozen_fingerprint_ = self._fingerprint(self._prior)
        super()._seal()

    def _started(self, prior: Prior, seed: int) -> dict[str, nn.Parameter]:
        draw, made = torch.Generator().manual_seed(seed), {}
        for name, layer in linears(prior.unet).items():
            down = torch.randn(self.rank, layer.in_features - layer.in_features // 2, generator=draw) / self.rank
            made[f"{DOWN}{name}"] = nn.Parameter(down.to(prior.device))
            made[f"{UP}{name}"] = nn.Parameter(torch.zeros(layer.out_features - layer.out_features // 2, self.rank, device=prior.device))
        return made

    # --- make

    def make(self, state: State, content: Shown, style: Shown, *, seed: int | None = None, progress: bool = False) -> State:
        """The state with the pair joined and polished on the pictures of both; raises `UnknownId` for what it has not learned."""
        self.check_state(state)
        prior, taught = self.bundle, self.taught(state)
        if missing := [one.name for one in (content, style) if one.name not in taught]:
            raise UnknownId("the state has no such concept", id=missing[0], fix=f"it has {', '.join(taught)}")
        if not content.class_word or style.class_word:
            raise ConfigError(f"{content.name} and {style.name} are no content and style", fix="give a content first, then a style")
        seed = self.seed if seed is None else seed
        with prior.learning, prior.lock:
            frozen = self._frozen(prior)
            joined = _halves(taught[content.name], taught[style.name])
            live = {name: nn.Parameter(value.clone()) for name, value in joined.items()}
            sets = [self._set(prior, one, seed)._replace(word=taught[one.name].concept(one.name)) for one in (content, style)]
            hooks = [value.register_hook(partial(self._riemannian, name, live, frozen)) for name, value in live.items()]

            def loss(numbers: Tensor) -> Tensor:
                through = halves.joined(frozen, live)
                return self._error(prior, sets[0], numbers, through) + self._error(prior, sets[1], _some(sets[1], len(numbers)), through)

            phase = Phase(steps=self.make_steps, parameters=[([*live.values()], self.make_rate)], loss=loss, batch=self.batch)
            adapt(sets[0].references, [phase], lock=prior.lock, seed=seed, progress=progress)
            for hook in hooks:
                hook.remove()
        made = {f"{content.name}/weights.made.{style.name}.{name}": self._stored("weights.", value) for name, value in live.items()}
        return self.make_state({**state.arrays, **made}, before=state, notes=dict(state.notes))

    @torch.no_grad()
    def _riemannian(self, name: str, live: Halves, frozen: Halves, grad: Tensor) -> Tensor:
        """The gradient of one half, preconditioned by the other factor (Zhang and Pilanci, Riemannian preconditioned LoRA, ICML 2024)."""
        layer = name.partition(".")[2]
        down, up = halves.joined({key: frozen[key] for key in _both(layer)}, {key: live[key] for key in _both(layer)})[layer]
        other = up.T @ up if name.startswith(DOWN) else down @ down.T
        inverse = torch.linalg.pinv(other + self.reg * torch.eye(len(other)).to(other), hermitian=True)
        return inverse @ grad if name.startswith(DOWN) else grad @ inverse

    def take(self, state: State, other: State, name: str) -> State:
        """The state with a content or a style that somebody else has learned.

        Raises `UnknownId`, `StateMismatch` for another prior, and `ConfigError` for another basis or rank.
        """
        self.check_state(state)
        if name not in other.notes.get("concepts", {}):
            raise UnknownId("the other state has no such concept", id=name)
        self.check_record(name, other.notes["concepts"][name]["record"])
        if name in state.notes["concepts"]:
            raise ConfigError(f"two concepts are called {name}", fix="rename one")
        arrays = {key: value for key, value in other.arrays.items() if key.startswith(f"{name}/") and "/weights.made." not in key}
        facts = {**state.notes["concepts"], name: other.notes["concepts"][name]}
        return self.make_state({**state.arrays, **arrays}, before=state, notes={"concepts": facts})

    def check_record(self, name: str, record: Mapping[str, Any]) -> None:
        """Raise `StateMismatch` for what was learned on another prior or beside other frozen halves, `ConfigError` for another basis or rank."""
        if record.get("prior") != self.prior_fingerprint_:
            raise StateMismatch(f"{name} was learned on another prior", fix="learn both on one")
        if (basis := record.get("basis")) != self.basis:
            raise ConfigError(f"cannot join: bases differ (seed {self.basis} vs {basis})", fix="learn both with one basis")
        if (rank := record.get("rank")) != self.rank:
            raise ConfigError(f"cannot join: ranks differ ({self.rank} vs {rank})", fix="learn both with one rank")
        if record.get("frozen") != self.frozen_fingerprint_:
            raise StateMismatch(f"{name} was learned beside other frozen halves", fix="learn it again")

    # --- drawing

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0, polished: bool = True) -> Plan:
        """`strength`: of a pair, the product of what each word has. `polished`: whether a made pair is drawn so, or as it clicks together."""
        scale = math.prod(strength_of(strength, name) for name in taught) if isinstance(strength, Mapping) else strength
        arrays: dict[str, Tensor] = {}
        for layer, (down, up) in self._factors(prior, taught, polished=polished).items():
            arrays |= {f"{layer}.A": down, f"{layer}.B": up}
        context = prior.encode(prompts, [one.concept(name) for name, one in taught.items()])
        return Plan(context=context, inside=changed(prior, [arrays], [scale]))

    def _factors(self, prior: Prior, taught: Mapping[str, Taught], *, polished: bool) -> Factors:
        contents, styles = ([name for name, one in taught.items() if bool(one.class_word) is kind] for kind in (True, False))
        if max(len(contents), len(styles)) > 1:
            what = f"a prompt has one content and one style, not {', '.join([*contents, *styles])}"
            raise BadPrompt(what, fix="draw one after the other")
        first, last = taught[(contents or styles)[0]], taught[(styles or contents)[0]]
        pair = f"made.{styles[0]}." if contents and styles else ""
        made = {key.removeprefix(pair): value for key, value in first.changes().items() if pair and key.startswith(pair)}
        return halves.joined(self._frozen(prior), made if made and polished else _halves(first, last))

    def export(self, state: State, names: Sequence[str], folder: str | Path) -> Path:
        """Write what is drawn of a content, a style or a pair as a LoRA that diffusers reads; raises `UnknownId`."""
        self.check_state(state)
        taught = self.taught(state)
        if missing := [name for name in names if name not in taught]:
            raise UnknownId("the state has no such concept", id=missing[0], fix=f"it has {', '.join(taught)}")
        factors = self._factors(self.bundle, {name: taught[name] for name in names}, polished=True)
        arrays: dict[str, np.ndarray] = {}
        for layer, (down, up) in factors.items():
            arrays |= {f"{layer}.A": down.detach().cpu().numpy(), f"{layer}.B": up.detach().cpu().numpy()}
        return write_lora(arrays, folder)


def _halves(content: Taught, style: Taught) -> dict[str, Tensor]:
    """D of the one, U of the other."""
    own = {DOWN: content.changes(), UP: style.changes()}
    return {name: value for part, changes in own.items() for name, value in changes.items() if name.startswith(part)}


def _only(live: Halves, part: str) -> dict[str, Tensor]:
    """The same, with gradients for one factor alone."""
    return {name: value if name.startswith(part) else value.detach() for name, value in live.items()}


def _both(layer: str) -> tuple[str, str]:
    return f"{DOWN}{layer}", f"{UP}{layer}"


def _some(shown: Set, count: int) -> Tensor:
    return torch.randint(len(shown.references), (count,))

"""Several things of one picture, learned together: what the methods have in common that take a scene apart."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sartor import _fields
from sartor.draw._base import ConceptMethod, Plan, Strength, Taught, strength_of
from sartor.draw._shown import Shown, listed
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.references import References
from sartor.draw.parts.tokens import Concept
from sartor.draw.parts.weights import changed
from sartor.errors import BadImage
from sartor.method import State


@dataclass(kw_only=True, eq=False)
class SceneMethod(ConceptMethod):
    """Learns a word for each of several things that the same pictures show, one picture being enough.

        state = method.learn([Shown(name="<mug>", images=picture, ...), Shown(name="<bowl>", images=picture, ...)])

    What is given together is one scene: the same pictures, one `Shown` for each thing, with its own masks. Words are each thing's own; what changes
    in the denoiser is the scene's. Forgetting a thing removes its word at once; the weights stay while another thing of the scene needs them, and its
    facts name under "traces" whose pictures they have seen too.

    State: `<mug>/rows` for each thing, `[<mug>+<bowl>]/weights.*` for each scene.
    """

    @abstractmethod
    def _learn_scene(
        self, prior: Prior, references: References, things: Sequence[Shown], masks: Sequence[Tensor | None], seed: int, progress: bool
    ) -> tuple[Sequence[Concept], dict[str, Tensor], dict[str, Any]]:
        """The words of the things, what is added to the denoiser's weights (`Weights.arrays`), and the record of the run.

        masks: of each thing, float [n, 1, H, W].
        """

    def _check_scene(self, things: Sequence[Shown]) -> None:
        """What this method needs of a scene."""

    def learn(self, shown: Shown | Sequence[Shown], state: State | None = None, *, seed: int | None = None, progress: bool = False) -> State:
        """The state of somebody who shows these things, all in the same pictures; with `state`, the scene is added to it.

        Raises what `ConceptMethod.learn` raises, and `BadImage` when the things are not of the same pictures.
        """
        self.check_state(state)
        _fields.check(self)
        things, prior = listed(shown), self.bundle
        for one in things:
            self._check_thing(prior, one)
        parts = [References.of(prior, one.images, masks=one.masks) for one in things]
        for one, part in zip(things, parts, strict=True):
            if part.hashes != parts[0].hashes:
                what = f"{one.name} and {things[0].name} are not in the same pictures"
                raise BadImage(what, fix="give both the same images, or learn them one after the other")
        self._check_scene(things)
        kept = state
        for one in things:
            if kept is not None and one.name in kept.notes["concepts"]:
                kept = self.without(kept, one.name)
        with prior.learning, prior.lock:
            seed = self.seed if seed is None else seed
            words, weights, record = self._learn_scene(prior, parts[0], things, [part.masks for part in parts], seed, progress)
        scene = f"[{'+'.join(one.name for one in things)}]"
        arrays = dict(kept.arrays) if kept is not None else {}
        arrays |= {f"{word.name}/rows": self._stored("rows", word.rows) for word in words}
        arrays |= {f"{scene}/weights.{key}": self._stored(f"weights.{key}", value) for key, value in weights.items()}
        facts = {name: dict(one) for name, one in (kept.notes["concepts"].items() if kept is not None else ())}
        for one, part in zip(things, parts, strict=True):
            facts[one.name] = {
                "class_word": one.class_word, "images": len(part), "hashes": list(part.hashes), "record": record, "scene": scene, "traces": [],
            }  # fmt: skip
        return self.make_state(arrays, before=state, examples=len(parts[0]), notes={"concepts": facts})

    def without(self, state: State, name: str) -> State | None:
        """The state with one thing forgotten; None when it was the only one. Weights that saw its pictures and are still needed are flagged."""
        scene = state.notes.get("concepts", {}).get(name, {}).get("scene")
        left = super().without(state, name)
        if left is None:
            return None
        facts = {key: dict(one) for key, one in left.notes["concepts"].items()}
        for one in facts.values():
            if one["scene"] == scene:
                one["traces"] = [*one["traces"], name]
        living = {*facts, *(one["scene"] for one in facts.values())}
        arrays = {key: value for key, value in left.arrays.items() if key.rsplit("/", 1)[0] in living}
        return replace(left, arrays=arrays, notes={"concepts": facts})

    def taught(self, state: State | None) -> dict[str, Taught]:
        """The things of a state, each with the weights of its scene: the very same tensors for things of one scene."""
        found = super().taught(state)
        if state is None:
            return found
        scenes: dict[str, dict[str, Tensor]] = {}
        for key, value in state.arrays.items():
            owner, part = key.rsplit("/", 1)
            if part.startswith("weights."):
                scenes.setdefault(owner, {})[part] = torch.from_numpy(value.astype(np.float32)).to(self.bundle.device)
        facts = state.notes["concepts"]
        return {name: Taught(one.class_word, one.tensors | scenes.get(facts[name]["scene"], {})) for name, one in found.items()}

    def _plan(self, prior: Prior, prompts: list[str], taught: Mapping[str, Taught], *, strength: Strength = 1.0) -> Plan:
        """As of every method; weights that two things share count as much as the stronger of them."""
        context = prior.encode(prompts, [one.concept(name) for name, one in taught.items()])
        scenes: dict[tuple[int, ...], tuple[dict[str, Tensor], float]] = {}
        for name, one in taught.items():
            if own := one.changes():
                # Two things of one scene bring its weights once.
                key = tuple(id(value) for value in own.values())
                scenes[key] = own, max(strength_of(strength, name), scenes[key][1] if key in scenes else 0.0)
        changes, scales = [own for own, _ in scenes.values()], [scale for _, scale in scenes.values()]
        return Plan(context=context, inside=changed(prior, changes, scales) if scenes else nullcontext())

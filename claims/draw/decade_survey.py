"""The map of the room: is every method at one place of it, and does what a method does and keeps fit the place?"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _adapters import population
from PIL import Image
from torch.optim.optimizer import register_optimizer_step_post_hook

from sartor import systems
from sartor.data.population import Population
from sartor.data.world import World
from sartor.data.world.shapes import ShapesWorld
from sartor.data.world.shapes.tastes import PictureTastes
from sartor.draw._shown import Shown
from sartor.draw.parts.delta import ATTENTION, KEYS_VALUES
from sartor.draw.parts.picture_choices import Clicks
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.supplied import linears
from sartor.draw.parts.tap import layers_of
from sartor.draw.survey import GAPS, PLACES, survey, uncovered, unplaced
from sartor.evaluate.claim import Claim, Outcome

FEW = {"steps": 2, "batch": 2}
REFERENCES = 2
"""Pictures of the new thing."""

CLAIM = Claim(
    slug="decade-survey",
    paper="One framework of inversion spaces, inversion methods and personalisation schemes over a decade of methods.",
    passes="Every registered method of the room has exactly one value on each axis, out of the closed vocabulary; every value of the survey has a "
    "method or a note why not; at 3 seeds, a method said to be optimised takes steps for a new thing, one said to be training-free or learned takes "
    "none (steps of all of torch's optimisers are counted, and forward passes where there is no optimiser); bytes of a state of one thing agree with "
    "what its space needs within a factor of 2.",
    data=("world",),
    seeds=(0, 1, 2),
)


def needed(slug: str, prior: Prior, method: Any) -> float:
    """Bytes that a state of one thing needs in its space: rows in four bytes a number, changes of weights in two, pictures in one."""
    row, cross = 4 * prior.dim, layers_of(prior.unet, cross=True)

    def low_rank(targets: str) -> float:
        return 2 * method.rank * sum(one.in_features + one.out_features for one in linears(prior.unet, targets).values())

    space = PLACES[slug].space
    if slug == "alignit":
        return needed("custom-diffusion", prior, method.base)
    if slug == "break-for-make":
        # Half of the columns of D: what a content has of a whole adapter.
        return row + low_rank(ATTENTION) / 4
    if slug == "hm-cfg":
        return row + low_rank(method.targets)
    return {
        "word": row * getattr(method, "vectors", 1), "word by time": 10 * row, "words behind a prompt": 2 * row * getattr(method, "tokens", 0),
        "weights, low rank": row + low_rank(ATTENTION) if hasattr(method, "rank") else 0.0,
        "weights, keys and values": row + low_rank(KEYS_VALUES) if hasattr(method, "rank") else 0.0,
        "weights, rank one": 2 * row + 4 * sum(one.width for one in cross),
        "text states": row, "attention features": 3.0 * REFERENCES * prior.size**2,
        # A mapper from (time, layer): 10 anchors a layer out of 2 x 1,024 waves, 128 wide, to a row and what goes past the encoder.
        "word by time and layer": 4 * (10 * len(cross) * (2048 + 128) + 128 * (128 + 2 * prior.dim)),
        "picture tokens": 4 * getattr(method, "tokens", 0) * (method.width if slug == "ppd" else 2 * prior.dim),
    }.get(space, float("nan"))  # fmt: skip


def check(seeds: Sequence[int], *, progress: bool = True) -> Outcome:
    """On the prior that comes with the package, few steps: what is counted does not hang on how well it learns."""
    prior, steps, rows = Prior.shapes(), [0], []
    handle = register_optimizer_step_post_hook(lambda *_: steps.__setitem__(0, steps[0] + 1))
    try:
        with tempfile.TemporaryDirectory() as folder:
            for seed in seeds:
                world = ShapesWorld()
                known = population(world, Path(folder), things=6, each=4, pairs=4, seed=seed)
                for slug in [one for one in PLACES if one in systems.SYSTEMS]:
                    rows.append(_one(slug, world, prior, known, Path(folder), seed, steps))
                    if progress:
                        print(rows[-1], flush=True)
    finally:
        handle.remove()
    moved = {row["slug"] for row in rows if (row["steps"] > 0) != (PLACES[row["slug"]].way in ("optimisation", "hybrid"))}
    sized = [row for row in rows if row["needed"] == row["needed"]]
    off = {row["slug"] for row in sized if not 0.5 <= row["bytes"] / row["needed"] <= 2}
    conditions = {
        "every method has a place": not unplaced(), "every value has a method or a note": not uncovered(),
        "steps as said": not moved, "bytes within a factor of 2": not off,
    }  # fmt: skip
    return Outcome(
        passed=all(conditions.values()),
        measured={"conditions": conditions, "methods": len(survey()), "gaps": sorted(GAPS), "steps not as said": sorted(moved),
                  "bytes not as said": sorted(off), "bytes without a formula": sorted({row["slug"] for row in rows} - {row["slug"] for row in sized}),
                  "rows": [row for row in rows if row["seed"] == seeds[0]]},
        baseline={}, state_bytes=float(np.median([row["bytes"] for row in rows])),
        why_null="A map has no gain, no swap gap and nothing to adapt; its bytes are the median of one thing's state over methods.",
    )  # fmt: skip


def _one(slug: str, world: ShapesWorld, prior: Prior, known: Population, folder: Path, seed: int, steps: list[int]) -> dict[str, Any]:
    """What a method does for one new thing, or one new person."""
    kind = systems.find(slug).resolve()
    small = {**FEW, "epochs": 1, "encoder_epochs": 2, "encoder_steps": 2, "class_images": 2, "word_steps": 1}
    few: dict[str, Any] = {name: value for name, value in small.items() if name in kind.__dataclass_fields__}
    if slug == "alignit":
        few["base"] = systems.make("custom-diffusion", **FEW)
    method = systems.make(slug, **few, seed=seed)
    if slug == "ppd":
        known = _choices(world, folder, seed)
    if slug == "iti-gen":
        # Its captions are of words alone.
        captioned = known.frame("images").collect().with_columns(pl.col("caption").str.replace_all("<[^>]+>", "critter"))
        known = Population.from_frames(images=captioned.unique("image", maintain_order=True))
    method.fit(known if method.population_frames else None, on=prior, **({"progress": False} if method.population_frames else {}))
    new = world.subjects(1, noun="critter", start=40 + seed)[0]
    scenes = world.references(new, REFERENCES, seed=seed)
    shown = Shown(name="<v>", class_word="critter", images=scenes.render(), masks=scenes.masks())
    if slug == "alignit":
        # It repairs what its base has learned; the learning is the base's.
        learned = method.base.learn(shown)
        before = steps[0]
        state = method.of(learned)
        method.draw(["a <v>"], [state])
    else:
        before = steps[0]
        state = _learned(slug, method, shown, world, seed)
    taken = steps[0] - before
    if slug == "zoodip":
        taken = int(state.notes["concepts"]["<v>"]["record"]["forward"])
    return {"slug": slug, "seed": seed, "steps": taken, "bytes": _bytes_of_one(slug, state), "needed": needed(slug, prior, method)}


def _learned(slug: str, method: Any, shown: Shown, world: ShapesWorld, seed: int) -> Any:
    if slug == "ppd":
        pictures = world.scenes(np.random.default_rng(seed), 8).render()
        return method.learn(Clicks(prompts=["a circle"] * 4, chosen=pictures[:4], rejected=pictures[4:]))
    if slug == "iti-gen":
        pictures = world.scenes(np.random.default_rng(seed), 8).render()
        return method.learn("a critter", {"kind": {"one": pictures[:4], "other": pictures[4:]}})
    if slug in ("break-a-scene", "disendiff"):
        pair = [world.subjects(1, noun=noun, start=40 + seed)[0] for noun in ("critter", "badge")]
        scenes, said = world.together(pair, 1, seed=seed), ["a <a> critter left of a <b> badge"]
        things = [
            Shown(name=f"<{name}>", class_word=one.noun, images=scenes.render(), masks=scenes.masks(place), captions=said)
            for place, (name, one) in enumerate(zip("ab", pair, strict=True))
        ]  # fmt: skip
        return method.learn(things)
    if slug == "break-for-make":
        scenes = world.scenes(np.random.default_rng(seed), 2)
        style = Shown(name="<s>", class_word="", images=255 - scenes.render(), captions=[f"{one} <s>" for one in scenes.captions()])
        return method.learn(Shown(**{**vars(shown), "options": {"beside": [style]}}))
    return method.learn(shown)


def _bytes_of_one(slug: str, state: Any) -> float:
    """Of a thing: a scene's weights are one whole, and a style or a content of Break-for-Make is one half beside what it learned against."""
    if slug == "break-for-make":
        return float(sum(value.nbytes for key, value in state.arrays.items() if "weights.up." not in key))
    return float(state.nbytes)


def _choices(world: ShapesWorld, folder: Path, seed: int) -> Population:
    """Few people with few choices, as pictures in files."""
    tastes = PictureTastes(people=World(people=8, items=40, seed=seed + 1), shapes=world)
    made = tastes.choices(range(4), 6)
    frame: dict[str, list[Any]] = {"image": [], "path": []}
    names: dict[str, list[str]] = {"chosen": [], "rejected": []}
    for side, scenes in (("chosen", made.chosen), ("rejected", made.rejected)):
        for number, picture in enumerate(scenes.render()):
            name = f"{side}-{seed}-{number}"
            path = folder / f"{name}.png"
            Image.fromarray(picture).save(path, compress_level=0)
            frame["image"].append(name)
            frame["path"].append(str(path))
            names[side].append(name)
    preferences = pl.DataFrame({"person": made.people, "prompt": made.prompts, **names})
    return Population.from_frames(preferences=preferences, images=pl.DataFrame(frame))

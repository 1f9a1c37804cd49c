"""`sartor draw`: pictures, and the prior that all drawing stands on."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from sartor.cli import _face, draw_table, pictures
from sartor.errors import ConfigError, CorruptFile, FileProblem, MissingExtra

if TYPE_CHECKING:
    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts.prior import Prior
    from sartor.draw.parts.prior_training import Recipe


class Group(TyperGroup):
    """What is no command is a prompt: `sartor draw --concept mug=photos/ "a <mug> on a beach"`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["picture", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=Group, no_args_is_help=True, help="Pictures of a person's things, in a person's taste.")
app.command("learn")(pictures.learn)
app.command("picture")(pictures.picture)
app.command("about")(pictures.about)
app.command("table")(draw_table.table)
NOTE = "train.json"
"""In the checkpoint's folder: what the run is about, so that the same command goes on with it."""
STEPS = 20_000
SNAPSHOT = 2_000
"""Steps between two writings of the averaged weights."""

Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps.")]
Each = Annotated[int, typer.Option("--each", min=2, help="Captions of each kind that prompt following is measured on.")]


@app.command("train-prior")
def train_prior(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the prior; written every 2,000 steps and at the end.")] = Path("shapes-prior"),
    steps: Annotated[int | None, typer.Option("--steps", min=1, help=f"Default: {STEPS}.")] = None,
    minutes: Annotated[float | None, typer.Option("--minutes", min=0.01, help="As many steps as fit, by a measurement on this machine.")] = None,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 16,
    start: Annotated[Path | None, typer.Option("--start", help="A trained prior to go on from. Default: an untrained one.")] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Default: 6e-4.")] = None,
    decay: Annotated[float | None, typer.Option("--decay", help="Share of the steps, at the end, over which the rate falls. Default: 0.3.")] = None,
    noisy: Annotated[float | None, typer.Option("--noisy", help="Share of pictures shown at the noisiest times only. Default: 0.5.")] = None,
    heaviest: Annotated[float | None, typer.Option("--heaviest", help="Largest weight of nearly clean pictures. Default: 2.")] = None,
    simple: Annotated[int | None, typer.Option("--simple", help="Steps of single objects first. Default: 3000; 0 with --start.")] = None,
    widths: Annotated[str, typer.Option("--widths", help="Channels of each level, multiples of 16.")] = "64,96",
    seed: Annotated[int, typer.Option("--seed", help="Of weights and pictures.")] = 0,
    world_seed: Annotated[int, typer.Option("--world-seed", help="Of what the world holds out.")] = 0,
    checkpoint: Annotated[Path | None, typer.Option("--checkpoint", help="Folder for resumable progress. Default: OUT.checkpoint")] = None,
    each: Each = 64,
    device: Device = "cpu",
    as_json: _face.Json = False,
) -> None:
    """Train the small text-to-picture prior on the shapes world, and measure how well it draws what is said.

    Press Ctrl-C at any time: the same command goes on where it stopped, and OUT holds the averaged weights of at most 2,000 steps before.
    A step takes about 0.16 CPU-seconds on one thread; 20,000 of them about 55 minutes.

        sartor draw train-prior --steps 20000 --out shapes-prior

    A second run that looks harder at what is nearly clean, once the words are heard:

        sartor draw train-prior --start shapes-prior --learning-rate 1e-3 --decay 0.5 --noisy 0.3 --heaviest 5 --out finer-prior
    """
    check_extra()
    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts import prior_training
    from sartor.draw.parts.prior import Prior

    if steps is not None and minutes is not None:
        raise ConfigError("both --steps and --minutes", fix="give one")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / "card.json").is_file())):
        raise FileProblem("this holds something other than a prior", fix="choose another --out", file=out)
    world, folder = ShapesWorld(seed=world_seed), checkpoint or out.with_name(f"{out.name}.checkpoint")
    simple = 0 if start is not None and simple is None else simple
    given = {"learning_rate": learning_rate, "decay": decay, "noisy": noisy, "heaviest": heaviest, "simple": simple}
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    recipe = prior_training.Recipe(steps=steps or STEPS, batch=batch, widths=_widths(widths), seed=seed, **settings)
    if start is not None and start.resolve() == out.resolve():
        raise ConfigError("--start is --out", fix="write into another folder, so that a stopped run can go on from the same start", file=out)
    first = None if start is None else Prior.load(start)
    prior_training.begun(recipe, first)
    recipe = _agreed(folder, world, recipe, minutes, device, "" if first is None else first.fingerprint)
    _face.session().resume = lambda: f"the same command goes on from {folder}; remove that folder to start again"
    begun, cpu = time.perf_counter(), time.process_time()

    # A run that goes on knows its rate from its second snapshot on.
    marks = [] if (folder / "progress.safetensors").exists() else [(0, begun)]

    def snapshot(made: Prior) -> None:
        made.to("cpu").save(out)
        done, now, text = made.card["steps"], time.perf_counter(), ""
        if marks:
            rate = (now - marks[-1][1]) / (done - marks[-1][0])
            text = f"; {rate:.3f} s a step, {_face.duration((recipe.steps - done) * rate)} left"
        marks.append((done, now))
        _face.say(f"{done:,} of {recipe.steps:,} steps are in {out}{text}")

    prior = _finished(out, folder, recipe)
    if prior is None:
        prior = prior_training.train_prior(
            world, recipe, start=first, progress=True, checkpoint=folder, device=device, snapshot=snapshot, every=SNAPSHOT
        ).to("cpu")
    seconds = {"seconds": round(time.perf_counter() - begun, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    prior.save(out)
    prior.card |= {"last_run": seconds, "following": _measure(prior.to(device), world, each), "parameters": prior.parameters}
    prior.to("cpu").save(out)
    (folder / NOTE).unlink()
    folder.rmdir()
    _show(out, prior.card, as_json)


@app.command("prior")
def prior(
    folder: Annotated[Path, typer.Argument(help="Folder of a prior.")],
    each: Each = 64,
    seed: Annotated[int, typer.Option("--seed", help="Of the captions; the card's were measured with 100.")] = 100,
    device: Device = "cpu",
    as_json: _face.Json = False,
) -> None:
    """Measure how well a prior of the shapes world draws what full captions say, beside chance and the renderer's own pictures."""
    check_extra()
    from sartor.data.world.shapes import ShapesWorld
    from sartor.draw.parts.prior import Prior

    made = Prior.load(folder).to(device)
    if "world" not in made.card:
        raise ConfigError("this prior was not trained on the shapes world", fix="give one that `sartor draw train-prior` made", file=folder)
    world = ShapesWorld(**made.card["world"])
    _show(folder, {**made.card, "following": _measure(made, world, each, seed=seed), "parameters": made.parameters}, as_json)


def check_extra() -> None:
    """Raise `MissingExtra` before anything else is looked at."""
    for name in ("torch", "transformers", "diffusers"):
        if importlib.util.find_spec(name) is None:
            raise MissingExtra(name, "draw")


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError as cause:
        raise ConfigError(f"--widths is '{text}'", fix="write e.g. 64,96") from cause


def _agreed(folder: Path, world: ShapesWorld, recipe: Recipe, minutes: float | None, device: str, start: str) -> Recipe:
    """The recipe with its number of steps: measured once for --minutes, and the same from then on."""
    from dataclasses import asdict, replace

    from sartor._storage import write_atomically
    from sartor.draw.parts.prior_training import seconds_per_step

    asked = json.loads(
        json.dumps({**asdict(recipe), "steps": None if minutes else recipe.steps, "minutes": minutes, "start": start, "world": asdict(world)})
    )
    note = folder / NOTE
    if note.is_file():
        try:
            left = dict(json.loads(note.read_bytes()))
            steps = int(left.pop("agreed"))
        except (ValueError, TypeError, KeyError) as cause:
            raise CorruptFile("the checkpoint's note cannot be read", fix="remove the folder to start again", file=note) from cause
        if left != asked:
            differs = ", ".join(f"{name} {left.get(name)!r}" for name in asked if left.get(name) != asked[name])
            raise ConfigError(f"this checkpoint was left by another run (with {differs})", fix="use another folder, or remove this one", file=folder)
        _face.say(f"going on from {folder}")
        return replace(recipe, steps=steps)
    if minutes:
        recipe = replace(recipe, steps=max(1, round(60 * minutes / seconds_per_step(world, recipe, device=device))))
        _face.say(f"{recipe.steps:,} steps fit into {minutes:g} minutes")
    write_atomically(note, json.dumps({**asked, "agreed": recipe.steps}).encode())
    return recipe


def _finished(out: Path, folder: Path, recipe: Recipe) -> Prior | None:
    """The trained prior, when only measuring it was left to do."""
    from dataclasses import asdict

    from sartor.draw.parts.prior import Prior

    if (folder / "progress.safetensors").exists() or not (out / "card.json").is_file():
        return None
    prior = Prior.load(out)
    same = prior.card.get("recipe") == json.loads(json.dumps(asdict(recipe))) and prior.card["steps"] == recipe.steps
    return prior if same and "following" not in prior.card else None


def _measure(made: Prior, world: ShapesWorld, each: int, *, seed: int = 100) -> dict[str, Any]:
    """Kind -> {drawn, chance, ceiling}, and the seconds that a picture takes."""
    import numpy as np

    from sartor.draw.parts.sampler import sample
    from sartor.evaluate.pictures import following
    from sartor.progress import bar

    spent = [0.0, 0]
    with bar("measuring", 4 * each, unit="pictures") as shown:

        def draw(prompts: Any, seeds: Any) -> np.ndarray:
            parts = []
            for start in range(0, len(prompts), 32):
                begun, some = time.perf_counter(), slice(start, start + 32)
                parts.append(made.images(sample(made, made.encode(prompts[some]), seeds[some])))
                spent[0] += time.perf_counter() - begun
                spent[1] += len(parts[-1])
                shown.advance(len(parts[-1]))
            return np.concatenate(parts)

        table = following(draw, world, each=each, seed=seed)
    return {**table, "each": each, "seed": seed, "seconds_per_image": spent[0] / spent[1], "steps": 20, "guidance": made.guidance}


def _show(folder: Path, card: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _face.emit({"prior": str(folder), **{name: value for name, value in card.items() if name != "vocabulary"}})
        return
    from sartor.evaluate.pictures import ATTRIBUTES

    measured = card["following"]
    rows = [
        [kind if which == "drawn" else "", which, *(measured[kind][which].get(name) for name in (*ATTRIBUTES, "all"))]
        for kind in ("one", "relation", "equal", "unseen pair")
        for which in ("drawn", "chance", "ceiling")
    ]
    title = f"{folder}: {card['parameters'] / 1e6:.2f} million weights, {card['steps']:,} steps, {measured['seconds_per_image']:.3f} s per picture"
    _face.stdout().print(_face.table(title, ["pictures of", "", *ATTRIBUTES, "all"], rows, left=2))

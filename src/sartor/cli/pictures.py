"""`sartor draw learn` and `sartor draw picture`: a person's things from a few photos, and pictures of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _drawing, _face, _settings, _things
from sartor.errors import BadPrompt, ConfigError, FileProblem

if TYPE_CHECKING:
    from sartor.draw._base import ConceptMethod
    from sartor.method import State

METHOD = "textual-inversion"

Things = Annotated[list[str], typer.Option("--concept", "-c", metavar="NAME=PATH", help="A thing: a folder of photos, a photo, or a learned file.")]
Classes = Annotated[
    list[str] | None,
    typer.Option("--class", metavar="[NAME=]WORD", help="What it is, in a word of the model. Default: its name.", show_default=False),
]
Triggers = Annotated[
    list[str] | None,
    typer.Option("--trigger", metavar="[NAME=]WORD", help="The word a LoRA file was trained on. Default: the class.", show_default=False),
]
Method = Annotated[str, typer.Option("--method", "-m", help="How things are learned from photos: `sartor systems --room draw`.")]
PriorOption = Annotated[str, typer.Option("--prior", help='"shapes", or the folder of a prior of ours or of a Stable Diffusion (1.x, 2.x, XL).')]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, mps.")]
Kind = Annotated[str | None, typer.Option("--dtype", help="fp16 or bf16: half the memory, for GPUs.", show_default=False)]


def learn(
    concept: Things,
    out: Annotated[Path, typer.Option("--out", "-o", help="The learned file; with several things, a folder.")],
    class_: Classes = None,
    method: Method = METHOD,
    set_: _settings.Set = None,
    prior: PriorOption = "shapes",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    embeddings: Annotated[
        Path | None, typer.Option("--embeddings", help="Also as learned_embeds.safetensors, for diffusers.", show_default=False)
    ] = None,
    lora: Annotated[Path | None, typer.Option("--lora", help="Also the weights as a LoRA folder, for diffusers.", show_default=False)] = None,
    device: Device = "cpu",
    dtype: Kind = None,
    as_json: _face.Json = False,
) -> None:
    """Learn things from three to five photos of each, into small files without the photos.

    sartor draw learn --concept mug=photos/ --class mug --prior my-stable-diffusion --out mug.safetensors
    """
    from sartor.cli.draw import check_extra

    check_extra()
    from sartor.draw import concepts as files

    things = _things.pairs(concept, "--concept")
    if len(things) > 1 and out.suffix:
        raise ConfigError("several things do not go into one file", fix="give --out a folder")
    if lora is not None and len(things) > 1:
        raise ConfigError("several things do not go into one LoRA", fix="learn one at a time with --lora")
    base = _things.prior(prior, device, dtype)
    made: ConceptMethod = _things.method(method, set_, prior, seed)
    made.fit(on=base)
    shown = _things.shown(base, things, _things.words(class_, things, "--class"))
    start, cpu = time.perf_counter(), time.process_time()
    state = made.learn(shown, seed=seed, progress=True)
    spent = {"seconds": round(time.perf_counter() - start, 3), "cpu_seconds": round(time.process_time() - cpu, 3)}
    written = {}
    for name in files.names(state):
        path = out if len(things) == 1 else out / f"{name.strip('<>')}.safetensors"
        written[name] = files.concept_of(made, state, name).save(path)
    more = [str(files.write_embeddings(base, state, embeddings))] if embeddings is not None else []
    more += [str(files.write_weights(state, files.names(state)[0], lora))] if lora is not None else []
    facts = {name: _facts(state, name, path) for name, path in written.items()}
    if as_json:
        _face.emit({"concepts": facts, "method": method, "prior": base.fingerprint, "also": more, **spent})
        return
    rows = [[name, one["class"], one["images"], one["steps"], _face.size(one["bytes"]), one["file"]] for name, one in facts.items()]
    title = f"{method}, {_face.duration(spent['seconds'])}"
    _face.stdout().print(_face.table(title, ["thing", "class", "photos", "steps", "learned", "file"], rows, left=2))
    for one in more:
        _face.say(f"also {one}")


def picture(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT...", help='What to draw: "a <mug> on a beach". One picture of each.')],
    concept: Annotated[
        list[str] | None,
        typer.Option("--concept", "-c", metavar="NAME=PATH", help="A learned file, or photos to learn from now.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture; several are numbered: out-1.png, out-2.png.")] = Path("out.png"),
    class_: Classes = None,
    trigger: Triggers = None,
    method: Method = METHOD,
    set_: _settings.Set = None,
    prior: PriorOption = "shapes",
    seed: Annotated[int, typer.Option("--seed", help="Of the first picture; the same seed draws the same.")] = 0,
    count: Annotated[int, typer.Option("--n", min=1, max=256, help="Pictures of each prompt, with seeds one after another.")] = 1,
    strength: Annotated[
        list[str] | None,
        typer.Option(
            "--strength",
            metavar="[NAME=]0..2",
            help="How much learned weights count, of all or of one; nothing is learned again.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option("--region", metavar="NAME=WHERE", help="left, top-right, ..., a box 0,0,0.5,1, or a mask file.", show_default=False),
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, max=1000, help="Of drawing. Default: the method's.", show_default=False)] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", min=1, max=50, help="How much the prompt counts. Default: the method's.", show_default=False)
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Also a contact sheet: reference, population, personalised, someone else's.", show_default=False)
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option("--reference", metavar="NAME=PHOTOS", help="For the sheet: photos of a learned thing.", show_default=False)
    ] = None,
    other: Annotated[
        list[str] | None, typer.Option("--other", metavar="NAME=FILE", help="For the sheet: the same thing of somebody else.", show_default=False)
    ] = None,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="A picture of all that is being drawn, written again as it becomes clear.", show_default=False)
    ] = None,
    preview_every: Annotated[int, typer.Option("--preview-every", min=1, metavar="STEPS", help="How often.")] = 5,
    device: Device = "cpu",
    dtype: Kind = None,
    as_json: _face.Json = False,
) -> None:
    """Draw a person's things wherever the prompt says; every PNG says inside that it was generated, and from what.

    sartor draw picture "a <mug> on a beach" --concept mug=mug.safetensors --seed 7 --out beach.png
    sartor draw --concept mug=photos/ "a <mug> on a beach"                    learns first
    sartor draw -c mug=mug.safetensors -c bowl=bowl.safetensors "a <mug> and a <bowl>" --region mug=left --region bowl=right --strength mug=0.7
    """
    from sartor.cli.draw import check_extra

    check_extra()
    from sartor import _storage
    from sartor.draw.concepts import hashes, request_options, slug_of
    from sartor.draw.parts.picture_files import png

    things = _things.pairs(concept or [], "--concept")
    _check_asked(prompts, things, out)
    if (other or reference) and sheet is None:
        raise ConfigError("--other and --reference are for the contact sheet", fix="add --sheet sheet.png")
    base = _things.prior(prior, device, dtype)
    words, marks = _things.words(class_, things, "--class"), _things.words(trigger, things, "--trigger")
    settings = {name: value for name, value in (("sampling_steps", steps), ("guidance", guidance)) if value is not None}
    spent = time.perf_counter()
    opened, photos = _things.things(base, things, words, marks, _things.method(method, set_, prior, 0, **settings), settings)
    photos |= {one.name: one.images for one in _things.shown(base, _things.pairs(reference or [], "--reference"), {})}
    options = request_options(opened.method, opened.state, _things.strengths(strength, things), _things.regions(region))
    texts = [text for text in prompts for _ in range(count)]
    seeds = [seed + number for _ in prompts for number in range(count)]
    learned, begun = time.perf_counter() - spent, time.perf_counter()
    drawn = _drawing.draw(
        opened, texts, seeds, opened.state, options, preview=None if preview is None else _drawing.Growing(preview, preview_every, len(texts))
    )
    seconds = time.perf_counter() - begun
    paths = []
    for number, one in enumerate(drawn):
        path = out if len(texts) == 1 else out.with_name(f"{out.stem}-{number + 1}{out.suffix}")
        facts = _drawing.facts_of(opened, texts[number], seeds[number], _drawing.told(options))
        _storage.write_atomically(path, png(one, facts))
        paths.append(path)
    if sheet is not None:
        _storage.write_atomically(
            sheet, _drawing.contact_sheet(base, opened, texts, seeds, drawn, photos, words, _things.pairs(other or [], "--other"), options, settings)
        )
    result = {
        "files": [str(path) for path in paths], "sheet": None if sheet is None else str(sheet), "prompts": texts, "seeds": seeds,
        "prior": base.fingerprint,
        "method": slug_of(opened.method), "concepts": hashes(opened.state), "size": base.size,
        "seconds": round(seconds, 3), "seconds_to_open_or_learn": round(learned, 3),
    }  # fmt: skip
    if as_json:
        _face.emit(result)
        return
    rows = [[str(path), text, str(number)] for path, text, number in zip(paths, texts, seeds, strict=True)]
    title = f"{slug_of(opened.method)}, {_face.duration(seconds / len(texts))} a picture"
    _face.stdout().print(_face.table(title, ["file", "prompt", "seed"], rows, left=2))
    if sheet is not None:
        _face.say(f"contact sheet: {sheet}")


def about(file: Annotated[Path, typer.Argument(help="A PNG picture.")], as_json: _face.Json = False) -> None:
    """What a picture says of how it was generated."""
    from sartor.draw.parts.picture_files import facts_in

    facts = facts_in(file)
    if as_json:
        _face.emit({"file": str(file), "generated": facts is not None, "facts": facts})
    elif facts is None:
        _face.say(f"{file} says nothing of how it was made")
    else:
        _face.stdout().print(_face.table(str(file), ["", ""], [[name, str(value)] for name, value in facts.items()], left=2))


def _facts(state: State, name: str, path: Path) -> dict[str, Any]:
    facts = state.notes["concepts"][name]
    size = sum(array.nbytes for key, array in state.arrays.items() if key.startswith(f"{name}/"))
    steps = facts.get("record", {}).get("steps") or [0]
    return {
        "file": str(path),
        "class": facts["class_word"],
        "images": facts["images"],
        "steps": sum(steps),
        "bytes": size,
        "file_bytes": path.stat().st_size,
    }


def _check_asked(prompts: Sequence[str], things: Mapping[str, Path], out: Path) -> None:
    """Raise what can be told before anything is learned or opened."""
    # What is named and not known is told later, with what there is.
    if things and not any("<" in prompt for prompt in prompts):
        names = " or ".join(f"<{name}>" for name in things)
        raise BadPrompt(f"no prompt says {names}", fix=f"write it where the thing should be: a <{next(iter(things))}> on a beach")
    if out.is_dir():
        raise FileProblem("this is a folder", fix="name a file: out.png", file=out)
    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out is '{out}'", fix="pictures are PNG, which say inside how they were made: out.png")

"""`sartor draw learn` and `sartor draw picture`: a person's things from a few photos, and pictures of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sartor.cli import _face, _settings, _things
from sartor.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from sartor.draw._base import ConceptMethod
    from sartor.draw.concepts import Opened
    from sartor.draw.parts.prior import Prior
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
    from sartor.draw.concepts import request_options
    from sartor.draw.parts.picture_files import png

    things = _things.pairs(concept or [], "--concept")
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
    drawn = _drawn(opened, texts, seeds, opened.state, options, preview=None if preview is None else _Growing(preview, preview_every, len(texts)))
    seconds = time.perf_counter() - begun
    paths = []
    for number, one in enumerate(drawn):
        path = out if len(texts) == 1 else out.with_name(f"{out.stem}-{number + 1}{out.suffix}")
        facts = facts_of(opened, texts[number], seeds[number], told(options))
        _storage.write_atomically(path, png(one, facts))
        paths.append(path)
    if sheet is not None:
        _storage.write_atomically(
            sheet, _sheet(base, opened, texts, seeds, drawn, photos, words, _things.pairs(other or [], "--other"), options, settings)
        )
    result = {
        "files": [str(path) for path in paths], "sheet": None if sheet is None else str(sheet), "prompts": texts, "seeds": seeds,
        "prior": base.fingerprint,
        "method": _slug(opened), "concepts": _hashes(opened), "size": base.size,
        "seconds": round(seconds, 3), "seconds_to_open_or_learn": round(learned, 3),
    }  # fmt: skip
    if as_json:
        _face.emit(result)
        return
    rows = [[str(path), text, number] for path, text, number in zip(paths, texts, seeds, strict=True)]
    title = f"{_slug(opened)}, {_face.duration(seconds / len(texts))} a picture"
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


def facts_of(opened: Opened, prompt: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """What goes into a picture's file: no path, no photo, nothing of a person but her words."""
    method = opened.method
    return {
        "prompt": prompt, "seed": seed, "method": _slug(opened), "prior": method.prior_fingerprint_, "concepts": _hashes(opened),
        "steps": method.sampling_steps,
        "guidance": method.bundle.guidance if method.guidance is None else method.guidance, **options,
    }  # fmt: skip


# --- pieces


class _Growing:
    """The pictures that are being drawn side by side in one file, which is written again at every look."""

    def __init__(self, path: Path, every: int, count: int) -> None:
        self.path, self.every = path, every
        self.now: list[np.ndarray | None] = [None] * count

    def see(self, step: int, rows: list[int], pictures: np.ndarray) -> None:
        from sartor import _storage
        from sartor.draw.parts.picture_files import png, sheet

        for row, one in zip(rows, pictures, strict=True):
            self.now[row] = one
        wide = min(4, len(self.now))
        lines = [self.now[start : start + wide] for start in range(0, len(self.now), wide)]
        lines[-1] += [None] * (wide - len(lines[-1]))
        page = sheet(lines, [""] * wide, [f"step {step}"] + [""] * (len(lines) - 1), side=max(192, pictures.shape[1]))
        _storage.write_atomically(self.path, png(page, {"prompt": "", "preview": step}))


def told(options: dict[str, Any]) -> dict[str, Any]:
    """Request options as a picture's file can say them: of a mask, how much of the picture it is."""
    import numpy as np

    def plain(one: Any) -> Any:
        return {"mask": round(float(np.mean(one)), 3)} if isinstance(one, np.ndarray) else list(one) if isinstance(one, tuple) else one

    return {key: {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value for key, value in options.items()}


def _drawn(
    opened: Opened, texts: list[str], seeds: list[int], state: State | None, options: dict[str, Any], classes: dict[str, str] | None = None,
    preview: _Growing | None = None,
) -> np.ndarray:  # fmt: skip
    """With a bar that counts steps of drawing."""
    from sartor.draw._base import DRAWN_AT_ONCE
    from sartor.draw.parts.previews import Preview
    from sartor.progress import bar, reporting

    total = -(-len(texts) // DRAWN_AT_ONCE) * opened.method.sampling_steps
    seen = None if preview is None else Preview(preview.every, preview.see)
    with bar("drawing", total, unit="steps") as shown, reporting(lambda *_: shown.advance()):
        return opened.method.draw(texts, [state] * len(texts), seeds=seeds, classes=classes, preview=seen, **(options if state is not None else {}))


def _sheet(
    prior: Prior, opened: Opened, texts: list[str], seeds: list[int], drawn: np.ndarray, photos: dict[str, np.ndarray], words: dict[str, str],
    other: dict[str, Path], options: dict[str, Any], settings: dict[str, Any],
) -> bytes:  # fmt: skip
    from sartor.draw.concepts import open_concepts
    from sartor.draw.parts.picture_files import png, sheet

    classes = {name: facts["class_word"] for name, facts in opened.state.notes["concepts"].items()}
    columns: dict[str, list[np.ndarray | None]] = {}
    if photos:
        references = [[image for name, images in photos.items() if name in text for image in images] for text in texts]
        columns["reference"] = [own[number % len(own)] if own else None for number, own in enumerate(references)]
    columns["population"] = list(_drawn(opened, texts, seeds, None, {}, classes))
    columns["personalised"] = list(drawn)
    if other:
        theirs = open_concepts(prior, other, classes={name: word for name, word in words.items() if name in other}, **settings)
        columns["someone else's"] = list(_drawn(theirs, texts, seeds, theirs.state, options))
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    page = sheet(rows, list(columns), [f"{text}   seed {number}" for text, number in zip(texts, seeds, strict=True)], side=max(192, prior.size))
    return png(
        page, {"prompt": "; ".join(dict.fromkeys(texts)), "method": _slug(opened), "prior": opened.method.prior_fingerprint_, "sheet": list(columns)}
    )


def _slug(opened: Opened) -> str:
    from sartor.draw.concepts import slug_of

    return slug_of(opened.method)


def _hashes(opened: Opened) -> dict[str, str]:
    from sartor.draw.concepts import hashes

    return hashes(opened.state)


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

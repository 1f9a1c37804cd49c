"""Learned things as files: a concept of ours, and the two forms that people have of Stable Diffusion (learned embeddings, LoRA)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sartor.draw._base import ConceptMethod, Strength
from sartor.draw.dreambooth import DreamBooth
from sartor.draw.parts.concept_file import ConceptFile
from sartor.draw.parts.lora_files import read_lora, write_lora
from sartor.draw.parts.picture_files import digest
from sartor.draw.parts.prior import Prior
from sartor.draw.parts.regions import Region
from sartor.draw.parts.tokens import NAME, Concept, load_embeds, of_word, save_embeds
from sartor.draw.textual_inversion import TextualInversion
from sartor.errors import ConfigError, CorruptFile, FileProblem, UnknownId
from sartor.method import State

Form = Literal["concept", "embeddings", "lora"]
LEARNING = frozenset(
    {"seed", "prior", "steps", "learning_rate", "word_rate", "batch", "rank", "class_weight", "class_images", "sampling_steps", "guidance"}
)
"""Settings that say how a thing was learned and nothing of how it is drawn: concepts that differ in them go into one picture."""


@dataclass(frozen=True, eq=False)
class Opened:
    """Things from files, ready to be drawn."""

    method: ConceptMethod
    state: State


def bare(name: str) -> str:
    """ "mug" or "<mug>" as it stands in prompts: "<mug>"; raises `ConfigError`."""
    word = name if name.startswith("<") else f"<{name}>"
    if not NAME.fullmatch(word) or "/" in word or "\\" in word:
        raise ConfigError(f"'{name}' is not a name of a concept", fix="write a word without spaces, brackets and slashes: mug")
    return word


def concept_of(method: ConceptMethod, state: State, name: str, *, consent: str = "draw") -> ConceptFile:
    """One thing of a state as a file can hold it; raises `UnknownId`, and `ConfigError` where things of a state do not stand apart."""
    method.check_state(state)
    name, things = bare(name), state.notes["concepts"]
    if name not in things:
        raise UnknownId("the state has no such concept", id=name, fix=f"it has {', '.join(things)}")
    if shared := sorted(key for key in state.arrays if key.partition("/")[0] not in things):
        raise ConfigError(f"this state holds '{shared[0]}' for all its things", fix="keep the whole state")
    facts = things[name]
    arrays = {key.partition("/")[2]: value for key, value in state.arrays.items() if key.startswith(f"{name}/")}
    settings = {one.name: getattr(method, one.name) for one in fields(method) if one.init and one.name != "prior"}
    record = {key: value for key, value in facts.items() if key not in ("class_word", "images", "hashes")}
    return ConceptFile(
        arrays, slug_of(method), method.prior_fingerprint_, facts["class_word"], [name], facts["images"], list(facts["hashes"]), consent,
        settings={"method": {key: value for key, value in settings.items() if _is_plain(value)}, **record},
    )  # fmt: skip


def form_of(path: str | Path) -> Form:
    """Which kind of file this is; raises `FileProblem` and `CorruptFile`."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if path.is_dir() and (path / "pytorch_lora_weights.safetensors").is_file():
        return "lora"
    if not path.is_file():
        raise FileProblem("there is no concept here", fix="check the path", file=path)
    try:
        with safe_open(path, framework="np") as opened:
            keys, facts = list(opened.keys()), opened.metadata() or {}
    except (SafetensorError, OSError) as cause:
        raise CorruptFile("this is not a whole safetensors file", fix="save it again", file=path) from cause
    if any(".lora_" in key or "_lora." in key for key in keys):
        return "lora"
    return "embeddings" if not keys or set(facts) <= {"format"} else "concept"


def open_concepts(
    prior: Prior, files: Mapping[str, str | Path], *, classes: Mapping[str, str] | None = None, triggers: Mapping[str, str] | None = None,
    **settings: Any,
) -> Opened:  # fmt: skip
    """Things from files under the names that prompts will say.

    Parameters
    ----------
    files: name -> a concept of ours, learned embeddings (`learned_embeds.safetensors`), or a LoRA of diffusers (a file or its folder).
    classes: what each is, where the file does not say (embeddings and LoRA); by default the name itself.
    triggers: the words that a LoRA was trained on ("sks"); by default the class word.
    settings: of drawing, such as `sampling_steps`, in place of the file's.

    All must be by one method and of this prior. Raises `StateMismatch`, `ConfigError`, `FileProblem`, `CorruptFile`.
    """
    from sartor import systems

    if not files:
        raise ConfigError("there is no concept", fix="give at least one")
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    made: dict[str, tuple[str, dict[str, Any]]] = {}
    for given, path in files.items():
        name = bare(given)
        if name in facts:
            raise ConfigError(f"two concepts are called {name}", fix="rename one")
        class_word = (classes or {}).get(given, name.strip("<>"))
        own, facts[name], made[name] = _read(prior, Path(path), name, class_word, (triggers or {}).get(given), by_class=given in (classes or {}))
        arrays |= {f"{name}/{key}": value for key, value in own.items()}
    slug, known = next(iter(made.values()))
    for name, (other, theirs) in made.items():
        if other != slug:
            first = next(iter(made))
            raise ConfigError(f"{first} was learned by {slug}, {name} by {other}", fix="learn both by one method to draw them in one picture")
        if differing := sorted(key for key in {*known, *theirs} - LEARNING if known.get(key) != theirs.get(key)):
            raise ConfigError(f"{name} was learned with another {differing[0]}", fix="learn both with the same settings")
    method: ConceptMethod = systems.make(slug, **{**known, **settings})
    if method.population_frames:
        raise ConfigError(f"{slug} learns from others, too: a concept alone cannot be drawn", fix="open the fitted model with sartor.load(folder)")
    method.fit(on=prior)
    for name, one in facts.items():
        method.check_record(name, one.get("record", {}))
    return Opened(method, method.make_state(arrays, notes={"concepts": facts}, examples=sum(one["images"] for one in facts.values())))


def _read(
    prior: Prior, path: Path, name: str, class_word: str, trigger: str | None, *, by_class: bool
) -> tuple[dict[str, np.ndarray], dict[str, Any], tuple[str, dict[str, Any]]]:
    """Tensors, facts, and the method with its settings."""
    from sartor import systems

    form = form_of(path)
    if form == "concept":
        file = ConceptFile.load(path, prior=prior.fingerprint)
        known = systems.SYSTEMS.get(file.method) if isinstance(file.method, str) else None
        kind = None if known is None else known.resolve()
        if not (isinstance(kind, type) and issubclass(kind, ConceptMethod)):
            raise CorruptFile(f"it says that {file.method!r} has learned it, which learns no things from pictures", fix="learn it again", file=path)
        if "rows" in file.arrays and file.arrays["rows"].shape[-1:] != (prior.dim,):
            what = f"its rows are {list(file.arrays['rows'].shape)}, the text encoder takes {prior.dim}"
            raise CorruptFile(what, fix="learn it again with this prior", file=path)
        record = {key: value for key, value in file.settings.items() if key != "method"}
        facts = {"class_word": class_word if by_class else file.class_word, "images": file.n_images, "hashes": list(file.image_hashes), **record}
        return dict(file.arrays), facts, (file.method, dict(file.settings.get("method", {})))
    facts = {"class_word": class_word, "images": 0, "hashes": [], "record": {"from": form}}
    if form == "embeddings":
        (word, *more) = load_embeds(path, dim=prior.dim)
        if more:
            raise ConfigError(f"this file holds {1 + len(more)} words", fix="give a file with one", file=path)
        return {"rows": word.rows.numpy()}, facts, (slug_of(TextualInversion()), {})
    changes = read_lora(prior.unet, path, text_encoder=prior.text_encoder)
    weights = {f"weights.{key}": value.numpy().astype(np.float16) for key, value in changes.items()}
    rows = of_word(prior.text_encoder, prior.tokenizer, trigger or class_word).float().cpu().numpy()
    return {"rows": rows, **weights}, facts, (slug_of(DreamBooth()), {})


def write_embeddings(prior: Prior, state: State, path: str | Path) -> Path:
    """The words of a state as people exchange them; raises `ConfigError` where a thing is more than a word, and for several of an SDXL."""
    import torch

    words = []
    for name in state.notes["concepts"]:
        own = {key.partition("/")[2] for key in state.arrays if key.startswith(f"{name}/")}
        if own != {"rows"}:
            raise ConfigError(
                f"{name} is more than a word: {', '.join(sorted(own - {'rows'})[:2])} ...", fix="use textual-inversion, or keep the concept"
            )
        words.append(Concept(name, torch.from_numpy(state.arrays[f"{name}/rows"].copy())))
    return save_embeds(path, words, widths=prior.widths)


def write_weights(state: State, name: str, path: str | Path) -> Path:
    """The low-rank weights of one thing as diffusers has them (its word is not among them: `write_embeddings` of that alone has no such form).

    Raises `ConfigError` where it has none.
    """
    head = f"{bare(name)}/weights."
    arrays = {key.removeprefix(head): value for key, value in state.arrays.items() if key.startswith(head)}
    if not arrays or not all(key.endswith((".A", ".B")) for key in arrays):
        raise ConfigError(f"{name} has no low-rank weights", fix="learn it with a method that has them: --method dreambooth")
    return write_lora(arrays, path)


def names(state: State) -> Sequence[str]:
    """The things of a state."""
    return list(state.notes.get("concepts", {}))


def request_options(method: ConceptMethod, state: State, strength: Strength | None, regions: Mapping[str, Region] | None = None) -> dict[str, Any]:
    """What `draw` takes for a strength, of all things or of each, and for regions, by names with or without brackets.

    Raises `ConfigError` for names that the state does not have, and where the method or what was learned has no strength.
    """
    options: dict[str, Any] = {}
    if regions:
        options["regions"] = {_known(state, name, "region"): one for name, one in regions.items()}
    if strength is None or strength == {}:
        return options
    fix = "leave the strength out, or use a method with weights: dreambooth"
    if "strength" not in inspect.signature(method._plan).parameters:
        raise ConfigError(f"{slug_of(method)} has no strength", fix=fix)
    if not any("/weights." in key for key in state.arrays):
        raise ConfigError("what was learned has no weights, and so no strength", fix=fix)
    each = {_known(state, name, "strength"): one for name, one in strength.items()} if isinstance(strength, Mapping) else strength
    return {**options, "strength": each}


def _known(state: State, name: str, what: str) -> str:
    if bare(name) not in state.notes["concepts"]:
        raise ConfigError(f"there is a {what} for {bare(name)}, which is not a concept here", fix=f"there are {', '.join(names(state)) or 'none'}")
    return bare(name)


def hashes(state: State) -> dict[str, str]:
    """Thing -> digest of what was learned of it, by which a picture names what it was drawn from."""
    return {name: digest({key: value for key, value in state.arrays.items() if key.startswith(f"{name}/")}) for name in names(state)}


def slug_of(method: ConceptMethod) -> str:
    """Of the table of systems; raises `ConfigError` for a method that is not in it."""
    from sartor import systems

    target = f"{type(method).__module__}:{type(method).__qualname__}"
    found = next((one.slug for one in systems.SYSTEMS.values() if one.target == target), None)
    if found is None:
        raise ConfigError(f"{type(method).__name__} is not in the table of systems", fix="keep the whole state")
    return found


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str) or (isinstance(value, list | tuple) and all(map(_is_plain, value)))

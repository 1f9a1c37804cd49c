"""The map of this room: where each method keeps a thing, how it finds it there, and what for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sartor import systems
from sartor.errors import ConfigError

SPACES = {
    "noise": "the noise that drawing starts from",
    "word": "one row, or a few, that stand where a word would",
    "word by time": "a row for each stage of drawing",
    "word by time and layer": "a row for each time and each layer of attention",
    "words behind a prompt": "rows behind whatever is said",
    "text states": "what the text encoder says of a word",
    "keys and values": "keys and values of attention, put in at request time",
    "attention features": "what attention sees of the reference pictures themselves",
    "weights, whole": "weights of the denoiser",
    "weights, keys and values": "weights of to_k and to_v in cross-attention",
    "weights, low rank": "low-rank changes of the projections of attention",
    "weights, rank one": "an edit of one direction in each layer",
    "picture tokens": "tokens of pictures, or of choices between them, that attention reads beside the text",
    "discrete tokens": "tokens of a model that writes pictures one token after another",
    "latents of a GAN": "w, w+ or weights of a GAN",
}
"""Where a thing is kept (inversion space)."""
WAYS = {
    "training-free": "nothing is learned",
    "optimisation": "tuned to the pictures of each thing",
    "learning": "a network that others' things have taught says it in one pass",
    "hybrid": "said by a network, then tuned",
}
"""How it is found there (inversion method)."""
SCHEMES = {
    "subject": "one thing", "several subjects": "several in one picture", "identity": "people", "style": "how pictures look",
    "semantics": "relations, actions, attributes", "preference": "what somebody likes", "editing": "a given picture changed by words",
}  # fmt: skip
"""What for (personalisation scheme)."""
CHECKLIST = (
    "likeness of the subject, and of somebody else's state at the same prompts", "what the prompt says, on prompts that no reference shows",
    "copying of references", "leaks into the class, and what has changed elsewhere", "several things kept apart",
    "bytes of a state, seconds to learn it",
)  # fmt: skip
"""What an evaluation says; `evaluate.drawing` and `evaluate.pictures` measure it."""


@dataclass(frozen=True)
class Place:
    """One method in the map."""

    space: str
    way: str
    scheme: str

    def __post_init__(self) -> None:
        for axis, value, known in (("space", self.space, SPACES), ("way", self.way, WAYS), ("scheme", self.scheme, SCHEMES)):
            if value not in known:
                raise ConfigError(f"there is no {axis} '{value}'", fix=f"use one of {', '.join(known)}")


PLACES: dict[str, Place] = {
    "textual-inversion": Place("word", "optimisation", "subject"),
    "cross-init": Place("word", "optimisation", "subject"),
    "core": Place("word", "optimisation", "subject"),
    "zoodip": Place("word", "optimisation", "subject"),
    "prospect": Place("word by time", "optimisation", "semantics"),
    "neti": Place("word by time and layer", "optimisation", "subject"),
    "iti-gen": Place("words behind a prompt", "optimisation", "semantics"),
    "dreambooth": Place("weights, low rank", "optimisation", "subject"),
    "break-a-scene": Place("weights, low rank", "optimisation", "several subjects"),
    "break-for-make": Place("weights, low rank", "optimisation", "style"),
    "hm-cfg": Place("weights, low rank", "learning", "subject"),
    "custom-diffusion": Place("weights, keys and values", "optimisation", "several subjects"),
    "classdiffusion": Place("weights, keys and values", "optimisation", "subject"),
    "disendiff": Place("weights, keys and values", "optimisation", "several subjects"),
    "perfusion": Place("weights, rank one", "optimisation", "several subjects"),
    "alignit": Place("keys and values", "training-free", "several subjects"),
    "jedi": Place("attention features", "learning", "subject"),
    "lambda-eclipse": Place("text states", "learning", "several subjects"),
    "ip-adapter": Place("picture tokens", "learning", "subject"),
    "mip-adapter": Place("picture tokens", "learning", "several subjects"),
    "ppd": Place("picture tokens", "learning", "preference"),
}
"""Each method of the table of systems, by slug, as it is by default."""
GAPS: dict[str, str] = {
    "noise": "inverted by the sampler (`parts.sampler.invert`), which no method builds on yet",
    "weights, whole": "a setting of dreambooth and break-a-scene (tune='whole'), which learn at low rank by default",
    "discrete tokens": "wants a model that writes pictures token by token; none is here",
    "latents of a GAN": "in the survey; pictures are drawn by diffusion here",
    "hybrid": "a setting of hm-cfg (refine_steps), which tunes nothing by default",
    "identity": "faces are not drawn here",
    "editing": "prospect draws onto a given picture; no method edits one by words alone",
}
"""What of the survey no method here is placed at, and why."""


def unplaced() -> list[str]:
    """Methods of this room in the table of systems that the map does not have."""
    return sorted(
        one.slug for one in systems.SYSTEMS.values() if one.room == "draw" and one.kind in ("method", "baseline") and one.slug not in PLACES
    )


def uncovered() -> list[str]:
    """Values of the three axes at which there is neither a method of the table nor a note in `GAPS`."""
    placed = {slug: one for slug, one in PLACES.items() if slug in systems.SYSTEMS}
    used = {value for one in placed.values() for value in (one.space, one.way, one.scheme)}
    return [value for axis in (SPACES, WAYS, SCHEMES) for value in axis if value not in used and value not in GAPS]


def survey(results: Mapping[str, Mapping[str, Any]] | None = None) -> list[dict[str, Any]]:
    """One row for each method of the table of systems: its place, and what its claim check last measured.

    results: by slug, as `evaluate.claim.last_results` gives them. Where a method has none, its figures are None, never zero. Raises `ConfigError` for
    a method without a place. Source: Wei et al., Personalized Image Generation with Deep Generative Models: A Decade Survey, 2025; which methods
    stand where is our reading of it.
    """
    if missing := unplaced():
        raise ConfigError(f"{', '.join(missing)} has no place in the map", fix="add it to sartor.draw.survey.PLACES")
    rows = []
    for slug, place in PLACES.items():
        if slug in systems.SYSTEMS:
            one, found = systems.SYSTEMS[slug], (results or {}).get(slug, {})
            measured = {name: found.get(name) for name in ("passed", "gain", "swap_gap", "state_bytes", "adapt_seconds")}
            rows.append({"slug": slug, "title": one.title, "year": one.year, **vars(place), **measured})
    return rows


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a table, and the gaps below it."""
    heads = ("method", "kept as", "found by", "for", "bytes", "seconds to learn", "gain", "swap gap", "claim")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * 4}{'---:|' * 4}---|"]
    for row in rows:
        passed = "not measured" if row["passed"] is None else "passed" if row["passed"] else "failed"
        figures = [_shown(row[name], digits) for name, digits in (("state_bytes", 0), ("adapt_seconds", 1), ("gain", 2), ("swap_gap", 2))]
        lines.append(f"| {' | '.join([row['slug'], row['space'], row['way'], row['scheme'], *figures, passed])} |")
    return "\n".join([*lines, "", *(f"- Not covered: {name}: {why}." for name, why in GAPS.items())]) + "\n"


def _shown(value: float | None, digits: int) -> str:
    return "not measured" if value is None else f"{value:,.{digits}f}"

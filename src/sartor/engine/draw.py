"""Pictures of a person's own things: her photos kept among her records, states learned in the background, pictures drawn from her own state alone."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sartor.engine.answers import Answered
from sartor.engine.catalogue import Shelves
from sartor.engine.own import Own, Owners
from sartor.errors import BadImage, BadPrompt, BadValue, ConfigError, SartorError, Unreadable, WrongType

if TYPE_CHECKING:
    import numpy as np

    from sartor.engine.models import Loaded, Models
    from sartor.method import State
    from sartor.profile.records import Record
    from sartor.profile.store import ProfileStore

VERB = "draw"
log = logging.getLogger(__name__)
MOST = 16
"""Pictures of one call."""
LONGEST = 1_000
"""Characters of a prompt."""
MOST_PHOTOS = 20
"""Of one thing that its state is learned from, the newest ones."""
NAME = re.compile(r"<[^<>\s]{1,64}>")


@dataclass(frozen=True, kw_only=True)
class Drawn(Answered):
    """Pictures, and what they were made from."""

    pictures: np.ndarray | None
    """uint8 [n, H, W, 3]; None where no model draws yet."""
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    things: tuple[str, ...] = ()
    """Things of her own that the prompts say."""
    facts: Mapping[str, Any] | None = None
    """What the files say of all of them: method, prior, concepts' digests, strength."""

    def png(self, number: int) -> bytes:
        """One picture as a file that says it was generated, and from what; nothing in it names the person."""
        from sartor.draw.parts.picture_files import png

        if self.pictures is None:
            raise ConfigError("there is no picture", fix="install a model that draws")
        return png(self.pictures[number], {"prompt": self.prompts[number], "seed": self.seeds[number], **(self.facts or {})})


class Drawing:
    """Answers prompts. Holds nothing of any person."""

    def __init__(self, store: ProfileStore, models: Models, shelves: Shelves) -> None:
        self._store, self._models = store, models
        self.owners = Owners(store, models, shelves, VERB)

    def things(self, tenant: str, person: str) -> list[KnownThing]:
        """See `Engine.things`."""
        return known_things(self._store, self._models, tenant, person)

    def check(self, tenant: str, records: Sequence[Record]) -> None:
        """Raise `BadValue` with row and person for photos that could never be learned from: of a thing whose class the model has no word for."""
        said: dict[tuple[str, str], tuple[int, str]] = {}
        for row, one in enumerate(records, 1):
            for name in _things([one]):
                said.setdefault((name, _word([one])), (row, one.person))
        if not said:
            return
        try:
            loaded = self._models.active(tenant, VERB)
            if loaded is None:
                return
            method: Any = loaded.method
            _ = method.bundle
        except SartorError as problem:  # a model that cannot be read stops no evidence from being kept
            log.warning("photos are not checked: %s", type(problem).__name__)
            return
        for (name, word), (row, person) in said.items():
            try:
                method.check_thing(name, word)
            except (BadPrompt, ConfigError) as problem:
                raise BadValue(problem.what, fix=problem.fix, row=row, person=person) from None

    def draw(
        self, tenant: str, person: str | None, prompts: Sequence[str], seeds: Sequence[int], strength: float | Mapping[str, float] | None, *,
        personal: bool, size: tuple[int, ...] | None = None, regions: Mapping[str, Any] | None = None,
    ) -> Drawn:  # fmt: skip
        """See `Engine.draw`."""
        start = time.perf_counter()
        texts = _checked(prompts, seeds, strength)
        loaded = self._models.active(tenant, VERB)
        if loaded is None:
            return Drawn(person=person, model=None, pictures=None, fallback="no model", note="no model draws yet: install one")
        own = Own(note="the population's answer, as asked")
        if person is not None and personal:
            own = self.owners.of(tenant, [person], loaded)[0]
        from sartor.draw.concepts import hashes, request_options, slug_of

        method: Any = loaded.method
        side = method.bundle.size
        if size is not None and size != (side, side):
            raise ConfigError(f"the size is {' x '.join(map(str, size))}", fix=f"this model draws {side} x {side}; leave it out")
        said = list(dict.fromkeys(name for text in texts for name in NAME.findall(text)))
        taught = [] if own.state is None else [name for name in said if name in own.state.notes["concepts"]]
        options = {} if own.state is None else request_options(method, own.state, _of_said(strength, said), _of_said(regions, said))
        # Somebody without a state of her own gets a thing of that name, whatever it is; somebody with one is told what she has not shown.
        classes = {name: name[1:-1] for name in said} if own.state is None else None
        pictures = method.draw(texts, [own.state] * len(texts), seeds=list(seeds), classes=classes, **options)
        used = {} if own.state is None else {name: digest for name, digest in hashes(own.state).items() if name in taught}
        facts = {"method": slug_of(method), "prior": method.prior_fingerprint_, "concepts": used, **options}
        return Drawn(
            person=person, model=loaded.fingerprint, pictures=pictures, prompts=tuple(texts), seeds=tuple(seeds), things=tuple(taught), facts=facts,
            note=own.note, seconds=time.perf_counter() - start, **own.facts(),
        )  # fmt: skip


def _of_said(given: Any, said: Sequence[str]) -> Any:
    """Of things that the prompts say."""
    if not isinstance(given, Mapping):
        return given
    named = {name if name.startswith("<") else f"<{name}>": one for name, one in given.items()}
    if strange := sorted({*named} - {*said}):
        raise ConfigError(f"no prompt says {strange[0]}", fix=f"name what prompts say: {', '.join(said) or 'nothing is said by a word'}")
    return named


def _checked(prompts: Sequence[str], seeds: Sequence[int], strength: float | Mapping[str, float] | None) -> list[str]:
    if not prompts or len(prompts) > MOST:
        raise ConfigError(f"there are {len(prompts)} pictures to draw", fix=f"ask for 1 to {MOST}")
    if len(seeds) != len(prompts) or any(isinstance(one, bool) or not isinstance(one, int) or not 0 <= one < 2**63 for one in seeds):
        raise ConfigError("the seeds are not one whole number for each picture", fix="give numbers from 0 on")
    if strength is not None and not all(0 <= one <= 2 for one in (strength.values() if isinstance(strength, Mapping) else (strength,))):
        raise ConfigError(f"strength is {strength}", fix="use 0 to 2; 1 is as learned")
    for text in prompts:
        if not isinstance(text, str) or not text.strip():
            raise BadPrompt("the prompt is empty", fix="say what to draw")
        if len(text) > LONGEST:
            raise BadPrompt(f"the prompt has {len(text)} characters", fix=f"use at most {LONGEST}")
    return list(prompts)


# --- photos as evidence


def photo_record(person: str, given: Mapping[str, Any], *, purposes: Sequence[str] | None, source: str) -> Record:
    """The record of one photo: `data` (bytes, or base64 of them), `item` (the thing's word), `class_word`, and maybe `id` and `time`.

    What is kept is the picture in the form of `photos.kept_form`, encrypted with everything else of hers. Raises `BadImage`, `BadValue`.
    """
    from sartor.draw.parts.photos import kept_form
    from sartor.engine.records import other_record

    item = str(given.get("item") or "").strip("<>")
    if not NAME.fullmatch(f"<{item}>"):
        raise BadValue(f"the picture's item is '{item[:80]}'", fix="say of what it is, in one word: mug")
    data = given["data"]
    if isinstance(data, str):
        try:
            data = base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError) as cause:
            raise BadImage("the picture is not base64", fix="encode the file's bytes") from cause
    if not isinstance(data, bytes):
        raise WrongType(f"the picture is a {type(data).__name__}", fix="give the bytes of a PNG, JPEG or WebP file")
    word = str(given.get("class_word") or item)
    kept = {"item": item, "class_word": word[:100], "data": base64.b64encode(kept_form(data)).decode()}
    also = {name: given[name] for name in ("id", "time", "kind") if given.get(name) is not None}
    return other_record(person, "images", {**kept, **also}, purposes=purposes, source=source)


def photo_bytes(image: str | Path | bytes) -> bytes:
    """A photo given as bytes or as a path."""
    from sartor.errors import FileProblem

    if isinstance(image, bytes):
        return image
    if not Path(image).is_file():
        raise FileProblem("there is no such file", fix="check the path", file=Path(image))
    return Path(image).read_bytes()


# --- what she has shown


THUMBNAIL, REFERENCES = 96, 4
"""Pixels of a thumbnail, and how many of a thing there are at most, the newest ones."""


@dataclass(frozen=True, kw_only=True)
class KnownThing:
    """One thing of a person, as she can see and delete it."""

    item: str
    """Its word, without brackets."""
    class_word: str
    photos: tuple[str, ...]
    """Ids of the records, oldest first."""
    learned: bool
    """Whether her present state has it."""
    thumbnails: tuple[bytes, ...]
    """PNG files of 96 x 96 pixels, the newest first; none without consent to drawing."""


def known_things(store: ProfileStore, models: Models, tenant: str, person: str) -> list[KnownThing]:
    """A person's things by what she has shown of them. Photos are opened for the purpose `draw` alone, and only while she allows it."""
    from io import BytesIO

    from sartor.draw.parts.photos import open_photo, resized

    every = _things(store.evidence(tenant, person, frames=["images"]))
    seen = _things(store.evidence(tenant, person, purpose=VERB, frames=["images"]))
    loaded = models.active(tenant, VERB)
    state = None if loaded is None else before(store, tenant, person, loaded)
    learned = {} if state is None else state.notes.get("concepts", {})

    def small(record: Record) -> bytes:
        resized(open_photo(_data(record)), THUMBNAIL).save(out := BytesIO(), "PNG")
        return out.getvalue()

    return [
        KnownThing(
            item=name.strip("<>"), class_word=_word(own), photos=tuple(one.id for one in own), learned=name in learned,
            thumbnails=tuple(small(one) for one in seen.get(name, [])[: -REFERENCES - 1 : -1]),
        )
        for name, own in every.items()
    ]  # fmt: skip


# --- from photos to states


def before(store: ProfileStore, tenant: str, person: str, loaded: Loaded) -> State | None:
    """What a model has learned of a person already."""
    try:
        stored = store.state(tenant, person, VERB, model=loaded.fingerprint)
    except Unreadable:  # made anew
        return None
    return None if stored is None or stored.held else stored.state


def is_current(state: State | None, records: Sequence[Record]) -> bool:
    """Whether a state was learned from just these photos: what else happens to a person does not make her wait for it again."""
    if state is None:
        return False
    things = _things(records)
    known = state.notes.get("concepts", {})
    return known.keys() == things.keys() and all(_same(known[name], own) for name, own in things.items())


def learned(method: Any, records: Sequence[Record], state: State | None) -> State:
    """The state of somebody with these photos, oldest first. Things whose photos are those of `state` are taken from it, the others are learned."""
    from sartor.draw._shown import Shown
    from sartor.draw.parts.codec import read_images

    things = _things(records)
    known = {} if state is None else state.notes["concepts"]
    for name in known:
        if name not in things and state is not None:
            state = method.without(state, name)
    fresh = [name for name, own in things.items() if name not in known or not _same(known[name], own)]
    if fresh:
        shown = [
            Shown(name=name, class_word=_word(things[name]), images=read_images([_data(one) for one in things[name]], method.bundle.size))
            for name in fresh
        ]
        state = method.learn(shown, state)
    if state is None:
        state = method.make_state({}, notes={"concepts": {}})
    concepts = {name: {**facts, "records": [one.id for one in things[name]]} for name, facts in state.notes["concepts"].items()}
    count = sum(map(len, things.values()))
    return replace(state, notes={**state.notes, "concepts": concepts, "events": count, "known": count})


def _things(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Photos by the word of the thing; records that only point to a file are none."""
    found: dict[str, list[Record]] = {}
    for one in records:
        if one.frame == "images" and isinstance(one.content.get("data"), str) and one.content.get("item"):
            found.setdefault(f"<{one.content['item']}>", []).append(one)
    return {name: own[-MOST_PHOTOS:] for name, own in found.items()}


def _same(facts: Mapping[str, Any], records: Sequence[Record]) -> bool:
    return facts.get("records") == [one.id for one in records] and facts.get("class_word") == _word(records)


def _word(records: Sequence[Record]) -> str:
    return str(records[-1].content.get("class_word") or records[-1].content["item"])


def _data(record: Record) -> bytes:
    return base64.b64decode(record.content["data"])

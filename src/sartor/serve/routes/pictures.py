"""Pictures of people's own things, as OpenAI's API has it, and the photos that they are learned from."""

from __future__ import annotations

import secrets

from fastapi import APIRouter, Response

from sartor.serve import mapping
from sartor.serve import pictures as shapes
from sartor.serve.answers import Removed
from sartor.serve.auth import check_people
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.problems import Refused
from sartor.serve.schemas import PersonPath, ThingPath

router = APIRouter(prefix="/v1", tags=["draw"], route_class=Guarded)


@router.post("/images/generations", response_model=shapes.ImagesOut, **needs("read", cost=20, anybody=True))
def generations(call: Here, asked: shapes.ImagesIn) -> Response:
    """Pictures of what a prompt says, with the things that `user` has shown, by the model that was installed with the verb `draw`.

    Each comes as `b64_json`, a PNG that says inside that it was generated; nothing is kept. The field `sartor` says which of the person's things
    were drawn, from which state, or why none was; in a request it takes `personal`, `strength` and `regions`.
    """
    if asked.response_format == "url":
        raise Refused(
            422, "no-urls", "pictures are not kept here, and have no address", fix="ask for response_format b64_json", field="response_format"
        )
    person = asked.user if asked.user is not None else call.caller.person
    check_people(call.caller, [] if person is None else [person])
    seed = asked.seed if asked.seed is not None else secrets.randbelow(2**31)
    size = None if asked.size in (None, "auto") else tuple(int(side) for side in str(asked.size).split("x"))
    with call.server.span("draw"):
        answer = call.engine.draw(
            person, [asked.prompt] * (asked.n or 1), seed=seed, strength=asked.sartor.strength, personal=asked.sartor.personal, size=size,
            regions=asked.sartor.regions,
        )  # fmt: skip
    call.server.fallback(answer.fallback)
    if answer.pictures is None:
        raise Refused(404, "no-illustrator", "no model draws here yet", fix='install one with verb "draw"')
    return mapping.json_response(shapes.drawn(answer, mapping.state_of(answer)))


@router.post("/people/{person}/pictures", response_model=shapes.PhotosOut, **needs("write", cost=5))
def show(call: Here, person: PersonPath, given: shapes.PhotosIn) -> Response:
    """Keep photos of one of a person's things, for drawing alone; her state learns it in the background.

    Kept are the pixels that models see (the middle square, at most 768 pixels), encrypted with all else of hers, without place, time and camera.
    """
    rows = [{"item": given.item, "class_word": given.class_word, "data": one.data, "id": one.id} for one in given.images]
    receipt = call.engine.observe(person, images=rows, purposes=["draw"], source=f"api:{call.caller.label}")
    return mapping.json_response({"accepted": receipt.accepted, "duplicates": receipt.duplicates, "position": receipt.position})


@router.get("/people/{person}/pictures", response_model=shapes.ThingsOut, **needs("profile", cost=5))
def things(call: Here, person: PersonPath) -> Response:
    """The things that a person has shown, with small pictures of them while she allows drawing."""
    allowed = call.engine.store.consents(call.caller.tenant, person)["draw"].granted
    return mapping.json_response(shapes.things(call.engine.things(person), allowed))


@router.delete("/people/{person}/pictures/{item}", response_model=Removed, **needs("profile"))
def take_back(call: Here, person: PersonPath, item: ThingPath) -> Response:
    """Delete all photos of one thing for good; the person's state is made again without it."""
    return mapping.json_response({"removed": call.engine.take_back(person, item)})

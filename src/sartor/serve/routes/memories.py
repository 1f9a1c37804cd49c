"""What is remembered of a person in words: told, recalled, corrected, confirmed, forgotten, taken along."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from sartor.errors import UnknownId
from sartor.serve import mapping
from sartor.serve import memories as shapes
from sartor.serve.answers import Removed
from sartor.serve.gate import Guarded, Here, needs
from sartor.serve.memories import ConfirmedOut, ExportedOut, MemoriesOut, MemoryOut, RecollectionOut, RememberedOut
from sartor.serve.memory_schemas import ConfirmIn, EditIn, Form, ImportIn, Kind, MemoryPath, RecallIn, RememberIn
from sartor.serve.schemas import ID_LENGTH, Limit, PersonPath

router = APIRouter(prefix="/v1/people/{person}/memories", tags=["memories"], route_class=Guarded)


@router.get("", response_model=MemoriesOut, **needs("profile", cost=2))
def memories(
    call: Here,
    person: PersonPath,
    kind: Annotated[Kind | None, Query()] = None,
    history: bool = False,
    waiting: bool | None = None,
    limit: Limit = 100,
    after: Annotated[str | None, Query(min_length=1, max_length=ID_LENGTH)] = None,
) -> Response:
    """What is remembered, newest first; with `history` also what no longer holds; `waiting` for what waits for confirmation, or only the others."""
    found = call.engine.memories(person, kind=kind, history=history, waiting=waiting)
    first = 0
    if after is not None:
        first = next((row for row, one in enumerate(found, 1) if one.id == after), -1)
        if first < 0:
            raise UnknownId("the memory that the page starts after is gone", fix="start from the first page", id=repr(after))
    page = found[first : first + limit]
    return mapping.page([shapes.memory(one) for one in page], page[-1].id if len(found) > first + limit else None)


@router.post("", response_model=RememberedOut, **needs("write", cost=2))
def remember(call: Here, person: PersonPath, given: RememberIn) -> Response:
    """Keep a sentence, or what the user says of herself in messages. Said again it changes nothing; what it contradicts becomes history."""
    what: Any = given.text if given.messages is None else [one.model_dump(exclude_none=True) for one in given.messages]
    told = call.engine.remember(
        person, what, kind=given.kind, id=given.id, time=given.time, recalled=given.recalled, confirm=given.confirm, source=f"api:{call.caller.label}"
    )
    return mapping.json_response(shapes.remembered(told))


@router.post("/recall", response_model=RecollectionOut, **needs("read"))
def recall(call: Here, person: PersonPath, asked: RecallIn) -> Response:
    """The memories that matter most for a question, each with the parts of its score; none without consent to `write`, which `fallback` says."""
    with call.server.span("recall"):
        found = call.engine.recall(person, asked.query, asked.k, budget_tokens=asked.budget_tokens)
    return mapping.json_response(shapes.recollection(found))


@router.post("/summary", response_model=MemoryOut, **needs("write", cost=2))
def summarise(call: Here, person: PersonPath) -> Response:
    """Keep a short text of what holds now, with the ids of the memories it was made from."""
    return mapping.json_response(shapes.memory(call.engine.summarise(person)))


@router.post("/import", response_model=RememberedOut, **needs("write", cost=50))
def take_in(call: Here, person: PersonPath, given: ImportIn) -> Response:
    """Take in what mem0 or ChatGPT has exported; all of it is checked first, and again it adds nothing."""
    told = call.engine.import_memories(person, given.data, given.form, confirm=given.confirm, source=f"api:{call.caller.label}")
    return mapping.json_response(shapes.remembered(told))


@router.get("/export", response_model=ExportedOut, **needs("profile", cost=5))
def take_out(call: Here, person: PersonPath, form: Annotated[Form, Query()] = "mem0") -> Response:
    """Everything that is remembered, history too, in another system's form."""
    return mapping.json_response({"form": form, "data": json.loads(call.engine.export_memories(person, form))})


@router.get("/{memory}/history", response_model=MemoriesOut, **needs("profile"))
def history(call: Here, person: PersonPath, memory: MemoryPath) -> Response:
    """All versions of a memory, newest first."""
    return mapping.page([shapes.memory(one) for one in call.engine.memory_history(person, memory)], None)


@router.patch("/{memory}", response_model=MemoryOut, **needs("profile"))
def edit(call: Here, person: PersonPath, memory: MemoryPath, given: EditIn) -> Response:
    """Correct a memory; what it said before stays in its history."""
    return mapping.json_response(shapes.memory(call.engine.edit_memory(person, memory, given.text, polarity=given.polarity)))


@router.post("/{memory}/confirm", response_model=ConfirmedOut, **needs("profile"))
def confirm(call: Here, person: PersonPath, memory: MemoryPath, given: ConfirmIn) -> Response:
    """Say that a memory is right, so that it is used; or wrong, and it is deleted for good."""
    kept = call.engine.confirm(person, memory, given.right)
    return mapping.json_response({"memory": None if kept is None else shapes.memory(kept)})


@router.delete("/{memory}", response_model=Removed, **needs("profile"))
def forget(call: Here, person: PersonPath, memory: MemoryPath) -> Response:
    """Delete a memory for good, all its versions, and the summaries that were made from it."""
    return mapping.json_response({"removed": call.engine.forget_memory(person, memory)})

"""Files of events and items: a look at the first rows, then an import that can be followed."""

from __future__ import annotations

import tempfile
from typing import IO, Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from sartor.errors import StoreProblem, UnknownId
from sartor.serve import mapping
from sartor.serve.gate import Call, Guarded, Here, call_of, needs
from sartor.serve.imports import KIND
from sartor.serve.overview import JobOut, PreviewOut
from sartor.serve.problems import Refused, invalid
from sartor.serve.rows import FIELDS, Into, Plan, guessed
from sartor.serve.schemas import JobPath
from sartor.serve.tables import Format, Table, preview

router = APIRouter(prefix="/v1/imports", tags=["imports"], route_class=Guarded)

_FILE = "application/octet-stream"
_PREVIEWED = 20
_PIECE = 1 << 20
_SHORTENED = 200
_BODY = {"required": True, "content": {_FILE: {"schema": {"type": "string", "format": "binary"}}}}
_COLUMNS = TypeAdapter(dict[str, str])
_KEEP = TypeAdapter(list[str])


def _door(cost: int) -> dict[str, Any]:
    door = needs("write", cost=cost)
    door["openapi_extra"]["requestBody"] = _BODY
    return door


@router.post("/preview", response_model=PreviewOut, **_door(5))
async def look(request: Request, format: Format, into: Into = "events", whole: bool = True) -> Response:
    """The columns and first rows of a file, and which column looks like what; nothing is kept.

    Of CSV and JSON lines the beginning is enough: with `whole=false` a last line that is cut off is left away.
    """
    with await _received(request) as file:
        return await to_thread.run_sync(_preview, Table(file, format, whole), into)


@router.post("", response_model=JobOut, status_code=202, **_door(20))
async def import_(
    request: Request,
    into: Into,
    format: Format,
    columns: Annotated[str, Query(max_length=8_000)],
    keep: Annotated[str, Query(max_length=8_000)] = "[]",
    unit: Literal["s", "ms", "us"] = "s",
    bad: Literal["refuse", "skip"] = "refuse",
) -> Response:
    """Import the file that is the body. Every row is checked before one is stored; the answer is a job.

    `columns` is JSON, our name of a field by the file's name of a column: {"person": "user_id", "item": "sku"}; `keep` is a JSON list of columns
    that events keep as their context, and items as attributes; `unit` is that of times that are numbers; `bad` says whether rows that cannot be
    taken are left out, or nothing is stored when there are any. Sending a file again stores nothing twice.
    """
    call = call_of(request)
    plan = Plan(into, format, _json("columns", _COLUMNS, columns), tuple(_json("keep", _KEEP, keep)), unit, bad == "skip")
    importer = call.server.importer
    importer.take()
    try:
        file = await _received(request)
        try:
            job = await to_thread.run_sync(lambda: importer.start(call.engine, file, plan, source=f"import:{call.caller.label}"))
        except BaseException:
            file.close()
            raise
    except BaseException:
        importer.leave()
        raise
    response = mapping.json_response(mapping.job(job), 202)
    response.headers["Location"] = f"/v1/imports/{job.id}"
    return response


@router.get("/{job}", response_model=JobOut, **needs("write"))
def one(call: Here, job: JobPath) -> Response:
    """How an import is doing: for keys that may write but not see other jobs."""
    return mapping.json_response(mapping.job(_import(call, job)))


@router.delete("/{job}", response_model=JobOut, **needs("write"))
def cancel(call: Here, job: JobPath) -> Response:
    """Stop an import; what it has stored stays, and sending the file again goes on from there."""
    found = _import(call, job)
    return mapping.json_response(mapping.job(call.engine.store.cancel_job(call.caller.tenant, found.id)))


def _import(call: Call, job: str) -> Any:
    found = call.engine.store.job(call.caller.tenant, job)
    if found.kind != KIND:
        raise UnknownId("there is no such import", fix="POST /v1/imports answers with one")
    return found


async def _received(request: Request) -> IO[bytes]:
    """The body as a file that has no name: however this ends, nothing of it is left on the disk."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FILE:
        raise Refused(415, "unsupported-media-type", "this takes a file as it is", fix=f"send Content-Type: {_FILE}")
    file = tempfile.TemporaryFile(prefix="sartor-")  # noqa: SIM115
    try:
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) >= _PIECE:
                await to_thread.run_sync(file.write, bytes(pieces))
                pieces.clear()
        await to_thread.run_sync(file.write, bytes(pieces))
        await to_thread.run_sync(file.flush)
    except OSError as cause:
        file.close()
        raise StoreProblem(f"the file cannot be kept while it is read: {cause.strerror}", fix="free some space for temporary files") from cause
    except BaseException:
        file.close()
        raise
    return file


def _preview(table: Table, into: Into) -> Response:
    columns, rows = preview(table, _PREVIEWED)
    shown = [{"row": number, "cells": [_short(row.get(name)) for name in columns]} for number, row in rows]
    count = table.rows_said() if table.format == "parquet" else None
    return mapping.json_response({"columns": columns, "rows": shown, "count": count, "fields": list(FIELDS[into]), "guess": guessed(columns, into)})


def _short(cell: Any) -> Any:
    return cell[:_SHORTENED] + "…" if isinstance(cell, str) and len(cell) > _SHORTENED else cell


def _json(name: str, kind: TypeAdapter[Any], text: str) -> Any:
    try:
        return kind.validate_json(text)
    except ValidationError as error:
        raise invalid(name, error) from None

"""The published episodes of MEMENTO, read from a copy of its files; the 3D simulator is left out, homes are symbols."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sartor.data.world.household import After, Episode, Goal, Home, Proposition, Thing, Where
from sartor.data.world.household.episodes import Stage
from sartor.data.world.household.scene import FUNCTIONS
from sartor.errors import BadValue, CorruptFile, FileProblem, MissingColumn

FILES: dict[Stage, str] = {
    "acquisition": "memory_acquisition_stage.json", "single": "single_memory_utilization_stage.json", "joint": "joint_memory_utilization_stage.json",
}  # fmt: skip
FLOOR = "floor"
"""Of a room that is not known."""
COUNTS: dict[Stage, int] = {"acquisition": 201, "single": 201, "joint": 36}


def load(folder: str | Path, *, stages: Sequence[Stage] = ("acquisition", "single", "joint")) -> list[Episode]:
    """Episodes of a copy of the official repository's `data/datasets`.

    Things without a caption in the files keep their name for one. Which room a receptacle is in is known only where a
    goal names both for one thing; there is one floor beside.

    Raises `FileProblem` for a missing file, `CorruptFile` for one that is no JSON of episodes, `MissingColumn` and `BadValue` with the
    episode where a field is missing or a goal names something that is not there. Source: Kwon et al., MEMENTO, 2025 (MIT licence).
    """
    rows: list[tuple[Stage, Mapping[str, Any]]] = []
    for stage in stages:
        path = Path(folder) / FILES[stage]
        if not path.is_file():
            raise FileProblem("this file of MEMENTO is not here", fix="put the official repository's data/datasets there", file=path)
        try:
            rows += [(stage, dict(one)) for one in json.loads(path.read_text("utf-8"))["episodes"]]
        except (ValueError, KeyError, TypeError) as cause:
            raise CorruptFile("this is no file of episodes", fix="copy it again", file=path) from cause
    # A place that any episode of a scene names is a place of the scene.
    places: dict[str, set[str]] = {}
    for _, one in rows:
        named = places.setdefault(str(one.get("scene_id")), set())
        named |= {at.split("|")[0] for at in (one.get("name_to_receptacle") or {}).values()}
        for proposition in one.get("evaluation_propositions") or ():
            named |= set(proposition.get("args", {}).get("receptacle_handles") or ())
    return [_episode(stage, one, places[str(one.get("scene_id"))]) for stage, one in rows]


def _episode(stage: Stage, row: Mapping[str, Any], places: set[str]) -> Episode:
    ident = str(row.get("episode_id"))
    needed = ("scene_id", "instruction", "evaluation_propositions", "evaluation_constraints", "name_to_receptacle", "metadata")
    if lost := [name for name in needed if name not in row]:
        raise MissingColumn(f"an episode has no {lost[0]}", fix="take the files of the official repository", episode=ident, column=lost[0])
    about = row["metadata"]
    try:
        told = {one["id"]: one for one in (*about["target_objects"], *about.get("distractors", ()))}
        things = {}
        for handle in row["name_to_receptacle"]:
            name = handle.rsplit("_:", 1)[0]
            known = told.get(name, {"caption": name, "category": ""})
            things[handle] = Thing(handle, known["caption"], known["category"])
        propositions = tuple(_proposition(one, ident) for one in row["evaluation_propositions"])
        goal = _goal(propositions, row)
        # Of a thing that is to be in a room and at a place, the place is in the room.
        wanted = {thing: one.among[0] for one in propositions if one.function == "is_in_room" for thing in one.things}
        located = dict.fromkeys(places, "")
        for one in propositions:
            if one.function in ("is_on_top", "is_inside"):
                located |= {place: wanted[thing] for thing in one.things if thing in wanted for place in one.among}
            elif one.function == "is_next_to":
                located |= {other: located.get(other, "") for other in one.among if other not in things}
        rooms = frozenset({*wanted.values(), FLOOR})
        where = {handle: Where("on", at.split("|")[0]) for handle, at in row["name_to_receptacle"].items()}
        home = Home(things, located, where, rooms)
        handles = {handle.rsplit("_:", 1)[0]: handle for handle in things}
        used = set(about.get("used_object") or ()) if about["episode_type"] == "object_semantics" else set()
        targets = tuple(handles[one["id"]] for one in about["target_objects"] if one["category"] in used)
        beside = tuple((handles[one["id"]], handles[one["pair_id"]]) for one in about.get("distractors", ()))
        subtypes, memory, related = (about[name] for name in ("subtype", "memory", "related_episode_id"))
        return Episode(
            ident, str(row["scene_id"]), stage, row["instruction"], home, goal, _several(related), about["episode_type"], _several(subtypes),
            _several(memory), targets, beside,
        )  # fmt: skip
    except (KeyError, TypeError) as cause:
        raise MissingColumn(f"an episode lacks {cause}", fix="take the files of the official repository", episode=ident) from cause


def _proposition(row: Mapping[str, Any], ident: str) -> Proposition:
    args, function = row["args"], row["function_name"]
    if function not in FUNCTIONS:
        raise BadValue(f"the goal says {function}", fix=f"known are {', '.join(FUNCTIONS)}", episode=ident)
    if function == "is_next_to":
        return Proposition(function, tuple(args["entity_handles_a"]), tuple(args["entity_handles_b"]), args["number"], bool(args.get("is_same_b")))
    among = tuple(args.get("receptacle_handles") or args.get("room_ids") or ())
    return Proposition(
        function, tuple(args["object_handles"]), among, args["number"], bool(args.get("is_same_receptacle") or args.get("is_same_room"))
    )


def _goal(propositions: tuple[Proposition, ...], row: Mapping[str, Any]) -> Goal:
    after = tuple(
        After(tuple(one["proposition_indices"]), tuple(one["depends_on"]), one["relation_type"], one["dependency_mode"])
        for one in row.get("evaluation_proposition_dependencies") or ()
    )
    order: tuple[tuple[int, int], ...] = ()
    last: tuple[int, ...] | None = None
    shared: list[tuple[int, ...]] = []
    for one in row["evaluation_constraints"]:
        if one["type"] == "TemporalConstraint":
            order = tuple((a, b) for a, b in one["args"]["dag_edges"])
        elif one["type"] == "TerminalSatisfactionConstraint":
            last = tuple(one["args"]["proposition_indices"])
        elif one["type"] == "SameArgConstraint":
            shared.append(tuple(one["args"]["proposition_indices"]))
        else:
            raise BadValue(
                f"there is no constraint {one['type']}", fix="known are temporal, terminal and same-argument ones", episode=row["episode_id"]
            )
    return Goal(propositions, after, order, last, tuple(shared))


def _several(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)

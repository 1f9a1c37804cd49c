"""Planners for household episodes: by rules for generated homes, and a language model that reasons and acts step by step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sartor.data.world.household import Action, Home
from sartor.errors import BadValue
from sartor.evaluate.memento.protocol import Plan, Record
from sartor.write.backends.backend import Backend

_MOVE = re.compile(r"Move (?P<things>.+?) to the (?P<place>[^,.]+)(?P<beside>, next to each other)?\.")
_GIFT = re.compile(r"the gift (?P<category>\w+) from my (?P<giver>[\w ]+)")
_SETUP = re.compile(r"Set up my (?P<habit>\w+) setup\.")


@dataclass
class RulePlanner:
    """Reads the sentences of `Homes`. What it does not know it takes from memory; where memory is silent it says so, or guesses.

    Parameters
    ----------
    guess: pick at random among what fits the words, instead of saying that it does not know.
    seed: of the guesses.
    """

    guess: bool = False
    seed: int = 0
    _rng: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng([self.seed, 101])

    def plan(self, instruction: str, home: Home, memory: Sequence[Record]) -> Plan:
        """See `Agent`."""
        actions: list[Action] = []
        for part in instruction.split(" Then: "):
            found = self._part(part, home, memory)
            if isinstance(found, str):
                return Plan(unknown=found)
            actions += found
        return Plan(tuple(actions))

    def _part(self, told: str, home: Home, memory: Sequence[Record]) -> list[Action] | str:
        if setup := _SETUP.search(told):
            said = next((one for one in memory if f"my {setup['habit']} setup." in one.instruction and _MOVE.search(one.instruction)), None)
            if said is not None:
                return self._part(said.instruction, home, memory)
            if not self.guess:
                return f"{setup['habit']} setup"
            things = [str(one) for one in self._rng.permutation(sorted(home.things))[:2]]
            return _moved(things, str(self._rng.choice(sorted(home.places))), beside=True)
        move = _MOVE.search(told)
        if move is None:
            return told
        place = next((handle for handle, name in home.names.items() if name == move["place"]), "")
        things = []
        for look in re.split(r" and (?=a )", move["things"]):
            if gift := _GIFT.fullmatch(look):
                like = [one.handle for one in home.things.values() if one.category == gift["category"]]
                said = next((one for one in memory if f"gift from my {gift['giver']}." in one.instruction), None)
                named = _MOVE.search(said.instruction) if said is not None else None
                own = [one for one in like if named is not None and home.things[one].caption.rstrip(".").lower() == named["things"].lower()]
                if not own and (not self.guess or not like):
                    return look
                things.append(own[0] if own else like[int(self._rng.integers(len(like)))])
            else:
                same = [one.handle for one in home.things.values() if one.caption.rstrip(".").lower() == look.lower()]
                if not same:
                    return look
                things.append(same[0])
        return _moved(things, place, beside=bool(move["beside"]))


def _moved(things: Sequence[str], place: str, *, beside: bool) -> list[Action]:
    out, before = list[Action](), ""
    for one in things:
        out += [
            Action("navigate", one),
            Action("pick", one),
            Action("navigate", place),
            Action("place", place, "on", (before,) if beside and before else ()),
        ]
        before = one
    return out


_STEP = re.compile(r"^\s*Action:\s*(navigate|pick|place|done|unknown)\s*\[(.*?)\]\s*$", re.MULTILINE | re.IGNORECASE)


_RULES = (
    "Each time write one thought, then one line: Action: navigate[place], Action: pick[thing], Action: place[on | in | floor, place, things next "
    "to which, or nothing], Action: done[], or Action: unknown[what the instruction refers to and you do not know]."
)


@dataclass(kw_only=True)
class LanguagePlanner:
    """A language model that reasons and acts in turn: each answer ends with one action, and it is told what became of it.

    It sees all things with their captions, all places, and the recalled episodes. After `limit` answers it is stopped.
    """

    backend: Backend
    limit: int = 40
    max_tokens: int = 200

    def plan(self, instruction: str, home: Home, memory: Sequence[Record]) -> Plan:
        """See `Agent`; an answer without an action counts as a step, and is told so."""
        things = "\n".join(f"{one.handle}: {one.caption}" for one in home.things.values())
        places = "\n".join(f"{handle}: {home.names.get(handle) or handle}" for handle in (*home.places, *home.rooms))
        recalled = "\n\n".join(f"instruction: {one.instruction}\n{one.trace}" for one in memory) or "nothing"
        messages = [
            {
                "role": "user",
                "content": f"You move things in a home, one at a time.\nThings:\n{things}\nPlaces:\n{places}\nEpisodes that you remember:\n"
                f"{recalled}\n\nInstruction: {instruction}\n{_RULES}",
            }
        ]
        actions: list[Action] = []
        for _ in range(self.limit):
            text = self.backend.generate([messages], max_tokens=self.max_tokens)[0].text
            found = _STEP.search(text)
            name, target = (found[1].lower(), found[2].strip()) if found else ("", "")
            if name == "done":
                break
            if name == "unknown":
                return Plan(unknown=target or instruction)
            try:
                action = _read(name, target)
                home = home.do(action)
                actions.append(action)
                seen = "done"
            except BadValue as error:
                seen = str(error)
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": f"Observation: {seen}"}]
        return Plan(tuple(actions))


def _read(name: str, target: str) -> Action:
    if name == "navigate":
        return Action("navigate", target)
    if name == "pick":
        return Action("pick", target)
    parts = [one.strip() for one in target.split(",")]
    if name == "place" and len(parts) >= 2 and parts[0] in ("on", "in", "floor"):
        beside = tuple(one for one in parts[2:] if one.lower() not in ("", "nothing", "none"))
        return Action("place", parts[1], parts[0], beside)  # type: ignore[arg-type]  # looked at just before
    raise BadValue("there is no action in this answer", fix="end with a line like Action: pick[thing]")

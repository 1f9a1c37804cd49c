"""Nine fictitious designs of identity documents: what stands where, on which side, and in which zone. No country issues any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sartor.data.world.identity.mrz import LENGTHS, Size
from sartor.errors import ConfigError

TEXTS = (
    "surname", "given", "birth name", "sex", "nationality", "birth", "birthplace", "issued", "expiry", "number", "authority", "address", "height",
    "personal number", "kind",
)  # fmt: skip
PICTURES = ("portrait", "ghost", "signature")
Box = tuple[float, float, float, float]
"""Left, top, width and height, millimetres."""


@dataclass(frozen=True)
class Template:
    """A design. Raises `ConfigError`, with the path of what is wrong, for unknown fields and boxes that leave the card."""

    name: str
    zone: Size
    issuer: str
    """Three letters that are nobody's code."""
    title: str
    code: str
    """Kind of document in the zone: P, I, IR."""
    size: tuple[float, float]
    """Width and height, millimetres."""
    colours: tuple[int, int, int]
    """Hues in degrees: paper, print, ink."""
    waves: tuple[int, float, float]
    """Of the ground: lines, periods, height in millimetres."""
    dates: str
    """As strftime has it."""
    years: int
    """It is valid for."""
    sides: Mapping[str, Mapping[str, Box]]
    """Fields of each side; "zone" is where the machine-readable one begins."""
    pattern: str = "##@@#####"
    """Of document numbers: # a digit, @ a letter."""

    def __post_init__(self) -> None:
        if self.zone not in LENGTHS:
            raise ConfigError(f"{self.name}.zone: there is no size {self.zone!r}", fix=f"use one of {', '.join(LENGTHS)}")
        for side, fields in self.sides.items():
            for name, (left, top, width, height) in fields.items():
                if name not in (*TEXTS, *PICTURES, "zone"):
                    raise ConfigError(f"{self.name}.sides.{side}.{name}: there is no such field", fix=f"use one of {', '.join((*TEXTS, *PICTURES))}")
                if min(left, top, width, height) < 0 or left + width > self.size[0] or top + height > self.size[1]:
                    raise ConfigError(f"{self.name}.sides.{side}.{name}: the box leaves the card", fix=f"stay within {self.size} mm")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Template:
        """From plain data, as JSON has it; raises `ConfigError` with the path of what is missing or not known."""
        from dataclasses import MISSING, fields

        name = data.get("name", "template")
        known = {f.name: f for f in fields(cls)}
        for key, f in known.items():
            if key not in data and f.default is MISSING:
                raise ConfigError(f"{name}.{key}: it is missing", fix="give it")
        if unknown := sorted(set(data) - set(known)):
            raise ConfigError(f"{name}.{unknown[0]}: there is no such entry", fix=f"use {', '.join(known)}")
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
        sides = data["sides"]
        if not isinstance(sides, Mapping) or not all(isinstance(one, Mapping) for one in sides.values()):
            raise ConfigError(f"{name}.sides: not fields by side", fix="give {side: {field: [left, top, width, height]}}")
        for side, boxes in sides.items():
            for field, box in boxes.items():
                if len(box) != 4:
                    raise ConfigError(f"{name}.sides.{side}.{field}: {len(box)} numbers", fix="give left, top, width and height")
        plain["sides"] = {side: {field: tuple(box) for field, box in boxes.items()} for side, boxes in sides.items()}
        return cls(**plain)


def _boxes(text: str) -> dict[str, Box]:
    """From lines "name: left top width height"."""
    out = {}
    for line in text.split(";"):
        name, _, numbers = line.strip().partition(":")
        left, top, width, height = map(float, numbers.split())
        out[name] = (left, top, width, height)
    return out


CARD, LARGE, BOOK = (85.6, 54.0), (105.0, 74.0), (125.0, 88.0)
TEMPLATES: dict[str, Template] = {
    one.name: one
    for one in (
        Template("card-a", "td1", "XAA", "IDENTITY CARD", "I", CARD, (205, 200, 225), (14, 3, 1.2), "%d.%m.%Y", 10, {
            "front": _boxes("portrait: 4 12 25 32; surname: 32 14 50 4; given: 32 21 50 4; sex: 32 28 8 3.6; nationality: 42 28 14 3.6; "
                            "birth: 58 28 24 3.6; birthplace: 32 35 50 3.6; expiry: 32 42 22 3.6; number: 58 42 24 4; signature: 6 45.5 22 7"),
            "back": _boxes("address: 4 6 60 4; height: 68 6 14 3.6; authority: 4 13 50 3.6; issued: 58 13 24 3.6; zone: 3 34 79.6 17"),
        }),
        Template("card-b", "td1", "XBE", "CARTE · CARD", "I", CARD, (40, 25, 15), (9, 6, 2.0), "%d %m %Y", 10, {
            "front": _boxes("portrait: 58 11 24 31; ghost: 46 34 9 11.5; number: 4 11 30 4.2; surname: 4 19 40 4; given: 4 26 40 4; "
                            "birth name: 4 33 38 3.6; birth: 4 40 22 3.6; sex: 30 40 8 3.6; signature: 58 43.5 24 8"),
            "back": _boxes("birthplace: 4 5 40 3.6; nationality: 50 5 14 3.6; issued: 4 12 22 3.6; expiry: 30 12 22 3.6; authority: 4 19 50 3.6; "
                           "address: 4 26 70 3.6; zone: 3 34 79.6 17"),
        }, "@@#######"),
        Template("card-c", "td2", "XCO", "NATIONAL IDENTITY CARD", "I", LARGE, (150, 160, 170), (20, 2, 0.8), "%Y-%m-%d", 10, {
            "front": _boxes("portrait: 5 13 29 37; surname: 38 15 60 4.4; given: 38 23 60 4.4; birth: 38 31 24 4; "
                            "sex: 66 31 8 4; nationality: 78 31 14 4; "
                            "birthplace: 38 39 50 4; expiry: 38 47 24 4; number: 66 47 32 4.4; zone: 4 59 97 11"),
            "back": _boxes("address: 6 10 80 4.4; personal number: 6 20 44 4.4; authority: 6 30 60 4.4; "
                           "issued: 70 30 26 4.4; signature: 6 42 40 14"),
        }),
        Template("card-d", "td2", "XDU", "LEGITIMATION", "I", LARGE, (340, 330, 300), (7, 9, 3.0), "%d/%m/%y", 5, {
            "front": _boxes("portrait: 70 12 30 38; ghost: 56 36 11 14; surname: 5 14 48 4.4; given: 5 22 48 4.4; "
                            "number: 5 30 40 5; birth: 5 39 24 4; "
                            "sex: 34 39 8 4; expiry: 5 47 24 4; signature: 34 45 20 9; zone: 4 59 97 11"),
            "back": _boxes("nationality: 6 8 16 4.4; birthplace: 30 8 50 4.4; height: 6 18 18 4.4; address: 6 28 86 4.4; authority: 6 38 60 4.4"),
        }, "@########"),
        Template("permit-a", "td1", "XEL", "RESIDENCE PERMIT", "IR", CARD, (275, 265, 255), (24, 4, 0.7), "%d.%m.%Y", 5, {
            "front": _boxes("portrait: 4 14 23 30; ghost: 70 36 11 14; kind: 30 12 50 4.4; surname: 30 20 50 4; "
                            "given: 30 27 50 4; sex: 30 34 8 3.6; "
                            "birth: 42 34 24 3.6; expiry: 30 41 22 3.6; number: 30 47 30 4"),
            "back": _boxes("birthplace: 4 5 50 3.6; nationality: 60 5 14 3.6; issued: 4 12 24 3.6; "
                           "authority: 34 12 48 3.6; signature: 4 18 26 9; zone: 3 34 79.6 17"),
        }, "@@@######"),
        Template("permit-b", "td2", "XFA", "PERMIT TO STAY", "AR", LARGE, (85, 95, 110), (11, 5, 1.6), "%d %b %Y", 3, {
            "front": _boxes("portrait: 6 14 27 36; kind: 37 14 60 5; surname: 37 23 60 4.4; given: 37 31 60 4.4; "
                            "birth: 37 39 28 4; sex: 70 39 8 4; "
                            "number: 37 47 34 4.4; expiry: 75 47 26 4; zone: 4 59 97 11"),
            "back": _boxes("address: 6 10 86 4.4; birthplace: 6 20 60 4.4; nationality: 72 20 16 4.4; "
                           "issued: 6 30 26 4.4; authority: 40 30 56 4.4"),
        }, "#########"),
        Template("passport-a", "td3", "XGR", "PASSPORT", "P", BOOK, (355, 5, 350), (18, 3, 1.4), "%d %b %Y", 10, {
            "front": _boxes("portrait: 6 16 33 43; number: 88 10 32 5; surname: 43 20 76 4.6; given: 43 28 76 4.6; nationality: 43 36 18 4.2; "
                            "birth: 66 36 30 4.2; sex: 43 44 8 4.2; birthplace: 56 44 60 4.2; issued: 43 52 30 4.2; expiry: 78 52 30 4.2; "
                            "authority: 43 60 56 4.2; zone: 5 70 115 13"),
        }, "@########"),
        Template("passport-b", "td3", "XHE", "PASSPORT · PASS", "P", BOOK, (225, 235, 230), (30, 2, 0.6), "%Y.%m.%d", 10, {
            "front": _boxes("portrait: 84 14 34 44; ghost: 70 42 12 15; surname: 7 18 60 4.6; given: 7 26 60 4.6; "
                            "number: 7 34 34 5; birth: 7 43 28 4.2; "
                            "sex: 42 43 8 4.2; nationality: 54 43 14 4.2; issued: 7 51 28 4.2; expiry: 40 51 28 4.2; "
                            "signature: 7 57.5 40 10; zone: 5 70 115 13"),
        }, "##@@#####"),
        Template("passport-c", "td3", "XIN", "TRAVEL DOCUMENT", "PT", BOOK, (120, 140, 130), (5, 12, 4.0), "%d/%m/%Y", 2, {
            "front": _boxes("portrait: 8 18 31 40; ghost: 106 44 13 17; surname: 44 16 70 4.6; given: 44 24 70 4.6; "
                            "birth name: 44 32 60 4.2; birth: 44 40 30 4.2; "
                            "sex: 80 40 8 4.2; birthplace: 44 48 58 4.2; number: 44 56 36 5; expiry: 44 63.5 28 4.2; "
                            "personal number: 74 63.5 44 4.2; zone: 5 70 115 13"),
        }, "@@#######"),
    )
}  # fmt: skip

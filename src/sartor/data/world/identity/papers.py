"""Fictitious identity documents with perfect labels: who they belong to, what they say, and where on the paper it stands.

made = papers(world, np.arange(10), "passport-a")       ten people's passports, front sides
made[0].image                                           uint8 [h, w, 3]
made[0].fields["surname"], made[0].quads["surname"]     a text, and float64 [4, 2] in pixels
made[0].zone                                            the lines of the machine-readable zone, where this side has one
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sartor.data.world.identity.figures import IdentityWorld
from sartor.data.world.identity.mrz import Zone, encode
from sartor.data.world.identity.people import rgb
from sartor.data.world.identity.portraits import portraits
from sartor.data.world.identity.templates import PICTURES, TEMPLATES, Box, Template
from sartor.errors import BadValue, ConfigError, MissingExtra

DPI = 100
TODAY = datetime.date(2026, 1, 1)
_SMALLEST = 6
"""Pixels of the smallest letters."""
_SURNAMES = (
    "Velström", "Øradottir", "Kasprzyłka", "Quenneville", "Tarabelli", "Ondrásek", "Mirabeau", "Hašević", "Nuñarro", "Ilvessalo", "Dorn-Ebbing",
    "O'Farran", "Szelényi", "Vandermeul", "Pirelleau", "Ğökmenli", "Lindqvær", "Abendroth", "Castelmar", "Weißhaupt",
)  # fmt: skip
_GIVEN = (
    "Alma", "Børge", "Célie", "Dušan", "Eyvör", "Florián", "Greta", "Håkon", "Inês", "Jürgen", "Kaisa", "Łucja", "Mattéo", "Nadège", "Öyvind",
    "Petra", "Rémi", "Søren", "Tuğba", "Zoë",
)  # fmt: skip
_TOWNS = ("Altenmar", "Port-Séveur", "Kõrvemaa", "Villanueva d'Or", "Østervang", "Ruszków", "Bellharbour", "Santa Irmã", "Nižná", "Grauwald")
_STREETS = ("Linden Row", "rue des Érables", "Ulica Długa", "Harbour Street", "Calle Nueva", "Søndergade", "Kirchweg")
_KINDS = ("settled", "student", "worker", "family", "seasonal")


@dataclass(frozen=True, eq=False)
class Paper:
    """One side of one document."""

    template: str
    side: str
    person: int
    image: np.ndarray
    """uint8 [h, w, 3]."""
    fields: dict[str, str]
    """Texts that stand on this side; pictures have the name of what they show."""
    quads: dict[str, np.ndarray]
    """float64 [4, 2] of every field: upper left, upper right, lower right and lower left corner as column and row; pixel 0 reaches from 0 to 1."""
    zone: tuple[str, ...]
    """Lines, without any where it is on the other side."""

    @property
    def corners(self) -> np.ndarray:
        """float64 [4, 2], of the paper."""
        height, width = self.image.shape[:2]
        return _quad(0, 0, width, height)


def papers(
    world: IdentityWorld, people: np.ndarray, template: str | Template, *, side: str = "front", dpi: int = DPI, facts: dict[str, Any] | None = None
) -> list[Paper]:
    """Documents of these people, by one design; the same for the same (seed, person, template).

    Parameters
    ----------
    facts: instead of what would be made up: texts by field, and the dates `birth`, `issued` and `expiry`.

    Raises `ConfigError` for a design or side that there is none of, `BadValue` with the field for a text that does not fit even in the smallest
    letters, and for dates that are in no order.
    """
    made = TEMPLATES.get(template) if isinstance(template, str) else template
    if made is None:
        raise ConfigError(f"there is no design {template!r}", fix=f"use one of {', '.join(TEMPLATES)}")
    if side not in made.sides:
        raise ConfigError(f"{made.name} has no side {side!r}", fix=f"it has {', '.join(made.sides)}")
    if unknown := sorted(set(facts or {}) - {name for fields in made.sides.values() for name in fields}):
        raise ConfigError(f"{made.name} has no field {unknown[0]!r}", fix="look at its sides")
    people = np.asarray(people, np.int64)
    faces = portraits(world, people, 4_000, studio=True) if people.size else np.zeros((0, 1, 1, 3), np.uint8)
    return [_drawn(made, side, int(who), face, _said(world, int(who), made, facts or {}), dpi) for who, face in zip(people, faces, strict=True)]


def _said(world: IdentityWorld, person: int, template: Template, facts: dict[str, Any]) -> dict[str, Any]:
    """Texts of every field, dates as dates, and the zone."""
    rng = np.random.default_rng([world.seed, person, 61, list(TEMPLATES).index(template.name) if template.name in TEMPLATES else 99])

    def one(of: tuple[str, ...]) -> str:
        return of[int(rng.integers(len(of)))]

    issued = TODAY - datetime.timedelta(days=int(rng.integers(30, 365 * template.years - 30)))
    birth = issued - datetime.timedelta(days=int(rng.integers(16 * 366, 69 * 365)))
    gene = world.people(np.array([person]))
    surname = one(_SURNAMES) if rng.random() < 0.8 else f"{one(_SURNAMES)} {one(_SURNAMES)}"
    number = "".join(
        str(rng.integers(10)) if sign == "#" else "ABCDEFGHKLMNPRTXYZ"[rng.integers(18)] if sign == "@" else sign for sign in template.pattern
    )
    said: dict[str, Any] = {
        "surname": surname, "given": " ".join(one(_GIVEN) for _ in range(1 + int(rng.random() < 0.4))),
        "sex": ("F", "M", "X")[int(np.searchsorted([0.48, 0.96], rng.random()))], "nationality": template.issuer, "birth": birth,
        "birthplace": one(_TOWNS), "issued": issued, "expiry": issued.replace(year=issued.year + template.years, day=min(issued.day, 28)),
        "number": number, "authority": f"Registry of {one(_TOWNS)}", "address": f"{rng.integers(1, 200)} {one(_STREETS)}, {one(_TOWNS)}",
        "height": f"{150 + 45 * float(gene.gene('height')[0]):.0f} cm", "personal number": f"{birth:%d%m%y}-{rng.integers(10000):04d}",
        "kind": one(_KINDS), "birth name": one(_SURNAMES) if rng.random() < 0.2 else "",
    }  # fmt: skip
    said |= facts
    if not said["birth"] < said["issued"] < said["expiry"]:
        raise BadValue(f"born {said['birth']}, issued {said['issued']}, expires {said['expiry']}", fix="give dates in order", column="expiry")
    sex = said["sex"] if said["sex"] != "X" else ""
    said["zone"] = encode(
        Zone(template.zone, template.code, template.issuer, said["nationality"], said["number"], said["surname"], said["given"], said["birth"], sex,
             said["expiry"])
    )  # fmt: skip
    return said


def _drawn(template: Template, side: str, person: int, face: np.ndarray, said: dict[str, Any], dpi: int) -> Paper:
    try:
        from PIL import Image, ImageDraw
    except ImportError as missing:
        raise MissingExtra("pillow", "recognize") from missing
    per = dpi / 25.4
    picture = _ground(template, side, dpi).copy()
    draw = ImageDraw.Draw(picture)
    ink = _colour(template.colours[2], 0.6, 0.2)
    fields: dict[str, str] = {}
    quads: dict[str, np.ndarray] = {}
    for name, box in template.sides[side].items():
        left, top, width, height = (per * one for one in box)
        if name == "zone":
            _write_zone(draw, said["zone"], (left, top, width, height), quads)
            fields |= {f"zone {number + 1}": line for number, line in enumerate(said["zone"])}
        elif name in PICTURES:
            size = max(1, round(width)), max(1, round(height))
            corner = round(left), round(top)
            if name == "signature":
                _sign(draw, corner, size, person, ink)
            else:
                shown = Image.fromarray(face).resize(size, Image.Resampling.BICUBIC)
                if name == "ghost":
                    shown = Image.blend(shown.convert("L").convert("RGB"), picture.crop((*corner, corner[0] + size[0], corner[1] + size[1])), 0.6)
                picture.paste(shown, corner)
            fields[name], quads[name] = name, _quad(*corner, corner[0] + size[0], corner[1] + size[1])
        elif text := _text(said[name], template.dates):
            label = _font(max(_SMALLEST, round(0.5 * height)))
            draw.text((left, top - 0.62 * height), name, font=label, fill=_colour(template.colours[1], 0.5, 0.55))
            fields[name], quads[name] = text, _write(draw, text, (left, top, width, height), ink, name)
    return Paper(template.name, side, person, np.asarray(picture), fields, quads, said["zone"] if "zone" in template.sides[side] else ())


def _write(draw: Any, text: str, box: Box, ink: tuple[int, int, int], name: str) -> np.ndarray:
    left, top, width, height = box
    size = max(_SMALLEST, round(0.82 * height))
    while draw.textlength(text, font=_font(size)) > width:
        size -= 1
        if size < _SMALLEST:
            raise BadValue(f"{text!r} is too long for its box", fix="shorten it, or give the field more room", column=name)
    draw.text((left, top), text, font=_font(size), fill=ink)
    return _quad(*draw.textbbox((left, top), text, font=_font(size)))


def _write_zone(draw: Any, lines: tuple[str, ...], box: Box, quads: dict[str, np.ndarray]) -> None:
    """Letters of one width, as readers expect them."""
    left, top, width, height = box
    step, row = width / len(lines[0]), height / len(lines)
    font = _font(max(_SMALLEST, round(min(1.6 * step, 0.9 * row))), mono=True)
    for number, line in enumerate(lines):
        y = top + number * row
        for at, sign in enumerate(line):
            draw.text((left + (at + 0.5) * step, y + 0.5 * row), sign, font=font, fill=(25, 25, 25), anchor="mm")
        quads[f"zone {number + 1}"] = _quad(left, y, left + width, y + row)


def _sign(draw: Any, corner: tuple[int, int], size: tuple[int, int], person: int, ink: tuple[int, int, int]) -> None:
    rng = np.random.default_rng([person, 67])
    along = np.linspace(0, 1, 60)
    wave = sum(rng.normal() / k * np.sin(2 * np.pi * k * along * 3 + rng.uniform(0, 6)) for k in range(1, 5))
    drift = along + 0.06 * np.sin(14 * np.pi * along + rng.uniform(0, 6))
    drift = (drift - drift.min()) / np.ptp(drift)
    y = 0.5 + 0.42 * wave / np.abs(wave).max()
    draw.line([(corner[0] + a * (size[0] - 1), corner[1] + b * (size[1] - 1)) for a, b in zip(drift, y, strict=True)], fill=ink, width=1)


@lru_cache(maxsize=128)
def _font(size: int, *, mono: bool = False) -> Any:
    """DejaVu, which matplotlib has with it: Pillow's own font lacks most accents."""
    from importlib.util import find_spec

    from PIL import ImageFont

    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise MissingExtra("matplotlib", "recognize")
    name = "DejaVuSansMono.ttf" if mono else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / name), size)


_grounds: dict[tuple[str, str, int], tuple[Template, Any]] = {}


def _ground(template: Template, side: str, dpi: int) -> Any:
    """The printed paper, before anybody's data: kept, since it is the same for all."""
    from PIL import Image, ImageDraw

    kept = _grounds.get((template.name, side, dpi))
    if kept is not None and kept[0] is template:
        return kept[1]
    per = dpi / 25.4
    width, height = (round(per * one) for one in template.size)
    down, along = np.linspace(0, 1, height)[:, None], np.linspace(0, 1, width)[None]
    value = (0.92 + 0.06 * (down if side == "front" else 1 - down) * (0.5 + along)).clip(0, 0.99)
    paper = rgb(np.full(value.shape, template.colours[0] / 360, np.float32), (0.10 + 0.10 * along * np.ones_like(down)).astype(np.float32), value)
    picture = Image.fromarray((255 * paper).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    lines, periods, tall = template.waves
    for number in range(lines):
        x = np.arange(0, width, 3)
        y = height * (number + 0.5) / lines + per * tall * np.sin(2 * np.pi * periods * x / width + 0.9 * number * (1 if side == "front" else -1))
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=_colour(template.colours[1], 0.25, 0.82), width=1)
    band = 0.105 if side == "front" else 0.03
    draw.rectangle((0, 0, width, round(band * height)), fill=_colour(template.colours[1], 0.55, 0.5))
    if side == "front":
        heading = _font(max(_SMALLEST, round(0.07 * height)))
        draw.text((3 * per, 0.015 * height), f"{template.title}  {template.issuer}", font=heading, fill=(250, 250, 250))
    _grounds[template.name, side, dpi] = (template, picture)
    return picture


def _colour(hue: int, saturation: float, value: float) -> tuple[int, int, int]:
    red, green, blue = (255 * rgb(*(np.array([one], np.float32) for one in (hue / 360, saturation, value)))[0]).astype(int).tolist()
    return red, green, blue


def _text(value: Any, dates: str) -> str:
    return value.strftime(dates).upper() if isinstance(value, datetime.date) else str(value)


def _quad(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)

"""Machine-readable zones of identity documents: three sizes, check digits, and what a mistake of one character does to them.

lines = encode(Zone("td3", code="P", issuer="UTO", nationality="UTO", number="L898902C3", surname="Eriksson", ...))
decode(lines)                       raises `BadValue` with the field whose check digit does not fit

Source: ICAO Doc 9303, parts 3 to 6.
"""

from __future__ import annotations

import datetime
import unicodedata
from dataclasses import dataclass
from typing import Literal

from sartor.errors import BadValue, ConfigError

Size = Literal["td1", "td2", "td3"]
"""td1 is a card, three lines of 30; td2 a larger card, two of 36; td3 a passport, two of 44."""
FILLER = "<"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ<"
LENGTHS: dict[Size, int] = {"td1": 30, "td2": 36, "td3": 44}
_LETTERS = {
    "Ä": "AE", "Å": "AA", "Æ": "AE", "Ö": "OE", "Ø": "OE", "Œ": "OE", "Ü": "UE", "ẞ": "SS", "ß": "SS", "Þ": "TH", "Ð": "D", "Đ": "D", "Ł": "L",
    "Ħ": "H", "Ŋ": "N", "Ŧ": "T", "ı": "I", "'": "", "’": "", ".": "", "-": FILLER, " ": FILLER, ",": FILLER,
}  # fmt: skip

Span = tuple[int, int, int]
"""Line, first column, column after the last."""
_FIELDS: dict[Size, dict[str, Span]] = {
    "td1": {
        "code": (0, 0, 2), "issuer": (0, 2, 5), "number": (0, 5, 14), "optional": (0, 15, 30), "birth": (1, 0, 6), "sex": (1, 7, 8),
        "expiry": (1, 8, 14), "nationality": (1, 15, 18), "more": (1, 18, 29), "name": (2, 0, 30),
    },
    "td2": {
        "code": (0, 0, 2), "issuer": (0, 2, 5), "name": (0, 5, 36), "number": (1, 0, 9), "nationality": (1, 10, 13), "birth": (1, 13, 19),
        "sex": (1, 20, 21), "expiry": (1, 21, 27), "optional": (1, 28, 35),
    },
    "td3": {
        "code": (0, 0, 2), "issuer": (0, 2, 5), "name": (0, 5, 44), "number": (1, 0, 9), "nationality": (1, 10, 13), "birth": (1, 13, 19),
        "sex": (1, 20, 21), "expiry": (1, 21, 27), "optional": (1, 28, 42),
    },
}  # fmt: skip
CHECKED: dict[Size, tuple[str, ...]] = {"td1": ("number", "birth", "expiry"), "td2": ("number", "birth", "expiry"),
                                        "td3": ("number", "birth", "expiry", "optional")}  # fmt: skip
"""Fields with a check digit of their own, in the column after them."""
_COMPOSITE: dict[Size, tuple[Span, ...]] = {
    "td1": ((0, 5, 30), (1, 0, 7), (1, 8, 15), (1, 18, 29)), "td2": ((1, 0, 10), (1, 13, 20), (1, 21, 35)),
    "td3": ((1, 0, 10), (1, 13, 20), (1, 21, 43)),
}  # fmt: skip


@dataclass(frozen=True)
class Zone:
    """What a zone says."""

    size: Size
    code: str
    """Kind of document: P, I, IR, ..."""
    issuer: str
    nationality: str
    number: str
    surname: str
    given: str
    birth: datetime.date
    sex: str
    """F, M, or nothing."""
    expiry: datetime.date
    optional: str = ""


def check_digit(text: str) -> str:
    """Of digits, capital letters and fillers: values 0 to 35 (a filler is 0) times 7, 3, 1, 7, ..., modulo 10."""
    return str(sum(value(one) * (7, 3, 1)[at % 3] for at, one in enumerate(text)) % 10)


def value(character: str) -> int:
    """0 to 35; raises `BadValue` outside the alphabet."""
    at = ALPHABET.find(character)
    if at < 0 or len(character) != 1:
        raise BadValue(f"{character!r} is not in the alphabet of a machine-readable zone", fix="use digits, A to Z and <")
    return at % 36


def transliterated(text: str) -> str:
    """In the zone's alphabet, as the standard's table has it; raises `BadValue`, with the character, for what no table knows."""
    out = []
    for one in unicodedata.normalize("NFC", text).upper():
        if one in _LETTERS:
            out.append(_LETTERS[one])
            continue
        plain = "".join(part for part in unicodedata.normalize("NFKD", one) if not unicodedata.combining(part))
        if not plain or any(part not in ALPHABET for part in plain):
            raise BadValue(f"{one!r} has no place in a machine-readable zone", fix="write it in Latin letters", column=text)
        out.append(plain)
    return "".join(out)


def encode(zone: Zone) -> tuple[str, ...]:
    """The lines. A number of more than 9 characters goes on in the optional field of a card; names are cut where the line ends.

    Raises `BadValue` for a number that does not fit, an expiry before birth, and characters that cannot be written.
    """
    if zone.size not in LENGTHS:
        raise ConfigError(f"there is no size {zone.size!r}", fix="use td1, td2 or td3")
    if zone.expiry <= zone.birth:
        raise BadValue(f"it expires on {zone.expiry}, before its bearer is born", fix="give dates in order", column="expiry")
    fields = _FIELDS[zone.size]
    number, optional = (transliterated(text) for text in (zone.number, zone.optional))
    check = None
    if len(number) > 9:
        if zone.size == "td3":
            raise BadValue(f"the number has {len(number)} characters", fix="a passport's has 9 at the most", column="number")
        # The place of the check digit says that the number goes on.
        optional = number[9:] + check_digit(number) + (FILLER + optional if optional else "")
        number, check = number[:9], FILLER
    texts = {
        "code": transliterated(zone.code), "issuer": transliterated(zone.issuer), "nationality": transliterated(zone.nationality), "number": number,
        "birth": f"{zone.birth:%y%m%d}", "sex": zone.sex or FILLER, "expiry": f"{zone.expiry:%y%m%d}", "optional": optional,
        "name": f"{transliterated(zone.surname)}{FILLER * 2}{transliterated(zone.given)}",
    }  # fmt: skip
    made = [[FILLER] * LENGTHS[zone.size] for _ in range(3 if zone.size == "td1" else 2)]
    for name, text in texts.items():
        line, first, after = fields[name]
        if len(text) > after - first and name != "name":
            raise BadValue(f"{text} has more than {after - first} characters", fix="shorten it", column=name)
        made[line][first:after] = text[: after - first].ljust(after - first, FILLER)
    for name in CHECKED[zone.size]:
        line, first, after = fields[name]
        own = "".join(made[line][first:after])
        made[line][after] = check if name == "number" and check else check_digit(own)
    made[1][-1] = check_digit(_composite(["".join(line) for line in made], zone.size))
    return tuple("".join(line) for line in made)


def failures(lines: tuple[str, ...]) -> list[str]:
    """Names of the fields whose check digit does not fit, "composite" among them; empty for a zone that is whole."""
    size = _size(lines)
    wrong = []
    for name in CHECKED[size]:
        line, first, after = _FIELDS[size][name]
        text, digit = lines[line][first:after], lines[line][after]
        if name == "number" and digit == FILLER and size != "td3":
            _, start, end = _FIELDS[size]["optional"]
            rest = lines[line][start:end].split(FILLER)[0]
            text, digit = text + rest[:-1], rest[-1:]
        # An optional field that is empty may have a filler for its digit.
        empty = name == "optional" and not text.strip(FILLER) and digit == FILLER
        if not empty and check_digit(text) != digit:
            wrong.append(name)
    if check_digit(_composite(lines, size)) != lines[1][-1]:
        wrong.append("composite")
    return wrong


def decode(lines: tuple[str, ...], *, century: int = 2000) -> Zone:
    """The reverse of `encode`, as far as names are not cut and letters were not written in others; births from `century` - 69 to `century` + 30.

    Raises `BadValue` with the field whose check digit does not fit, or which is no date.
    """
    if wrong := failures(lines):
        raise BadValue(f"the check digit of {', '.join(wrong)} does not fit", fix="read the zone again", column=wrong[0])
    size = _size(lines)
    text = {name: lines[line][first:after].rstrip(FILLER) for name, (line, first, after) in _FIELDS[size].items()}
    if lines[_FIELDS[size]["number"][0]][_FIELDS[size]["number"][2]] == FILLER:
        rest, _, optional = text["optional"].partition(FILLER)
        text["number"], text["optional"] = text["number"] + rest[:-1], optional
    surname, _, given = text["name"].partition(FILLER * 2)
    days = {}
    for name in ("birth", "expiry"):
        try:
            year, month, day = (int(text[name][at : at + 2]) for at in (0, 2, 4))
            days[name] = datetime.date(century + year - (100 if name == "birth" and year > 30 else 0), month, day)
        except ValueError as cause:
            raise BadValue(f"{text[name]} is no date", fix="read the zone again", column=name) from cause
    return Zone(
        size, text["code"], text["issuer"], text["nationality"], text["number"], surname.replace(FILLER, " "), given.replace(FILLER, " "),
        days["birth"], text["sex"], days["expiry"], text["optional"],
    )  # fmt: skip


def checked_places(size: Size) -> list[tuple[int, int]]:
    """(line, column) of every character that a check digit of its own field covers."""
    return [(line, column) for name in CHECKED[size] for line, first, after in [_FIELDS[size][name]] for column in range(first, after)]


def undetected(character: str) -> list[str]:
    """Other characters that no check digit tells from this one: those of the same value modulo 10, wherever they stand."""
    return [one for one in ALPHABET if one != character and value(one) % 10 == value(character) % 10]


def _size(lines: tuple[str, ...]) -> Size:
    for size, length in LENGTHS.items():
        if len(lines) == (3 if size == "td1" else 2) and all(len(line) == length for line in lines):
            return size
    raise BadValue(f"lines of {[len(line) for line in lines]} characters", fix="give 3 of 30, 2 of 36 or 2 of 44")


def _composite(lines: list[str] | tuple[str, ...], size: Size) -> str:
    return "".join(lines[line][first:after] for line, first, after in _COMPOSITE[size])

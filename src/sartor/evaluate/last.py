"""The hard exam of recognition: the same people in other places, seasons, nights and clothes, and how much each of these costs.

exam = LaST.split(sightings(shots), queries=2)         of the identity world; or `last_archive.read(folder).test`
report = exam.examine(encode(images[exam.query.rows]), encode(images[exam.gallery.rows]))
report["none"].mean_ap, report["outfit"].mean_ap       everything counts; only pictures in other clothes count
exam.protocol("none")                                  what was asked, as a hash for the result file
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from sartor.errors import ConfigError, EmptyData, LeakError
from sartor.evaluate.identification import Identified, identification_by_vectors

if TYPE_CHECKING:
    import polars as pl

    from sartor.data.world.identity import Shots

Rule = Literal["none", "camera", "outfit", "place", "season"]
"""What of the gallery does not count for a query: pictures of the same person by the same camera (Market-1501), in the same outfit (the rule of
clothes-changing sets), in the same place, in the same season; "none" counts everything, as the published protocol of LaST does."""
RULES: tuple[Rule, ...] = get_args(Rule)
RANKS = (1, 5, 10, 20)


@dataclass(frozen=True, eq=False)
class Sightings:
    """Who can be seen on some pictures, and what is known of each; one row a picture. What is not known is None."""

    person: np.ndarray
    """[n], numbers or texts."""
    rows: np.ndarray
    """int64 [n], which pictures these are, in whatever holds them."""
    camera: np.ndarray | None = None
    """[n]."""
    outfit: np.ndarray | None = None
    """[n], different for any two outfits of one person."""
    place: np.ndarray | None = None
    """[n]."""
    season: np.ndarray | None = None
    """[n], different for any two times that are far apart."""
    night: np.ndarray | None = None
    """bool [n]."""
    names: np.ndarray | None = None
    """[n], of files."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and len(value) != len(self.person):
                raise ConfigError(f"{len(value)} values of {f.name} for {len(self.person)} pictures", fix="give one for each")

    def __len__(self) -> int:
        return len(self.person)

    def only(self, chosen: np.ndarray) -> Sightings:
        """Some of them."""
        return Sightings(*(None if (value := getattr(self, f.name)) is None else np.asarray(value)[chosen] for f in fields(self)))  # type: ignore[arg-type]

    def classes(self, *, outfits: bool = False) -> np.ndarray:
        """int64 [n], what a network may learn to tell apart: people, or with `outfits` every (person, outfit) pair as a class of its own."""
        people = np.unique(self.person, return_inverse=True)[1]
        if not outfits:
            return people.astype(np.int64)
        if self.outfit is None:
            raise ConfigError("nobody's outfits are known", fix="give them, or learn people")
        worn = np.unique(self.outfit, return_inverse=True)[1]
        return np.unique(people.astype(np.int64) * (int(worn.max(initial=0)) + 1) + worn, return_inverse=True)[1].astype(np.int64)


def sightings(shots: Shots) -> Sightings:
    """What the identity world knows of its pictures; seasons of different years differ."""
    from sartor.data.world.identity.people import SEASON

    return Sightings(
        shots.person, np.arange(len(shots)), camera=shots.camera, outfit=shots.outfit_id, place=shots.domain, season=shots.day // SEASON,
        night=shots.night,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LaST:
    """Queries and a gallery that are ranked by distance: cumulative matching at 1, 5, 10 and 20, and mean average precision, under every rule.

    A query without anybody to be found counts nowhere and is reported. What a span costs is seen by comparing rules: under "outfit" only pictures
    in other clothes are to be found, under "place" only those from elsewhere. A rank-1 rate alone says little here, since one picture of the same
    minute is enough for it.

    Source: Shu et al., Large-Scale Spatio-Temporal Person Re-identification: Algorithms and Benchmark, IEEE TCSVT 2022. The published code gives
    every picture a camera of its own, which makes the usual rule ("camera") drop nothing: rule "none". That pre-training on a wide span helps was
    not seen with generated people and a small network that learns for 300 batches (claims/recognize/last.py).

    Raises `LeakError` for a picture on both sides, `ConfigError` for columns that do not fit.
    """

    query: Sightings
    gallery: Sightings

    def __post_init__(self) -> None:
        if self.query.names is not None and self.gallery.names is not None:
            no_twice({"query": self.query.names, "gallery": self.gallery.names})
        elif (shared := np.intersect1d(self.query.rows, self.gallery.rows)).size:
            raise LeakError("a picture is a query and in the gallery", fix="put it on one side", row=int(shared[0]))

    @classmethod
    def split(cls, shown: Sightings, *, queries: int = 2, seed: int = 0) -> Self:
        """`queries` pictures of each person, at random, are looked for among all others."""
        rng = np.random.default_rng([seed, 23])
        order = rng.permutation(len(shown))
        who = np.unique(shown.person, return_inverse=True)[1][order]
        sorted_by_person = np.argsort(who, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(who[sorted_by_person]) > 0])
        place = np.arange(len(shown)) - np.repeat(starts, np.diff(np.r_[starts, len(shown)]))
        asked = np.zeros(len(shown), bool)
        asked[order[sorted_by_person[place < queries]]] = True
        return cls(shown.only(np.flatnonzero(asked)), shown.only(np.flatnonzero(~asked)))

    def identified(self, queries: np.ndarray, gallery: np.ndarray, rule: Rule = "none") -> Identified:
        """Ranks by the cosine of vectors [queries, d] and [gallery, d] under one rule.

        Raises `ConfigError` for a rule whose column is not known, `EmptyData` where nobody is left to be found.
        """
        theirs = self._column(rule)
        if theirs is None:
            return identification_by_vectors(queries, gallery, self.query.person, self.gallery.person, junk="none")
        return identification_by_vectors(
            queries, gallery, self.query.person, self.gallery.person, query_camera=theirs[0], gallery_camera=theirs[1], junk="camera"
        )

    def examine(self, queries: np.ndarray, gallery: np.ndarray, *, rules: Sequence[Rule] | None = None) -> dict[str, Identified]:
        """Every rule that can be asked: all whose column is known, and "by night" and "by day" of the queries where that is; rules under which
        nobody can be found are left out."""
        asked = [rule for rule in RULES if rule == "none" or self._known(rule)] if rules is None else list(rules)
        found: dict[str, Identified] = {}
        for rule in asked:
            try:
                found[rule] = self.identified(queries, gallery, rule)
            except EmptyData:
                if rules is not None:
                    raise
        if rules is None and self.query.night is not None:
            for name, chosen in (("by night", self.query.night), ("by day", ~self.query.night)):
                if chosen.any():
                    part = LaST(self.query.only(np.flatnonzero(chosen)), self.gallery)
                    found[name] = part.identified(queries[chosen], gallery)
        return found

    def leaderboard(
        self, encoders: Mapping[str, Callable[[np.ndarray], np.ndarray]], images: np.ndarray, *, rules: Sequence[Rule] | None = None
    ) -> pl.DataFrame:
        """Several encoders, from pictures [n, h, w, 3] to vectors [n, d], on the same exam: a row for each and each rule."""
        import polars as pl

        rows = []
        for name, encode in encoders.items():
            queries, gallery = encode(images[self.query.rows]), encode(images[self.gallery.rows])
            rows += [{"encoder": name, "rule": rule, **figures(one)} for rule, one in self.examine(queries, gallery, rules=rules).items()]
        return pl.DataFrame(rows)

    def protocol(self, rule: Rule = "none") -> str:
        """32 hex digits over who is on which picture of which side, and under which rule: results with another hash were not asked the same."""
        sides = (self.query, self.gallery)
        facts: list[Any] = [rule, [[_plain(side.person), _plain(side.rows if side.names is None else side.names)] for side in sides]]
        if (theirs := self._column(rule)) is not None:
            facts.append([_plain(one) for one in theirs])
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()

    def _known(self, rule: Rule) -> bool:
        return getattr(self.query, rule) is not None and getattr(self.gallery, rule) is not None

    def _column(self, rule: Rule) -> tuple[np.ndarray, np.ndarray] | None:
        if rule not in RULES:
            raise ConfigError(f"there is no rule '{rule}'", fix=f"use one of {', '.join(RULES)}")
        if rule == "none":
            return None
        if not self._known(rule):
            raise ConfigError(f"the rule '{rule}' needs to know each picture's {rule}", fix="give it, or use rule 'none' and say so")
        return getattr(self.query, rule), getattr(self.gallery, rule)


def _plain(column: np.ndarray) -> list[Any]:
    return list(np.asarray(column).tolist())


def figures(found: Identified) -> dict[str, float | int]:
    """What a table shows of one rule."""
    return {**{f"rank-{k}": found.cmc(k) for k in RANKS}, "mAP": found.mean_ap, "queries": int(found.rows.size), "excluded": found.excluded}


def no_twice(names: Mapping[str, np.ndarray]) -> None:
    """Raise `LeakError` where a file's name occurs in two of several splits."""
    seen: dict[str, str] = {}
    for split, some in names.items():
        for name in map(str, some):
            if seen.setdefault(name, split) != split:
                raise LeakError(f"this picture is in {seen[name]} and in {split}", fix="keep it in one split", file=name)

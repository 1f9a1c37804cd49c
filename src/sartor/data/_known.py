"""The table of known public data sets: titles, terms, and the publishers' own files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A public data set."""

    name: str
    title: str
    terms: str
    """In a few words; the publisher's page has the whole."""
    homepage: str
    urls: tuple[str, ...] = ()
    """The publisher's own files; empty where they must be fetched by hand (a form, an account)."""
    md5: str | None = None
    """Of the first file, as the publisher states it, where the publisher does."""
    frames: tuple[str, ...] = ("events",)
    format: str | None = None
    """The format's name; None where it is found by itself in several forms."""


_GROUPLENS = "research use, no redistribution, no commercial use without permission"
_AMAZON = "offered for academic research"


def _movielens(name: str, title: str, md5: str | None, frames: tuple[str, ...], form: str) -> Known:
    url = f"https://files.grouplens.org/datasets/movielens/{name}.zip"
    return Known(name, title, _GROUPLENS, "https://grouplens.org/datasets/movielens/", (url,), md5, frames, form)


def _amazon_2023(category: str) -> Known:
    base = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw"
    urls = (f"{base}/review_categories/{category}.jsonl.gz", f"{base}/meta_categories/meta_{category}.jsonl.gz")
    name = f"amazon-2023-{category.lower().replace('_', '-')}"
    title = f"Amazon reviews 2023: {category.replace('_', ' ')}"
    return Known(name, title, _AMAZON, "https://amazon-reviews-2023.github.io", urls, None, ("events", "texts", "items"), "amazon")


def _amazon_2018(category: str) -> Known:
    base = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_v2"
    urls = (f"{base}/categoryFilesSmall/{category}_5.json.gz", f"{base}/metaFiles2/meta_{category}.json.gz")
    name = f"amazon-2018-{category.lower().replace('_', '-')}"
    title = f"Amazon reviews 2018, 5-core: {category.replace('_', ' ')}"
    return Known(name, title, _AMAZON, "https://nijianmo.github.io/amazon/", urls, None, ("events", "texts", "items"), "amazon")


def _amazon_2014(category: str) -> Known:
    base = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
    urls = (f"{base}/reviews_{category}_5.json.gz", f"{base}/meta_{category}.json.gz")
    name = f"amazon-2014-{category.lower().replace('_', '-')}"
    title = f"Amazon reviews 2014, 5-core: {category.replace('_', ' ')}"
    return Known(name, title, _AMAZON, "https://jmcauley.ucsd.edu/data/amazon/", urls, None, ("events", "texts", "items"), "amazon")


_SNAP = "https://snap.stanford.edu/data"
_ALL = ("events", "items", "people")
_TAGGED = ("events", "items", "texts")
_REVIEWED = ("events", "texts", "items")

_CATEGORIES = ("All_Beauty", "Digital_Music", "Gift_Cards", "Industrial_and_Scientific", "Musical_Instruments", "Video_Games")

_TABLE = (
    _movielens("ml-100k", "MovieLens 100K: ratings 1-5, 943 people, 1,682 films", "0e33842e24a9c977be4e0107933c0723", _ALL, "movielens-100k"),
    _movielens("ml-1m", "MovieLens 1M: ratings 1-5, 6,040 people, 3,706 films", "c4d9eecfca2ab87c1945afe126590906", _ALL, "movielens-1m"),
    _movielens("ml-10m", "MovieLens 10M: half-star ratings, tags", "ce571fd55effeba0271552578f2648bd", _TAGGED, "movielens-1m"),
    _movielens("ml-20m", "MovieLens 20M: half-star ratings, tags", "cd245b17a1ae2cc31bb14903e1204af3", _TAGGED, "movielens-latest"),
    _movielens("ml-25m", "MovieLens 25M: half-star ratings, tags", "6b51fb2759a8657d3bfcbfc42b592ada", _TAGGED, "movielens-latest"),
    _movielens("ml-32m", "MovieLens 32M: half-star ratings, tags", "d472be332d4daa821edc399621853b57", _TAGGED, "movielens-latest"),
    _movielens("ml-latest-small", "MovieLens latest-small: half-star ratings, tags; changes over time", None, _TAGGED, "movielens-latest"),
    _movielens("ml-latest", "MovieLens latest: half-star ratings, tags; changes over time", None, _TAGGED, "movielens-latest"),
    Known("lastfm-hetrec", "Last.fm of HetRec 2011: plays of artists, tags, friends", "non-commercial use", "https://grouplens.org/datasets/hetrec-2011/",
          ("https://files.grouplens.org/datasets/hetrec2011/hetrec2011-lastfm-2k.zip",), None, ("events", "items", "texts", "edges"),
          "lastfm-hetrec"),
    Known("gowalla", "Gowalla check-ins 2009-2010 with friends", "published for research", f"{_SNAP}/loc-gowalla.html",
          (f"{_SNAP}/loc-gowalla_totalCheckins.txt.gz", f"{_SNAP}/loc-gowalla_edges.txt.gz"), None, ("events", "edges"), "checkins"),
    Known("brightkite", "Brightkite check-ins 2008-2010 with friends", "published for research", f"{_SNAP}/loc-brightkite.html",
          (f"{_SNAP}/loc-brightkite_totalCheckins.txt.gz", f"{_SNAP}/loc-brightkite_edges.txt.gz"), None, ("events", "edges"), "checkins"),
    Known("bitcoin-otc", "Bitcoin OTC: signed trust among members", "published for research", f"{_SNAP}/soc-sign-bitcoin-otc.html",
          (f"{_SNAP}/soc-sign-bitcoinotc.csv.gz",), None, ("edges",), "edges"),
    *(_amazon_2023(category) for category in _CATEGORIES),
    *(_amazon_2018(category) for category in _CATEGORIES),
    *(_amazon_2014(category) for category in ("Beauty", "Sports_and_Outdoors", "Toys_and_Games")),
    Known("amazon-beauty", "Amazon Beauty 2014, 5-core, as sequences with attributes and semantic ids", _AMAZON,
          "https://github.com/aHuiWang/CIKM2020-S3Rec", frames=_ALL, format="sequences"),
    Known("amazon-industrial", "Amazon Industrial 2018 as next-item cases with texts", _AMAZON, "https://github.com/AkaliKong/MiniOneRec",
          frames=("events", "items"), format="amazon-cases"),
    Known("amazon-gift-cards", "Amazon Gift Cards 2018, 5-core, with metadata", _AMAZON, "https://nijianmo.github.io/amazon/",
          frames=("events", "texts", "items"), format="amazon"),
    Known("ml-1m-kg", "Knowledge graph linked to MovieLens 1M", "research use", "https://github.com/hwwang55/MKR",
          frames=("edges", "items"), format="triples"),
    Known("sessions-yoochoose", "Yoochoose sessions with item categories", "non-commercial, no derivatives", "https://github.com/xiongtao2023/CGG",
          frames=("events", "items"), format="sessions"),
    Known("yoochoose", "RecSys Challenge 2015: clicks and buys in sessions", "non-commercial, no derivatives",
          "https://www.kaggle.com/datasets/chadgostopp/recsys-challenge-2015", format="yoochoose"),
    Known("criteo", "Criteo display advertising: 45 million rows, a week", "research and non-commercial use",
          "https://ailab.criteo.com/download-criteo-1tb-click-logs-dataset/", format="criteo"),
    Known("criteo-10k", "Criteo display advertising: the first 10,000 rows", "research and non-commercial use",
          "https://ailab.criteo.com", format="criteo"),
    Known("avazu", "Avazu click-through: 40 million rows, ten days", "rules of the competition",
          "https://www.kaggle.com/c/avazu-ctr-prediction", format="avazu"),
    Known("frappe", "Frappe: use of apps in context, with sampled negatives", "research use, no redistribution",
          "https://www.baltrunas.info/context-aware", format="libfm"),
    Known("lol-pro", "League of Legends professional matches 2014-2018: drafts and bans", "research use",
          "https://www.kaggle.com/datasets/chuckephron/leagueoflegends", frames=("events", "items", "edges"), format="lol-drafts"),
    Known("blogcatalog", "BlogCatalog: friends and groups of bloggers", "research use", "http://socialcomputing.asu.edu/datasets/BlogCatalog3",
          frames=("edges", "people"), format="matlab-graph"),
)  # fmt: skip

KNOWN: dict[str, Known] = {one.name: one for one in _TABLE}

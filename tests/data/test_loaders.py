"""Every format: as people download it (small files of the same layout), and the real sets where they are on this machine."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from sartor.data import Population, datasets, read
from sartor.data.loaders import formats
from sartor.errors import ConfigError, FileProblem, UnknownFormat


def put(folder: Path, **files: str | bytes) -> Path:
    """Write files; `__` in a name stands for a dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = folder / name.replace("__", ".")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def rows(population: Population, frame: str = "events") -> list[dict[str, object]]:
    return population.frames[frame].collect().to_dicts()


ML_1M = {
    "ratings__dat": "1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978298413\n",
    "movies__dat": "661::James and the Giant Peach (1996)::Animation|Children's\n1193::Mis\xe9rables: Les (1975)::Drama\n".encode("iso-8859-1"),
    "users__dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
}


def test_movielens_1m_in_its_own_encoding(tmp_path: Path) -> None:
    made = read(put(tmp_path / "ml-1m", **ML_1M))
    assert rows(made)[1] == {"person": 1, "item": 661, "value": 3.0, "time": 978302109}
    assert rows(made, "items")[1] == {"item": 1193, "title": "Misérables: Les (1975)", "year": 1975, "categories": ["Drama"]}
    assert rows(made, "people")[0] == {"person": 1, "gender": "F", "age_group": "under 18", "occupation": "K-12 student", "zip": "48067"}
    assert made.interactions().shape == (2, 2)


def test_movielens_1m_in_utf8_reads_the_same(tmp_path: Path) -> None:
    files = {**ML_1M, "movies__dat": ML_1M["movies__dat"].decode("iso-8859-1")}  # type: ignore[union-attr]
    assert rows(read(put(tmp_path / "b", **files)), "items") == rows(read(put(tmp_path / "a", **ML_1M)), "items")


def test_a_zip_reads_like_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARTOR_CACHE", str(tmp_path / "cache"))
    folder = put(tmp_path / "ml-1m", **ML_1M)
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"ml-1m/{file.name}")
    whole, unpacked = read(tmp_path / "ml-1m.zip"), read(folder)
    assert whole.name == "ml-1m"
    assert [rows(whole, name) for name in whole.frames] == [rows(unpacked, name) for name in whole.frames]


def test_movielens_10m_has_half_stars_and_tags(tmp_path: Path) -> None:
    files = {
        "ratings__dat": "1::122::4.5::838985046\n",
        "movies__dat": "122::Boomerang (1992)::Comedy|Romance\n",
        "tags__dat": "15::122::excellent!::1215184630\n",
    }
    made = read(put(tmp_path, **files))
    assert rows(made)[0]["value"] == 4.5
    assert rows(made, "texts") == [{"person": 15, "item": 122, "text": "excellent!", "time": 1215184630, "kind": "tag"}]


def test_movielens_latest(tmp_path: Path) -> None:
    made = read(
        put(
            tmp_path,
            ratings__csv="userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n",
            movies__csv='movieId,title,genres\n31,"Dangerous Minds, The (1995)",Drama\n32,None (1999),(no genres listed)\n',
            tags__csv='userId,movieId,tag,timestamp\n15,31,"a ""quoted"" tag",1138537770\n',
        )
    )
    assert rows(made) == [{"person": 1, "item": 31, "value": 2.5, "time": 1260759144}]
    assert [row["categories"] for row in rows(made, "items")] == [["Drama"], []]
    assert rows(made, "texts")[0]["text"] == 'a "quoted" tag'


def test_movielens_100k_official_split() -> None:
    try:
        folder = datasets.find("ml-100k")
    except FileProblem as absent:
        pytest.skip(str(absent))
    whole, split = read(folder).events.collect(), read(folder, split="u1").events.collect()
    assert split.group_by("split").len().sort("split")["len"].to_list() == [20_000, 80_000]
    assert split.drop("split").sort(pl.all()).equals(whole.sort(pl.all()))


OLD = {
    "reviewerID": "A1",
    "asin": "B001",
    "overall": 5.0,
    "unixReviewTime": 1529193600,
    "reviewText": "Great.",
    "summary": "Five",
    "verified": True,
    "reviewerName": "Somebody",
}
NEW = {
    "user_id": "AE1",
    "parent_asin": "B00P",
    "asin": "B00V",
    "rating": 4.0,
    "timestamp": 1588687728923,
    "text": "Nice.",
    "title": "Good",
    "verified_purchase": False,
}


@pytest.mark.parametrize("packed", [False, True])
def test_amazon_2018(tmp_path: Path, packed: bool) -> None:
    lines = "\n".join(json.dumps(one) for one in (OLD, {**OLD, "reviewerID": "A2", "style": {"Size:": "L"}, "reviewText": None}))
    meta = {
        "asin": "B001",
        "title": "A gift <b>card</b>",
        "description": ["One.", "Two."],
        "price": "$1,250.00",
        "category": ["Gifts", "Gifts", "Cards"],
        "brand": "Acme",
    }
    files = {"Gift_Cards_5.json": lines, "meta_Gift_Cards.json": json.dumps(meta)}
    for name, content in files.items():
        (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    made = read(tmp_path)
    assert rows(made)[0] == {"person": "A1", "item": "B001", "time": 1529193600, "value": 5.0, "verified": True}
    assert rows(made, "texts")[1]["text"] == "Five"
    item = rows(made, "items")[0]
    assert (item["text"], item["price"], item["categories"]) == ("One. Two.", 1250.0, ["Gifts", "Cards"])
    # Names of reviewers are never read.
    assert not any("Somebody" in str(row) for name in made.frames for row in rows(made, name))


def test_amazon_2014_metadata_are_python_literals(tmp_path: Path) -> None:
    put(
        tmp_path,
        reviews_Beauty_5__json=json.dumps(OLD),
        meta_Beauty__json="{'asin': 'B001', 'title': 'Don\\'t', 'categories': [['Beauty', 'Hair']], 'price': 7.5}\n",
    )
    assert rows(read(tmp_path), "items")[0] == {
        "item": "B001",
        "title": "Don't",
        "text": None,
        "brand": None,
        "price": 7.5,
        "categories": ["Beauty", "Hair"],
    }


def test_amazon_2023_times_are_milliseconds_and_items_are_products(tmp_path: Path) -> None:
    put(
        tmp_path,
        All_Beauty__jsonl=json.dumps(NEW),
        meta_All_Beauty__jsonl=json.dumps({"parent_asin": "B00P", "title": "Comb", "store": "Acme", "price": "from 12.99", "categories": []}),
    )
    made = read(tmp_path)
    assert rows(made)[0] == {"person": "AE1", "item": "B00P", "time": 1588687728, "value": 4.0, "variant": "B00V", "verified": False}
    assert rows(made, "texts")[0]["text"] == "Good Nice."
    assert (rows(made, "items")[0]["price"], rows(made, "items")[0]["brand"]) == (None, "Acme")


@pytest.mark.parametrize(
    "line",
    [
        "A3TS466QBAWB9D,0014072149,5.0,1370476800",
        "0014072149,A3TS466QBAWB9D,5.0,1370476800",
        "user_id,parent_asin,rating,timestamp\nA3TS466QBAWB9D,0014072149,5.0,1370476800123",
    ],
    ids=["2014: user first", "2018: item first", "2023: header, milliseconds"],
)  # fmt: skip
def test_amazon_ratings_only(tmp_path: Path, line: str) -> None:
    made = read(put(tmp_path, ratings_Things__csv=line + "\n"))
    assert rows(made) == [{"person": "A3TS466QBAWB9D", "item": "0014072149", "value": 5.0, "time": 1370476800}]


def test_recbole_atomic_files(tmp_path: Path) -> None:
    made = read(
        put(
            tmp_path,
            ml__inter="user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n186\t302\t3\t891717742\n",
            ml__item="item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            '242\tKolya "x"\t1996\tComedy Drama\n302\tL.A. Confidential\t1997\t\n',
            ml__user="user_id:token\tage:token\tzip:token\n196\t49\t01234\n",
        )
    )  # fmt: skip
    assert rows(made)[0] == {"person": 196, "item": 242, "value": 3.0, "time": 881250949}
    assert rows(made, "items") == [
        {"item": 242, "title": 'Kolya "x"', "release_year": 1996, "categories": ["Comedy", "Drama"]},
        {"item": 302, "title": "L.A. Confidential", "release_year": 1997, "categories": []},
    ]
    # A code with leading zeros is no number.
    assert rows(made, "people")[0]["zip"] == "01234"


def test_recbole_parts_become_a_split_and_ids_stay_of_one_kind(tmp_path: Path) -> None:
    header = "user_id:token\titem_id:token\n"
    put(tmp_path, d__train__inter=header + "1\ta\n", d__test__inter=header + "1\t2\n", d__item="item_id:token\tprice:float\n2\t1.5\n")
    made = read(tmp_path)
    assert [row["split"] for row in rows(made)] == ["train", "test"]
    assert {row["item"] for row in rows(made)} == {"a", "2"}
    assert rows(made, "items")[0]["item"] == "2"


def test_lastfm_hetrec(tmp_path: Path) -> None:
    put(
        tmp_path,
        user_artists__dat="userID\tartistID\tweight\n2\t51\t13883\n",
        artists__dat="id\tname\turl\tpictureURL\n51\tDuran Duran \"80s\"\thttp://x\thttp://y\n",
        tags__dat="tagID\ttagValue\n13\tchillout \xe9\n".encode("iso-8859-1"),
        user_friends__dat="userID\tfriendID\n2\t275\n",
    )  # fmt: skip
    (tmp_path / "user_taggedartists-timestamps.dat").write_text(
        "userID\tartistID\ttagID\ttimestamp\n2\t51\t13\t1238536800000\n2\t51\t13\t-428720400000\n"
    )
    made = read(tmp_path)
    assert rows(made) == [{"person": 2, "item": 51, "value": 13883.0, "kind": "listen"}]
    assert rows(made, "items")[0]["title"] == 'Duran Duran "80s"'
    assert [(row["text"], row["time"]) for row in rows(made, "texts")] == [("chillout é", 1238536800), ("chillout é", None)]
    assert rows(made, "edges") == [{"source": 2, "target": 275, "kind": "friend"}]


def test_checkins_and_friends(tmp_path: Path) -> None:
    lines = "0\t2010-10-19T23:55:27Z\t30.2359091167\t-97.7951395833\t22847\n1\t2010-10-18T22:17:43Z\t30.26\t-97.76\t\n"
    put(tmp_path, Gowalla_totalCheckins__txt=lines, Gowalla_edges__txt="0\t1\n1\t0\n")
    made = read(tmp_path)
    assert rows(made) == [
        {"person": 0, "item": 22847, "time": 1287532527, "latitude": 30.2359091167, "longitude": -97.7951395833, "kind": "check-in"},
    ]
    assert rows(made, "edges") == [{"source": 0, "target": 1}, {"source": 1, "target": 0}]


@pytest.mark.parametrize(
    ("name", "content", "first"),
    [
        ("as.txt", "# Nodes: 3\n# From\tTo\n3\t4\n4\t5\n", {"source": 3, "target": 4}),
        ("a.edgelist", "3 4\n4 5\n", {"source": 3, "target": 4}),
        ("otc.csv", "6,2,4,1289241911.72836\n6,5,-2,1289241941.53378\n", {"source": 6, "target": 2, "weight": 4.0, "time": 1289241911}),
        ("otc2.csv", "v1,v2,weight,time\n6,2,4,1289241912\n", {"source": 6, "target": 2, "weight": 4.0, "time": 1289241912}),
    ],
)
def test_edge_lists(tmp_path: Path, name: str, content: str, first: dict[str, object]) -> None:
    (tmp_path / name).write_text(content)
    assert rows(read(tmp_path / name), "edges")[0] == first


def test_yoochoose_clicks_and_buys(tmp_path: Path) -> None:
    (tmp_path / "yoochoose-clicks.dat").write_text("1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,S\n")
    (tmp_path / "yoochoose-buys.dat").write_text("1,2014-04-07T10:58:00.306Z,214536500,12462,1\n")
    made = rows(read(tmp_path))
    assert [row["kind"] for row in made] == ["click", "click", "buy"]
    assert made[0] | {"price": None} == made[0]
    assert (made[2]["price"], made[2]["quantity"], made[2]["time"], made[1]["category"]) == (12462.0, 1, 1396868280, "S")


def test_avazu(tmp_path: Path) -> None:
    header = "id,click,hour,C1,banner_pos,site_id,device_id,device_ip,device_model,C14\n"
    put(
        tmp_path,
        train__csv=header
        + "1000009418151094273,1,14102100,1005,0,1fbe01fe,a99f214a,ddd2926e,44956a24,15706\n2,0,14102123,1005,0,1f,b1,c2,d3,15704\n",
    )
    made = rows(read(tmp_path))
    assert [(row["person"], row["item"], row["time"], row["value"]) for row in made] == [
        ("ddd2926e-44956a24", 15706, 1413849600, 1.0), ("b1", 15704, 1413932400, 0.0)]  # fmt: skip
    assert made[0]["site_id"] == "1fbe01fe"


def test_criteo_columns_may_stand_for_people_and_items(tmp_path: Path) -> None:
    cells = ["1", *[str(n) for n in range(13)], *[f"{n:08x}" for n in range(26)]]
    put(tmp_path, train__txt="\t".join(cells) + "\n" + "\t".join(["0", *[""] * 39]) + "\n")
    assert [(row["person"], row["item"], row["value"]) for row in rows(read(tmp_path))] == [(1, "ad", 1.0), (2, "ad", 0.0)]
    assert [(row["person"], row["item"]) for row in rows(read(tmp_path, person="c1", item="c2"))] == [
        ("00000000", "00000001"),
        ("unknown", "unknown"),
    ]


def test_libfm_with_named_fields(tmp_path: Path) -> None:
    put(tmp_path, x__train__libfm="1 3:1 7:1 9:1\n-1 4:1 8:1 9:1\n", x__test__libfm="1 3:1 8:1 9:1\n")
    made = rows(read(tmp_path, fields=["item", "person", "weather"]))
    assert made[1] == {"person": 8, "item": 4, "value": 0.0, "weather": 9, "split": "train"}
    assert made[2]["split"] == "test"


def test_sequences_with_and_without_maps(tmp_path: Path) -> None:
    one = read(put(tmp_path / "one", Beauty__txt="1 5 6 5\n2 7\n"))
    assert [(row["person"], row["item"]) for row in rows(one)] == [(1, 5), (1, 6), (1, 5), (2, 7)]
    parts = put(
        tmp_path / "two",
        train__txt="0 0 1\n1 1\n",
        test__txt="0 2\n1\n",
        user_list__txt="org_id remap_id\nann 0\nbob 1\n",
        item_list__txt="org_id remap_id\n10 0\n20 1\n30 2\n",
    )
    made = rows(read(parts))
    assert made == [
        {"person": "ann", "item": 10, "split": "train"}, {"person": "ann", "item": 20, "split": "train"},
        {"person": "bob", "item": 20, "split": "train"}, {"person": "ann", "item": 30, "split": "test"},
    ]  # fmt: skip


TABLE = "user_id,product_id,rating,timestamp,device\nann,10,4.5,2020-01-02 03:04:05,phone\nbob,11,3,2020-01-03 00:00:00,\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.csv", TABLE), ("log.tsv", TABLE.replace(",", "\t")), ("semi.csv", TABLE.replace(",", ";")),
        ("log.csv.gz", gzip.compress(TABLE.encode())),
        ("bom.csv", b"\xef\xbb\xbf" + TABLE.encode()),
        ("log.jsonl", '{"user_id":"ann","product_id":10,"rating":4.5,"timestamp":"2020-01-02 03:04:05","device":"phone"}\n'
                      '{"user_id":"bob","product_id":11,"rating":3,"timestamp":"2020-01-03 00:00:00","device":null}\n'),
    ],
)  # fmt: skip
def test_tables_find_common_names(tmp_path: Path, name: str, content: str | bytes) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    made = rows(read(tmp_path / name))
    assert made[0] == {"person": "ann", "item": 10, "value": 4.5, "time": 1577934245, "device": "phone"}
    assert made[1]["time"] == 1578009600


def test_tables_with_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("who;what;when\n1;a;1577934245000\n")
    made = read(tmp_path / "x.csv", columns={"person": "who", "item": "what", "time": "when"}, time_unit="ms")
    assert rows(made) == [{"person": 1, "item": "a", "time": 1577934245}]


def test_tables_without_a_header(tmp_path: Path) -> None:
    for name in ("log.csv", "log.dat"):
        (tmp_path / name).write_text("7,007,4,1577934245\n8,8,1,1577934246\n")
        made = read(tmp_path / name, names=["person", "item", "value", "time"])
        # Codes keep their zeros.
        assert rows(made)[0] == {"person": 7, "item": "007", "value": 4.0, "time": 1577934245}


def test_parquet_is_read_lazily(tmp_path: Path) -> None:
    pl.DataFrame({"user": [1, 2], "item": [3, 4], "ts": [1.5e9, 1.6e9]}).write_parquet(tmp_path / "x.parquet")
    made = read(tmp_path / "x.parquet")
    assert "PARQUET" in made.events.explain().upper()
    assert rows(made)[0] == {"person": 1, "item": 3, "time": 1_500_000_000}


def test_duckdb_with_all_frames(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(str(tmp_path / "x.duckdb")) as base:
        base.execute(
            "create table events as select 'p' || (i % 7) as user_id, i % 5 as item_id, timestamp '2020-01-01' + to_hours(i::integer) as ts "
            "from range(40) t(i)"
        )
        base.execute("create table items as select i as item_id, 'item ' || i as title from range(5) t(i)")
    made = read(tmp_path / "x.duckdb")
    assert set(made.frames) == {"events", "items"}
    assert made.interactions().shape == (7, 5)
    assert made.events.filter(pl.col("item") == 3).select("person").collect().height == 8
    assert made.events.select(pl.col("time").min()).collect().item() == 1577836800


def test_what_no_format_fits(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello there\n")
    with pytest.raises(UnknownFormat, match="no format fits"):
        read(tmp_path)
    with pytest.raises(ConfigError, match="there is no format"):
        read(tmp_path, format="excel")
    (tmp_path / "x.csv").write_text(TABLE)
    with pytest.raises(ConfigError, match="no option"):
        read(tmp_path / "x.csv", split="u1")


# --- the real sets: name -> (format, events, people, items with events), as their READMEs count them
REAL = {
    "ml-100k": ("movielens-100k", 100_000, 943, 1_682),
    "ml-latest-small": ("movielens-latest", 100_004, 671, 9_066),
    "ml-1m": ("sequence-parts", 801_218 + 197_321, 6_040, 3_260),
    "amazon-beauty": ("sequences", 198_502, 22_363, 12_101),
    "amazon-industrial": ("amazon-cases", None, 3_285, 3_541),
    "amazon-gift-cards": ("amazon", 2_972, 458, 148),
    "sessions-yoochoose": ("sessions", None, 28_806 - 5_000 + 8_455 + 8_456, None),
    "criteo-10k": ("criteo", 10_000, 10_000, 1),
    "frappe": ("libfm", 57_722 + 28_860, None, None),
    "lol-pro": ("lol-drafts", 76_200 - 348, 1_595, 140),
}
GRAPHS = {"ml-1m-kg": 20_782, "bitcoin-otc": 35_592, "blogcatalog": 333_983}


def known(name: str) -> Path:
    try:
        return datasets.find(name)
    except FileProblem as absent:
        pytest.skip(str(absent))


@pytest.mark.parametrize("name", REAL)
def test_real_sets_load_and_count_right(name: str) -> None:
    form, events, people, items = REAL[name]
    made = read(known(name))
    facts = made.events.select(
        pl.len().alias("events"), pl.col("person").n_unique().alias("people"), pl.col("item").n_unique().alias("items")
    ).collect()
    for wanted, found in zip((events, people, items), facts.row(0), strict=True):
        assert wanted is None or wanted == found
    assert list(formats())
    assert read(known(name), format=form, check_values=False).frames.keys() == made.frames.keys()
    data = made.interactions()
    assert len(data) == facts["events"][0]


@pytest.mark.parametrize("name", GRAPHS)
def test_real_graphs_load(name: str) -> None:
    assert read(known(name)).edges.collect().height == GRAPHS[name]


def test_ml_1m_copy_has_the_original_ids_titles_and_descriptions() -> None:
    made = read(known("ml-1m"))
    items = made.items.collect()
    heat = items.filter(pl.col("title") == "Heat (1995)").row(0, named=True)
    assert heat["item"] == 6
    assert "Heat" in heat["text"]
    assert items["text"].null_count() == 0
    assert made.events.select("item").unique().join(made.items, on="item", how="anti").collect().is_empty()
    # Person 1 is a girl from Ann Arbor who rated Toy Story (1) and Pocahontas (48), among others.
    own = made.events.filter(pl.col("person") == 1).collect()["item"].to_list()
    assert len(own) == 53
    assert {1, 48, 1193} <= set(own)


def test_sessions_of_the_test_part_are_taken_out_of_train() -> None:
    folder = known("sessions-yoochoose")
    published = read(folder, overlap="keep").events.collect()
    assert published.height == 112_045 + 31_775 + 32_661
    kept = read(folder).events.collect()
    assert kept.filter(pl.col("split") != "train").equals(published.filter(pl.col("split") != "train"))
    assert kept.group_by("session").agg(pl.col("split").n_unique())["split"].max() == 1


def test_lol_drafts_have_ten_picks_a_match_but_for_empty_cells() -> None:
    made = read(known("lol-pro"))
    picks = made.events.group_by("session").agg(pl.len(), pl.col("won").sum()).collect()
    # In 15 of the 7,620 matches no player is named.
    assert picks.height == 7_605
    assert picks["len"].max() == 10
    assert (picks.filter(pl.col("len") == 10)["won"] == 5).all()
    assert set(made.edges.collect()["kind"].unique()) == {"ban-blue", "ban-red"}


def test_frappe_labels_and_context() -> None:
    made = read(known("frappe")).events.collect()
    assert set(made["value"].unique()) == {0.0, 1.0}
    assert made["value"].mean() == pytest.approx(1 / 3, abs=0.01)
    assert set(made["split"].unique()) == {"train", "test"}
    assert {"weather", "city", "daytime"} <= set(made.columns)

"""Nobody's calls reach anybody else: tenants and people with hostile names, interleaved through one store, against a plain dict."""

from __future__ import annotations

import io
import itertools
import zipfile
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sartor.errors import BadValue, SartorError, StoreProblem, UnknownId
from sartor.method import State
from sartor.profile import schema
from sartor.profile.records import Record
from sartor.profile.retention import DAY, Rule, purge, set_rule
from sartor.profile.rotate import rotate_person
from sartor.profile.store import ProfileStore

NAMES = [
    "a", "ab", "abc", "A", "a ", " a", "a%", "a_b", "%", "_", "'", "''", '"', "\\", "\n", "0", "1", "01", "NULL", "None", "*",
    "é", "e\u0301", "ß", "ss", "İ", "i\u0307", "😀", "\u202ea", "a" * 499, "a" * 500, "../../etc/passwd", "a' OR '1'='1",
    "'; DROP TABLE evidence; --", "a'); DELETE FROM states; --", "${jndi:x}", "%s", "%(tenant)s", ":tenant", "?", "{person}", ",train,",
]  # fmt: skip
TENANTS = ["t", "t1", "t%", "t_", "T", "t'--", 't" or 1=1', "té", "t\\", "t:1", "*", "t" * 60]
KINDS = ["view", "buy"]

names = st.sampled_from(NAMES) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
numbers = itertools.count()


def steps() -> st.SearchStrategy[list[tuple[str, int, int, Any]]]:
    """(what, tenant number, person number, value)."""
    who = st.tuples(st.integers(0, 1), st.integers(0, 3))
    some = st.lists(names, min_size=1, max_size=3)
    what = st.one_of(
        st.tuples(st.just("append"), who, some),
        st.tuples(st.just("append"), who, some),
        st.tuples(st.just("remove"), who, some),
        st.tuples(st.just("state"), who, st.integers(0, 255)),
        st.tuples(st.just("consent"), who, st.booleans()),
        st.tuples(st.just("forget"), who, st.none()),
        st.tuples(st.just("new key"), who, st.none()),
        st.tuples(st.just("purge"), who, st.sampled_from(KINDS)),
        st.tuples(st.just("members"), who, st.none()),
    )
    return st.lists(what.map(lambda step: (step[0], *step[1], step[2])), min_size=4, max_size=14)


def a_state(value: int) -> State:
    return State({"values": np.full(16, value, np.uint8)}, "Fake", "fingerprint", notes={"value": value})


class Expected:
    """What one person of one tenant should have."""

    def __init__(self) -> None:
        self.records: dict[str, tuple[str, str]] = {}
        self.state: int | None = None
        self.versions = 0
        self.share = False
        self.member = False
        self.known = False


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tenants=st.lists(st.sampled_from(TENANTS), min_size=2, max_size=2, unique=True),
    people=st.lists(names, min_size=4, max_size=4, unique=True),
    plan=steps(),
)
def test_interleaved_people_of_two_tenants_have_only_their_own(store: ProfileStore, tenants: list[str], people: list[str], plan: list[Any]) -> None:
    run = next(numbers)
    tenants = [f"{tenant}/{run}" for tenant in tenants]  # "t1" + "0" would be "t" + "10" of another run
    expected = {(tenant, person): Expected() for tenant in tenants for person in people}
    for number, (what, t, p, value) in enumerate(plan):
        tenant, person = tenants[t], people[p]
        mine = expected[tenant, person]
        if what == "append":
            kind = KINDS[number % 2]
            receipt = store.append(
                tenant, [Record(person, id=one, time=1e9, kind=kind, content={"item": f"{tenant}/{person}/{number}"}) for one in value]
            )
            fresh = {one: (kind, f"{tenant}/{person}/{number}") for one in value if one not in mine.records}
            assert (receipt.accepted, receipt.duplicates) == (len(fresh), len(value) - len(fresh))
            mine.records |= fresh
            mine.known = True
        elif what == "remove":
            assert store.remove(tenant, person, value) == len(set(value) & set(mine.records))
            mine.records = {one: kept for one, kept in mine.records.items() if one not in value}
        elif what == "state" and mine.known:
            store.put_state(tenant, person, "recommend", a_state(value), model="fingerprint", position=store.position(tenant))
            mine.state, mine.versions = value, mine.versions + 1
        elif what == "state":
            with pytest.raises(UnknownId):
                store.put_state(tenant, person, "recommend", a_state(value), model="fingerprint", position=store.position(tenant))
        elif what == "consent":
            store.consent(tenant, person, "share", value, text=f"{tenant}/{person}")
            mine.share, mine.known = value, True
        elif what == "forget":
            assert store.forget(tenant, person, scan_files=False).removed["evidence"] == len(mine.records)
            expected[tenant, person] = Expected()
        elif what == "new key" and mine.known:
            rotate_person(store, tenant, person)
        elif what == "members":
            assert store.note_members(tenant, "model", [person]) == int(mine.known)
            mine.member = mine.known
        elif what == "purge":
            set_rule(store, tenant, Rule(DAY, kind=value))
            purge(store, tenant)
            set_rule(store, tenant, Rule(kind=value))
            for (owner, _), theirs in expected.items():
                if owner == tenant and any(kind == value for kind, _ in theirs.records.values()):
                    theirs.records = {one: kept for one, kept in theirs.records.items() if kept[0] != value}
                    theirs.versions = min(theirs.versions, 1)
    for (tenant, person), theirs in expected.items():
        kept = store.evidence(tenant, person)
        assert {record.id: (record.kind, record.content["item"]) for record in kept} == theirs.records
        assert all(record.person == person for record in kept)
        assert store.count(tenant, person) == len(theirs.records)
        found = store.state(tenant, person, "recommend")
        assert (None if found is None else found.state.notes["value"]) == theirs.state
        assert len(store.history(tenant, person, "recommend")) == theirs.versions
        assert store.allowed(tenant, person, "share") == theirs.share
        assert all(one.text == f"{tenant}/{person}" for one in store.consents(tenant, person).values() if not one.default)
        assert store.models_of(tenant, person) == (["model"] if theirs.member else [])
        assert len(store.evidence(tenant, person, purpose="share")) == (len(theirs.records) if theirs.share else 0)
    for tenant in tenants:
        known = {person: theirs for (owner, person), theirs in expected.items() if owner == tenant and theirs.known}
        assert {card.person: card.records for card in store.people(tenant)} == {person: len(theirs.records) for person, theirs in known.items()}
        shown = [tuple(row) for frame in store.scan(tenant, purpose="recommend") for row in frame.select("person", "item").iter_rows()]
        assert sorted(shown) == sorted((person, item) for person, theirs in known.items() for _, item in theirs.records.values())
        states = store.states(tenant, people, "recommend")
        assert {person: one.state.notes["value"] for person, one in states.items()} == {
            person: theirs.state for person, theirs in known.items() if theirs.state is not None
        }


@pytest.mark.parametrize("name", ["", "a\0b", "\0", "a" * 501, "\ud800", None, True, 1.5, b"ana", ["ana"]])
def test_what_is_no_name_is_refused_everywhere(name: Any, store: ProfileStore) -> None:
    for call in (
        lambda: store.append("shop", [Record(name, id="1")]),
        lambda: store.append(name, [Record("ana", id="1")]),
        lambda: store.evidence("shop", name),
        lambda: store.consent("shop", name, "train", True),
        lambda: store.forget("shop", name),
        lambda: store.forget(name, "ana"),
        lambda: store.export("shop", name),
        lambda: rotate_person(store, "shop", name),
    ):
        with pytest.raises(BadValue):
            call()
    assert store.people("shop") == []


def test_an_archive_holds_nobody_else(store: ProfileStore) -> None:
    for tenant, person in itertools.product(("shop", "shop2"), ("ana", "anab", "an%", "ben")):
        store.append(tenant, [Record(person, id=f"id-{n}", content={"item": f"<{tenant}|{person}>"}) for n in range(3)])
        store.put_state(
            tenant, person, "recommend", State({"x": np.zeros(1)}, notes={"of": f"<{tenant}|{person}>"}), model="m", position=store.position(tenant)
        )
        store.consent(tenant, person, "train", True, text=f"<{tenant}|{person}>")
    with zipfile.ZipFile(io.BytesIO(store.export("shop", "ana"))) as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist() if not name.endswith(".parquet"))
    assert everything.count(b"<shop|ana>") == 3 + 2 + 1  # records, state and card, consent
    assert everything.count(b"<shop") == 6


@pytest.fixture
def two(store: ProfileStore) -> ProfileStore:
    """Ana and Ben, with something encrypted in every table that has any; and Ana of another tenant."""
    for tenant, person in (("shop", "ana"), ("shop", "ben"), ("other", "ana")):
        store.append(tenant, [Record(person, id="1", content={"item": f"{tenant} {person}"})])
        store.put_state(tenant, person, "recommend", a_state(len(person + tenant)), model="m", position=store.position(tenant))
        store.consent(tenant, person, "train", True, text=f"{tenant} {person}")
    return store


SEALED = [("evidence", "data"), ("states", "data"), ("consents", "data"), ("people", "wrapped"), ("people", "name")]


@pytest.mark.parametrize("thief", [("shop", "ben"), ("other", "ana")], ids=["another person", "another tenant"])
@pytest.mark.parametrize(("table", "column"), SEALED)
def test_what_is_moved_to_another_persons_row_does_not_open(table: str, column: str, thief: tuple[str, str], two: ProfileStore) -> None:
    source = schema.metadata.tables[table]

    def mine(tenant: str, person: str) -> list[Any]:
        return [source.c.tenant == tenant, source.c.subject == two.keyring.subject(tenant, person)]

    with two.db.read("shop") as connection:
        loot = connection.execute(sa.select(source.c[column]).where(*mine("shop", "ana"))).scalar_one()
    with two.db.write(thief[0]) as connection:
        connection.execute(source.update().where(*mine(*thief)).values({column: loot}))
    two.keyring.drop(thief[0])
    read = {
        "evidence": lambda: two.evidence(*thief),
        "states": lambda: two.state(*thief, "recommend"),
        "consents": lambda: two.consents(*thief),
        "people": lambda: (two.people(thief[0]), two.evidence(*thief)),
    }
    with pytest.raises(StoreProblem):
        read[table]()


def test_a_whole_stolen_identity_does_not_open(two: ProfileStore) -> None:
    """Ana's key and records under Ben's subject: the key is bound to her, so nothing opens."""
    ana, ben = (two.keyring.subject("shop", person) for person in ("ana", "ben"))
    with two.db.write("shop") as connection:
        for table in (schema.people, schema.evidence):
            connection.execute(table.delete().where(table.c.tenant == "shop", table.c.subject == ben))
            connection.execute(table.update().where(table.c.tenant == "shop", table.c.subject == ana).values(subject=ben))
    two.keyring.drop("shop")
    with pytest.raises(StoreProblem):
        two.evidence("shop", "ben")
    assert two.evidence("shop", "ana") == []


def test_postgresql_itself_keeps_tenants_apart(two: ProfileStore) -> None:
    if two.dialect != "postgresql":
        pytest.skip("row-level security is PostgreSQL's")
    for table in schema.metadata.sorted_tables:
        if "tenant" not in table.c:
            continue
        with two.db.read("shop") as connection:
            assert set(connection.execute(sa.select(table.c.tenant)).scalars()) <= {"shop"}
            if table.name not in ("people", *schema.ACROSS_TENANTS):
                with pytest.raises(sa.exc.DBAPIError):
                    connection.execute(table.insert().from_select(["tenant"], sa.select(sa.literal("other"))))
        with two.db.engine.connect() as connection:
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
        with two.db.write("shop") as connection:
            assert connection.execute(table.delete().where(table.c.tenant == "other")).rowcount == 0


def test_an_error_tells_nothing_of_anybody(two: ProfileStore) -> None:
    """Errors name what and what to do, never ids, content or keys."""
    two.append("shop", [Record("a-secret-person", id="a-secret-record", content={"item": "a-secret-item"})])
    with two.db.write("shop") as connection:
        connection.execute(schema.evidence.update().where(schema.evidence.c.tenant == "shop").values(data=b"broken"))
    for call in (
        lambda: two.evidence("shop", "a-secret-person"),
        lambda: two.export("shop", "a-secret-person"),
        lambda: two.append("shop", [Record("a-secret-person", kind="a-secret\n", content={"item": "a-secret-item"})]),
        lambda: two.append("shop", [Record("a-secret-person", content={"a-secret": object()})]),
        lambda: two.put_state("shop", "a-secret-stranger", "recommend", a_state(1), model="m", position=1),
    ):
        with pytest.raises(SartorError) as caught:
            call()
        assert "a-secret" not in str(caught.value)
        assert "a-secret" not in repr(caught.value.as_dict())

"""What a chain holds cannot be changed, removed, moved or added to without showing."""

import json
import math
import multiprocessing

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.store import Store
from fedpersona.errors import ChainBroken, UnknownName, VaultDamaged

KEY = bytes(32)


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "vault.db", KEY)
    yield opened
    opened.close()


def chain_of(store, count=0, name="ledger"):
    chain = Chain(store, name, signing_key(store))
    for number in range(1, count + 1):
        with store.writing() as cursor:
            chain.append(cursor, {"said": f"entry {number}"}, 100 + number)
    return chain


def change(store, statement, *values):
    with store.writing() as cursor:
        cursor.execute(statement, values)


def fresh(store, name="ledger"):
    return Chain(store, name, signing_key(store))


def test_an_empty_chain_is_whole(store):
    chain = chain_of(store)
    assert chain.verify() == 0
    assert chain.entries() == ()
    assert chain.last(3) == ()
    assert chain.length == 0


def test_entries_come_back_in_order_numbered_from_one(store):
    chain = chain_of(store, 5)
    assert [entry.number for entry in chain.entries()] == [1, 2, 3, 4, 5]
    assert [entry.number for entry in chain.entries(after=3)] == [4, 5]
    assert [entry.body["said"] for entry in chain.last(2)] == ["entry 4", "entry 5"]
    assert chain.last(0) == ()
    assert chain.verify() == fresh(store).verify() == 5


def test_the_signing_key_stays_the_same(store):
    assert signing_key(store).private_bytes_raw() == signing_key(store).private_bytes_raw()


def test_chains_are_of_two_names_only(store):
    with pytest.raises(UnknownName):
        Chain(store, "other", signing_key(store))


def test_the_two_chains_do_not_mix(store):
    chain_of(store, 2, "ledger")
    chain_of(store, 3, "consent")
    change(store, "DELETE FROM chain WHERE name = 'ledger' AND number = 2")
    change(store, "UPDATE chain SET name = 'ledger' WHERE name = 'consent' AND number = 2")
    for name in ("ledger", "consent"):
        with pytest.raises(ChainBroken):
            fresh(store, name).verify()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", 999),
        ("at", "yesterday"),
        ("body", '{"said":"another"}'),
        ("body", '{"said": "entry 2"}'),
        ("body", '{"said":"entry 2","said":"entry 2"}'),
        ("body", '{"said":NaN}'),
        ("body", "[]"),
        ("body", ""),
        ("body", b"\xff"),
        ("body", "[" * 100_000),
        ("hash", bytes(32)),
        ("hash", "text"),
        ("signature", bytes(64)),
        ("signature", b""),
        ("signature", 7),
    ],
)
def test_any_changed_part_shows_and_is_named(store, column, value):
    chain_of(store, 4)
    change(store, f"UPDATE chain SET {column} = ? WHERE number = 2", value)
    with pytest.raises(ChainBroken, match="entry 2") as caught:
        fresh(store).verify()
    assert caught.value.number == 2


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_any_removed_entry_shows_and_is_named(store, number):
    chain_of(store, 4)
    change(store, "DELETE FROM chain WHERE number = ?", number)
    with pytest.raises(ChainBroken, match=f"entry {number} was removed"):
        fresh(store).verify()


def test_a_removed_tail_shows_even_with_the_head_set_back(store):
    chain = chain_of(store, 4)
    with store.reading() as cursor:
        third = cursor.execute("SELECT number, hash, signature FROM chain WHERE number = 3").fetchone()
    change(store, "DELETE FROM chain WHERE number = 4")
    change(store, "UPDATE chain_head SET number = ?, hash = ?, signature = ? WHERE name = 'ledger'", *third)
    with pytest.raises(ChainBroken):
        fresh(store).verify()
    with pytest.raises(ChainBroken):
        chain.entries()


def test_an_older_copy_put_back_shows_to_whoever_saw_the_newer_one(store):
    chain = chain_of(store, 2)
    with store.reading() as cursor:
        head = cursor.execute("SELECT number, hash, signature FROM chain_head WHERE name = 'ledger'").fetchone()
    with store.writing() as cursor:
        chain.append(cursor, {"said": "withdrawn"}, 200)
    assert len(chain.entries()) == 3
    change(store, "DELETE FROM chain WHERE number = 3")
    change(store, "UPDATE chain_head SET number = ?, hash = ?, signature = ? WHERE name = 'ledger'", *head)
    with pytest.raises(ChainBroken, match="entry 3 was removed"):
        chain.entries()


def test_a_removed_head_shows(store):
    chain_of(store, 2)
    change(store, "DELETE FROM chain_head")
    with pytest.raises(ChainBroken, match="head"):
        fresh(store).verify()


def test_everything_removed_but_the_key_shows(store):
    chain_of(store, 2)
    change(store, "DELETE FROM chain")
    change(store, "DELETE FROM chain_head")
    with pytest.raises(ChainBroken):
        fresh(store).verify()


def test_entries_that_changed_places_show(store):
    chain_of(store, 4)
    change(store, "UPDATE chain SET number = 99 WHERE number = 2")
    change(store, "UPDATE chain SET number = 2 WHERE number = 3")
    change(store, "UPDATE chain SET number = 3 WHERE number = 99")
    with pytest.raises(ChainBroken, match="entry 2"):
        fresh(store).verify()


@pytest.mark.parametrize("number", [0, -1])
def test_an_entry_before_the_first_shows(store, number):
    chain_of(store, 2)
    change(store, "INSERT INTO chain SELECT name, ?, at, body, hash, signature FROM chain WHERE number = 1", number)
    with pytest.raises(ChainBroken):
        fresh(store).verify()


def test_an_entry_added_by_hand_shows(store):
    chain_of(store, 2)
    change(store, "INSERT INTO chain SELECT name, 3, at, body, hash, signature FROM chain WHERE number = 2")
    with pytest.raises(ChainBroken, match="entry 3 was added"):
        fresh(store).verify()


def test_a_chain_written_with_another_key_shows(store):
    stranger = Chain(store, "ledger", Ed25519PrivateKey.generate())
    chain_of(store, 1)
    with pytest.raises(ChainBroken), store.writing() as cursor:
        stranger.append(cursor, {}, 1)
    with pytest.raises(ChainBroken):
        stranger.verify()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM chain WHERE number = 3",
        "UPDATE chain SET body = '{}' WHERE number = 3",
        "DELETE FROM chain_head",
        "UPDATE chain_head SET number = 2",
        "UPDATE chain_head SET number = 'x'",
        "UPDATE chain_head SET hash = x'00'",
        "INSERT INTO chain SELECT name, 4, at, body, hash, signature FROM chain WHERE number = 3",
    ],
)
def test_nothing_is_added_to_a_chain_whose_end_is_not_ours(store, damage):
    chain = chain_of(store, 3)
    change(store, damage)
    with pytest.raises(ChainBroken), store.writing() as cursor:
        chain.append(cursor, {"said": "more"}, 500)
    with store.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM chain WHERE body LIKE '%more%'").fetchone() == (0,)


def test_an_entry_commits_with_what_it_tells_of_or_not_at_all(store):
    chain = chain_of(store, 1)
    with pytest.raises(RuntimeError), store.writing() as cursor:  # noqa: PT012 - the transaction is what is tested
        chain.append(cursor, {"said": "never"}, 5)
        cursor.execute("INSERT INTO settings VALUES ('x', x'00')")
        raise RuntimeError
    assert chain.verify() == 1
    with store.writing() as cursor:
        assert chain.append(cursor, {"said": "second"}, 6).number == 2
    assert [entry.body["said"] for entry in chain.entries()] == ["entry 1", "second"]


@pytest.mark.parametrize(
    "body",
    [
        {"x": math.nan},
        {"x": math.inf},
        {"x": -math.inf},
        {"x": {1, 2}},
        {"x": b"bytes"},
        {"x": (1, 2)},
        {1: "x"},
        [1],
        "text",
    ],
)
def test_only_plain_json_is_written(store, body):
    chain = chain_of(store, 1)
    with pytest.raises(ValueError), store.writing() as cursor:
        chain.append(cursor, body, 1)
    assert chain.verify() == 1


@pytest.mark.parametrize("at", [-1, 1.5, True, "now", 2**63])
def test_a_time_is_whole_seconds(store, at):
    chain = chain_of(store)
    with pytest.raises(ValueError), store.writing() as cursor:
        chain.append(cursor, {}, at)
    assert chain.verify() == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.dictionaries(st.text(), json_values, max_size=4))
def test_any_json_comes_back_as_it_was_and_verifies(store, body):
    chain = fresh(store)
    with store.writing() as cursor:
        chain.append(cursor, body, 1)
    assert fresh(store).last(1)[0].body == body
    assert chain.verify() == chain.length


def test_a_broken_chain_can_still_be_exported(store):
    chain = chain_of(store, 2)
    change(store, "UPDATE chain SET body = '{broken' WHERE number = 1")
    change(store, "UPDATE chain SET body = x'ff', signature = 7, hash = 'text' WHERE number = 2")
    rows = chain.export()
    assert [row["body"] for row in rows] == ["{broken", "ff"]
    assert json.dumps(rows)


def test_an_export_can_be_checked_with_the_public_key_in_it(store):
    chain = chain_of(store, 1)
    row = chain.export()[0]
    assert row["body"] == {"said": "entry 1"}
    assert bytes.fromhex(row["public_key"]) == signing_key(store).public_key().public_bytes_raw()
    assert bytes.fromhex(row["hash"]) == chain.entries()[0].hash


def test_a_damaged_signing_key_is_a_named_error(store):
    signing_key(store)
    change(store, "UPDATE settings SET value = x'00' WHERE name = 'signing key'")
    with pytest.raises(VaultDamaged, match="signing key"):
        signing_key(store)


def _append_many(path, mark, count):
    store = Store(path, KEY)
    chain = Chain(store, "ledger", signing_key(store))
    for number in range(count):
        with store.writing() as cursor:
            chain.append(cursor, {"by": mark, "number": number}, 1)
    store.close()


def test_two_processes_number_their_entries_without_collision(tmp_path):
    path = tmp_path / "vault.db"
    Store(path, KEY).close()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_append_many, args=(path, mark, 20)) for mark in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = Store(path, KEY)
    assert fresh(store).verify() == 40
    for mark in "ab":
        mine = [entry.body["number"] for entry in fresh(store).entries() if entry.body["by"] == mark]
        assert mine == list(range(20))
    store.close()


def test_one_process_sees_what_another_wrote(store, tmp_path):
    chain = chain_of(store, 1)
    assert chain.length == len(chain.entries()) == 1
    other = Store(tmp_path / "vault.db", KEY)
    chain_of(other, 2)
    other.close()
    assert chain.length == len(chain.entries()) == 3

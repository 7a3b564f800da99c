import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from fedpersona.aggregation.database import Database, tokens
from fedpersona.aggregation.roster import Enrolled, Roster
from fedpersona.errors import ConfigError, EnrolmentRefused, ServerError


def pem():
    public = ec.generate_private_key(ec.SECP384R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signing(number):
    return bytes([number]) * 32


@pytest.fixture
def roster(database, clock):
    return Roster(database, clock=clock)


@pytest.mark.parametrize("token", ["", "unknown", "x" * 100_000, "ü\ud800", "' OR 1=1 --"])
def test_an_unknown_token_enrols_nobody(roster, token):
    roster.issue_token(1)
    with pytest.raises(EnrolmentRefused, match="unknown"):
        roster.enrol(token, pem(), signing(1))
    assert roster.devices() == []


def test_a_token_enrols_one_device_only(roster):
    token = roster.issue_token(1)
    roster.enrol(token, pem(), signing(1))
    with pytest.raises(EnrolmentRefused, match="another device"):
        roster.enrol(token, pem(), signing(2))
    assert len(roster.devices()) == 1


def test_the_same_device_again_gets_the_same_answer_also_after_the_token_expired(roster, clock):
    token, key = roster.issue_token(1), pem()
    assert roster.enrol(token, key, signing(1)) == Enrolled(1)
    clock.now += 100_000
    assert roster.enrol(token, key, signing(1)) == Enrolled(1)
    roster.revoke(1)
    with pytest.raises(EnrolmentRefused, match="revoked"):
        roster.enrol(token, key, signing(1))


def test_a_token_expires_to_the_second(roster, clock):
    token = roster.issue_token(1)
    clock.now += 3600
    with pytest.raises(EnrolmentRefused, match="expired"):
        roster.enrol(token, pem(), signing(1))
    clock.now -= 1
    assert roster.enrol(token, pem(), signing(1)) == Enrolled(1)


@pytest.mark.parametrize("hours", [0, -1, float("nan"), float("inf"), 10_000])
def test_a_token_without_an_end_is_refused(roster, hours):
    with pytest.raises(ConfigError, match="hours"):
        roster.issue_token(hours)


@pytest.mark.parametrize("by_number", [True, False])
def test_a_token_that_was_taken_back_enrols_nobody(roster, by_number):
    token = roster.issue_token(1, "for the neighbours")
    roster.take_back_token(1 if by_number else token)
    with pytest.raises(EnrolmentRefused, match="took this invitation back"):
        roster.enrol(token, pem(), signing(1))
    assert [(one.note, one.used_by) for one in roster.tokens()] == [("for the neighbours", None)]


def test_a_token_that_was_used_or_never_issued_cannot_be_taken_back(roster):
    token = roster.issue_token(1)
    roster.enrol(token, pem(), signing(1))
    with pytest.raises(EnrolmentRefused, match="device 1"):
        roster.take_back_token(token)
    with pytest.raises(EnrolmentRefused, match="never issued"):
        roster.take_back_token("other")


def test_a_key_is_enrolled_once_also_in_another_spelling_and_the_token_is_kept(roster):
    key = pem()
    roster.enrol(roster.issue_token(1), key, signing(1))
    token = roster.issue_token(1)
    spaced = b"\n  \n" + key.replace(b"\n", b"\r\n") + b"\n\n"
    for flower_key, signing_key in ((key, signing(2)), (spaced, signing(2)), (pem(), signing(1))):
        with pytest.raises(EnrolmentRefused, match="enrolled already"):
            roster.enrol(token, flower_key, signing_key)
    assert roster.enrol(token, pem(), signing(2)) == Enrolled(2)
    assert roster.by_flower_key(spaced).number == 1


@pytest.mark.parametrize("key", [b"", b"s" * 31, b"s" * 33])
def test_a_signing_key_of_another_length_is_refused(roster, key):
    with pytest.raises(EnrolmentRefused, match="32 bytes"):
        roster.enrol(roster.issue_token(1), pem(), key)


def test_the_token_itself_is_nowhere_on_disk(roster, database, tmp_path):
    token = roster.issue_token(1)
    with database.reading() as connection:
        assert len(connection.scalar(select(tokens.c.hash))) == 64
    for file in tmp_path.iterdir():
        assert token.encode() not in file.read_bytes()


def test_keys_are_not_printed(roster):
    roster.enrol(roster.issue_token(1), pem(), signing(7))
    assert "key" not in repr(roster.devices())


def test_a_device_is_found_by_its_node_id_up_to_the_largest(roster):
    key = pem()
    roster.enrol(roster.issue_token(1), key, signing(1))
    assert roster.by_node(0) is None
    assert roster.by_flower_key(key).node_id is None
    for node_id in (5, 2**64 - 1):
        roster.attach(1, node_id)
        roster.attach(1, node_id)
        assert roster.by_node(node_id) == roster.device(1)
        assert roster.device(1).node_id == node_id
    assert roster.by_node(5) is None
    assert roster.by_flower_key(pem()) is None


def test_two_devices_never_have_one_node_id(roster):
    for number in (1, 2):
        roster.enrol(roster.issue_token(1), pem(), signing(number))
    roster.attach(1, 5)
    with pytest.raises(ServerError, match="device 1 has the node id"):
        roster.attach(2, 5)
    with pytest.raises(ServerError, match="no device 3"):
        roster.attach(3, 6)


def test_a_revoked_device_stays_listed_counts_no_more_and_its_number_is_never_given_again(roster, clock):
    start = clock.now
    for number in (1, 2):
        roster.enrol(roster.issue_token(1), pem(), signing(number))
        clock.now += 10
    assert (roster.enrolled(), roster.enrolled_since(start + 10), roster.enrolled_since(start + 11)) == (2, 1, 0)
    first = roster.revoke(2)
    clock.now += 10
    assert roster.revoke(2) == first
    assert [device.revoked_at for device in roster.devices()] == [None, int(start + 20)]
    assert (roster.enrolled(), roster.enrolled_since(start + 10)) == (1, 0)
    assert roster.enrol(roster.issue_token(1), pem(), signing(3)) == Enrolled(3)
    with pytest.raises(ServerError, match="no device 9"):
        roster.revoke(9)


@settings(max_examples=20, deadline=None)
@given(key=st.binary(max_size=200))
def test_any_bytes_in_place_of_a_key_are_looked_up_without_an_error(tmp_path_factory, key):
    with Database(tmp_path_factory.mktemp("state") / "fedpersona.db") as database:
        assert Roster(database).by_flower_key(key) is None


RACE = """
import sys
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.roster import Roster
from fedpersona.errors import EnrolmentRefused
with Database(sys.argv[1]) as database:
    try:
        print(Roster(database).enrol(sys.argv[2], sys.argv[3].encode(), sys.argv[3].encode() * 32).number)
    except EnrolmentRefused:
        print("refused")
"""


def test_of_processes_that_use_one_token_at_once_one_enrols(roster, database):
    token = roster.issue_token(1)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(database.path), token, key], stdout=subprocess.PIPE, text=True
        )
        for key in "abc"
    ]
    answers = sorted(process.communicate(timeout=60)[0].strip() for process in processes)
    assert answers == ["1", "refused", "refused"]

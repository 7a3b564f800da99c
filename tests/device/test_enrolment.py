"""Enrolling: keys first, the answer checked, nothing lost half-way, no serial taken twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from fedpersona.device.device import Device
from fedpersona.device.enrolment import Identity
from fedpersona.device.https import Answer
from fedpersona.errors import (
    ChainBroken,
    EnrolmentRefused,
    ServerUnreachable,
    ServerUntrusted,
    SignatureInvalid,
    VaultDamaged,
)
from fedpersona.wire.invitation import Invitation
from tests.device.https_servers import Authority, reply, serving

OPERATOR = bytes(range(32))
TOKEN = "a-token-of-32-letters-0123456789"
ADDRESS = "https://taste.example"
INVITATION = Invitation(ADDRESS, "Folk of the Valley", OPERATOR, TOKEN)


class Office:
    """Enrols as a server does, in this process; ``answer`` is what it says instead, ``lose`` loses its answer."""

    def __init__(self, federation="Folk of the Valley"):
        self.federation = federation
        self.asked = []
        self.answer = None
        self.lose = False
        self.closed = 0
        self._places = {}

    def __call__(self, address, authority):
        self.address, self.authority = address, authority
        return self

    def post(self, path, body, *, most, media, seconds):
        assert (path, media) == ("/v1/enrol", "application/json")
        fields = json.loads(body)
        self.asked.append(fields)
        check_proof(fields, self.federation)
        number = self._places.setdefault((fields["flower_key"], fields["signing_key"]), len(self._places) + 1)
        if self.lose:
            raise ServerUnreachable("lost")
        if self.answer is not None:
            return self.answer
        place = {"federation": self.federation, "device": number, "node_id": 2**64 - number}
        return Answer(200, json.dumps(place).encode(), {})

    def close(self):
        self.closed += 1


def check_proof(fields, federation):
    key = fields["flower_key"].encode()
    words = b"fedpersona enrol 1\n" + federation.encode() + b"\n" + hashlib.sha256(fields["token"].encode()).digest()
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(fields["signing_key"])).verify(
        bytes.fromhex(fields["proof"]), words + key
    )


@pytest.fixture
def enrolments(device):
    return device.enrolments


# -- enrolling --


def test_a_device_enrols_with_keys_of_its_own(device, enrolments):
    office = Office()
    place = enrolments.enrol(str(INVITATION), office)
    (asked,) = office.asked
    assert set(asked) == {"token", "flower_key", "signing_key", "proof"}
    assert (place.server, place.federation, place.operator) == (ADDRESS, INVITATION.federation, OPERATOR)
    assert (place.device, place.node_id, place.enrolled) == (1, 2**64 - 1, True)
    flower = load_pem_private_key(place.flower_key, None)
    assert isinstance(flower.curve, SECP384R1)
    assert load_pem_public_key(asked["flower_key"].encode()) == flower.public_key()
    assert Ed25519PrivateKey.from_private_bytes(place.signing_key).public_key() == place.signer.public_key()
    assert place.signer.public_key().public_bytes_raw().hex() == asked["signing_key"]
    assert office.closed == 1
    assert device.identities == (place,)
    assert device.shelf.pinned_key(ADDRESS) == OPERATOR


def test_it_is_known_after_a_restart(device, tmp_path):
    place = device.enrolments.enrol(INVITATION, Office())
    device.close()
    with Device.open(tmp_path / "device") as again:
        assert again.enrolments.identity("https://TASTE.example:443/") == place
        assert again.identities == (place,)


def test_no_key_and_no_token_shows_or_lies_readable(device, enrolments, tmp_path):
    place = enrolments.enrol(INVITATION, Office())
    seen = f"{place!r} {place} {enrolments!r} {INVITATION!r} {list(map(str, device.ledger.tail(99)))}"
    for secret in (TOKEN, place.signing_key.hex(), str(place.signing_key), place.flower_key.decode(), "PRIVATE KEY"):
        assert secret not in seen
    device.close()
    disk = b"".join(path.read_bytes() for path in (tmp_path / "device").iterdir() if path.is_file())
    for secret in (TOKEN.encode(), place.signing_key, b"PRIVATE KEY", OPERATOR):
        assert secret not in disk


def test_two_servers_get_different_keys(enrolments):
    one = enrolments.enrol(INVITATION, Office())
    other = enrolments.enrol(replace(INVITATION, address="https://other.example"), Office())
    assert one.flower_key != other.flower_key
    assert one.signing_key != other.signing_key


def test_the_ledger_says_before_and_after_what_left(device, enrolments):
    office = Office()
    enrolments.enrol(INVITATION, office)
    asked, got = device.ledger.tail(2)
    assert "asked https://taste.example to enrol this device, with two public keys" in str(asked)
    assert "nothing of the history" in str(asked)
    assert "a place in 'Folk of the Valley', as device 1" in str(got)
    assert device.ledger.count("sent") == 0


def test_a_broken_ledger_lets_nothing_leave(device, enrolments):
    device.ledger.received(server=ADDRESS, what="something", size=1)
    with device._store.writing() as cursor:
        cursor.execute("UPDATE chain SET body = replace(body, 'something', 'anything') WHERE name = 'ledger'")
        cursor.execute("UPDATE chain_head SET hash = zeroblob(32) WHERE name = 'ledger'")
    office = Office()
    with pytest.raises(ChainBroken):
        enrolments.enrol(INVITATION, office)
    assert not office.asked
    assert not device.identities


def test_the_same_invitation_again_asks_again_with_the_same_keys_since_the_server_may_have_lost_its_list(enrolments):
    office = Office()
    first = enrolments.enrol(INVITATION, office)
    again = enrolments.enrol(INVITATION, office)
    assert (again.flower_key, again.signing_key) == (first.flower_key, first.signing_key)
    assert len(office.asked) == 2
    assert office.asked[0] == office.asked[1]


def test_another_token_gives_another_place_with_new_keys(enrolments):
    office = Office()
    first = enrolments.enrol(INVITATION, office)
    second = enrolments.enrol(replace(INVITATION, token="b" * 32), office)
    assert second.device == 2
    assert second.flower_key != first.flower_key
    assert enrolments.all() == (second,)


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_keys(device, tmp_path):
    office = Office()
    office.lose = True
    with pytest.raises(ServerUnreachable):
        device.enrolments.enrol(INVITATION, office)
    assert not device.identities
    assert device.shelf.pinned_key(ADDRESS) is None
    device.close()
    office.lose = False
    with Device.open(tmp_path / "device") as again:
        assert again.enrolments.enrol(INVITATION, office).device == 1
    one, two = office.asked
    assert {**one, "proof": ""} == {**two, "proof": ""}


def test_a_refusal_is_told_and_leaves_the_place_there_was(device, enrolments):
    office = Office()
    place = enrolments.enrol(INVITATION, office)
    office.answer = Answer(403, json.dumps({"error": "the invitation has\x1b[31m expired"}).encode(), {})
    with pytest.raises(EnrolmentRefused, match="expired") as caught:
        enrolments.enrol(replace(INVITATION, token="b" * 32), office)
    assert "\x1b" not in str(caught.value)
    assert device.identities == (place,)


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"error": 5}', b"[" * 4000])
def test_a_refusal_without_words_is_one(enrolments, body):
    office = Office()
    office.answer = Answer(403, body, {})
    with pytest.raises(EnrolmentRefused, match="ask its operator"):
        enrolments.enrol(INVITATION, office)


def place_with(**changes):
    return json.dumps({"federation": "Folk of the Valley", "device": 1, "node_id": 5, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"null",
        b"[1, 2, 3]",
        b"[" * 4000,
        b'{"federation": "Folk of the Valley", "device": 1}',
        place_with(more=1),
        place_with(device=0),
        place_with(device=True),
        place_with(device="1"),
        place_with(device=1.0),
        place_with(device=2**63),
        place_with(node_id=None),
        place_with(node_id=-5),
        place_with(node_id=2**64),
        place_with(node_id=float("nan")),
        place_with(federation=None),
        place_with(federation="another"),
    ],
)
def test_an_answer_that_is_no_place_here_is_not_taken(device, enrolments, body):
    office = Office()
    office.answer = Answer(200, body, {})
    with pytest.raises(ServerUntrusted):
        enrolments.enrol(INVITATION, office)
    assert not device.identities
    assert device.shelf.pinned_key(ADDRESS) is None
    assert device.ledger.tail(1)[0].kind == "refused"


@pytest.mark.parametrize("status", [201, 404, 429, 500, 503])
def test_a_server_that_cannot_enrol_now_is_asked_again_later(device, enrolments, status):
    office = Office()
    office.answer = Answer(status, place_with(), {})
    with pytest.raises(ServerUnreachable, match="again later"):
        enrolments.enrol(INVITATION, office)
    assert not device.identities


@pytest.mark.parametrize(
    "bad", ["", "fedpersona1.", "hello", str(INVITATION)[:-9], str(replace(INVITATION, address="http://taste.example"))]
)
def test_what_is_no_invitation_changes_nothing(device, enrolments, bad):
    before = device._store.changes()
    with pytest.raises(EnrolmentRefused):
        enrolments.enrol(bad, Office())
    assert device._store.changes() == before


@pytest.mark.parametrize("address", ["http://taste.example", "https://", "https://a b", "https://taste.example/?x"])
def test_an_invitation_to_no_address_is_refused(enrolments, address):
    with pytest.raises(EnrolmentRefused, match="of no use"):
        enrolments.enrol(replace(INVITATION, address=address), Office())


# -- who is trusted --


@pytest.mark.parametrize("token", [TOKEN, "b" * 32, ""])
def test_another_operators_key_is_refused_before_anything_is_sent(device, enrolments, token):
    office = Office()
    place = enrolments.enrol(INVITATION, office)
    other = replace(INVITATION, operator=bytes(32), token=token)
    with pytest.raises(SignatureInvalid, match="pinned"):
        enrolments.enrol(other, office)
    assert len(office.asked) == 1
    assert device.identities == (place,)
    assert device.shelf.pinned_key(ADDRESS) == OPERATOR


def test_a_catalogue_key_that_was_seen_first_is_pinned_too(device, enrolments):
    with device._store.writing() as cursor:
        cursor.execute("INSERT INTO file VALUES (?, ?)", (f"key of {ADDRESS}", bytes(32)))
    with pytest.raises(SignatureInvalid):
        enrolments.enrol(INVITATION, Office())
    assert not device.identities


def test_an_invitation_without_a_token_sends_nothing(device, enrolments):
    office = Office()
    known = enrolments.enrol(replace(INVITATION, token="", authority=b"der"), office)
    assert known == Identity(ADDRESS, INVITATION.federation, OPERATOR, b"der")
    assert not known.enrolled
    assert not office.asked
    assert not device.ledger.tail()
    assert device.shelf.pinned_key(ADDRESS) == OPERATOR
    assert enrolments.enrol(INVITATION, office).enrolled


def test_an_invitation_without_a_token_leaves_a_place_and_brings_the_new_authority(enrolments):
    place = enrolments.enrol(INVITATION, Office())
    again = enrolments.enrol(replace(INVITATION, token="", authority=b"new"), Office())
    assert again == replace(place, authority=b"new")
    assert enrolments.identity(ADDRESS) == again


def test_an_invitation_without_a_token_to_another_federation_takes_no_place_away(device, enrolments):
    place = enrolments.enrol(INVITATION, Office())
    with pytest.raises(EnrolmentRefused, match="device leave"):
        enrolments.enrol(replace(INVITATION, token="", federation="Another"), Office())
    assert device.identities == (place,)


def test_forgetting_deletes_keys_and_pin(device, enrolments):
    enrolments.enrol(INVITATION, Office())
    assert enrolments.forget(ADDRESS)
    assert not enrolments.forget(ADDRESS)
    assert enrolments.identity(ADDRESS) is None
    assert device.shelf.pinned_key(ADDRESS) is None
    with device._store.reading() as cursor:
        assert cursor.execute("SELECT count(*) FROM file WHERE name LIKE '%enrol%'").fetchone() == (0,)
    assert enrolments.enrol(replace(INVITATION, operator=bytes(32)), Office()).operator == bytes(32)


def test_a_row_that_is_damaged_is_named(device, enrolments):
    enrolments.enrol(INVITATION, Office())
    for body in (b"", b"{}", b"[]", b"null", b'{"operator": 5}', replace(device.identities[0], server="x").packed()):
        with device._store.writing() as cursor:
            before = cursor.execute("SELECT body FROM file WHERE name LIKE 'enrolment of %'").fetchone()
            cursor.execute("UPDATE file SET body = ? WHERE name LIKE 'enrolment of %'", (body,))
        with pytest.raises(VaultDamaged, match=r"taste\.example"):
            enrolments.identity(ADDRESS)
        assert "taste.example" in enrolments.export()[0]["broken"]
        with device._store.writing() as cursor:
            cursor.execute("UPDATE file SET body = ? WHERE name LIKE 'enrolment of %'", before)


# -- the owner's copy --


def test_an_export_says_with_whom_and_holds_no_private_key(device, enrolments, tmp_path):
    place = enrolments.enrol(replace(INVITATION, authority=b"der"), Office())
    enrolments.replays.accept_serial(ADDRESS, 3)
    with zipfile.ZipFile(device.export(tmp_path / "mine.zip")) as archive:
        (found,) = json.loads(archive.read("enrolments.json"))
        everything = b"".join(archive.read(name) for name in archive.namelist()).decode()
    assert (found["server"], found["federation"], found["device"]) == (ADDRESS, INVITATION.federation, 1)
    assert found["operator_key"] == OPERATOR.hex()
    assert found["last_serial"] == 3
    assert found["flower_public_key"] == place.flower_public_key.decode()
    for secret in ("PRIVATE", TOKEN, place.signing_key.hex()):
        assert secret not in everything


# -- over real HTTPS --


@pytest.fixture
def authority():
    return Authority()


def test_over_https_against_the_invitations_authority(device, authority, tmp_path):
    office = Office()

    def talk(request, *_):
        answer = office(None, None).post(
            request.path, request.body, most=0, media=request.headers["content-type"], seconds=0
        )
        return reply(answer.body)

    with serving(talk, authority.context(tmp_path)) as server:
        there = replace(INVITATION, address=server.address, authority=authority.der)
        assert device.enrol(str(there)).device == 1
        with pytest.raises(ServerUntrusted):
            device.enrol(replace(there, authority=Authority().der, token="b" * 32))
    assert len(office.asked) == 1
    assert "nothing was sent" in device.ledger.tail(1)[0].reason
    assert device.identities[0].authority == authority.der


KILLED = """
import os, signal, sys
from fedpersona.device.device import Device
from fedpersona.device.https import Https

class Dying(Https):
    def post(self, *words, **more):
        answer = super().post(*words, **more)
        os.kill(os.getpid(), signal.SIGKILL)

with Device.open(sys.argv[1]) as device:
    device.enrolments.enrol(sys.argv[2], Dying)
"""


def test_a_kill_after_the_server_answered_costs_nothing(device, authority, tmp_path):
    office = Office()

    def talk(request, *_):
        return reply(office.post("/v1/enrol", request.body, most=0, media="application/json", seconds=0).body)

    device.close()
    with serving(talk, authority.context(tmp_path)) as server:
        there = replace(INVITATION, address=server.address, authority=authority.der)
        program = [sys.executable, "-c", KILLED, str(tmp_path / "device"), str(there)]
        died = subprocess.run(program, env=dict(os.environ), capture_output=True, timeout=60, check=False)
        assert died.returncode == -9, died.stderr
        with Device.open(tmp_path / "device") as again:
            assert not again.identities
            assert again.enrol(there).device == 1
            again.check()
    one, two = office.asked
    assert one["flower_key"] == two["flower_key"]
    assert one["signing_key"] == two["signing_key"]

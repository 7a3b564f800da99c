"""``fedpersona device enrol``: from an invitation to a place, or one sentence that says why not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fedpersona.wire.invitation import Invitation
from tests.cli.test_device_cli import Shell
from tests.device.https_servers import Authority, reply, serving

TOKEN = "a-token-of-32-letters-0123456789"


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    made.begin()
    return made


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def server(authority, tmp_path):
    """A server that enrols everyone but those whom it refuses."""

    def talk(request, *_):
        if json.loads(request.body)["token"] != TOKEN:
            return reply(b'{"error": "the invitation has expired: ask the operator for another"}', "403 Forbidden")
        return reply(b'{"federation": "Folk", "device": 7, "node_id": 12345}')

    with serving(talk, authority.context(tmp_path)) as started:
        yield started


@pytest.fixture
def invitation(server, authority):
    return Invitation(server.address, "Folk", bytes(range(32)), TOKEN, authority.der)


def test_enrolling_says_with_whom_what_was_sent_and_what_comes_next(shell, server, invitation):
    told = shell("enrol", invitation).stdout
    assert f"Enrolled with 'Folk' at {server.address}, as device 7." in told
    assert "two public keys" in told
    assert "nothing of your history" in told
    assert f"fedpersona device consent grant share_update --server {server.address}" in told
    assert f"fedpersona device join {server.address}" in told
    assert bytes(range(32)).hex() in told
    assert TOKEN not in told
    assert "asked" in shell("ledger").stdout
    assert "as device 7" in shell("enrol", invitation).stdout  # the same place, asked for again
    assert len(server.requests) == 2


def test_an_invitation_may_lie_in_a_file_with_broken_lines(shell, invitation, tmp_path):
    words = str(invitation)
    (tmp_path / "invitation.txt").write_text(f"\ufeff{words[:60]}\n{words[60:]}\r\n", encoding="utf-8")
    assert "as device 7" in shell("enrol", "invitation.txt").stdout


def test_an_invitation_without_a_token_sends_nothing(shell, server, invitation):
    told = shell("enrol", replace(invitation, token="")).stdout
    assert "nothing was sent" in told
    assert f"fedpersona device join {server.address}" in told
    assert server.connections == 0


def test_leaving_makes_room_for_another_operators_key(shell, server, invitation):
    shell("enrol", invitation)
    other = replace(invitation, operator=bytes(32))
    assert "fedpersona device leave" in shell("enrol", other, code=2).stderr
    assert "are deleted" in shell("leave", server.address).stdout
    assert "was not known" in shell("leave", server.address).stdout
    assert "as device 7" in shell("enrol", other).stdout


def test_a_refusal_is_one_sentence(shell, invitation):
    told = shell("enrol", replace(invitation, token="b" * 32), code=2)
    assert "has expired" in told.stderr
    assert "b" * 32 not in told.stderr


def test_another_authority_is_one_sentence(shell, server, invitation):
    told = shell("enrol", replace(invitation, authority=Authority().der), code=2)
    assert "authority that was agreed" in told.stderr
    assert not server.requests


def test_nobody_there_is_one_sentence(shell, invitation):
    told = shell("enrol", replace(invitation, address="https://localhost:9"), code=2)
    assert "no server answers there" in told.stderr


@pytest.mark.parametrize("given", ["no-such-file.txt", "fedpersona1.cut", "empty.txt", ".", "a\x01b"])
def test_what_is_no_invitation_is_one_sentence(shell, tmp_path, given):
    (tmp_path / "empty.txt").touch()
    assert "invitation" in shell("enrol", given, code=2).stderr


def test_without_a_device_it_says_how_to_begin(tmp_path, invitation):
    assert "fedpersona device init" in Shell(tmp_path)("enrol", invitation, code=2).stderr


def test_the_commands_say_what_they_do(shell):
    assert "INVITATION|FILE" in shell("enrol", "--help").stdout
    assert "fedpersona device enrol" in " ".join(shell("join", "--help").stdout.split())

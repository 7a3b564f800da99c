import json

import pytest
from typer.testing import CliRunner

from fedpersona.aggregation.certificates import operator_public
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.roster import Roster
from fedpersona.cli.main import app
from fedpersona.device import starter
from fedpersona.errors import (
    ConfigError,
    DataError,
    DataNotFound,
    EnrolmentRefused,
    OutputError,
    ServerError,
    UnsafeServer,
)
from fedpersona.wire.invitation import Invitation
from fedpersona.wire.signed_catalogue import unseal


def run(*words):
    return CliRunner().invoke(app, list(words), standalone_mode=False)


def well(*words):
    result = run(*words)
    assert result.exception is None, result.exception
    return result.stdout


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "server"
    well("serve", "init", str(folder), "--name", "Jazz")
    return folder / "server.toml"


def flower_key():
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def enrolled(config, token):
    with Database.open(config.database) as database:
        return Roster(database).enrol(token, flower_key(), bytes(32)).number


def items(config):
    return unseal(config.model.catalogue.read_bytes(), [operator_public(config.server.signing_key)]).catalogue


def test_init_tells_what_to_do_next_and_seals_the_starter_catalogue(tmp_path):
    told = well("serve", "init", str(tmp_path / "a b"))
    assert f"fedpersona serve --config '{tmp_path}/a b/server.toml'" in told
    assert f"fedpersona server enrol --config '{tmp_path}/a b/server.toml'" in told
    config = ServerConfig.load(tmp_path / "a b" / "server.toml")
    assert items(config).version == starter.catalogue().version


def test_the_help_shows_what_a_line_of_a_catalogue_is():
    words = " ".join(run("serve", "init", "--help").stdout.replace("│", " ").split())
    assert "[id, title, artist, [tags], [links]]" in words


def test_a_second_init_refuses(made):
    before = made.read_bytes()
    assert isinstance(run("serve", "init", str(made.parent)).exception, OutputError)
    assert made.read_bytes() == before


def test_a_catalogue_that_another_sealed_or_json_lines_is_sealed_by_the_new_key(made, tmp_path):
    sealed = ServerConfig.load(made).model.catalogue
    well("serve", "init", str(tmp_path / "second"), "--catalogue", str(sealed))
    second = ServerConfig.load(tmp_path / "second" / "server.toml")
    assert items(second).version == starter.catalogue().version
    assert operator_public(second.server.signing_key) != operator_public(ServerConfig.load(made).server.signing_key)
    lines = tmp_path / "lines.jsonl"
    lines.write_text('["a", "Å", "X", ["folk"], []]\n\n["b", "B", "Y", [], ["l"]]\n', encoding="utf-8")
    well("serve", "init", str(tmp_path / "third"), "--catalogue", str(lines))
    found = items(ServerConfig.load(tmp_path / "third" / "server.toml"))
    assert (found.titles, found.tags, found.links) == (("Å", "B"), (("folk",), ()), ((), ("l",)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x",
        b"\xff\xfe[",
        b'["a"]',
        b'["a", "b", "c", "d", "e"]',
        b'["a", "b", "c", [1], []]',
        b"[" * 100_000,
        b'["a","b","c",[],[]]\n["a","b","c",[],[]]',
    ],
)
def test_what_is_no_catalogue_makes_no_server(tmp_path, raw):
    (tmp_path / "items").write_bytes(raw)
    result = run("serve", "init", str(tmp_path / "new"), "--catalogue", str(tmp_path / "items"))
    assert isinstance(result.exception, DataError)
    assert not (tmp_path / "new").exists()


def test_an_invitation_holds_all_that_a_device_needs(made):
    config = ServerConfig.load(made)
    line = well("server", "enrol", "--config", str(made)).splitlines()[0]
    assert line.startswith("fedpersona device enrol fedpersona1.")
    invitation = Invitation.parse(line.removeprefix("fedpersona device enrol "))
    assert (invitation.address, invitation.federation) == ("https://127.0.0.1:8443", "Jazz")
    assert invitation.operator == operator_public(config.server.signing_key)
    assert invitation.authority is not None
    assert enrolled(config, invitation.token) == 1


def test_many_invitations_differ_and_the_log_of_acts_has_no_token(made):
    found = json.loads(well("server", "enrol", "--count", "3", "--note", "staff", "--json", "--config", str(made)))
    tokens = {Invitation.parse(text).token for text in found["invitations"]}
    assert len(tokens) == 3
    raw = b"".join(path.read_bytes() for path in ServerConfig.load(made).server.state.glob("fedpersona.db*"))
    assert not any(token.encode() in raw for token in tokens)
    assert json.loads(well("server", "status", "--json", "--config", str(made)))["invitations"] == 3


def test_a_device_is_listed_and_revoked_and_revoke_says_what_it_did(made):
    text = json.loads(well("server", "enrol", "--json", "--config", str(made)))["invitations"][0]
    number = enrolled(ServerConfig.load(made), Invitation.parse(text).token)
    assert [one["number"] for one in json.loads(well("server", "devices", "--json", "--config", str(made)))] == [number]
    assert "refused" in well("server", "revoke", str(number), "--config", str(made))
    assert "already" in well("server", "revoke", str(number), "--config", str(made))
    facts = json.loads(well("server", "status", "--json", "--config", str(made)))
    assert (facts["devices"], facts["revoked"], facts["running"]) == (0, 1, False)
    assert str(number) in well("server", "devices", "--config", str(made))


@pytest.mark.parametrize(
    "words", [("revoke", "7"), ("promote", "1"), ("roll-back",), ("promote", "0"), ("revoke", "99999999999999")]
)
def test_what_cannot_be_done_is_one_sentence_and_exit_2(made, words):
    error = run("server", *words, "--config", str(made)).exception
    assert isinstance(error, ServerError)
    assert "\n" not in str(error)


@pytest.mark.parametrize("hours", ["0", "-1", "nan", "inf", "1e9"])
def test_an_invitation_for_no_time_or_for_ever_is_not_made(made, hours):
    assert isinstance(run("server", "enrol", f"--hours={hours}", "--config", str(made)).exception, ConfigError)
    assert json.loads(well("server", "status", "--json", "--config", str(made)))["invitations"] == 0


@pytest.mark.parametrize("command", ["status", "rounds", "models", "devices", "prune"])
def test_a_new_server_has_nothing_to_tell_yet_in_words_and_as_json(made, command):
    assert well("server", command, "--config", str(made))
    json.loads(well("server", command, "--json", "--config", str(made)))


def test_the_file_is_found_here_or_in_the_folder_server(made, monkeypatch):
    for place in (made.parent, made.parent.parent):
        monkeypatch.chdir(place)
        assert "Jazz" in well("server", "status")
    (made.parent / "empty").mkdir()
    monkeypatch.chdir(made.parent / "empty")
    for command in (("server", "status"), ("serve",)):
        assert isinstance(run(*command).exception, DataNotFound)


def test_serve_refuses_to_speak_in_clear_to_others(made):
    made.write_text(made.read_text("utf-8").replace('ops = "127.0.0.1:9100"', 'ops = "0.0.0.0:9100"'), encoding="utf-8")
    assert isinstance(run("serve", "--config", str(made)).exception, UnsafeServer)


def test_serve_refuses_before_anything_starts_when_a_key_is_lost(made):
    (made.parent / "keys" / "operator-key.pem").unlink()
    assert isinstance(run("serve", "--config", str(made)).exception, DataNotFound)
    assert list((made.parent / "state").iterdir()) == []


def test_a_public_invitation_holds_no_token_and_is_no_invitation_to_take_part(made):
    found = json.loads(well("server", "enrol", "--public", "--json", "--config", str(made)))
    invitation = Invitation.parse(found["invitations"][0])
    assert invitation.token == ""
    assert found["hours"] is None
    assert json.loads(well("server", "invitations", "--json", "--config", str(made))) == []


def test_an_invitation_that_was_taken_back_lets_nobody_in(made):
    text = json.loads(well("server", "enrol", "--note", "Ada", "--json", "--config", str(made)))["invitations"][0]
    token = Invitation.parse(text).token
    assert "Ada" in well("server", "invitations", "--config", str(made))
    assert token not in well("server", "invitations", "--json", "--config", str(made))
    well("server", "take-back", "1", "--config", str(made))
    assert "taken back" in well("server", "invitations", "--config", str(made))
    with pytest.raises(EnrolmentRefused):
        enrolled(ServerConfig.load(made), token)
    assert isinstance(run("server", "take-back", "7", "--config", str(made)).exception, EnrolmentRefused)

"""Off by default, one purpose and one server at a time, and nothing but a new yes brings a yes back."""

import json

import pytest

from fedpersona.device import consent as module
from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.clock import Clock
from fedpersona.device.consent import Consent
from fedpersona.device.consent_state import GPC_VARIABLE
from fedpersona.device.notice import PURPOSES, Notice, notice
from fedpersona.device.store import Store
from fedpersona.errors import ChainBroken, ConfigError, ConsentMissing, DiskFull, UnknownName
from tests.device.machine import Wall

START = 1_790_000_000
DAY = 86_400
SERVER = "https://taste.example"
OTHER = "https://other.example"
SHARE = "share_update"


@pytest.fixture
def wall():
    return Wall(START)


def consent_of(store, wall) -> Consent:
    return Consent(store, Chain(store, "consent", signing_key(store)), Clock(store, wall))


@pytest.fixture
def consent(store, wall):
    return consent_of(store, wall)


@pytest.fixture
def elsewhere(tmp_path, wall, consent):
    """The same folder, opened by another process."""
    opened = Store(tmp_path / "vault.db", bytes(32))
    yield consent_of(opened, wall)
    opened.close()


def change_notice(monkeypatch):
    before = notice(SHARE)
    changed = Notice(SHARE, before.version + 1, before.summary, before.text + "and one thing more\n")
    monkeypatch.setattr(module, "notice", lambda purpose: changed if purpose == SHARE else notice(purpose))


@pytest.mark.parametrize("purpose", PURPOSES)
def test_everything_is_off_until_asked(consent, purpose):
    assert consent.state(purpose, SERVER).status == "unasked"
    assert not consent.granted(purpose, SERVER)
    assert consent.states() == ()
    with pytest.raises(ConsentMissing, match="not been asked"):
        consent.require(purpose, SERVER)


def test_a_yes_is_for_one_purpose_and_one_server(consent):
    state = consent.grant(SHARE, server=SERVER)
    assert (state.status, state.since, state.until) == ("granted", START, START + 365 * DAY)
    assert not consent.granted("share_metrics", SERVER)
    assert not consent.granted(SHARE, OTHER)
    assert not consent.granted(SHARE, "http://taste.example")
    assert not consent.granted(SHARE, "https://taste.example:8443")
    assert consent.require(SHARE, SERVER) == state


def test_spellings_of_one_address_are_one_server(consent):
    consent.grant(SHARE, server="HTTPS://Taste.Example:443/")
    assert consent.granted(SHARE, SERVER)
    assert [state.server for state in consent.states()] == [SERVER]


@pytest.mark.parametrize(
    "spelling", ["https://taste.example.", "https://ＴＡＳＴＥ。example/", "https://taste.example:443"]
)
def test_a_withdrawal_under_another_spelling_ends_the_yes(consent, spelling):
    permit = consent.grant(SHARE, server=SERVER) and consent.permit(SHARE, SERVER)
    assert consent.withdraw(SHARE, server=spelling).status == "withdrawn"
    assert not consent.granted(SHARE, SERVER)
    with pytest.raises(ConsentMissing):
        permit.check()


def test_taking_back_from_a_server_that_has_no_yes_tells_which_yes_stands(consent, caplog):
    consent.grant(SHARE, server=SERVER)
    consent.grant("share_metrics", server=OTHER)
    state = consent.withdraw(SHARE, server="https://tatse.example")
    assert str(state).startswith("share_update for https://tatse.example: refused")
    assert consent.granted(SHARE, SERVER)
    (told,) = caplog.messages
    assert "no yes to share_update was ever given to https://tatse.example" in told
    assert f"a yes stands for {SERVER}" in told
    assert OTHER not in told
    caplog.clear()
    consent.refuse(SHARE, server=OTHER)
    consent.withdraw(SHARE, server=SERVER)
    consent.withdraw(SHARE, server="https://third.example")
    assert caplog.messages == []


@pytest.mark.parametrize("address", ["", "taste.example", "ftp://taste.example", "https://", "https://a b", "\x00"])
def test_what_is_no_address_gets_no_answer(consent, address):
    for act in (consent.grant, consent.refuse, consent.withdraw):
        with pytest.raises(ConfigError):
            act(SHARE, server=address)
    assert consent.epoch == 0


def test_what_is_no_purpose_gets_no_answer(consent):
    for act in (consent.grant, consent.refuse, consent.withdraw):
        with pytest.raises(UnknownName, match="share_update"):
            act("everything", server=SERVER)
    with pytest.raises(UnknownName):
        consent.state("everything", SERVER)


@pytest.mark.parametrize("days", [0, -1, 3651, 1.5, True, None])
def test_a_yes_has_an_end(consent, days):
    with pytest.raises(ConfigError, match="days"):
        consent.grant(SHARE, server=SERVER, days=days)


def test_a_yes_runs_out(consent, wall):
    consent.grant(SHARE, server=SERVER, days=1)
    wall.at += DAY - 1
    assert consent.granted(SHARE, SERVER)
    wall.at += 1
    state = consent.state(SHARE, SERVER)
    assert (state.status, state.until) == ("expired", START + DAY)
    with pytest.raises(ConsentMissing, match="run out"):
        consent.require(SHARE, SERVER)


def test_a_clock_set_back_does_not_revive_a_yes(store, consent, wall):
    consent.grant(SHARE, server=SERVER, days=1)
    wall.at += 2 * DAY
    assert not consent.granted(SHARE, SERVER)
    wall.at -= 2 * DAY
    assert not consent.granted(SHARE, SERVER)
    assert not consent_of(store, wall).granted(SHARE, SERVER)  # nor for the next process


def test_nor_does_a_clock_that_is_believed_again_later(consent, wall):
    consent.grant(SHARE, server=SERVER, days=365)
    wall.at += 1000 * DAY
    assert consent.state(SHARE, SERVER).status == "expired"
    wall.at -= 1000 * DAY
    for _ in range(10):
        assert consent.state(SHARE, SERVER).status == "expired"
        wall.at += DAY
    assert consent.grant(SHARE, server=SERVER).status == "granted"
    wall.at += 364 * DAY
    assert consent.granted(SHARE, SERVER)


def test_a_changed_notice_asks_again(consent, monkeypatch):
    consent.grant(SHARE, server=SERVER)
    change_notice(monkeypatch)
    assert consent.state(SHARE, SERVER).status == "notice changed"
    with pytest.raises(ConsentMissing, match="changed"):
        consent.permit(SHARE, SERVER)
    assert consent.grant(SHARE, server=SERVER).granted


def test_a_no_stays_a_no_when_the_notice_changes(consent, monkeypatch):
    consent.refuse(SHARE, server=SERVER)
    change_notice(monkeypatch)
    assert consent.state(SHARE, SERVER).status == "refused"


def test_a_refusal_ends_a_yes(consent):
    consent.grant(SHARE, server=SERVER)
    assert consent.refuse(SHARE, server=SERVER).status == "refused"
    with pytest.raises(ConsentMissing, match="said no"):
        consent.require(SHARE, SERVER)


def test_the_same_no_twice_is_one_record(consent):
    consent.grant(SHARE, server=SERVER)
    consent.withdraw(SHARE, server=SERVER)
    before = consent.epoch
    assert consent.withdraw(SHARE, server=SERVER).status == "withdrawn"
    assert consent.epoch == before


def test_taking_back_what_was_never_given_is_a_no(consent):
    assert consent.withdraw(SHARE, server=SERVER).status == "refused"


def test_a_withdrawal_stops_a_permit_and_calls_back(consent):
    told = []
    consent.on_withdraw(lambda purpose, server: told.append((purpose, server)))
    consent.grant(SHARE, server=SERVER)
    permit = consent.permit(SHARE, SERVER)
    permit.check()
    consent.withdraw(SHARE, server=SERVER)
    assert told == [(SHARE, SERVER)]
    with pytest.raises(ConsentMissing):
        permit.check()
    consent.grant(SHARE, server=SERVER)
    with pytest.raises(ConsentMissing, match="meanwhile"):
        permit.check()  # a new yes is for what begins after it
    consent.permit(SHARE, SERVER).check()


def test_a_withdrawal_in_another_process_stops_a_permit(consent, elsewhere):
    consent.grant(SHARE, server=SERVER)
    permit = consent.permit(SHARE, SERVER)
    elsewhere.withdraw(SHARE, server=SERVER)
    with pytest.raises(ConsentMissing):
        permit.check()
    elsewhere.grant(SHARE, server=SERVER)
    with pytest.raises(ConsentMissing):
        permit.check()
    assert consent.granted(SHARE, SERVER)


def test_answers_about_something_else_do_not_stop_a_permit(consent):
    consent.grant(SHARE, server=SERVER)
    permit = consent.permit(SHARE, SERVER)
    consent.refuse("share_metrics", server=SERVER)
    consent.refuse(SHARE, server=OTHER)
    consent.grant(SHARE, server=SERVER, days=9)
    permit.check()


def test_a_permit_ends_with_its_time(consent, wall):
    consent.grant(SHARE, server=SERVER, days=1)
    permit = consent.permit(SHARE, SERVER)
    wall.at += DAY
    with pytest.raises(ConsentMissing):
        permit.check()


def test_a_no_wins_against_a_yes_to_what_was_shown_before(consent, elsewhere):
    consent.grant(SHARE, server=SERVER)
    shown = consent.epoch
    elsewhere.withdraw(SHARE, server=SERVER)
    with pytest.raises(ConsentMissing, match="it wins"):
        consent.grant(SHARE, server=SERVER, seen=shown)
    assert consent.state(SHARE, SERVER).status == "withdrawn"
    assert consent.grant(SHARE, server=SERVER, seen=consent.epoch).granted


def test_a_listener_that_fails_keeps_the_no_from_nobody(consent, caplog):
    told = []

    def fail(purpose, server):
        raise RuntimeError("a listener's fault")

    consent.on_withdraw(fail)
    consent.on_withdraw(lambda purpose, server: told.append(purpose))
    consent.grant(SHARE, server=SERVER)
    assert consent.withdraw(SHARE, server=SERVER).status == "withdrawn"
    assert told == [SHARE]
    assert "RuntimeError" in caplog.text


def test_a_no_that_a_full_disk_cannot_keep_counts_here_all_the_same(consent, monkeypatch):
    told = []
    consent.on_withdraw(lambda purpose, server: told.append(purpose))
    consent.grant(SHARE, server=SERVER)
    permit = consent.permit(SHARE, SERVER)

    def full(*_):
        raise DiskFull("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(consent._chain, "append", full)
        with pytest.raises(DiskFull):
            consent.withdraw(SHARE, server=SERVER)
    assert told == [SHARE]
    assert consent.state(SHARE, SERVER).status == "withdrawn"
    with pytest.raises(ConsentMissing):
        permit.check()
    assert consent.withdraw(SHARE, server=SERVER).status == "withdrawn"  # repeated, and kept this time
    assert consent.epoch == 2
    assert consent.grant(SHARE, server=SERVER).granted


def test_a_yes_given_elsewhere_after_a_no_here_counts(consent, elsewhere):
    consent.grant(SHARE, server=SERVER)
    consent.withdraw(SHARE, server=SERVER)
    elsewhere.grant(SHARE, server=SERVER)
    assert consent.granted(SHARE, SERVER)


# -- Global Privacy Control --


def test_global_privacy_control_is_a_no_to_everything_and_ends_every_yes(consent):
    told = []
    consent.on_withdraw(lambda purpose, server: told.append((purpose, server)))
    consent.grant(SHARE, server=SERVER)
    consent.grant("share_metrics", server=OTHER)
    permit = consent.permit(SHARE, SERVER)
    consent.global_privacy_control = True
    assert consent.global_privacy_control
    assert sorted(told) == [("share_metrics", OTHER), (SHARE, SERVER)]
    assert {state.status for state in consent.states()} == {"refused by Global Privacy Control"}
    assert consent.state("audit_canary", SERVER).status == "refused by Global Privacy Control"
    with pytest.raises(ConsentMissing, match="turn it off"):
        permit.check()
    with pytest.raises(ConsentMissing, match="global_privacy_control = False"):
        consent.grant(SHARE, server=SERVER)


def test_turning_it_off_brings_no_yes_back(store, consent, wall):
    consent.grant(SHARE, server=SERVER)
    permit = consent.permit(SHARE, SERVER)
    consent.global_privacy_control = True
    consent.global_privacy_control = False
    assert consent.state(SHARE, SERVER).status == "withdrawn"
    assert consent.state("share_metrics", SERVER).status == "unasked"
    with pytest.raises(ConsentMissing):
        permit.check()
    assert consent.grant(SHARE, server=SERVER).granted
    with pytest.raises(ConsentMissing):
        permit.check()
    assert consent_of(store, wall).granted(SHARE, SERVER)


def test_it_is_off_by_default_and_setting_it_twice_is_one_record(consent):
    assert consent.global_privacy_control is False
    consent.global_privacy_control = False
    assert consent.epoch == 0
    consent.global_privacy_control = True
    consent.global_privacy_control = True
    assert consent.epoch == 1


def test_it_is_kept_and_seen_by_other_processes(consent, elsewhere):
    elsewhere.grant(SHARE, server=SERVER)
    permit = elsewhere.permit(SHARE, SERVER)
    consent.global_privacy_control = True
    assert elsewhere.global_privacy_control
    with pytest.raises(ConsentMissing):
        permit.check()


@pytest.mark.parametrize(
    ("header", "on"), [("1", True), (" 1 ", True), ("0", False), ("true", False), ("", False), (None, False)]
)
def test_only_a_header_of_1_says_no(consent, header, on):
    consent.heed(header)
    assert consent.global_privacy_control is on


def test_a_header_that_says_nothing_does_not_turn_it_off(consent):
    consent.heed("1")
    consent.heed(None)
    consent.heed("1")
    assert consent.global_privacy_control
    assert consent.epoch == 1


def test_the_environment_counts_while_it_is_set(consent, monkeypatch):
    consent.grant(SHARE, server=SERVER)
    monkeypatch.setenv(GPC_VARIABLE, "1")
    assert consent.state(SHARE, SERVER).status == "refused by Global Privacy Control"
    with pytest.raises(ConsentMissing, match=GPC_VARIABLE):
        consent.grant(SHARE, server=SERVER)
    monkeypatch.setenv(GPC_VARIABLE, "0")
    assert consent.granted(SHARE, SERVER)


@pytest.mark.parametrize("value", ["1", " 1 ", "true", "TRUE", "yes", "on", "On", "enabled", "2", "fasle"])
def test_whatever_the_environment_says_but_off_is_a_no(consent, monkeypatch, value):
    consent.grant(SHARE, server=SERVER)
    monkeypatch.setenv(GPC_VARIABLE, value)
    assert consent.global_privacy_control
    assert not consent.granted(SHARE, SERVER)


@pytest.mark.parametrize("value", ["", " ", "0", "false", "False", "NO", "off "])
def test_an_environment_that_says_off_is_no_answer(consent, monkeypatch, value):
    monkeypatch.setenv(GPC_VARIABLE, value)
    assert consent.grant(SHARE, server=SERVER).granted
    assert not consent.global_privacy_control


# -- records --


def test_a_record_has_the_fields_of_the_specification(consent):
    consent.grant(SHARE, server=SERVER, days=30)
    (row,) = consent.records()
    body = row["body"]
    assert "27560" in body["schema_version"]
    assert body["record_id"]
    assert body["pii_principal_id"].startswith("owner-")
    processing = body["pii_processing"]
    found = notice(SHARE)
    assert processing["privacy_notice"] == {"id": SHARE, "version": found.version, "sha256": found.sha256}
    assert processing["language"] == "en"
    (purpose,) = processing["purposes"]
    assert purpose["purpose"] == SHARE
    assert purpose["pii_controllers"] == [SERVER]
    wanted = {"pii_information", "storage_locations", "retention_period", "jurisdiction", "recipient_third_parties"}
    assert wanted | {"withdrawal_method"} <= set(purpose)
    (party,) = body["party_identification"]
    assert {"party_id", "party_address", "party_name", "party_contact", "party_type"} <= set(party)
    (event,) = body["event"]
    assert event["event_time"] == "2026-09-21T14:13:20Z"
    assert event["validity_duration"] == "P30D"
    assert event["event_state"] == "consent given"
    assert event["entity_id"] == body["pii_principal_id"]
    assert event["event_type"] == "explicit consent"
    assert json.loads(json.dumps(consent.records())) == consent.records()


def test_a_withdrawal_is_an_event_of_the_record_it_ends(consent):
    consent.grant(SHARE, server=SERVER)
    consent.withdraw(SHARE, server=SERVER)
    consent.grant(SHARE, server=SERVER)
    ids = [row["body"]["record_id"] for row in consent.records()]
    assert ids[0] == ids[1] != ids[2]
    assert len({row["body"]["pii_principal_id"] for row in consent.records()}) == 1


def test_a_changed_record_stops_everything(store, consent, wall):
    consent.refuse(SHARE, server=SERVER)
    with store.writing() as cursor:
        cursor.execute("UPDATE chain SET body = replace(body, 'consent refused', 'consent given')")
    again = consent_of(store, wall)
    for look in (again.verify, again.states, lambda: again.permit(SHARE, SERVER)):
        with pytest.raises(ChainBroken, match="consent: entry 1"):
            look()
    with pytest.raises(ChainBroken):
        again.grant(SHARE, server=SERVER)
    assert len(again.records()) == 1


def test_a_removed_withdrawal_shows(store, consent, wall):
    consent.grant(SHARE, server=SERVER)
    consent.withdraw(SHARE, server=SERVER)
    with store.writing() as cursor:
        cursor.execute("DELETE FROM chain WHERE number = 2")
    with pytest.raises(ChainBroken, match="entry 2 was removed"):
        consent_of(store, wall).permit(SHARE, SERVER)


def test_states_read_well(consent, wall):
    consent.grant(SHARE, server=SERVER, days=30)
    consent.refuse("audit_canary", server=OTHER)
    assert [str(state) for state in consent.states()] == [
        "share_update for https://taste.example: granted since 21 Sep 2026, until 21 Oct 2026",
        "audit_canary for https://other.example: refused since 21 Sep 2026",
    ]
    assert consent.states()[1].to_dict() == {
        "purpose": "audit_canary",
        "server": OTHER,
        "status": "refused",
        "since": START,
        "until": None,
    }


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_notice_says_what_to_whom_why_how_long_and_how_to_take_it_back(purpose):
    found = notice(purpose)
    for words in ("What is sent:", "To whom:", "Why", "How long:", "How to take it back:"):
        assert words in found.text
    assert len(found.sha256) == 64
    assert max(map(len, found.text.splitlines())) <= 120


def test_notices_differ_by_their_hash():
    assert len({notice(purpose).sha256 for purpose in PURPOSES}) == len(PURPOSES)
    with pytest.raises(UnknownName):
        notice("everything")

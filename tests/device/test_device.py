"""The facade: open, take part, look, take along, forget."""

from __future__ import annotations

import json
import threading
import time
import zipfile

import pytest

from fedpersona import Conditions, Device
from fedpersona.device import conditions
from fedpersona.device.conditions import Surroundings
from fedpersona.device.weekly import Level
from fedpersona.errors import (
    ChainBroken,
    ConfigError,
    DeviceClosed,
    KeyUnavailable,
    NoKnownItem,
    OutputError,
    ServerUnreachable,
    WrongKey,
)
from tests.device.invented import MARK, listens
from tests.device.servers import SERVER, Scripted, federation, sealed


class Now:
    def __init__(self, **facts):
        self.facts = facts

    def look(self):
        return Surroundings(**self.facts)


def joined(device, **settings):
    return device.join(SERVER, **{"wait": 30.0, **settings})


def test_a_device_contributes_and_gets_a_list_by_the_shared_model(device):
    device.consent.grant("share_update", server=SERVER)
    with federation().at(SERVER):
        membership = joined(device)
        assert membership.state == "contributed to 2 rounds"
    assert device.playlist().level is Level.SHARED
    assert device.ledger.count("sent") == 2
    assert device.ledger.count("received") == 2
    device.check()


def test_two_devices_and_the_crowd_are_one_exact_sum(tmp_path, device):
    with Device.open(tmp_path / "second") as second, federation().at(SERVER) as server:
        second.vault.add(listens(30))
        for one in (device, second):
            one.consent.grant("share_update", server=SERVER)
        members = [one.join(SERVER, wait=0) for one in (device, second)]
        for member in members:
            member.wait(30)
        assert server.failure is None
        assert all(member.state.startswith("contributed") for member in members)
        assert device.shelf.trained.shared.hash() == second.shelf.trained.shared.hash()


def test_without_consent_the_model_comes_and_nothing_goes(device):
    with federation().at(SERVER) as server:
        membership = joined(device)
        assert "not contributed" in membership.state
        assert server.wait(30)
    assert device.ledger.count("sent") == 0
    assert device.playlist().level is Level.SHARED


def test_conditions_that_are_not_met_are_told_and_nothing_happens(device):
    conditions.use_probe(Now(charging=False, unmetered=True, idle=None))
    device.consent.grant("share_update", server=SERVER)
    with federation().at(SERVER):
        membership = device.join(SERVER, when=Conditions(charging=True, unmetered=True, idle=True))
        assert membership.state.startswith("waiting: ")
        assert "not charging" in membership.state
        assert len(device.ledger.tail()) == 0
        assert membership.stop()


@pytest.mark.parametrize("step", ["share", "update", "agree", "unmask"])
def test_a_withdrawal_stops_what_is_under_way_in_under_a_second(device, step, monkeypatch):
    from fedpersona.simulation.secure_crowd import SecureCrowd

    held, there, takes = threading.Event(), threading.Event(), getattr(SecureCrowd, step)

    def slowly(*arguments):
        there.set()
        held.wait(10)
        return takes(*arguments)

    monkeypatch.setattr(SecureCrowd, step, slowly)
    device.consent.grant("share_update", server=SERVER)
    with federation(patience=20.0).at(SERVER):
        membership = device.join(SERVER, wait=0)
        assert there.wait(20)
        started = time.perf_counter()
        device.consent.withdraw("share_update", server=SERVER)
        assert time.perf_counter() - started < 1.5
        assert not membership.running
        held.set()
    sent = [entry.round_number for entry in device.ledger.contributions()]
    assert sent == ([1] if step in ("agree", "unmask") else []), "what was sent before, and nothing after"


def test_a_withdrawal_before_the_visit_has_begun_ends_the_waiting_and_is_said(device):
    from fedpersona.device.link import provide

    class Endless(Scripted):
        busy = True

        def offer(self, seconds):
            time.sleep(seconds)

    device.consent.grant("share_update", server=SERVER)
    with provide(SERVER, Endless):
        withdrawing = threading.Timer(0.3, lambda: device.consent.withdraw("share_update", server=SERVER))
        withdrawing.start()
        started = time.perf_counter()
        membership = device.join(SERVER, wait=20)
        assert time.perf_counter() - started < 5
        withdrawing.join()
    assert membership.state == "stopped"


def test_what_is_no_policy_is_one_sentence(device):
    with pytest.raises(ConfigError, match="dict"):
        device.policy = {"least_cohort": 60}
    with pytest.raises(ConfigError, match="idle"):
        Conditions(idle="yes")


def test_a_server_that_is_not_there_or_no_address_is_one_sentence(device):
    with pytest.raises(ServerUnreachable, match=r"knows no such server"):
        device.join("https://nowhere.example")
    with pytest.raises(ConfigError, match="no server's address"):
        device.join("taste")


def test_errors_in_the_background_reach_the_state_and_not_the_app(device):
    from fedpersona.device.link import provide

    class Broken(Scripted):
        def catalogue(self):
            return b"not a catalogue"

    with provide(SERVER, Broken):
        assert joined(device).state.startswith("failed: ")

    class Bug(Scripted):
        def catalogue(self):
            raise ZeroDivisionError

    with provide(SERVER, Bug):
        membership = joined(device)
        assert "error of our own (ZeroDivisionError)" in membership.state
        assert membership.running, "one visit was lost, not the membership"


def test_joining_reaches_for_no_server_before_the_conditions_are_met_and_waits_for_none(device):
    from fedpersona.device.link import provide

    reached = []

    class Slow(Scripted):
        def __init__(self):
            super().__init__()
            reached.append(self)

        def leave(self):
            time.sleep(1.5)
            raise OSError

    conditions.use_probe(Now(charging=False))
    with provide(SERVER, Slow):
        device.join(SERVER, when=Conditions(charging=True))
        assert reached == []
        conditions.use_probe(Now(charging=True))
        started = time.perf_counter()
        device.join(SERVER, when=Conditions(charging=True), wait=0)
        assert time.perf_counter() - started < 1.0


def test_a_server_that_answers_at_once_for_ever_does_not_keep_the_device_busy(device):
    from fedpersona.device.link import provide

    asked = []

    class Hurrying(Scripted):
        busy = True

        def offer(self, seconds):
            asked.append(seconds)

    device.consent.grant("share_update", server=SERVER)
    with provide(SERVER, Hurrying):
        membership = device.join(SERVER, wait=1.5)
        assert membership.stop()
    assert len(asked) < 12


def test_conditions_that_end_during_a_visit_end_it(device):
    from fedpersona.device.link import provide

    class Endless(Scripted):
        busy = True

        def offer(self, seconds):
            conditions.use_probe(Now(charging=False))

    conditions.use_probe(Now(charging=True))
    device.consent.grant("share_update", server=SERVER)
    with provide(SERVER, Endless):
        membership = device.join(SERVER, when=Conditions(charging=True), wait=10)
    assert "not charging" in membership.state


def test_a_refused_catalogue_is_in_the_ledger(device):
    from fedpersona.device.link import provide

    with provide(SERVER, lambda: Scripted(catalogue=b"not a catalogue")):
        joined(device)
    assert device.ledger.tail(1)[0].kind == "refused"


def test_two_processes_never_keep_a_model_for_another_catalogue(device, tmp_path):
    from fedpersona.catalogue import Catalogue
    from fedpersona.device.link import Release
    from fedpersona.errors import PlanRefused
    from fedpersona.wire.signed_catalogue import seal
    from tests.device.servers import KEY, MODEL

    other = Catalogue.create([f"x{n}" for n in range(120)], kind="track")
    with Device.open(tmp_path / "device") as second:
        assert len(second.catalogue) > 120
        device.shelf.accept_catalogue(SERVER, seal(other, issued=int(time.time()), key=KEY))
        assert len(second.catalogue) == 120, "what another process put in use is in use"
        from fedpersona.device import starter

        with pytest.raises(PlanRefused):
            second.shelf.accept_release(Release("subspace", MODEL.model_dump(), MODEL.init(starter.catalogue(), 0)))
        assert second.shelf.accept_release(Release("subspace", MODEL.model_dump(), MODEL.init(other, 0)))
        assert device.shelf.trained is not None
        assert len(device.playlist()) == 30


def test_a_history_of_which_the_catalogue_knows_nothing_is_a_named_error_where_plays_are_asked_for(tmp_path):
    with Device.open(tmp_path / "other") as other:
        with pytest.raises(NoKnownItem, match="import more"):
            other.plays()
        assert len(other.playlist()) == 30


def test_a_catalogue_by_another_key_is_refused_and_the_first_one_stays(device):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpersona.device import starter
    from fedpersona.device.link import provide
    from fedpersona.wire.signed_catalogue import seal

    with provide(SERVER, Scripted):
        assert joined(device).state.startswith("not contributed")
    pinned = device.shelf.pinned_key(SERVER)
    other = seal(starter.catalogue(), issued=int(time.time()), key=Ed25519PrivateKey.generate())
    with provide(SERVER, lambda: Scripted(catalogue=other)):
        assert "key" in joined(device).state
    assert device.shelf.pinned_key(SERVER) == pinned


def test_an_older_catalogue_is_refused(device):
    from fedpersona.device import starter
    from fedpersona.errors import DataError
    from fedpersona.wire.signed_catalogue import seal
    from tests.device.servers import KEY

    device.shelf.accept_catalogue(SERVER, sealed())
    with pytest.raises(DataError, match="older"):
        device.shelf.accept_catalogue(SERVER, seal(starter.catalogue(), issued=1000, key=KEY))


def test_another_passphrase_does_not_open_it(device, tmp_path):
    with pytest.raises(WrongKey):
        Device.open(tmp_path / "device", passphrase="of somebody else")


def test_two_objects_on_one_folder_see_the_same(device, tmp_path):
    with Device.open(tmp_path / "device") as other:
        device.consent.grant("share_update", server=SERVER)
        assert other.consent.granted("share_update", SERVER)
        assert other.vault.count() == device.vault.count() == 60
        assert other.playlist() == device.playlist()


def test_an_export_holds_everything_and_is_the_owners_alone(device, tmp_path):
    device.consent.grant("share_update", server=SERVER)
    device.playlist()
    target = device.export(tmp_path / "mine.zip")
    assert target.stat().st_mode & 0o077 == 0
    with zipfile.ZipFile(target) as archive:
        assert set(archive.namelist()) == {
            "README.txt", "listens.jsonl", "consents.json", "ledger.json", "playlists.json",
            "enrolments.json", "status.json",
        }  # fmt: skip
        lines = [json.loads(line) for line in archive.read("listens.jsonl").splitlines()]
        assert len(lines) == 60
        assert len(json.loads(archive.read("consents.json"))) == 1
        assert len(json.loads(archive.read("playlists.json"))[0]["items"]) == 30
    assert device.ledger.tail(1)[0].kind == "exported"
    with pytest.raises(OutputError, match="there already"):
        device.export(target)
    with pytest.raises(OutputError):
        device.export(tmp_path / "no such folder" / "mine.zip")


def test_a_broken_chain_stops_contributing_and_not_the_playlist_the_status_or_the_export(device, tmp_path):
    device.consent.grant("share_update", server=SERVER)
    with device._store.writing() as cursor:
        cursor.execute("UPDATE chain SET body = replace(body, 'taste.example', 'other.example')")
    device.close()
    with Device.open(tmp_path / "device") as again:
        with federation().at(SERVER):
            assert "consent: entry 1" in joined(again).state
        assert again.ledger.count("sent") == 0
        assert len(again.playlist()) == 30
        assert "consent: entry 1" in again.status()["broken"]
        with zipfile.ZipFile(again.export(tmp_path / "mine.zip")) as archive:
            assert "other.example" in archive.read("consents.json").decode()
        with pytest.raises(ChainBroken):
            again.check()


def test_the_key_goes_and_the_files_go_even_where_the_keyring_will_not_delete_its_entry(device, monkeypatch):
    def unwilling():
        raise KeyUnavailable("the keyring would not")

    monkeypatch.setattr(device._key, "destroy", unwilling)
    with pytest.raises(KeyUnavailable):
        device.forget()
    assert not device.folder.exists()


def test_after_closing_everything_says_so(device):
    device.close()
    for use in (device.playlist, device.vault.count, device.ledger.tail, device.status):
        with pytest.raises(DeviceClosed):
            use()


def test_the_status_names_no_artist_and_no_title(device):
    from fedpersona.sources.listen import Listen

    device.vault.add([Listen(int(time.time()) - 9000, MARK, "A Song for Nobody", (), 100)])
    told = json.dumps(device.status()) + repr(device) + repr(device.vault) + repr(device.playlist())
    assert MARK not in told
    assert "A Song for Nobody" not in told

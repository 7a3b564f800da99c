"""An older copy of the vault that is put back shows: nothing is sent, the ledger says why, no account is reset."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import pytest

from fedpersona import Device, Policy
from fedpersona.device import device as device_module
from fedpersona.device import starter, witness
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.keys import open_key
from fedpersona.device.spending import Spent
from fedpersona.device.visit import visit
from fedpersona.errors import BelowFloor, ConfigError, ConsentMissing, DiskFull, OutputError, RolledBack
from fedpersona.taste import Popularity
from tests.device.invented import listens
from tests.device.machine import Ring
from tests.device.servers import SERVER, Scripted, noisy_offer

OTHER = "https://other.example"


@pytest.fixture
def ring():
    return Ring()


@pytest.fixture(params=["passphrase", "keyring"])
def opened(request, tmp_path, ring, monkeypatch):
    """Open the same device again and again."""
    keyring = ring if request.param == "keyring" else None
    monkeypatch.setattr(device_module, "open_key", lambda folder, given: open_key(folder, given, keyring))

    @contextmanager
    def opening():
        with Device.open(tmp_path / "device") as device:
            yield device

    with opening() as device:
        device.vault.add(listens())
        device.policy = Policy(least_cohort=8, allow_unmasked=True)
        device.consent.grant("share_update", server=SERVER)
    return opening


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "device"


def offered(run, deviation=4.0):
    return noisy_offer(Popularity(noise=deviation), masked=False, run=run)


def go(device, run, server=SERVER, deviation=4.0):
    link = Scripted()
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    gate.willing(server)
    gate.contribute(server, link, link.opening(offered(run, deviation)), starter.catalogue(), Stop())
    return link


def copy(folder, to, *names):
    to.mkdir(exist_ok=True)
    for name in names:
        shutil.copy2(folder / name, to / name)


def put_back(copied, folder):
    for file in copied.iterdir():
        shutil.copy2(file, folder / file.name)


def visited(device):
    link = Scripted(offered=offered("a visit"))
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    came = visit(SERVER, link, gate=gate, shelf=device.shelf, ledger=device.ledger, stop=Stop())
    return came, link


def test_an_older_copy_is_noticed_nothing_is_sent_the_ledger_says_why_and_no_account_is_reset(opened, folder, tmp_path):
    with opened() as device:
        go(device, "before")
    copy(folder, tmp_path / "copy", "vault.db")
    with opened() as device:
        go(device, "one")
        go(device, "two")
        spent = device.ledger.spent()
        assert spent.squared == pytest.approx(3 / 16)
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        assert "it has 2 of the 5 entries of its ledger" in device.rolled_back
        came, link = visited(device)
        assert link.messages == link.answers == []
        assert came.refused, "it does not come back every few seconds"
        assert "older" in came.words
        entry = device.ledger.tail(1)[0]
        assert entry.kind == "refused"
        assert "nothing is sent until you say that you know" in entry.reason
        assert device.ledger.spent().squared == pytest.approx(spent.squared)
        with pytest.raises(RolledBack):
            device.check()
        assert device.playlist().items
        assert device.status()["rolled_back"] == device.rolled_back
    with opened() as device:
        with pytest.raises(RolledBack):
            go(device, "three")
        told = device.acknowledge()
        assert told.kind == "put back"
        assert "what is known to be missing cost at worst ε" in str(told)
        assert device.rolled_back is None
        assert device.ledger.spent().squared == pytest.approx(spent.squared)
        assert device.ledger.spent(OTHER).squared == pytest.approx(2 / 16), "which server it was with nobody knows"
    with opened() as device:
        device.check()
        assert device.ledger.spent().squared == pytest.approx(spent.squared)
        go(device, "three")
        assert device.ledger.spent().squared == pytest.approx(4 / 16)
        assert device.ledger.tail(1)[0].of_life.squared == pytest.approx(4 / 16)


def test_a_limit_holds_through_an_older_copy(opened, folder, tmp_path):
    with opened() as device:
        device.policy = Policy(least_cohort=8, allow_unmasked=True, largest_epsilon=1.5)
    copy(folder, tmp_path / "copy", "vault.db")
    with opened() as device:
        go(device, "one")
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        device.acknowledge()
        device.consent.grant("share_update", server=SERVER)
        with pytest.raises(BelowFloor, match=r"from ε 1\.0"):
            go(device, "two")


def test_a_copy_that_went_on_by_itself_is_another_one(opened, folder, tmp_path):
    copy(folder, tmp_path / "copy", "vault.db", "witness")
    with opened() as device:
        go(device, "one")
    (folder / "witness").rename(tmp_path / "kept")
    copy(folder, tmp_path / "first", "vault.db")
    put_back(tmp_path / "copy", folder)
    (folder / "witness").unlink()
    (tmp_path / "kept").rename(folder / "witness")
    with opened() as device:
        for number in range(4):
            device.ledger.imported(what=f"{number} listens")
        assert "entry 1 of its ledger is another" in device.rolled_back
        device.acknowledge()
    put_back(tmp_path / "first", folder)
    with opened() as device:
        assert "it has 2 of the 5 entries of its ledger" in device.rolled_back


def test_a_copy_from_before_anything_was_answered_is_noticed(opened, folder, tmp_path):
    copy(folder, tmp_path / "copy", "vault.db")
    with opened() as device:
        device.consent.withdraw("share_update", server=SERVER)
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        assert "it has 1 of the 2 entries of its consent records" in device.rolled_back
        assert device.consent.granted("share_update", SERVER)
        with pytest.raises(RolledBack):
            go(device, "with a yes that was taken back")
        device.acknowledge()
        assert not device.consent.granted("share_update", SERVER)
        with pytest.raises(ConsentMissing):
            go(device, "still")
        device.consent.grant("share_update", server=SERVER)
        assert go(device, "with another yes").messages


def test_where_no_answer_is_missing_a_yes_stays(opened, folder, tmp_path):
    copy(folder, tmp_path / "copy", "vault.db")
    with opened() as device:
        go(device, "one")
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        device.acknowledge()
        assert device.consent.granted("share_update", SERVER)


@pytest.mark.parametrize("damage", ["missing", "empty", "garbled", "another device's"])
def test_without_its_witness_a_vault_sends_nothing_and_counts_as_one_of_which_nobody_knows(
    opened, folder, damage, ring, tmp_path
):
    with opened() as device:
        go(device, "one")
    ring.kept = {key: value for key, value in ring.kept.items() if not key[1].endswith("witness")}
    text = (folder / "witness").read_text()
    if damage == "missing":
        (folder / "witness").unlink()
    elif damage == "another device's":
        with Device.open(tmp_path / "other") as other:
            other.consent.grant("share_update", server=SERVER)
        shutil.copy2(tmp_path / "other" / "witness", folder / "witness")
    else:
        (folder / "witness").write_text("" if damage == "empty" else text[:-8] + "AAAAAAA=")
    with opened() as device:
        assert "'witness', which tells how far this vault had come, is missing or damaged" in device.rolled_back
        with pytest.raises(RolledBack):
            go(device, "two")
        device.acknowledge()
        assert device.ledger.spent().noiseless == 1
        assert not device.consent.granted("share_update", SERVER)
    with opened() as device:
        assert device.rolled_back is None


def test_the_keyring_notices_that_vault_and_file_were_put_back_together(opened, folder, tmp_path, ring):
    copy(folder, tmp_path / "copy", "vault.db", "witness")
    with opened() as device:
        go(device, "one")
        in_keyring = device._key.kind == "keyring"
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        assert (device.rolled_back is not None) == in_keyring, "without a keyring nothing on this machine can tell"
        if in_keyring:
            assert device.ledger.spent().squared == pytest.approx(1 / 16)


def test_a_keyring_that_stops_answering_stops_nothing(opened, monkeypatch, ring):
    def broken(*_):
        raise RuntimeError("locked")

    with opened() as device:
        monkeypatch.setattr(ring, "set_password", broken)
        assert go(device, "one").messages


def test_forgetting_leaves_no_witness(opened, folder, ring):
    with opened() as device:
        go(device, "one")
        assert (folder / "witness").exists()
        device.forget()
    assert not folder.exists()
    assert ring.kept == {}


def test_a_witness_shows_nothing_and_only_its_owner_reads_it(opened, folder):
    with opened() as device:
        go(device, "one")
        secret = device._key.secret
    text = (folder / "witness").read_text()
    assert len(text) <= 1000, "a keyring of Windows takes no more"
    assert (folder / "witness").stat().st_mode & 0o777 == 0o600
    for part in (SERVER, "ledger", "squared", secret.hex()):
        assert part not in text


@pytest.mark.parametrize(("error", "ours"), [(28, DiskFull), (13, OutputError)])
def test_what_cannot_be_witnessed_is_not_sent_and_does_not_count(opened, monkeypatch, error, ours):
    def failing(path):
        raise OSError(error, "for a test")

    link = Scripted()
    with opened() as device:
        gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
        with monkeypatch.context() as patch:
            patch.setattr(witness, "sync_folder", failing)
            with pytest.raises(ours):
                gate.contribute(SERVER, link, link.opening(offered("one")), starter.catalogue(), Stop())
        assert link.messages == []
        assert device.ledger.tail(1)[0].outcome == "destroyed"
        assert device.ledger.spent() == Spent()
        assert go(device, "two").messages


def test_a_no_counts_also_where_it_cannot_be_witnessed(opened, monkeypatch):
    def failing(path):
        raise OSError(28, "No space left on device")

    with opened() as device:
        monkeypatch.setattr(witness, "sync_folder", failing)
        device.consent.withdraw("share_update", server=SERVER)
        assert not device.consent.granted("share_update", SERVER)


def test_a_crash_between_the_entry_and_its_witness_is_no_older_copy(opened, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(*_):
        raise Crash

    with opened() as device, monkeypatch.context() as patch:
        patch.setattr(witness.Witness, "_replace", crash)
        with pytest.raises(Crash):
            go(device, "one")
    with opened() as device:
        assert device.rolled_back is None
        assert device.ledger.spent().squared == pytest.approx(1 / 16), "it may have left"
        go(device, "two")


def test_two_that_have_one_device_open_do_not_take_each_other_for_older_copies(opened):
    with opened() as one, opened() as two:
        for number, device in enumerate((one, two, two, one, two)):
            go(device, str(number))
        assert one.rolled_back is two.rolled_back is None
        assert one.ledger.spent() == two.ledger.spent()
        two.consent.withdraw("share_update", server=SERVER)
        with pytest.raises(ConsentMissing):
            go(one, "last")


def test_there_is_nothing_to_acknowledge_where_nothing_was_put_back(opened):
    with opened() as device:
        with pytest.raises(ConfigError, match="nothing to acknowledge"):
            device.acknowledge()
        assert device.consent.granted("share_update", SERVER)


def test_an_export_tells_of_what_was_put_back(opened, folder, tmp_path):
    copy(folder, tmp_path / "copy", "vault.db")
    with opened() as device:
        go(device, "one")
    put_back(tmp_path / "copy", folder)
    with opened() as device:
        device.acknowledge()
        (entry,) = (row["body"] for row in device.ledger.export() if row["body"]["kind"] == "put back")
        assert json.loads(json.dumps(entry))["account"]["cost"]["squared"] == pytest.approx(1 / 16)

"""From a shell: what the device counts for itself, and an older copy of the vault that was put back."""

from __future__ import annotations

import json
import shutil

import pytest

from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.device import Device
from fedpersona.device.gate import Gate
from fedpersona.device.policy import Policy
from tests.cli.test_device_cli import Shell
from tests.device.invented import listens
from tests.device.servers import SERVER, Scripted, noisy_offer, offer


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return Shell(tmp_path)


def contribute(shell, *offers):
    with Device.open(shell.folder / ".fedpersona", passphrase="for a test") as device:
        device.vault.add(listens())
        device.policy = Policy(least_cohort=8, allow_unmasked=True)
        device.consent.grant("share_update", server=SERVER)
        gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
        for offered in offers:
            link = Scripted()
            gate.contribute(SERVER, link, link.opening(offered), starter.catalogue(), Stop())


def test_the_ledger_ends_with_what_it_came_to_and_what_that_means(shell):
    contribute(shell, noisy_offer(masked=False))
    told = shell("ledger").stdout
    assert "this round ε 1.07, in all ε 1.07" in told
    assert "In all, at worst: ε 1.07, by this device's own account. Whether or not you take part with" in told
    assert "Privacy loss" in shell("status").stdout
    assert "Your limit" not in shell("status").stdout
    shell("policy", "set", "largest_epsilon=9")
    assert "ε 9 over this device's life" in shell("status").stdout
    shell("policy", "set", "largest_epsilon=none", "--yes")
    assert json.loads(shell("status", "--json").stdout)["privacy"]["servers"].keys() == {SERVER}
    contribute(shell, offer(masked=False))
    assert "In all, at worst: unlimited (1 round without noise)" in shell("ledger").stdout


def test_where_nothing_left_nothing_is_said_of_it(shell):
    shell("init")
    assert shell("ledger").stdout.strip() == "nothing has left this device"
    assert "Privacy loss" not in shell("status").stdout
    assert "nothing to acknowledge" in shell("ledger", "acknowledge").stdout


def test_an_older_copy_is_told_and_acknowledged_with_open_eyes(shell):
    contribute(shell)
    vault = shell.folder / ".fedpersona" / "vault.db"
    shutil.copy2(vault, shell.folder / "copy")
    contribute(shell, noisy_offer(masked=False))
    shutil.copy2(shell.folder / "copy", vault)
    assert "it has 1 of the 2 entries of its consent records" in shell("ledger").stderr
    assert "an older one, was put in its place" in shell("ledger", "verify", code=2).stderr
    assert "fedpersona device ledger" in " ".join(shell("status").stdout.split())
    assert "--yes" in shell("ledger", "acknowledge", code=2).stderr
    done = shell("ledger", "acknowledge", "--yes")
    assert "1 of the 2 entries" in done.stderr
    assert "you said that you know" in done.stdout
    assert "cost at worst ε 1.07" in done.stdout
    assert "whole" in shell("ledger", "verify").stdout
    assert "In all, at worst: ε 1.07" in shell("ledger").stdout

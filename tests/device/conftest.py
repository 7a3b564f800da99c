"""Devices of invented people, without the machine's keyring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedpersona.device import conditions
from fedpersona.device.device import Device
from fedpersona.device.policy import Policy
from fedpersona.device.store import Store
from tests.device.erasure import Drawn
from tests.device.invented import listens
from tests.device.servers import SERVER


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    """No test may use, or leave anything in, the keyring of the machine it runs on."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("FEDPERSONA_PASSPHRASE", "of an invented person")
    monkeypatch.delenv("FEDPERSONA_GLOBAL_PRIVACY_CONTROL", raising=False)


@pytest.fixture(autouse=True)
def own_probe():
    """What a test sets ends with it."""
    before = conditions.current_probe()
    yield
    conditions.use_probe(before)


@pytest.fixture
def device(tmp_path, no_keyring) -> Iterator[Device]:
    """A device with 60 listens of well-known music."""
    with Device.open(tmp_path / "device") as opened:
        opened.vault.add(listens())
        yield opened


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    """A store with nothing in it."""
    opened = Store(tmp_path / "vault.db", bytes(32))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def veteran(tmp_path_factory) -> Iterator[Device]:
    """One device for all tests of a module: it takes part in small rounds, as many as there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        patch.setenv("FEDPERSONA_PASSPHRASE", "of an invented person")
        with Device.open(tmp_path_factory.mktemp("veteran") / "device") as opened:
            opened.vault.add(listens())
            opened.policy = Policy(least_cohort=8, least_neighbours=2, most_rounds_a_day=10_000)
            yield opened


@pytest.fixture
def consenting(veteran) -> Device:
    """The veteran, with its owner's yes to the server of :mod:`tests.device.network`."""
    if not veteran.consent.granted("share_update", SERVER):
        veteran.consent.grant("share_update", server=SERVER)
    return veteran


@pytest.fixture
def drawn(monkeypatch) -> Drawn:
    """What devices draw for their rounds from now on."""
    return Drawn(monkeypatch)

"""A Companion for tests, without the machine's keyring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fedpersona.device.device import Device
from tests.clients.companion.serving import Plain, Served, serving
from tests.device.invented import listens


@pytest.fixture(autouse=True)
def no_keyring(monkeypatch):
    """No test may use, or leave anything in, the keyring of the machine it runs on."""
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setenv("FEDPERSONA_PASSPHRASE", "of an invented person")
    monkeypatch.delenv("FEDPERSONA_GLOBAL_PRIVACY_CONTROL", raising=False)


@pytest.fixture
def served(tmp_path, no_keyring) -> Iterator[Served]:
    """A Companion of a device with 60 listens."""
    with Device.open(tmp_path / "device") as device:
        device.vault.add(listens())
        with serving(device) as found:
            yield found


@pytest.fixture
def empty(tmp_path, no_keyring) -> Iterator[Served]:
    """A Companion of a device with nothing in it."""
    with Device.open(tmp_path / "device") as device, serving(device) as found:
        yield found


@pytest.fixture
def browser(served: Served) -> Plain:
    """A browser that was let in."""
    return served.browser()

"""A device that is killed in the middle of a round leaves nothing of the round's keys on its disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fedpersona
from fedpersona import Device
from tests.device.invented import NO_KEYRING
from tests.device.one_server import AGREE, SHARE, UNMASK, UPDATE

PASSPHRASE = "of an invented person"
DRAWN = {SHARE: 2, UPDATE: 3 + 2 * 9, AGREE: 3 + 9, UNMASK: 3 + 9}
"""How many secrets a device has told of by then, with nine neighbours."""


def killed_at(step: str, folder: Path) -> dict[str, str]:
    """Kill a device before it answers what a step asks; return what it had drawn, in hexadecimal, by name."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.device.round_killed", str(folder), step],
        cwd=Path(fedpersona.__file__).parents[1],
        env={**os.environ, "FEDPERSONA_PASSPHRASE": PASSPHRASE, **NO_KEYRING},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        process.kill()
    return told


def forms(secret: bytes) -> tuple[bytes, ...]:
    """Return what a secret could look like on a disk."""
    number = int.from_bytes(secret, "little")
    halves = (secret[:32], secret[32:]) if len(secret) > 32 else ()
    return (secret, secret[::-1], secret.hex().encode(), secret[::-1].hex().encode(), str(number).encode(), *halves)


def on_disk(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def in_vault(device: Device) -> bytes:
    """Return every value of every table, as the device itself reads them: decrypted."""
    with device._store.reading() as cursor:
        tables = [name for (name,) in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        assert {"chain", "settings"} <= set(tables)
        found = []
        for table in tables:
            for row in cursor.execute(f'SELECT * FROM "{table}"').fetchall():
                found += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(found)


@pytest.mark.parametrize("step", [SHARE, UPDATE, AGREE, UNMASK])
def test_nothing_of_a_rounds_keys_is_on_the_disk_of_a_device_that_is_killed(step, tmp_path):
    folder = tmp_path / "device"
    told = killed_at(step, folder)
    assert len(told) == DRAWN[step]
    left = on_disk(folder)
    with Device.open(folder, passphrase=PASSPHRASE) as device:
        kept = left + in_vault(device)
        assert b"least_cohort" in kept, "the search finds what is there"
        for name, secret in told.items():
            assert not any(form in kept for form in forms(bytes.fromhex(secret))), name
        sent = [entry.outcome for entry in device.ledger.contributions()]
        assert sent == ([] if step in (SHARE, UPDATE) else ["delivered"])
        assert device.check() is None

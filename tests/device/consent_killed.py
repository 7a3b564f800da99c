"""Kills a process at random moments while it changes consents, and looks at what is left.

``python -m tests.device.consent_killed 200`` does it two hundred times.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.clock import Clock
from fedpersona.device.consent import Consent
from fedpersona.device.store import Store

SERVER = "https://taste.example"


def opened(path: Path) -> tuple[Store, Consent]:
    store = Store(path, bytes(32))
    return store, Consent(store, Chain(store, "consent", signing_key(store)), Clock(store))


def change_for_ever(path: Path, told: int) -> None:
    """Say yes and no in turn; after each, write the new number of records to the pipe."""
    _, consent = opened(path)
    while True:
        said = consent.withdraw if consent.granted("share_update", SERVER) else consent.grant
        said("share_update", server=SERVER)
        os.write(told, consent.epoch.to_bytes(4, "big"))


def kill_once(path: Path, rng: random.Random) -> int:
    """Run a child for up to 60 ms, kill it, and return the number of records it had been told were kept."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            change_for_ever(path, writing)
        finally:
            os._exit(1)
    os.close(writing)
    time.sleep(rng.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    told = b""
    while part := os.read(reading, 65_536):
        told += part
    os.close(reading)
    return int.from_bytes(told[-4:], "big")


def kill_often(path: Path, times: int, seed: int) -> int:
    """Kill so often; return how many records there are in the end, none of them lost and none of them broken."""
    rng = random.Random(seed)
    kept = 0
    for turn in range(times):
        told = kill_once(path, rng)
        store, consent = opened(path)
        try:
            found = consent.verify()
            assert found >= max(told, kept), f"turn {turn}: {found} records, {max(told, kept)} were kept before"
            answers = [row["body"]["event"][0]["event_state"] for row in consent.records()]
            wanted = ["consent given", "consent withdrawn"] * (found // 2 + 1)
            assert answers == wanted[:found], f"turn {turn}: an answer is missing or stands twice"
            assert consent.granted("share_update", SERVER) == (found % 2 == 1)
            kept = found
        finally:
            store.close()
    return kept


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(kill_often(Path(folder) / "vault.db", int(sys.argv[1]), seed=int(time.time())), "records, all whole")

"""Kills a process again and again while it imports listens and changes consents, and looks at what is left.

    python tests/device/killing.py --rounds 200

Every step that the process reported as done must be there, the one it was at is there whole or not at all, no page
is damaged and no chain broken. Not a test by itself: ``test_vault_killed.py`` runs a few rounds. To have something
else killed as well, add a :class:`Job` to ``JOBS``.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedpersona.device.chain import Chain, signing_key
from fedpersona.device.clock import Clock
from fedpersona.device.consent import Consent
from fedpersona.device.keys import open_key
from fedpersona.device.store import Store
from fedpersona.device.vault import Vault
from fedpersona.sources.listen import Listen

NOW = 1_750_000_000
START = NOW - 500 * 86_400
BATCH = 150
SERVER = "https://taste.example"
LONGEST = 0.12  # seconds from being ready to being killed


@dataclass(frozen=True)
class Job:
    """Something that is done in steps, and what must be true of them after a kill."""

    step: Callable[[Store, int], None]
    """Do step number n; it counts as done once this has returned."""
    check: Callable[[Store, int], int]
    """Raise unless steps 0 to n - 1 are all there and the next is whole or absent; return how many there are."""


def vault_of(store: Store) -> Vault:
    return Vault(store, Clock(store, lambda: NOW))


def import_step(store: Store, number: int) -> None:
    begin = START + number * BATCH * 200
    ones = (Listen(begin + 200 * n, f"Band {number}", f"Song {n}", (f"mbid:{number}",), 180) for n in range(BATCH))
    assert vault_of(store).add(ones).new == BATCH


def import_check(store: Store, reported: int) -> int:
    vault = vault_of(store)
    counts = vault.artist_plays()
    assert set(counts.values()) <= {BATCH}, "half a batch is there"
    assert set(counts) in ({f"Band {n}" for n in range(reported + more)} for more in (0, 1)), "a batch is missing"
    assert vault.count() == BATCH * len(counts)
    return len(counts)


def consent_of(store: Store) -> Consent:
    return Consent(store, Chain(store, "consent", signing_key(store)), Clock(store, lambda: NOW))


def consent_step(store: Store, number: int) -> None:
    consent = consent_of(store)
    if number % 2:
        consent.withdraw("share_update", server=SERVER)
    else:
        consent.grant("share_update", server=SERVER)


def consent_check(store: Store, reported: int) -> int:
    consent = consent_of(store)
    found = consent.verify()
    assert reported <= found <= reported + 1, "a consent is missing"
    assert consent.granted("share_update", SERVER) == bool(found % 2)
    return found


JOBS = {"import": Job(import_step, import_check), "consent": Job(consent_step, consent_check)}


def child(store: Store, done: dict[str, int], report: int) -> None:
    """Do steps for ever, a byte for each that is done."""
    os.write(report, b"r")
    while True:
        for letter, (name, job) in zip("abcdef", JOBS.items(), strict=False):
            job.step(store, done[name])
            done[name] += 1
            os.write(report, letter.encode())


def open_store(folder: Path, secret: bytes | None) -> Store:
    return Store(folder / "vault.db", secret or open_key(folder, "a passphrase", None).secret)


def one_round(folder: Path, done: dict[str, int], rng: random.Random) -> None:
    """Start a process, kill it at a random moment, and check what is left; ``done`` then says what that is."""
    opening = rng.random() < 0.2 or not folder.exists()  # kill it while it opens, or makes everything
    secret = None if opening else open_key(folder, "a passphrase", None).secret
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            os.close(reading)
            child(open_store(folder, secret), dict(done), writing)
        finally:
            os._exit(1)
    os.close(writing)
    if opening:
        time.sleep(rng.random() * 0.25)
        reported = b""
    else:
        reported = os.read(reading, 1)
        time.sleep(rng.random() * LONGEST)
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    while more := os.read(reading, 65_536):
        reported += more
    os.close(reading)
    assert os.WIFSIGNALED(status), "the process ended by itself"
    store = open_store(folder, secret)
    try:
        store.check()
        for letter, (name, job) in zip(b"abcdef", JOBS.items(), strict=False):
            done[name] = job.check(store, done[name] + reported.count(letter))
    finally:
        store.close()


def run(rounds: int, seed: int, folder: Path) -> dict[str, int]:
    """Kill so many times and return how many steps of each job there are."""
    rng = random.Random(seed)
    done = dict.fromkeys(JOBS, 0)
    for number in range(rounds):
        try:
            one_round(folder, done, rng)
        except BaseException:
            print(f"round {number + 1}, seed {seed}", file=sys.stderr)
            raise
    return done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        done = run(options.rounds, options.seed, Path(folder) / "device")
    steps = ", ".join(f"{count} of {name}" for name, count in done.items())
    print(f"killed {options.rounds} times (seed {options.seed}): all there, steps: {steps}")


if __name__ == "__main__":
    main()

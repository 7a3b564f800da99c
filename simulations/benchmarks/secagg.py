"""Secure aggregation on one core: what a device and a server pay, in seconds, bytes and memory, beside the limits.

    python simulations/benchmarks/secagg.py
    python simulations/benchmarks/secagg.py --quick

Two minutes or so; ``--quick`` is a small cohort that shows that everything runs, its figures say little. Seconds are
those of the processor, all on one core, so that other work on the machine counts little. Short measurements are the
least of several; a whole round is run once. A cohort lives in this one process, devices and all, and its sum is
checked. Bytes are those of all fields of all messages, signatures among them, for a device that stays to the end; the
model, and what Flower puts around a message, are not in them.
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from threadpoolctl import threadpool_limits

from fedpersona.privacy.secagg import DeviceRound, Parameters, ServerRound
from fedpersona.privacy.secagg.graph import neighbours_of
from fedpersona.privacy.secagg.masks import SEED, add_masks
from fedpersona.privacy.secagg.shamir import PRIME, recover, split
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.message import encode
from fedpersona.wire.parcel import sign_reply, verify_reply
from fedpersona.wire.plan import Plan

MILLION = 1_000_000
SIGNATURE = 64
PLAN = Plan(
    "subspace",
    3,
    1000,
    50,
    32,
    0,
    "training 12",
    "c" * 64,
    "5" * 64,
    (("dim", 32), ("rounds", 4)),
    64.0,
    masked=True,
    federation="A federation with a name",
    serial=1234,
    issued=1_800_000_000,
    expires=1_800_003_600,
)
HASH = PLAN.hash()
NAMED = len(HASH)
"""Bytes by which every question after the first names its plan."""
HEADER = len(encode(np.zeros(1, "<u4"), plan_hash=HASH, layout=Layout((ArraySpec("basis", (1,), 1.0),)))) - 4
"""Bytes before the words of an update."""


def seconds(work: Callable[[], object], repeats: int = 7, inner: int = 1) -> float:
    """Return the least processor time that it took."""
    least = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        for _ in range(inner):
            work()
        least = min(least, (time.process_time() - started) / inner)
    return least


def peak_megabytes() -> float:
    """Return the most memory that this process ever had; what its parent had is not in it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def row(what: str, measured: str, limit: str = "", note: str = "") -> None:
    print(f"  {what:58} {measured:>11} {limit:>13}  {note}".rstrip(), flush=True)


# -- (a) what the machine does --


@dataclass(frozen=True)
class Machine:
    """Seconds of bare primitives."""

    aes: float
    add: float
    recovery: float


def measure_machine() -> Machine:
    print(f"\n(a) the machine {'measured':>54}")
    zeros, room = bytes(4 * MILLION), bytearray(4 * MILLION + 15)
    one, other = np.zeros(MILLION, "<u4"), np.ones(MILLION, "<u4")
    stream = Cipher(algorithms.AES(bytes(16)), modes.CTR(bytes(16))).encryptor()
    aes = seconds(lambda: stream.update_into(zeros, room))
    add = seconds(lambda: np.add(one, other, out=one))
    row("AES-128-CTR, 10^6 uint32", f"{1e3 * aes:.2f} ms")
    row("numpy add, 10^6 uint32", f"{1e3 * add:.2f} ms")
    x, public = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    ed, word = Ed25519PrivateKey.generate(), bytes(100)
    verifier, signature = ed.public_key(), ed.sign(word)
    row("X25519 agreement", f"{1e6 * seconds(lambda: x.exchange(public), inner=100):.0f} us")
    row("Ed25519 signing", f"{1e6 * seconds(lambda: ed.sign(word), inner=100):.0f} us")
    row("Ed25519 verifying", f"{1e6 * seconds(lambda: verifier.verify(signature, word), inner=100):.0f} us")
    secret, points = int.from_bytes(os.urandom(48), "little") % PRIME, range(1, 102)
    dealt = dict(list(zip(points, split(secret, points, 51, os.urandom), strict=True))[:51])
    recovery = seconds(lambda: recover(dealt), inner=3)
    row(
        "Shamir, 32 bytes at (51, 101): sharing",
        f"{1e3 * seconds(lambda: split(secret, points, 51, os.urandom)):.2f} ms",
    )
    row("Shamir, 32 bytes at (51, 101): recovering", f"{1e3 * recovery:.2f} ms")
    return Machine(aes, add, recovery / 51**2)


# -- a cohort in this process --


class Clock(Counter[str]):
    """Processor seconds by part of the work."""

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = time.process_time()
        try:
            yield
        finally:
            self[part] += time.process_time() - started


class Attempt:
    """A server, and what a cohort of which some leave before their vector costs it."""

    def __init__(self, parameters: Parameters, size: int, numbers: int, leaving: list[int]) -> None:
        self.server = ServerRound(HASH, 1, parameters, least=size // 2, total=np.zeros(numbers, "<u4"))
        self.leaving = frozenset(leaving)
        self.staying = [place for place in range(size) if place not in self.leaving]
        self.clock = Clock()
        self.true = np.zeros(numbers, "<u4")
        self.up: Counter[int] = Counter()
        """Bytes by device."""
        self.down: Counter[int] = Counter()

    def answered(self, place: int, kind: str, body: bytes | np.ndarray, key: Ed25519PrivateKey) -> None:
        """Check the signature of an answer as whoever receives it does; count it."""
        data = memoryview(body).cast("B")
        signature = sign_reply(kind, HASH, data, key)
        with self.clock("signatures of answers"):
            verify_reply(kind, HASH, data, signature, key.public_key().public_bytes_raw())
        self.up[place] += len(data) + SIGNATURE

    def finish(self, devices: list[DeviceRound], keys: list[Ed25519PrivateKey]) -> None:
        """Take the last two exchanges, and the sum, and hold it against the true one."""
        server, clock = self.server, self.clock
        with clock("one list for all"):
            survivors = server.close_vectors()
        for place in self.staying:
            signature = sign_reply("query.agree", HASH, devices[place].agree(survivors), keys[place])
            with clock("one list for all"):
                server.take_signature(place, signature)
            self.down[place] += NAMED + len(survivors)
            self.up[place] += SIGNATURE
        with clock("one list for all"):
            asked = sorted(server.close_signatures())
        for place in asked:
            with clock("one list for all"):
                signatures = server.signatures(place)
            shares = devices[place].unmask(signatures)
            self.answered(place, "query.unmask", shares, keys[place])
            with clock("shares of secrets"):
                server.take_shares(place, shares)
            self.down[place] += NAMED + len(signatures)
        with clock("recovering secrets, taking masks off"):
            total = server.open()
        if not np.array_equal(total, self.true):
            raise SystemExit("the sum is not that of the devices in it")


class Cohort:
    """Devices, and one attempt for each share of them that leaves: they answer each server the same."""

    def __init__(self, size: int, numbers: int, parameters: Parameters, leaving: list[float]) -> None:
        draw = random.Random(size)
        self.keys = [Ed25519PrivateKey.from_private_bytes(draw.randbytes(32)) for _ in range(size)]
        self.devices = [
            DeviceRound(
                HASH,
                parameters,
                least=size // 2,
                most=size,
                identity=key.public_key().public_bytes_raw(),
                random=draw.randbytes,
            )
            for key in self.keys
        ]
        order = draw.sample(range(size), size)
        self.attempts = [Attempt(parameters, size, numbers, order[: round(share * size)]) for share in leaving]
        self._update = np.frombuffer(draw.randbytes(4 * numbers), "<u4")

    def run(self) -> list[Attempt]:
        self._enter()
        self._share()
        self._mask()
        for one in self.attempts:
            one.finish(self.devices if one is self.attempts[-1] else copy.deepcopy(self.devices), self.keys)
        return self.attempts

    def _each(self) -> Iterator[tuple[int, DeviceRound, Ed25519PrivateKey]]:
        for place, (device, key) in enumerate(zip(self.devices, self.keys, strict=True)):
            yield place, device, key

    def _enter(self) -> None:
        for place, device, key in self._each():
            advertised = device.advertise()
            signature = sign_reply("query.enter", HASH, advertised, key)
            for one in self.attempts:
                with one.clock("entering"):
                    one.server.enter(key.public_key().public_bytes_raw(), advertised, signature)
                one.down[place] += len(PLAN.encode()) + SIGNATURE
                one.up[place] += len(advertised) + SIGNATURE

    def _share(self) -> None:
        for one in self.attempts:
            with one.clock("roster and graph"):
                head = one.server.close_roster().encode()
        for place, device, key in self._each():
            for one in self.attempts:
                with one.clock("roster and graph"):
                    view = one.server.view(place)
                one.down[place] += NAMED + len(head) + SIGNATURE + len(view)
            sealed = device.share(head, view)
            for one in self.attempts:
                one.answered(place, "query.share", sealed, key)
                with one.clock("shares"):
                    one.server.take_sealed(place, sealed)
        for one in self.attempts:
            with one.clock("shares"):
                one.server.close_shares()

    def _mask(self) -> None:
        for place, device, key in self._each():
            for one in self.attempts:
                with one.clock("shares"):
                    delivered = one.server.delivered(place)
                one.down[place] += NAMED + len(delivered)
            update = self._update + np.uint32(place)
            words = update.copy()
            device.mask(words, delivered)
            for one in self.attempts:
                if place in one.leaving:
                    continue
                one.true += update
                one.answered(place, "train.update", words, key)
                one.up[place] += HEADER
                with one.clock("adding vectors"):
                    one.server.take_vector(place, words)


# -- (b) a device --


def measure_device(machine: Machine, numbers: int, neighbours: int, repeats: int) -> None:
    size, parameters = neighbours + 1, Parameters(neighbours, -(-5 * neighbours // 7))
    keys = [Ed25519PrivateKey.generate() for _ in range(size)]
    identities = [key.public_key().public_bytes_raw() for key in keys]
    runs: list[Clock] = []
    for timed in range(repeats):
        devices = [DeviceRound(HASH, parameters, least=3, most=size, identity=identity) for identity in identities]
        server = ServerRound(HASH, 1, parameters, least=3, total=np.zeros(1, "<u4"))
        clocks = [Clock() for _ in devices]
        for device, key, identity, clock in zip(devices, keys, identities, clocks, strict=True):
            with clock("1 enter: two keys, signed"):
                advertised = device.advertise()
                signature = sign_reply("query.enter", HASH, advertised, key)
            server.enter(identity, advertised, signature)
        head = server.close_roster().encode()
        for place, (device, key, clock) in enumerate(zip(devices, keys, clocks, strict=True)):
            view = server.view(place)
            with clock("2 share: checks, agreements, sharing, sealing"):
                sealed = device.share(head, view)
                sign_reply("query.share", HASH, sealed, key)
            server.take_sealed(place, sealed)
        server.close_shares()
        for place, (device, key, clock) in enumerate(zip(devices, keys, clocks, strict=True)):
            delivered, words = server.delivered(place), np.zeros(numbers if place == timed else 1, "<u4")
            with clock("3 update: opening, masking, signed"):
                device.mask(words, delivered)
                sign_reply("train.update", HASH, memoryview(words).cast("B"), key)
            server.take_vector(place, words[:1])
        survivors = server.close_vectors()
        for place, (device, key, clock) in enumerate(zip(devices, keys, clocks, strict=True)):
            with clock("4 agree: one list, signed"):
                signature = sign_reply("query.agree", HASH, device.agree(survivors), key)
            server.take_signature(place, signature)
        server.close_signatures()
        signatures = server.signatures(timed)
        with clocks[timed]("5 unmask: signatures of neighbours, one share of each"):
            sign_reply("query.unmask", HASH, devices[timed].unmask(signatures), keys[timed])
        runs.append(clocks[timed])
    limit = 2 * neighbours * (machine.aes + machine.add) * numbers / MILLION
    words, seeds = np.zeros(numbers, "<u4"), [os.urandom(SEED) for _ in range(neighbours)]
    masking = seconds(lambda: add_masks(words, seeds), repeats=3)
    print(f"\n(b) a device, {numbers:,} numbers, {neighbours} neighbours {'measured':>29} {'limit':>13}")
    row("the masks alone", f"{1e3 * masking:.0f} ms", f"{1e3 * limit:.0f} ms", "2 x (AES-CTR + add) x neighbours")
    fastest = min(runs, key=Clock.total)
    for part, took in fastest.items():
        row(part, f"{1e3 * took:.1f} ms")
    row("all five steps", f"{1e3 * fastest.total():.0f} ms", f"{1e3 * limit:.0f} ms", f"best of {repeats} devices")
    for devices_of in (1000, 10_000):
        took = seconds(lambda size=devices_of: neighbours_of(bytes(32), size, neighbours, 3), repeats=3)
        row(f"and the graph of a roster of {devices_of:,}, within step 2", f"{1e3 * took:.1f} ms")


# -- (c) a server, (d) bytes --


def measure_server(machine: Machine, sizes: list[int], numbers: int, small: int) -> None:
    print(f"\n(c) a server, {numbers:,} numbers, drop-outs before their vector {'measured':>20} {'limit':>13}")
    largest = None
    for size in sizes:
        (largest,) = Cohort(size, numbers, Parameters(), [0.1]).run()
        say_total(machine, largest, size, numbers, Parameters(), 0.1)
    assert largest is not None
    print(f"  of the last, {sizes[-1]:,} devices:")
    for part, took in largest.clock.items():
        row(f"  {part}", f"{took:.2f} s")
    row("most memory, all devices in the same process", f"{peak_megabytes():.0f} MB", "2,000 MB")
    flaky = Parameters(80, 48)
    print("  with a threshold of 48 of 80, under which a fifth may leave:")
    for share, one in zip((0.05, 0.1, 0.2), Cohort(small, numbers, flaky, [0.05, 0.1, 0.2]).run(), strict=True):
        say_total(machine, one, small, numbers, flaky, share)

    plain = 4 * numbers
    up, down = (
        sum(count[place] for place in largest.staying) / len(largest.staying) for count in (largest.up, largest.down)
    )
    print(f"\n(d) bytes a device, {numbers:,} numbers, {sizes[-1]:,} devices {'measured':>27} {'limit':>13}")
    row("the plain fixed-point vector", f"{plain:,}")
    row("up", f"{up:,.0f}", f"{1.1 * plain:,.0f}", f"{up / plain:.4f} of the vector; {up / numbers:.2f} a number")
    row("down, without the model", f"{down:,.0f}")
    row("up and down", f"{up + down:,.0f}", f"{1.1 * plain:,.0f}", f"{(up + down) / plain:.4f} of the vector")


def say_total(machine: Machine, one: Attempt, size: int, numbers: int, parameters: Parameters, share: float) -> None:
    gone, degree = len(one.leaving), min(parameters.neighbours, size - 1)
    masks = size - gone + gone * degree * (1 - share)
    bare = (
        masks * (machine.aes + machine.add) * numbers / MILLION
        + size * machine.recovery * parameters.needed(degree) ** 2
    )
    row(
        f"{size:,} devices, {share:.0%} leave: all that the server does",
        f"{one.clock.total():.2f} s",
        "60 s",
        f"{1e3 * one.clock.total() / size:.1f} ms a device; bare masks and recovery {bare:.2f} s",
    )


# -- (e) memory --


def measure_memory(numbers: int, neighbours: int) -> None:
    ran = subprocess.run(
        [sys.executable, __file__, "--mask", str(numbers), str(neighbours)], capture_output=True, text=True, check=True
    )
    before, after, took = (float(number) for number in ran.stdout.split())
    print(f"\n(e) memory, a process: {numbers:,} numbers, {neighbours} neighbours {'measured':>23} {'limit':>13}")
    row(
        "Python, numpy, cryptography and the vector",
        f"{before:.0f} MB",
        "",
        f"{4 * numbers / 1e6:.0f} MB of it the vector",
    )
    row("the process at most, while it masked", f"{after:.0f} MB", "150 MB")
    row("so masking took, beside the vector", f"{after - before:.2f} MB", "", f"and {took:.2f} s")


def mask_only(numbers: int, neighbours: int) -> None:
    """In a process of its own."""
    words = np.ones(numbers, "<u4")  # touched, so that it is there
    add_masks(words[:100], [bytes(SEED)])  # loads what a first cipher loads
    before = peak_megabytes()
    seeds = [os.urandom(SEED) for _ in range(neighbours + 1)]
    started = time.process_time()
    add_masks(words, seeds[: neighbours // 2], seeds[neighbours // 2 :])
    print(before, peak_megabytes(), time.process_time() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small: shows that it runs, its figures say little")
    parser.add_argument("--mask", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if options.mask:
        mask_only(*options.mask)
        return
    with threadpool_limits(1):
        measure(quick=options.quick)


def measure(*, quick: bool) -> None:
    started = time.perf_counter()
    machine = measure_machine()
    if quick:
        measure_device(machine, 100_000, 20, 1)
        measure_server(machine, [60, 120], 10_000, 60)
        measure_memory(MILLION, 80)
    else:
        measure_device(machine, MILLION, 100, 3)
        measure_server(machine, [250, 500, 1000], 100_000, 500)
        measure_memory(10 * MILLION, 80)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()

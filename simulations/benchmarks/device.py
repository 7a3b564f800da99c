"""What fedpersona costs on a device: start, a contribution, a playlist. Each figure is from a process of its own.

    python simulations/benchmarks/device.py

The contribution is for a catalogue of 50,000 items, 64 dimensions and 500 items played, through every step of the
gate, with masks from 16 neighbours; memory is the most the whole process ever had (MB of 10^6 bytes), once as numpy is
and once with NUMPY_MADVISE_HUGEPAGE=0, which keeps Linux from filling whole huge pages. Invented data only.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ITEMS, DIM, PLAYED, REPEATS = 50_000, 64, 500, 7


def invented_catalogue():
    from fedpersona.catalogue import Catalogue

    return Catalogue.create(
        [f"i{n}" for n in range(ITEMS)],
        titles=[f"Song {n}" for n in range(ITEMS)],
        artists=[f"Band {n // 8}" for n in range(ITEMS)],
        tags=[(f"tag {n % 40}", f"tag {n % 97}") for n in range(ITEMS)],
        kind="track",
    )


def listens():
    from fedpersona.sources.listen import Listen

    now = int(time.time())
    rows = [(n * 97) % ITEMS for n in range(PLAYED)]
    return [Listen(now - 3600 * (n + 1), f"Band {row // 8}", f"Song {row}", (), 200) for n, row in enumerate(rows)]


class OneServer:
    """A server that offers one round and keeps nothing."""

    busy = False

    def __init__(self, offer, sealed):
        from fedpersona.privacy.masking import MaskKey

        self._offer, self._sealed = offer, sealed
        self._keys = tuple(MaskKey().public for _ in range(16))
        self.received = 0

    def catalogue(self):
        return self._sealed

    def release(self):
        return None

    def offer(self, seconds):
        offer, self._offer = self._offer, None
        return offer

    def enter(self, plan_hash, public_key):
        pass

    def neighbours(self, plan_hash, seconds):
        return self._keys

    def send(self, message):
        self.received = len(message)

    def leave(self):
        pass


def prepare(folder: Path) -> None:
    """Make a device with a history, and the files of a server."""
    import numpy as np
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpersona import Device, Policy
    from fedpersona.randomness import generator
    from fedpersona.wire.signed_catalogue import seal

    (folder / "catalogue").write_bytes(
        seal(invented_catalogue(), issued=int(time.time()), key=Ed25519PrivateKey.generate())
    )
    basis = generator(0, "benchmark").standard_normal((ITEMS, DIM)) / np.sqrt(ITEMS)
    np.save(folder / "basis.npy", basis.astype(np.float32))
    with Device.open(folder / "device") as device:
        device.vault.add(listens())
        device.consent.grant("share_update", server="https://bench.example")
        device.policy = Policy(most_rounds_a_day=1000)


def child_start(folder: Path) -> dict[str, float]:
    """Import, and open an existing device."""
    started = time.perf_counter()
    import fedpersona

    imported = time.perf_counter()
    with fedpersona.Device.open(folder / "device"):
        opened = time.perf_counter()
    return {"import fedpersona, s": imported - started, "Device.open, s": opened - imported}


def child_contribution(folder: Path) -> dict[str, float]:
    """One contribution through the whole gate, and what it took."""
    import resource

    import numpy as np

    from fedpersona import Device, Shared
    from fedpersona.device.background import Stop
    from fedpersona.device.gate import Gate
    from fedpersona.device.link import Offer
    from fedpersona.taste import create
    from fedpersona.wire.plan import Plan

    with Device.open(folder / "device") as device:
        device.shelf.accept_catalogue("https://bench.example", (folder / "catalogue").read_bytes())
        catalogue = device.catalogue
        model = create("subspace", {"dim": DIM})
        arrays = {
            "basis": np.load(folder / "basis.npy"),
            "strength": np.ones(DIM, np.float32),
            "listeners": np.ones(ITEMS, np.float32),
        }
        shared = Shared("subspace", catalogue.version, 1, arrays)
        settings = tuple(sorted(model.model_dump().items()))
        times, peaks = [], []
        for repeat in range(REPEATS):
            plan = Plan(
                "subspace",
                2,
                1000,
                500,
                32,
                0,
                f"run {os.getpid()} {repeat}",
                catalogue.version,
                shared.hash(),
                settings,
                64.0,
                None,
                True,
            )
            server = OneServer(Offer(plan.encode(), shared), b"")
            gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
            started = time.perf_counter()
            gate.contribute("https://bench.example", server, server.offer(0), catalogue, Stop())
            times.append(time.perf_counter() - started)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        assert "torch" not in sys.modules
    return {
        "first contribution, s": times[0],
        "contribution, s": statistics.median(times),
        "bytes sent": server.received,
        "most memory, MB": peaks[0] / 1e6,
        "after seven, MB": peaks[-1] / 1e6,
    }


def child_playlist(folder: Path) -> dict[str, float]:
    """A weekly list by a shared model over the whole catalogue, week after week."""
    import numpy as np

    from fedpersona import Device, Shared
    from fedpersona.device.link import Release

    clock = [time.time()]
    with Device.open(folder / "device", clock=lambda: clock[0]) as device:
        arrays = {
            "basis": np.load(folder / "basis.npy"),
            "strength": np.ones(DIM, np.float32),
            "listeners": np.ones(ITEMS, np.float32),
        }
        shared = Shared("subspace", device.catalogue.version, 4, arrays)
        clock[0] = device.clock.now()  # where the process before this one left it
        device.shelf.accept_release(Release("subspace", {"dim": DIM}, shared))
        times = []
        for _ in range(REPEATS):
            clock[0] += 7 * 86_400  # another week, or the list is there already
            started = time.perf_counter()
            made = device.playlist()
            times.append(time.perf_counter() - started)
        assert len(made) == 30
    return {"first playlist, s": times[0], "playlist, s": statistics.median(times)}


def main() -> None:
    """Run each part in a process of its own and print the medians."""
    if len(sys.argv) == 3:
        part = {"start": child_start, "contribution": child_contribution, "playlist": child_playlist}[sys.argv[1]]
        sys.stdout.write(json.dumps(part(Path(sys.argv[2]))) + "\n")
        return
    os.environ.setdefault("FEDPERSONA_PASSPHRASE", "a benchmark's passphrase")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for part, repeats, small_pages in (
            ("start", 7, False),
            ("contribution", 3, False),
            ("contribution", 3, True),  # numpy asks Linux for huge pages, which a sparse update then fills
            ("playlist", 3, False),
        ):
            environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0" if small_pages else "1"}
            if small_pages:
                print("with NUMPY_MADVISE_HUGEPAGE=0:")
            runs = []
            for _ in range(repeats):
                done = subprocess.run(
                    [sys.executable, __file__, part, str(folder)],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                runs.append(json.loads(done.stdout))
            for figure in runs[0]:
                values = sorted(run[figure] for run in runs)
                print(f"{figure:24} median {statistics.median(values):12.3f}   {values[0]:.3f} to {values[-1]:.3f}")


if __name__ == "__main__":
    main()

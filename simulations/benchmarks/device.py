"""What fedpersona costs on a device: start, a contribution, a playlist. Each figure is from a process of its own.

    python simulations/benchmarks/device.py

The contribution is for a catalogue of 50,000 items, 64 dimensions and 500 items played, through every step of the
gate and all five exchanges of its round, with as many neighbours as a plan asks for by default. These and the server
are a process of their own. A contribution is counted in processor time of the device's own process, so that nothing it
waits for is in it. Memory is the most that process ever had (MB of 10^6 bytes), once as numpy is and once with
NUMPY_MADVISE_HUGEPAGE=0, which keeps Linux from filling whole
huge pages. Invented data only.
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


def crowd(pipe):
    """Run rounds with all other devices, and the server's part; nobody but the device masks more than one number."""
    import numpy as np

    from fedpersona.privacy.secagg import Parameters, ServerRound
    from fedpersona.simulation.secure_crowd import SecureCrowd

    while (plan := pipe.recv()) is not None:
        server = ServerRound(
            plan.hash(),
            plan.round_number,
            Parameters(plan.neighbours, plan.threshold),
            least=plan.min_count,
            total=np.zeros(1, np.uint32),
        )
        others = SecureCrowd(plan, range(plan.neighbours), seed=0)
        others.enter(server)
        place = server.enter(*pipe.recv())
        head = server.close_roster().encode()
        others.share(server, head)
        pipe.send({"roster": head, "view": server.view(place)})
        server.take_sealed(place, pipe.recv()[1])
        others.update(server, server.close_shares(), lambda device: np.ones(1, np.uint32))
        pipe.send({"shares": server.delivered(place)})
        server.take_vector(place, np.ones(1, np.uint32))
        pipe.recv()
        survivors = server.close_vectors()
        others.agree(server, survivors, server.summed)
        pipe.send({"survivors": survivors})
        server.take_signature(place, pipe.recv()[2])
        server.close_signatures()
        pipe.send({"signatures": server.signatures(place)})
        server.take_shares(place, pipe.recv()[1])


class OneServer:
    """A link to a server that offers one round and keeps nothing."""

    busy = False

    def __init__(self, pipe, plan, shared, key):
        from fedpersona.device.link import Offer

        self.open = Offer(plan.encode(), shared)
        self._key, self._pipe = key, pipe
        self.identity = key.public_key().public_bytes_raw()
        self.update = self.beside = self.down = 0
        pipe.send(plan)

    def question(self, kind, plan_hash, seconds):
        fields = self._pipe.recv()
        self.down += sum(map(len, fields.values()))
        return fields

    def answer(self, kind, plan_hash, body):
        from fedpersona.wire.parcel import sign_reply

        signature = sign_reply(kind, plan_hash, body, self._key)
        self._pipe.send((self.identity, body, signature))
        self.beside += len(signature) + (kind != "query.agree") * len(body)

    def send(self, message):
        from fedpersona.wire.parcel import sign_reply

        self.beside += len(sign_reply("train.update", "", message, self._key))
        self.update = len(message)
        self._pipe.send("sent")


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
    import multiprocessing
    import resource

    import numpy as np
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedpersona import Device, Shared
    from fedpersona.device.background import Stop
    from fedpersona.device.gate import Gate
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
        pipe, other = multiprocessing.Pipe()
        running = multiprocessing.get_context("spawn").Process(target=crowd, args=(other,), daemon=True)
        running.start()
        other.close()
        for repeat in range(REPEATS):
            plan = Plan(
                "subspace",
                2,
                1000,
                50,
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
            server = OneServer(pipe, plan, shared, Ed25519PrivateKey.generate())
            gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
            started = time.process_time()
            gate.contribute("https://bench.example", server, server.open, catalogue, Stop())
            times.append(time.process_time() - started)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
        pipe.send(None)
        running.join()
        assert "torch" not in sys.modules
    return {
        "first contribution, CPU s": times[0],
        "contribution, CPU s": statistics.median(times),
        "bytes of the update": server.update,
        "bytes sent beside it": server.beside,
        "bytes taken beside it": server.down,
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
                print(f"{figure:26} median {statistics.median(values):12.3f}   {values[0]:.3f} to {values[-1]:.3f}")


if __name__ == "__main__":
    main()

"""What a fleet costs a server: ``fedpersona serve`` on loopback, and N nodes that take part in whole masked rounds.

    python simulations/benchmarks/fleet.py --devices 100
    python simulations/benchmarks/fleet.py --devices 50 100 200 --processes 2 --rounds 2 --settings dim=8
    python simulations/benchmarks/fleet.py --devices 1000 --minutes 10 --json

The server is a real one in a temporary folder: SuperLink, front, coordinator, TLS, SQLite on disk. A device is the
real node and link, each in a thread of its own, without vault and gate: what it sends is a masked zero. Enrolling is
done in the server's database beforehand and not measured. Devices share the machine with the server, so on few cores
they slow it down: the processor seconds of each process tell whose they are. Everything is ended and removed.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

SAMPLE = 0.5  # seconds between two looks at the processes
STAGES = ("entering", "sharing", "updating", "agreeing", "unmasking")
ROLES = ("supervisor", "superlink", "superexec", "coordinator", "front", "drivers")


def main() -> None:
    """Measure each size, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[100], help="sizes, one server each")
    parser.add_argument("--processes", type=int, default=2, help="processes that the devices run in")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of the model")
    parser.add_argument("--settings", nargs="*", default=["dim=8"], help="of the subspace model, name=number")
    parser.add_argument("--minutes", type=float, default=10.0, help="most for one size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    settings = {name: int(value) for name, _, value in (each.partition("=") for each in options.settings)}
    settings["rounds"] = options.rounds
    found = []
    for devices in options.devices:
        found.append(measure(devices, options.processes, settings, options.minutes * 60.0))
        if not options.json:
            show(found[-1])
    if options.json:
        print(json.dumps(found, indent=2))
    elif len(found) > 1:
        show_growth(found)


# -- one server, one fleet --


def measure(devices: int, processes: int, settings: dict[str, int], seconds: float) -> dict[str, object]:
    """Hold one training with so many devices and return what it took."""
    from fedpersona.aggregation.database import Database
    from fedpersona.aggregation.journal import Journal
    from fedpersona.aggregation.registry import Registry

    deadline = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        folder = Path(name)
        config = new_server(folder / "server", devices, settings, seconds)
        with running_server(config, folder / "output.txt") as server, Database.open(config.database) as database:
            enrolled = time.perf_counter()
            enrol(config, database, folder, devices, processes)
            enrolled = time.perf_counter() - enrolled
            with running_drivers(folder, config, processes) as drivers, watched(server, drivers) as usage:
                registry, began = Registry(database, config.models), time.perf_counter()
                while registry.promoted() is None:
                    if time.monotonic() > deadline or server.poll() is not None:
                        print((config.logs / "superlink.log").read_text()[-2000:], file=sys.stderr)
                        raise SystemExit(f"{devices} devices: no model within {seconds:.0f} s")
                    time.sleep(0.2)
                took = time.perf_counter() - began
            rounds = [record for record in reversed(Journal(database).rounds()) if record.outcome is not None]
        return {
            "devices": devices,
            "processes": processes,
            "settings": settings,
            "seconds enrolling": round(enrolled, 1),
            "seconds training": round(took, 1),
            "rounds": [
                {
                    "round": record.round_number,
                    "outcome": record.outcome,
                    "answered": record.answered,
                    "refused": dict(record.refused),
                    "bytes_up": record.bytes_up,
                    "seconds": {stage: round(value, 2) for stage, value in record.seconds.items()},
                }
                for record in rounds
            ],
            **summary(devices, rounds),
            "requests": requests(folder, devices, len(rounds)),
            "usage": {role: usage[role] for role in ROLES if role in usage},
            "bytes on disk": {file.name: file.stat().st_size for file in sorted(config.server.state.glob("*.db"))},
        }


def summary(devices: int, rounds: list) -> dict[str, object]:
    """Return what counts: updates a second of the five exchanges, over the rounds that came through."""
    done = [record for record in rounds if record.outcome == "completed"]
    stages = Counter()
    for record in done:
        stages.update({stage: record.seconds[stage] for stage in STAGES})
    held = sum(stages.values())
    return {
        "updates a second": round(sum(record.answered for record in done) / held, 2),
        "seconds a round": {stage: round(value / len(done), 2) for stage, value in stages.items()},
        "milliseconds a device and round": round(1000 * held / len(done) / devices, 1),
    }


def requests(folder: Path, devices: int, rounds: int) -> dict[str, object]:
    """Return what devices asked of the front, by kind; what the coordinator asks of the SuperLink is not counted."""
    asked: Counter[str] = Counter()
    for file in folder.glob("driver-*.counts"):
        asked.update(json.loads(file.read_text()))
    bytes_ = {way: asked.pop(f"bytes {way}", 0) for way in ("up", "down")}
    problems = {kind: asked.pop(kind) for kind in list(asked) if kind.startswith("problem")}
    by_device = {kind: round(count / devices / rounds, 2) for kind, count in sorted(asked.items())}
    return {
        "a device and round": by_device,
        "of them to the SuperLink": round(sum(v for kind, v in by_device.items() if "fleet" in kind), 1),
        "bytes a device and round": {way: round(count / devices / rounds) for way, count in bytes_.items()},
        "problems": problems,
    }


# -- the server --


def new_server(folder: Path, devices: int, settings: dict[str, int], seconds: float):
    """Make the folder of a server on free ports, for one round after another of all devices."""
    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.setup import NewServer, initialise
    from fedpersona.device import starter

    said = NewServer(
        name="Fleet",
        address=f"https://127.0.0.1:{free_port()}",
        ops=f"127.0.0.1:{free_port()}",
        superlink_port=free_port(),
    )
    file = initialise(folder, said, starter.catalogue()).file
    wanted = {
        "cohort": devices,
        "min_count": devices,
        "wait_for": devices,
        "gather_seconds": int(seconds),
        "deadline_seconds": int(seconds),
        "attempts": 1,
    }
    text = file.read_text()
    for key, value in wanted.items():
        text, changed = re.subn(rf"(?m)^(# )?{key} = .*$", f"{key} = {value}", text, count=1)
        assert changed, key
    text += "\n[model.settings]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items())
    file.write_text(text)
    return ServerConfig.load(file)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running_server(config, output: Path):
    """Run a server until the context ends."""
    with output.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpersona", "serve", "--config", str(config.file)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 90.0
        while b"Running." not in output.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server does not start: {output.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        end([process])


def enrol(config, database, folder: Path, devices: int, processes: int) -> None:
    """Enrol devices, and leave their identities in one file a driver."""
    from concurrent.futures import ThreadPoolExecutor

    from fedpersona.aggregation.certificates import authority_der, operator_public
    from fedpersona.aggregation.roster import Roster
    from fedpersona.aggregation.superlink import Control
    from fedpersona.device.identity import Identity

    server = config.server
    blank = Identity(
        server.address, config.federation.name, operator_public(server.signing_key), authority_der(server.authority)
    )
    roster = Roster(database)
    with Control(config.superlink()) as control:

        def one(number: int) -> Identity:
            found = blank.with_keys()
            public = found.flower_public_key
            enrolled = roster.enrol(roster.issue_token(1.0), public, found.signer.public_key().public_bytes_raw())
            node_id = control.register_node(public)
            roster.attach(enrolled.number, node_id)
            return Identity(**{**vars(found), "device": enrolled.number, "node_id": node_id})

        with ThreadPoolExecutor(1) as pool:
            identities = list(pool.map(one, range(devices)))
    for number in range(processes):
        lines = [identity.packed().decode("ascii") for identity in identities[number::processes]]
        (folder / f"driver-{number}").write_text("\n".join(lines))


@contextmanager
def running_drivers(folder: Path, config, processes: int):
    """Run the devices until the context ends, with what they counted written down."""
    drivers = [
        subprocess.Popen(
            [sys.executable, __file__, "--drive", str(folder / f"driver-{number}"), str(config.model.catalogue)],
            stdin=subprocess.DEVNULL,
        )
        for number in range(processes)
    ]
    try:
        yield drivers
    finally:
        end(drivers)


def end(processes: list) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()  # what a server started is tied to it
            process.wait()


# -- what the processes cost --


@contextmanager
def watched(server, drivers: list):
    """Sample processor seconds and memory of each process, until the context ends; what comes before is not counted."""
    import psutil

    usage: dict[str, dict[str, float]] = {}
    seen: dict[int, tuple[str, float, float]] = {}
    first: dict[int, float] = {}
    over = threading.Event()

    def look() -> None:
        roots = [psutil.Process(process.pid) for process in (server, *drivers)]
        for process in roots + [child for root in roots for child in root.children(recursive=True)]:
            try:
                times, memory = process.cpu_times(), process.memory_info().rss / 1e6
                role = "drivers" if process.pid in {each.pid for each in drivers} else role_of(process.cmdline())
            except psutil.Error:
                continue
            spent = times.user + times.system
            first.setdefault(process.pid, spent if not seen else 0.0)
            _, _, peak = seen.get(process.pid, (role, 0.0, 0.0))
            seen[process.pid] = (role, spent, max(peak, memory))

    def run() -> None:
        while not over.wait(SAMPLE):
            look()

    first_look = threading.Thread(target=run, daemon=True)
    roots = (server, *drivers)
    for process in roots:
        found = psutil.Process(process.pid)
        for each in (found, *found.children(recursive=True)):
            times = each.cpu_times()
            first[each.pid] = times.user + times.system
    first_look.start()
    try:
        yield usage
    finally:
        over.set()
        first_look.join()
        for pid, (role, spent, peak) in seen.items():
            of = usage.setdefault(role, {"cpu seconds": 0.0, "most megabytes": 0.0})
            of["cpu seconds"] = round(of["cpu seconds"] + spent - first.get(pid, 0.0), 1)
            of["most megabytes"] = round(of["most megabytes"] + peak)


def role_of(command: list[str]) -> str:
    line = " ".join(command)
    for word, role in (
        ("flwr-serverapp", "coordinator"),
        ("superexec", "superexec"),
        ("flower-superlink", "superlink"),
        ("aggregation.front", "front"),
    ):
        if word in line:
            return role
    return "supervisor"


# -- the devices --


class Serials:
    """What a device remembers of plans and releases: here nothing, its store is not measured."""

    def accept_serial(self, server: str, serial: int) -> None:
        pass

    def accept_issue(self, server: str, issued: int) -> None:
        pass


def drive(identities: Path, catalogue_file: Path) -> None:
    """Run the devices of one file until SIGTERM, then write what they asked into ``<file>.counts``."""
    from fedpersona.device import network_link
    from fedpersona.device.background import Stop
    from fedpersona.device.https import Https
    from fedpersona.device.identity import Identity
    from fedpersona.wire.signed_catalogue import unseal

    counts: Counter[str] = Counter()
    lock = threading.Lock()

    class Counted(Https):
        def _call(self, method, path, body, *rest):
            answer = super()._call(method, path, body, *rest)
            with lock:
                name = path.partition("?")[0]
                counts["/v1/models" if name.startswith("/v1/models") else name] += 1
                counts["bytes up"] += len(body or b"")
                counts["bytes down"] += len(answer.body)
            return answer

    network_link.Https = Counted
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    lines = identities.read_text().splitlines()
    known = [Identity.unpacked(line.encode(), json.loads(line)["server"]) for line in lines]
    catalogue = unseal(catalogue_file.read_bytes(), [known[0].operator]).catalogue
    threads = [
        threading.Thread(target=device, args=(identity, catalogue, stop, counts, lock), daemon=True)
        for identity in known
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    identities.with_suffix(".counts").write_text(json.dumps(counts))


def device(identity, catalogue, stop, counts, lock) -> None:
    """Take part in every round that is offered."""
    from fedpersona.device.network_link import NetworkLink
    from fedpersona.errors import FedpersonaError, Stopped

    link = NetworkLink(identity, Serials(), stop)
    try:
        while not stop.wished:
            try:
                contribute(link, catalogue, stop)
            except Stopped:
                break
            except FedpersonaError as error:
                with lock:
                    counts[f"problem: {type(error).__name__}: {str(error)[-60:]}"] += 1
                stop.wait(1.0)
    finally:
        link.leave()


def contribute(link, catalogue, stop) -> None:
    """Wait for a round, and answer it with a masked zero that counts one device."""
    from fedpersona.device.secure_round import SecureRound
    from fedpersona.privacy.fixed_point import FixedPoint
    from fedpersona.taste import create
    from fedpersona.taste.counters import DEVICES, round_layout
    from fedpersona.wire.message import envelope
    from fedpersona.wire.plan import Plan

    offer = link.offer(20.0)
    if offer is None:
        return
    plan = Plan.decode(offer.plan)
    model = create(plan.model, dict(plan.settings))
    layout = round_layout(model, catalogue, plan)
    message, words = envelope(plan_hash=plan.hash(), layout=layout, ring_bits=plan.ring_bits)
    words[model.layout(catalogue, plan.round_number).size] = int(FixedPoint.for_plan(plan, layout).scale(DEVICES))
    secure = SecureRound(link, plan, stop.check, stop.wait)
    try:
        secure.mask(words)
        link.send(message)
        secure.finish()
    finally:
        secure.erase()


# -- what is printed --


def show(found: dict) -> None:
    """Print one size as a table."""
    print(f"\n{found['devices']} devices in {found['processes']} processes, {found['settings']}")
    for line in found["rounds"]:
        seconds = ", ".join(f"{stage} {value:.2f} s" for stage, value in line["seconds"].items())
        print(f"  round {line['round']}: {line['outcome']}, {line['answered']} answered, {line['refused']}; {seconds}")
    print(f"  {found['updates a second']} updates a second, of a device and round:")
    print(f"    {found['milliseconds a device and round']} ms of the round's time")
    for kind, value in found["requests"].items():
        print(f"    {kind}: {value}")
    for role, of in found["usage"].items():
        print(f"  {role:12} {of['cpu seconds']:8.1f} s of processor, at most {of['most megabytes']:6.0f} MB")
    print(f"  on disk: {found['bytes on disk']}; {found['seconds training']} s from the first device to the model")


def show_growth(found: list) -> None:
    """Print how the cost of a device grows with the fleet: 1.00 is linear."""
    first = found[0]
    for each in found[1:]:
        ratio = each["milliseconds a device and round"] / first["milliseconds a device and round"]
        print(f"{first['devices']} to {each['devices']} devices: {ratio:.2f} times the time for each (1.00 is linear)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        drive(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()

"""Devices a second of fedpersona, and of pfl-research and Flower where they are installed: one core each, in turn.

    python simulations/benchmarks/speed.py --workload W --data ml-100k.inter
    python simulations/benchmarks/speed.py --workload W W2 --epochs 1 5 --data ml-100k.inter
    python simulations/benchmarks/speed.py --workload W2 --engines fedpersona

``peers/workload.py`` says what W and W2 are to the letter. The other simulators live in an environment of their own:
``peers/requirements.txt`` says how it is made, ``--peers-python`` which it is.

Before anything is timed it is checked that all learn the same: after as many rounds every other simulator's loss, the
way that its item table has gone, and on W its HR@10 and NDCG@10 must lie within the noise that fedpersona's have over
seeds. Then each runs in a process of its own on one core with one thread, in turn (A B C A B C …). A process's figure
is the cohort over the median of its rounds after the first ones; an engine's is the median of its processes'.
fedpersona's rounds are whole ones of the coordinator: plan, cohort, training, fixed point, sum, server step. Of
pfl-research the faster of its dense and sparse forms counts. Flower runs on W alone: W2 would be 100,000 nodes, with
messages of 6.4 MB.

Without other work on the machine W takes some 8 minutes, of which 4 are checks. Nothing is downloaded, nothing is sent.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, stdev

import numpy as np
from peers import table, workload
from peers.child import Task, environment

HERE = Path(__file__).resolve().parent
README = HERE.parents[1] / "README.md"
NOISE = 5.0
"""Standard deviations that another engine's figure may be away from fedpersona's mean."""
LEAST_NOISE = {"loss": 0.002, "moved": 0.01, "hr@10": 0.004, "ndcg@10": 0.002}
"""Standard deviations that are assumed at least, of ``moved`` as a share: a few seeds tell them roughly."""
NEAR = 1.5
"""A form of an engine that was slower by this in the check is not timed again."""


@dataclass(frozen=True)
class Engine:
    """A simulator, and how it is run."""

    name: str
    module: str
    package: str
    variants: tuple[str, ...]
    workloads: tuple[str, ...]
    check_rounds: Mapping[str, int]
    """By workload, with one epoch a round."""
    rounds: Mapping[str, int]
    """Rounds that are timed."""
    warm: int
    """Rounds before them."""


OURS = Engine("fedpersona", "fedpersona_rounds", "fedpersona", ("",), ("W", "W2"), {}, {"W": 20, "W2": 5}, 2)
OTHERS = (
    Engine(
        "pfl-research",
        "pfl_research",
        "pfl",
        ("sparse", "dense"),
        ("W", "W2"),
        {"W": 100, "W2": 4},
        {"W": 6, "W2": 3},
        1,
    ),
    Engine("Flower, Ray engine", "flower_ray", "flwr", ("sparse",), ("W",), {"W": 10}, {"W": 3}, 1),
)
NAMES = {"fedpersona": OURS, "pfl": OTHERS[0], "flower": OTHERS[1]}


class Failed(Exception):
    """A process failed, or took too long, or learned something else."""


@dataclass(frozen=True)
class Case:
    """One workload with a number of epochs, and what all runs of it have in common."""

    workload: workload.Workload
    epochs: int
    options: argparse.Namespace
    cache: Path
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.workload.name}, E={self.epochs}"

    def run(self, engine: Engine, variant: str, rounds: int, **more: object) -> tuple[list[float], dict[str, object]]:
        """Run an engine in its own process; return the seconds of its rounds, and what else it handed back.

        Raises:
            Failed: it ended badly, or took more than ``--minutes``.
        """
        task = Task(
            workload=self.workload.name,
            data=str(self.options.data.resolve()) if self.options.data else "",
            cache=str(self.cache),
            folder=str(self.folder),
            cohort=self.workload.cohort,
            epochs=self.epochs,
            rounds=rounds,
            variant=variant,
            **more,  # type: ignore[arg-type]
        )
        result, learned = self.folder / "result.json", self.folder / "learned.npz"
        result.unlink(missing_ok=True)
        learned.unlink(missing_ok=True)
        python = sys.executable if engine is OURS else self.options.peers_python
        command = [python, "-m", f"peers.{engine.module}", task.text()]
        try:
            ended = subprocess.run(
                command,
                env=os.environ | environment() | {"PYTHONPATH": str(HERE)},
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=60 * self.options.minutes,
            )
        except subprocess.TimeoutExpired as late:
            raise Failed(f"{engine.name} took more than {self.options.minutes:g} minutes on {self.name}") from late
        if ended.returncode or not result.exists():
            raise Failed(f"{engine.name} failed on {self.name}:\n{ended.stderr[-2000:]}")
        handed_back = json.loads(result.read_text())
        return handed_back.pop("seconds"), handed_back

    def learn(self, engine: Engine, variant: str, rounds: int, seed: int) -> tuple[dict[str, float], list[float]]:
        """Return figures after so many rounds, and the seconds of each."""
        seconds, result = self.run(engine, variant, rounds, seed=seed, keep=True)
        if engine is OURS and result["longest"] > 0.9 * result["allowed"]:  # type: ignore[operator]
            raise Failed(f"an update of length {result['longest']} is near the longest allowed, {result['allowed']}")
        with np.load(self.folder / "learned.npz") as kept:
            return workload.learned(self.workload, kept["items"], kept["people"]), seconds


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def check(case: Case, engines: Sequence[Engine]) -> tuple[list[table.Row], table.Learned]:
    """Return a row for each form of an engine worth timing, fedpersona's first, and what fedpersona learned.

    Raises:
        Failed: an engine learned something else.
    """
    ours: dict[int, dict[str, tuple[float, float]]] = {}

    def own(rounds: int) -> dict[str, tuple[float, float]]:
        if rounds not in ours:
            say(f"{case.name}: what fedpersona learns in {rounds} rounds, {case.options.seeds} seeds")
            runs = [case.learn(OURS, "", rounds, seed)[0] for seed in range(1, case.options.seeds + 1)]
            ours[rounds] = {
                name: (float(np.mean([run[name] for run in runs])), stdev(run[name] for run in runs))
                for name in runs[0]
            }
        return ours[rounds]

    rows = [table.Row(case.workload.name, case.epochs, OURS.name, "")]
    for engine in engines:
        rounds = check_rounds(case, engine)
        speeds: dict[str, float] = {}
        found = []
        for variant in engine.variants:
            say(f"{case.name}: what {engine.name} {variant} learns in {rounds} rounds")
            figures, seconds = case.learn(engine, variant, rounds, seed=1)
            learned = table.Learned(rounds, figures, own(rounds))
            compare(engine.name, learned)
            found.append(table.Row(case.workload.name, case.epochs, engine.name, variant, learned))
            speeds[variant] = 1.0 / median(seconds[engine.warm :] or seconds)
        rows += [row for row in found if speeds[row.variant] * NEAR >= max(speeds.values())]
    most = max([*ours, case.options.check_rounds or 100 // case.epochs if case.workload.held is not None else 4])
    return rows, table.Learned(most, {}, own(most))


def check_rounds(case: Case, engine: Engine) -> int:
    rounds = engine.check_rounds[case.workload.name]
    rounds = min(rounds, case.options.check_rounds or rounds)
    return max(2, rounds // case.epochs)


def compare(engine: str, learned: table.Learned) -> None:
    """Refuse figures that seeds do not explain.

    Raises:
        Failed: one lies too far away.
    """
    for name, (mean, deviation) in learned.ours.items():
        floor = LEAST_NOISE[name] * (mean if name == "moved" else 1.0)
        away = abs(learned.figures[name] - mean)
        say(f"    {name}: {learned.figures[name]:.4f}, fedpersona {mean:.4f} ± {deviation:.4f}")
        if away > NOISE * max(deviation, floor):
            raise Failed(
                f"{engine} does not learn what fedpersona learns: after {learned.rounds} rounds its {name} is "
                f"{learned.figures[name]:.4f}, fedpersona's {mean:.4f} ± {deviation:.4f}; speeds would mean nothing"
            )


def clock(case: Case, rows: Sequence[table.Row]) -> None:
    """Time all engines in turn, as often as is asked for."""
    engines = {engine.name: engine for engine in NAMES.values()}
    for repeat in range(1, case.options.repeats + 1):
        for row in rows:
            engine = engines[row.engine]
            rounds = case.options.rounds or max(2, engine.rounds[case.workload.name] // case.epochs)
            more = {"least_seconds": case.options.seconds} if engine is OURS else {}
            seconds, result = case.run(engine, row.variant, engine.warm + rounds, seed=repeat, **more)
            row.speeds.append(case.workload.cohort / median(seconds[engine.warm :]))
            row.versions.update(result["versions"])  # type: ignore[call-overload]
            say(
                f"{case.name}, {repeat} of {case.options.repeats}: {row.engine} {row.variant} "
                f"{row.speeds[-1]:,.1f} devices a second (median of {len(seconds) - engine.warm} rounds)"
            )


def installed(engine: Engine, python: str) -> bool:
    return subprocess.run([python, "-c", f"import {engine.package}"], capture_output=True).returncode == 0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--workload", nargs="+", choices=workload.NAMES, default=["W"])
    made.add_argument("--epochs", nargs="+", type=int, default=[1], help="passes over its plays of a device in a round")
    made.add_argument("--engines", nargs="+", choices=list(NAMES), default=list(NAMES))
    made.add_argument("--data", type=Path, help="of W: ml-100k.inter, the wheel with it, or a split of it as .npz")
    made.add_argument("--cache", type=Path, help="folder to keep the people of W2 in; else they are invented again")
    made.add_argument("--rounds", type=int, help="rounds that are timed in each process")
    made.add_argument("--seconds", type=float, default=3.0, help="fedpersona goes on until its rounds took so long")
    made.add_argument("--repeats", type=int, default=3, help="processes of each engine")
    made.add_argument("--check-rounds", type=int, help="most rounds after which it is compared what was learned")
    made.add_argument("--seeds", type=int, default=6, help="runs of fedpersona that tell the noise of what is learned")
    made.add_argument("--peers-python", default=sys.executable, help="the Python that has pfl-research and Flower")
    made.add_argument("--minutes", type=float, default=20.0, help="longest that one process may take")
    made.add_argument("--json", type=Path, help="write all figures to this file")
    made.add_argument("--write-readme", action="store_true", help="put the table between its markers in README.md")
    return made


def refuse_mistakes(options: argparse.Namespace) -> None:
    least = {"rounds": 1, "check_rounds": 1, "repeats": 1, "seeds": 2, "seconds": 0.0, "minutes": 0.1}
    for name, number in least.items():
        value = getattr(options, name)
        if value is not None and value < number:
            raise Failed(f"--{name.replace('_', '-')} is {value}: at least {number} belongs there")
    if min(options.epochs) < 1:
        raise Failed(f"--epochs has {min(options.epochs)}: at least 1 belongs there")
    if "fedpersona" not in options.engines:
        raise Failed("--engines leaves out fedpersona, which the others are compared with")
    if options.write_readme and not README.is_file():
        raise Failed(f"--write-readme: there is no {README}")


def measure(options: argparse.Namespace) -> str:
    """Measure everything; return the table.

    Raises:
        Failed: an option makes no sense, or a run went wrong.
        NoData: the data of W is missing.
    """
    refuse_mistakes(options)
    others = []
    for engine in (NAMES[name] for name in options.engines if name != "fedpersona"):
        if installed(engine, options.peers_python):
            others.append(engine)
        else:
            say(f"{engine.name} is left out: {options.peers_python} cannot import {engine.package}")
    rows: list[table.Row] = []
    checked: dict[tuple[str, int], table.Learned] = {}
    with tempfile.TemporaryDirectory(prefix="fedpersona-speed-") as folder:
        cache = options.cache.resolve() if options.cache else Path(folder)
        for name in options.workload:
            if name == "W2" and not (cache / "w2.npz").exists():
                say("inventing the people of W2: some 20 seconds")
            data = workload.load(name, options.data, cache)
            for epochs in options.epochs:
                case = Case(data, epochs, options, cache, Path(folder))
                found, checked[name, epochs] = check(case, [engine for engine in others if name in engine.workloads])
                clock(case, found)
                rows += found
    cores = os.cpu_count() or 1
    text = table.markdown(
        rows,
        checked,
        f"One core of {table.processor()} ({cores} core{'s' if cores > 1 else ''}), "
        f"{datetime.datetime.now(datetime.UTC).date()}; medians of {options.repeats} "
        f"process{'es' if options.repeats > 1 else ''} each, run in turn.",
    )
    if options.json:
        options.json.write_text(json.dumps(as_json(rows, checked), indent=2) + "\n")
    if options.write_readme:
        table.put_between_markers(README, text)
    return text


def as_json(rows: Sequence[table.Row], checked: Mapping[tuple[str, int], table.Learned]) -> dict[str, object]:
    return {
        "processor": table.processor(),
        "cores": os.cpu_count(),
        "date": str(datetime.datetime.now(datetime.UTC).date()),
        "rows": [asdict(row) | {"devices_per_second": row.speed} for row in rows],
        "fedpersona_learned": [
            {"workload": name, "epochs": epochs, **asdict(learned)} for (name, epochs), learned in checked.items()
        ],
    }


def main() -> int:
    try:
        print(measure(parser().parse_args()))
    except (Failed, workload.NoData, ValueError) as wrong:
        say(f"speed.py: {wrong}")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

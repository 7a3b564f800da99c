"""The commands for researchers: ``fedpersona demo | simulate | compare | doctor``."""

from __future__ import annotations

import json
import math
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import click
import typer
from rich.console import Console

from fedpersona.cli.privacy import check_delta, check_epsilon, check_noise
from fedpersona.errors import ConfigError, DataError, UnknownName
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD

if TYPE_CHECKING:
    from fedpersona.simulation import Run, RunConfig
    from fedpersona.simulation.listening import Listening
    from fedpersona.simulation.record import DataFacts

__all__ = ["compare", "demo", "doctor", "simulate"]

TableStyle = Literal["markdown", "latex"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, logs on stderr.")]
Out = Annotated[Path | None, typer.Option(help="Folder to leave the run in; by default a new one under runs/.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Another seed: another initial model, other cohorts and people.")
]
Listener = Annotated[
    int | None,
    typer.Option(help="Show the weekly list of the person with this id, as the dataset numbers people; kept nowhere."),
]


def _group(panel: str, *names: str, **options: Any) -> Any:
    """Return an option that the help shows in a panel of its own."""
    return typer.Option(*names, rich_help_panel=panel, **options)


def demo(
    seed: Seed = 0,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="FOLDER", help="Leave server, devices and the recorded traffic in a new folder."
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="No server and no network: 2,000 people in this process, and a report.")
    ] = False,
    people: Annotated[
        int | None, _group("With --fast", min=100, max=1_000_000, help="Invented people; 2,000 by default.")
    ] = None,
    out: Annotated[
        Path | None, _group("With --fast", help="Folder to leave the run in; by default a new one under runs/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a whole federation on this machine: a server over TLS, twenty devices, invented people, mishaps.

    Two owners never say yes, one device is killed in the middle of a round, one is revoked. In the end all traffic is
    searched for anything of anybody's history; the exit code is 1 where something is found. About two minutes.

    [dim]Examples:[/dim]
      fedpersona demo
      fedpersona demo --fast
    """
    if not fast:
        for name, value in (("people", people), ("out", out)):
            if value is not None:
                raise ConfigError(f"--{name} is for 'fedpersona demo --fast': the whole demo has twenty people")
        _whole_demo(seed, keep, as_json=as_json)
        return
    if keep is not None:
        raise ConfigError("--keep is for the whole demo: 'fedpersona demo --fast' leaves its run in --out")
    from fedpersona.simulation import RunConfig

    config = RunConfig(dataset="synthetic", people=people or 2000, model="subspace", seed=seed)
    _run(config, out, as_json=as_json, listener=None, show_list=True)


def _whole_demo(seed: int, keep: Path | None, *, as_json: bool) -> None:
    from fedpersona.simulation.demo import DemoConfig, run_demo

    result = run_demo(DemoConfig(seed=seed, keep=keep), Console(stderr=as_json, highlight=False))
    if as_json:
        sys.stdout.write(json.dumps(result.summary()) + "\n")
    if not result.clean:
        raise typer.Exit(1)


def simulate(
    context: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|PATH",
            help="synthetic, lastfm-2k, ml-100k, ml-1m, an .npz split, or the run.json of a run to make again.",
        ),
    ],
    model: Annotated[str, _group("Model", help="popularity, subspace, ease or ials.")] = "subspace",
    rounds: Annotated[int | None, _group("Model", min=1, help="Rounds of training; the model has a default.")] = None,
    setting: Annotated[
        list[str] | None,
        _group("Model", "--set", metavar="NAME=VALUE", help="A setting, such as dim=64; a wrong name lists them all."),
    ] = None,
    seed: Seed = 0,
    data: Annotated[
        Path | None,
        _group("Data", envvar="FEDPERSONA_DATA", help="Folder with the original files of real datasets."),
    ] = None,
    people: Annotated[int | None, _group("Data", min=1, help="How many synthetic people; 2,000 by default.")] = None,
    items: Annotated[int | None, _group("Data", min=1, help="How many synthetic tracks.")] = None,
    cohort: Annotated[int | None, _group("Devices", min=1, help="Most devices a round asks; by default all.")] = None,
    min_count: Annotated[
        int | None,
        _group("Devices", min=1, help="Fewest devices to release a sum of; a tenth of the cohort."),
    ] = None,
    dropout: Annotated[
        float, _group("Devices", min=0, max=0.99, help="Share of the asked devices that leave without an answer.")
    ] = 0.0,
    available: Annotated[float, _group("Devices", help="Share of devices that can be reached at 3 at night.")] = 1.0,
    daily_swing: Annotated[
        float, _group("Devices", min=0, max=1, help="How far that falls by day: 0 not at all, 1 to nobody.")
    ] = 0.0,
    epsilon: Annotated[
        str | None,
        _group(
            "Privacy",
            metavar="NUMBER[,NUMBER...]",
            help="Keep differential privacy for each person at this epsilon; of several the largest is the run's, "
            "the others show accuracy against it.",
        ),
    ] = None,
    delta: Annotated[
        float | None, _group("Privacy", help="The delta that belongs to it, below one in the people; 1e-5 by default.")
    ] = None,
    noise: Annotated[
        str | None, _group("Privacy", help="Who adds the noise: central (the server, the default) or distributed.")
    ] = None,
    replicate: Annotated[
        int, _group("Data", min=1, max=100_000, help="For how many devices each person of the data stands.")
    ] = 1,
    recency: Annotated[
        str | None,
        _group(
            "On the device",
            help="auto, off, or after how many newer plays a play counts half; auto by default, off with --epsilon.",
        ),
    ] = None,
    discount: Annotated[
        str | None,
        _group(
            "On the device",
            help="auto, or how much fame is held against a track, from 0 to 1; auto by default, 0 with --epsilon.",
        ),
    ] = None,
    evaluate_people: Annotated[int, _group("Figures", min=1, help="Most people to take figures over.")] = 20_000,
    ceiling: Annotated[bool, _group("Figures", help="Fit models that see all histories, to compare with.")] = True,
    engine: Annotated[str, _group("Engine", help="cohort (fast) or device (the readable reference).")] = "cohort",
    secure: Annotated[
        bool, _group("Engine", help="Let each device mask, and open sums only; up to 300 devices a round.")
    ] = False,
    neighbours: Annotated[
        int, _group("Engine", min=2, help="With --secure: how many others a device masks with; even.")
    ] = NEIGHBOURS,
    threshold: Annotated[
        int, _group("Engine", min=2, help="With --secure: how many of these have to stay; more than half.")
    ] = THRESHOLD,
    ring_bits: Annotated[
        int | None, _group("Engine", help="Bits of a number in a sum, 32 or 64; by default the fewest that fit.")
    ] = None,
    workers: Annotated[int, _group("Engine", min=1, max=256, help="Threads; they change no result.")] = 2,
    listener: Listener = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Train a taste model on a population of simulated devices, and measure it.

    [dim]Examples:[/dim]
      fedpersona simulate synthetic --people 500 --model ease
      fedpersona simulate lastfm-2k --data ~/data --listener 2
      fedpersona simulate synthetic --people 500 --model popularity --epsilon 8,2
      fedpersona simulate runs/synthetic-subspace/run.json

    With --epsilon no setting is chosen on anyone's history: recency and discount are those you give, the rest follows
    from public numbers. The noise is drawn anew in every run, so figures differ a little from run to run.
    With a run.json only --listener, --out, --workers, --data and --json may be given.
    """
    recorded: DataFacts | None = None
    if dataset.endswith(".json") or (Path(dataset) / "run.json").is_file():
        config, recorded = _recorded(context, Path(dataset))
    else:
        settings = dict(_setting(pair) for pair in setting or ())
        if rounds is not None:
            settings["rounds"] = rounds
        config = _config(
            dataset=dataset,
            data=None if data is None else str(data),
            people=people,
            items=items,
            model=model,
            settings=settings,
            seed=seed,
            cohort=cohort,
            min_count=min_count,
            ring_bits=ring_bits,
            behaviour={"dropout": dropout, "available": available, "daily_swing": daily_swing},
            engine=engine,
            secure=secure,
            neighbours=neighbours,
            threshold=threshold,
            **_on_device(recency, discount, private=epsilon is not None),
            **_privacy(epsilon, delta, noise),
            replicate=replicate,
            evaluate_people=evaluate_people,
            ceiling=ceiling,
            workers=workers,
        )
    _run(config, out, as_json=as_json, listener=listener, show_list=listener is not None, recorded=recorded)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that runs left.")],
    style: Annotated[str, typer.Option(help="markdown or latex.")] = "markdown",
) -> None:
    """Put runs side by side: figures with intervals, and a paired test against the first.

    [dim]Example:[/dim] fedpersona compare runs/synthetic-subspace runs/synthetic-ease
    """
    from fedpersona.simulation.compare import compare as compare_runs

    if style not in get_args(TableStyle):
        raise UnknownName("style", style, get_args(TableStyle))
    sys.stdout.write(compare_runs(runs, style="latex" if style == "latex" else "markdown").rstrip() + "\n")


def doctor(
    data: Annotated[
        Path | None, typer.Option(envvar="FEDPERSONA_DATA", help="Folder with original files of real datasets.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, which optional parts are there, and which data is found.

    [dim]Example:[/dim] fedpersona doctor
    """
    from fedpersona.simulation.doctor import examine, findings_table

    findings = examine(data)
    if as_json:
        sys.stdout.write(json.dumps(findings, indent=2) + "\n")
    else:
        Console().print(findings_table(findings))


def _run(
    config: RunConfig,
    out: Path | None,
    *,
    as_json: bool,
    listener: int | None,
    show_list: bool,
    recorded: DataFacts | None = None,
) -> None:
    """Run, leave the folder, and print what a person or a machine wants to know."""
    from fedpersona.simulation import load_split
    from fedpersona.simulation import simulate as run_experiment
    from fedpersona.simulation.experiment import create_model
    from fedpersona.simulation.listening import weekly_for
    from fedpersona.simulation.narration import Terminal
    from fedpersona.simulation.output import check_writable, default_folder, write_run

    create_model(config)  # wrong names and places show before any work is done
    folder = out or default_folder(config.dataset, config.model)
    check_writable(folder)
    with Terminal(Console(stderr=True)) as narrator:
        narrator.stage(f"reading {config.dataset}")
        split = load_split(config)
        if recorded is not None and (split.question, split.train.data_hash) != (recorded.question, recorded.hash):
            raise DataError("the data are not those of the recorded run any more", path=config.dataset)
        if listener is not None:
            split.train.person(listener)  # a wrong id shows before any training
        run = run_experiment(config, narrator, split)
        listening = weekly_for(run, listener, date.today()) if show_list else None
        narrator.stage("writing the report")
        write_run(run, folder)
    if as_json:
        sys.stdout.write(json.dumps(_summary(run, folder, listening)) + "\n")
    else:
        _print_run(run, folder, listening)


def _print_run(run: Run, folder: Path, listening: Listening | None) -> None:
    from fedpersona.simulation.show import ResultRow, metrics_table, weekly_table

    console = Console(width=100) if not sys.stdout.isatty() else Console()
    data = run.record.data
    rows = [
        ResultRow(
            name=result.name,
            role=result.role,
            metrics={**result.test, **result.discovery},
            intervals=result.intervals,
            rounds=result.rounds,
            bytes_up=result.bytes_up,
            seconds=result.seconds,
        )
        for result in run.record.results
    ]
    facts = f"{run.record.devices:,} devices, {data.items:,} {data.kind}s; measured on what was held back"
    console.print(f"\n{data.name}: {facts}", markup=False)
    console.print(metrics_table(rows))
    if run.record.privacy is not None:
        from fedpersona.simulation.report.promise import in_short

        console.print(f"{in_short(run.record.privacy)}\n", markup=False, highlight=False)
    if listening is not None:
        year, week = listening.week
        console.print(weekly_table(listening.picks, run.split.catalogue, f"Listener {listening.person_id}"))
        console.print(f"Week {week} of {year}: nothing on it was ever played by this listener.\n")
    console.print(f"Report: {folder / 'report.html'}", soft_wrap=True, markup=False, highlight=False)


def _summary(run: Run, folder: Path, listening: Listening | None) -> dict[str, Any]:
    record, result = run.record, run.record.federated
    catalogue = run.split.catalogue
    summary: dict[str, Any] = {
        "dataset": record.data.name,
        "model": record.config.model,
        "seed": record.config.seed,
        "metrics": {"val": result.val, "test": {**result.test, **result.discovery}, "intervals": result.intervals},
        "serving": {"recency": result.serving.recency, "discount": result.serving.discount},
        "rounds": result.rounds,
        "bytes_up_per_device": result.bytes_up,
        "bytes_down_per_device": result.bytes_down,
        "floor": next(r.test for r in record.results if r.role == "floor"),
        "ceilings": {r.name: r.test for r in record.results if r.role == "ceiling"},
        "sampled_99": result.sampled,
        "tertiles": result.tertiles,
        "model_hash": record.model_hash,
        "seconds": record.seconds,
        "run": str(folder),
    }
    if record.privacy is not None:
        summary["privacy"] = record.privacy.model_dump()
    if listening is not None:
        summary["listener"] = {
            "id": listening.person_id,
            "week": "{}-W{:02d}".format(*listening.week),
            "list": [
                {"item": catalogue.ids[p.row], "title": catalogue.label(p.row), "kind": p.kind, "reason": p.reason}
                for p in listening.picks
            ],
        }
    return summary


def _config(**values: Any) -> RunConfig:
    from pydantic import ValidationError

    from fedpersona.simulation import RunConfig

    try:
        return RunConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        nested = first["loc"][0] == "behaviour" and len(first["loc"]) > 1
        option = str(first["loc"][1 if nested else 0])
        given = first["input"]
        raise ConfigError(
            f"--{option.replace('_', '-')} {given}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None


def _recorded(context: typer.Context, path: Path) -> tuple[RunConfig, DataFacts]:
    """Return the configuration of a run that is to be made again, unchanged, and what it learned from."""
    from fedpersona.simulation import read_record

    given = [
        name
        for name in context.params
        if name not in ("dataset", "data", "out", "as_json", "listener", "workers")
        and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    if given:
        option = {"setting": "set", "ceiling": "no-ceiling"}.get(given[0], given[0].replace("_", "-"))
        raise ConfigError(f"{path} holds a whole configuration: leave out --{option} to make that run again")
    record = read_record(path)
    moved = {} if context.params["data"] is None else {"data": str(context.params["data"])}
    return record.config.model_copy(update={"workers": context.params["workers"], **moved}), record.data


def _setting(pair: str) -> tuple[str, Any]:
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {pair}: write a setting as NAME=VALUE, for example --set dim=64")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
        raise ConfigError(f"--set {name}: the value cannot be read; give a number or a word") from None


def _on_device(recency: str | None, discount: str | None, *, private: bool) -> dict[str, Any]:
    """Return what devices decide for themselves: chosen on validation items, but never under an epsilon."""
    for name, given in (("recency", recency), ("discount", discount)):
        if private and given == "auto":
            raise ConfigError(
                f"--{name} auto would choose by people's validation items, a release that no noise covers: "
                f"with --epsilon give a number that was fixed before the data was seen, or leave --{name} out"
            )
    if recency is None:
        recency = "off" if private else "auto"
    if discount is None:
        discount = "0" if private else "auto"
    return {
        "recency": _word_or_number("recency", recency, ("auto", "off"), math.inf),
        "discount": _word_or_number("discount", discount, ("auto",), 1.0),
    }


def _privacy(epsilon: str | None, delta: float | None, noise: str | None) -> dict[str, Any]:
    """Return the fields of a promise; none where there is no epsilon."""
    if epsilon is None:
        for name, given in (("delta", delta), ("noise", noise)):
            if given is not None:
                raise ConfigError(f"--{name} {given} says nothing by itself: give --epsilon too")
        return {}
    *others, largest = sorted({check_epsilon(part) for part in epsilon.split(",")})
    return {
        "epsilon": largest,
        "epsilons": tuple(others),
        "delta": None if delta is None else check_delta(delta),
        "noise": check_noise(noise),
    }


def _word_or_number(option: str, value: str, words: tuple[str, ...], most: float) -> str | float:
    if value in words:
        return value
    bounds = "above 0" if most == math.inf else f"from 0 to {most:g}"
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and 0 <= number <= most) or (most == math.inf and number == 0):
        raise ConfigError(f"--{option} {value}: give {' or '.join(words)}, or a number {bounds}")
    return number

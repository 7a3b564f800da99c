"""``fedpersona simulate``: train on simulated devices, and measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from fedpersona.cli.run_options import (
    Json,
    Listener,
    Out,
    Seed,
    config_of,
    group,
    on_device,
    only_how_it_is_run,
    promised,
    setting_of,
)
from fedpersona.cli.running import Course, run
from fedpersona.errors import ConfigError
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD

__all__ = ["simulate"]


def simulate(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET|PATH",
            help="synthetic, lastfm-2k, ml-100k, ml-1m, an .npz split, a folder that 'fedpersona convert' made, or the "
            "run.json of a run to make again.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        group(
            "Model",
            help="popularity, subspace, ease, ials, fedmf, fedrecon, pfedrec, fedncf, or torch:FILE[:CLASS], "
            "a module of your own.",
        ),
    ] = "subspace",
    rounds: Annotated[int | None, group("Model", min=1, help="Rounds of training; the model has a default.")] = None,
    setting: Annotated[
        list[str] | None,
        group("Model", "--set", metavar="NAME=VALUE", help="A setting, such as dim=64; a wrong name lists them all."),
    ] = None,
    seed: Seed = 0,
    data: Annotated[
        Path | None,
        group("Data", envvar="FEDPERSONA_DATA", help="Folder with the original files of real datasets."),
    ] = None,
    people: Annotated[int | None, group("Data", min=1, help="How many synthetic people; 2,000 by default.")] = None,
    items: Annotated[int | None, group("Data", min=1, help="How many synthetic tracks.")] = None,
    cohort: Annotated[int | None, group("Devices", min=1, help="Most devices a round asks; by default all.")] = None,
    min_count: Annotated[
        int | None,
        group("Devices", min=1, help="Fewest devices to release a sum of; a tenth of the cohort."),
    ] = None,
    dropout: Annotated[
        float, group("Devices", min=0, max=0.99, help="Share of the asked devices that leave without an answer.")
    ] = 0.0,
    available: Annotated[float, group("Devices", help="Share of devices that can be reached at 3 at night.")] = 1.0,
    daily_swing: Annotated[
        float, group("Devices", min=0, max=1, help="How far that falls by day: 0 not at all, 1 to nobody.")
    ] = 0.0,
    epsilon: Annotated[
        str | None,
        group(
            "Privacy",
            metavar="NUMBER[,NUMBER...]",
            help="Keep differential privacy for each person at this epsilon; of several the largest is the run's, "
            "the others show accuracy against it.",
        ),
    ] = None,
    delta: Annotated[
        float | None, group("Privacy", help="The delta that belongs to it, below one in the people; 1e-5 by default.")
    ] = None,
    noise: Annotated[
        str | None, group("Privacy", help="Who adds the noise: central (the server, the default) or distributed.")
    ] = None,
    replicate: Annotated[
        int, group("Data", min=1, max=100_000, help="For how many devices each person of the data stands.")
    ] = 1,
    recency: Annotated[
        str | None,
        group(
            "On the device",
            help="auto, off, or after how many newer plays a play counts half; auto by default, off with --epsilon.",
        ),
    ] = None,
    discount: Annotated[
        str | None,
        group(
            "On the device",
            help="auto, or how much fame is held against a track, from 0 to 1; auto by default, 0 with --epsilon.",
        ),
    ] = None,
    evaluate_people: Annotated[int, group("Figures", min=1, help="Most people to take figures over.")] = 20_000,
    ceiling: Annotated[bool, group("Figures", help="Fit models that see all histories, to compare with.")] = True,
    evaluate_every: Annotated[
        int | None,
        group("Figures", min=1, help="Also measure on validation items after every so many rounds."),
    ] = None,
    log: Annotated[
        list[str] | None,
        group(
            "On the way",
            metavar="NAME[:PLACE]",
            help="Tell each round to jsonl[:FILE], csv[:FILE], tensorboard[:FOLDER], mlflow[:URI] or wandb[:PROJECT]; "
            "may be given again.",
        ),
    ] = None,
    checkpoint_seconds: Annotated[
        float | None, group("On the way", min=0, help="Least time between two checkpoints; 60 by default.")
    ] = None,
    resume: Annotated[
        Path | None, group("On the way", metavar="RUN", help="Go on with a run that was stopped, from its checkpoint.")
    ] = None,
    engine: Annotated[
        str, group("Engine", help="cohort (fast), device (the readable reference) or ray (a cluster).")
    ] = "cohort",
    cluster: Annotated[
        str | None,
        group("Engine", metavar="ADDRESS", help="With --engine ray: a running cluster; by default one starts here."),
    ] = None,
    shards: Annotated[
        int | None,
        group(
            "Engine",
            min=1,
            help="With --engine ray: parts of the population; no result changes, but rounding in modules.",
        ),
    ] = None,
    secure: Annotated[
        bool, group("Engine", help="Let each device mask, and open sums only; up to 300 devices a round.")
    ] = False,
    neighbours: Annotated[
        int, group("Engine", min=2, help="With --secure: how many others a device masks with; even.")
    ] = NEIGHBOURS,
    threshold: Annotated[
        int, group("Engine", min=2, help="With --secure: how many of these have to stay; more than half.")
    ] = THRESHOLD,
    ring_bits: Annotated[
        int | None, group("Engine", help="Bits of a number in a sum, 32 or 64; by default the fewest that fit.")
    ] = None,
    workers: Annotated[int, group("Engine", min=1, max=256, help="Threads; they change no result.")] = 2,
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
    Ctrl-C finishes the round and leaves a checkpoint, but not with --epsilon. With --resume or a run.json only options
    may be given that change no number.
    """
    from fedpersona.simulation import read_record
    from fedpersona.simulation.checkpoint import read_checkpoint

    course = Course(tuple(log or ()), checkpoint_seconds)
    showing: dict[str, Any] = {"as_json": as_json, "listener": listener, "show_list": listener is not None}
    if resume is not None:
        if dataset is not None:
            raise ConfigError(f"--resume {resume} goes on with that run's own data: leave out {dataset}")
        checkpoint = read_checkpoint(resume)
        config = only_how_it_is_run(context, checkpoint.config, f"--resume {resume}", but="resume")
        if out is not None:
            raise ConfigError(f"--resume {resume} ends in that folder: leave out --out")
        run(config, resume, **showing, course=replace(course, checkpoint=checkpoint))
        return
    if dataset is None:
        raise click.UsageError("Missing argument 'DATASET|PATH'.", context)
    if dataset.endswith(".json") or (Path(dataset) / "run.json").is_file():
        record = read_record(dataset)
        config = only_how_it_is_run(context, record.config, dataset, but="dataset")
        run(config, out, **showing, recorded=record.data, course=course)
        return
    settings = dict(setting_of(pair) for pair in setting or ())
    if rounds is not None:
        settings["rounds"] = rounds
    config = config_of(
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
        cluster=cluster,
        shards=shards,
        secure=secure,
        neighbours=neighbours,
        threshold=threshold,
        **on_device(recency, discount, private=epsilon is not None),
        **promised(epsilon, delta, noise),
        replicate=replicate,
        evaluate_people=evaluate_people,
        evaluate_every=evaluate_every,
        ceiling=ceiling,
        workers=workers,
    )
    run(config, out, **showing, course=course)

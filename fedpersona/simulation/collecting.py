"""What brings in the sums of a run: which engine, over whom, and whether devices mask."""

from __future__ import annotations

from fedpersona.errors import ConfigError
from fedpersona.privacy.secagg import Parameters, chances
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.engine import Engine
from fedpersona.simulation.engines import make_engine
from fedpersona.simulation.narration import Narrator
from fedpersona.simulation.population import Population
from fedpersona.simulation.private_table import PrivateTable
from fedpersona.simulation.record import RunConfig
from fedpersona.simulation.replication import EachForMany
from fedpersona.simulation.secure_engine import MOST_DEVICES, SecureEngine
from fedpersona.taste import GradientModel, TasteModel

__all__ = ["collector", "how_secure"]

_MOST_COPIED = 300_000_000
"""Interactions up to which people are copied, where they cannot be multiplied."""


def collector(
    model: TasteModel,
    population: Population,
    config: RunConfig,
    narrator: Narrator,
    cohort: int,
    privates: PrivateTable | None,
    *,
    secure: bool,
) -> EachForMany | Engine | SecureEngine:
    """Return what brings in the sums: over the people, multiplied where all answer alike, else over copies of them."""
    people, devices = len(population), len(population) * config.replicate
    all_answer = cohort == devices and config.behaviour == Behaviour()
    multiplied = config.replicate > 1 and all_answer and config.engine != "device" and not secure
    multiplied = multiplied and not isinstance(model, GradientModel)  # copies of a person train on other samples
    if config.replicate > 1 and not multiplied:
        if population.interactions * config.replicate > _MOST_COPIED:
            raise ConfigError(
                f"{config.replicate:,} copies of everyone do not fit into memory: let all devices answer, with the "
                "engine 'cohort' and without --secure, and nobody is copied"
            )
        population = population.repeated(config.replicate)
    if secure:
        return SecureEngine(model, population, config.behaviour, narrator.progress)
    engine = make_engine(
        config.engine,
        model,
        population,
        config.behaviour,
        workers=config.workers,
        progress=narrator.progress,
        privates=privates,
        cluster=config.cluster,
        shards=config.shards,
    )
    if config.engine != "device" and engine.description.startswith("the reference"):
        narrator.note(f"slow: {engine.description}")
    if not multiplied:
        return engine
    return EachForMany(engine, model, population.catalogue, people=people, devices=devices)


def how_secure(cohort: int, masks: Parameters, dropout: float) -> str:
    """Say what secure aggregation comes to in this run.

    Raises:
        ConfigError: so many drop out that it would open no sum of so large a cohort.
    """
    beside = "; keys and shares, up to some 10 kB a device and round, are not in the upload"
    if cohort <= MOST_DEVICES:
        return f"{cohort:,} devices run secure aggregation: every update is masked, and only sums are opened{beside}"
    if chances(cohort, masks, colluding=0.0, leaving=dropout).failed > -1:
        raise ConfigError(
            f"with a drop-out of {dropout:g} secure aggregation opens hardly any sum of {cohort:,} devices: "
            f"{masks.threshold} of {masks.neighbours} neighbours have to stay. Lower --dropout or --threshold"
        )
    return (
        f"rounds of {cohort:,} devices are more than the {MOST_DEVICES:,} for which every device runs the protocol: "
        f"sums are taken directly, the same to the bit as those that it opens{beside}"
    )

"""The ServerApp of a simulated federation, for ``flwr run``: the coordinator of a real one, over invented devices."""

from __future__ import annotations

import itertools
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.grid_collector import GridCollector, Pace
from fedpersona.errors import CohortTooSmall, ConfigError
from fedpersona.simulation.clientapp import ANNOUNCE, ANNOUNCED, invented_people
from fedpersona.simulation.simulated_device import operator_key, signing_key
from fedpersona.taste import TasteModel, create
from fedpersona.taste.counters import round_layout
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import pack

__all__ = ["RunSettings", "announced", "app", "train"]

_LOOK = 0.5  # seconds between two looks at who is there


@dataclass(frozen=True)
class RunSettings:
    """The run configuration of ``flwr run``, with the defaults of ``pyproject.toml``."""

    people: int = 10
    """Simulated devices: as many nodes, with the ``partition-id`` 0 to people - 1."""
    items: int = 0
    """Tracks of the invented catalogue; 0: as many as fit the people."""
    seed: int = 1
    model: str = "subspace"
    settings: str = ""
    """The model's settings as TOML, separated by commas: ``dim = 16, rounds = 2``."""
    rounds: int = 0
    """0: as many as the model plans."""
    cohort: int = 0
    """Most devices of a round; 0: all."""
    min_count: int = 0
    """Fewest devices whose sum may be released; 0: all of the cohort."""
    masked: bool = True
    """Needs three devices or more."""
    clip: float = 64.0
    """Longest update; 0: no longest."""
    gather_seconds: float = 120.0
    deadline_seconds: float = 120.0
    save_to: str = ""
    """File for the model, as a server's registry keeps it; empty: nowhere."""

    @classmethod
    def read(cls, config: Mapping[str, bool | float | int | str]) -> RunSettings:
        """Read a run configuration; its names have hyphens.

        Raises:
            ConfigError: a value is of the wrong type or out of its range, or a name is unknown.
        """
        given = {name.replace("-", "_"): value for name, value in config.items()}
        default = cls()
        for name, value in given.items():
            kind = type(getattr(default, name, None))
            if isinstance(value, int) and not isinstance(value, bool) and kind is float:
                given[name] = float(value)
            elif type(value) is not kind:
                raise ConfigError(f"run configuration: '{name.replace('_', '-')}' cannot be {value!r}")
        found = cls(**given)  # type: ignore[arg-type]  # the types were looked at
        if found.people < 1 or min(found.cohort, found.min_count, found.rounds, found.clip) < 0:
            raise ConfigError("run configuration: people must be 1 or more, and no number below 0")
        if max(found.cohort, found.min_count) > found.people:
            raise ConfigError(f"run configuration: neither cohort nor min-count can exceed the {found.people} people")
        return found

    @property
    def most(self) -> int:
        """Most devices of a round."""
        return self.cohort or self.people

    @property
    def least(self) -> int:
        """Fewest devices of a round."""
        return self.min_count or self.most

    def create(self) -> TasteModel:
        """Return the taste model.

        Raises:
            ConfigError: there is no such model or setting.
        """
        try:
            settings = tomllib.loads(f"settings = {{ {self.settings} }}")["settings"]
        except tomllib.TOMLDecodeError:
            raise ConfigError("run configuration: 'settings' is no list such as 'dim = 16, rounds = 2'") from None
        return create(self.model, settings)


def train(grid: Grid, settings: RunSettings) -> Shared:
    """Train one model with the simulated devices that a grid reaches.

    Raises:
        RoundFailed: too few devices are there or answered.
    """
    catalogue = invented_people(settings.people, settings.items, settings.seed).catalogue
    model = settings.create()
    keys = announced(grid, settings)
    collector = GridCollector(
        grid,
        lambda plan: round_layout(model, catalogue, plan),
        key=operator_key(settings.seed),
        enrolled=lambda: keys,
        pace=Pace(settings.least, settings.gather_seconds, settings.deadline_seconds),
        model_bytes=lambda shared: pack(shared, model.model_dump(mode="json")),
    )
    serials = itertools.count(1)
    coordinator = Coordinator(
        model,
        catalogue,
        collector,
        cohort=settings.most,
        min_count=settings.least,
        seed=settings.seed,
        clip=settings.clip or None,
        masked=settings.masked,
        run="simulation",
        stamp=lambda plan: replace(plan, serial=next(serials)),
    )
    for number in range(1, (settings.rounds or model.planned_rounds(catalogue)) + 1):
        report = coordinator.run_round()
        print(f"round {number}: {report.answered} devices, model {coordinator.shared.hash()}")
    return coordinator.shared


def announced(grid: Grid, settings: RunSettings) -> dict[int, bytes]:
    """Ask the nodes that are there for their public keys, until all people are there or time is up.

    Returns:
        The key of each by node id: keys of this simulation's people only, and each once.

    Raises:
        CohortTooSmall: fewer than the minimum are there.
    """
    known = {signing_key(settings.seed, number).public_key().public_bytes_raw() for number in range(settings.people)}
    found: dict[int, bytes] = {}
    asked: set[int] = set()
    deadline = time.monotonic() + settings.gather_seconds
    while len(found) < settings.people and time.monotonic() < deadline:
        new = [node for node in grid.get_node_ids() if node not in asked]
        asked |= set(new)
        for reply in grid.send_and_receive(
            [Message(RecordDict(), node, ANNOUNCE) for node in new], timeout=settings.deadline_seconds
        ):
            key = _key(reply)
            if key in known - set(found.values()):
                found[reply.metadata.src_node_id] = key
        if len(found) < settings.people:
            time.sleep(_LOOK)
    if len(found) < settings.least:
        raise CohortTooSmall(1, len(found), settings.least)
    return found


def _key(reply: Message) -> bytes:
    record = None if reply.has_error() else reply.content.get(ANNOUNCED)
    key = record.get("key") if isinstance(record, ConfigRecord) else None
    return key if isinstance(key, bytes) else b""


app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, and keep the model where the run configuration says."""
    settings = RunSettings.read(context.run_config)
    shared = train(grid, settings)
    if settings.save_to:
        packed = pack(shared, settings.create().model_dump(mode="json"))
        Path(settings.save_to).write_bytes(packed)

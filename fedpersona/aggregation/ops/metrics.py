"""Metrics for Prometheus, read from the database when they are asked for.

Nothing is counted here: what the journal counted durably is what is told, so that a restart loses and repeats nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import func, select

from fedpersona.aggregation.budget_words import seen_balance
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database, devices, releases
from fedpersona.aggregation.journal import RESTS, Counter, Journal
from fedpersona.errors import FedpersonaError

__all__ = ["METRICS", "JournalCollector", "MetricForm", "journal_metrics"]


@dataclass(frozen=True)
class MetricForm:
    """What one metric is."""

    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    words: str


METRICS: Mapping[str, MetricForm] = {
    "fedpersona_rounds_total": MetricForm("counter", ("outcome",), "Rounds that ended, by how they ended."),
    "fedpersona_cohort": MetricForm("gauge", (), "Devices that the latest round invited."),
    "fedpersona_replies_total": MetricForm("counter", (), "Answers that went into a sum."),
    "fedpersona_dropouts_total": MetricForm(
        "counter", ("reason",), "Invited devices that said nothing in time (silent); answers after their round (late)."
    ),
    "fedpersona_refused_total": MetricForm("counter", ("reason",), "Answers that were refused, by why."),
    "fedpersona_bytes_total": MetricForm(
        "counter", ("direction",), "Bytes of rounds: up from devices, down to devices."
    ),
    "fedpersona_stage_seconds_total": MetricForm("counter", ("stage",), "Seconds that the stages of rounds took."),
    "fedpersona_model_version": MetricForm("gauge", (), "Version that devices fetch; 0 while none is promoted."),
    "fedpersona_devices": MetricForm("gauge", ("state",), "Devices on the roster: enrolled, or revoked."),
    "fedpersona_privacy_epsilon": MetricForm(
        "gauge", ("kind",), "Of the privacy budget: spent, and limit; 0 where none is kept, NaN where it is damaged."
    ),
    "fedpersona_privacy_releases": MetricForm("gauge", (), "Sums that the privacy budget paid for."),
    "fedpersona_training_active": MetricForm("gauge", (), "1 while rounds are held or wait for devices, else 0."),
}
"""Every metric by name, as Prometheus and the Grafana dashboard know it."""

_COUNTED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "rounds": ("fedpersona_rounds_total", {}),
    "replies": ("fedpersona_replies_total", {}),
    "dropped": ("fedpersona_dropouts_total", {"reason": "silent"}),
    "late": ("fedpersona_dropouts_total", {"reason": "late"}),
    "refused": ("fedpersona_refused_total", {}),
    "bytes": ("fedpersona_bytes_total", {}),
    "seconds": ("fedpersona_stage_seconds_total", {}),
}  # by the journal's own names: the metric, and the labels that the journal has as a name


class JournalCollector(Collector):
    """Reads the metrics of :data:`METRICS` from a database, anew each time.

    Args:
        database: of the server.
        config: of the server, for its privacy budget.
    """

    def __init__(self, database: Database, config: ServerConfig) -> None:
        self._config = config
        self._database = database
        self._journal = Journal(database)

    def describe(self) -> Iterator[Metric]:
        """Name the metrics without reading anything."""
        return iter(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Read the metrics.

        Raises:
            FedpersonaError: the database cannot be read: no metric is better than a wrong one.
        """
        found = _families()
        for counter in self._journal.counters():
            _add(found, counter)
        for name, value, labels in self._gauges():
            _sample(found, name, labels, value)
        return iter(found.values())

    def _gauges(self) -> Iterator[tuple[str, float, Mapping[str, str]]]:
        latest = self._journal.rounds(1)
        yield "fedpersona_cohort", latest[0].invited if latest else 0, {}
        yield "fedpersona_training_active", self._journal.state().state not in RESTS, {}
        with self._database.reading() as connection:
            revoked = connection.scalar(select(func.count(devices.c.revoked_at))) or 0
            known = connection.scalar(select(func.count(devices.c.number))) or 0
            version = connection.scalar(select(releases.c.version).order_by(releases.c.id.desc()).limit(1)) or 0
        spent, limit, sums = self._budget()
        yield "fedpersona_privacy_epsilon", spent, {"kind": "spent"}
        yield "fedpersona_privacy_epsilon", limit, {"kind": "limit"}
        yield "fedpersona_privacy_releases", sums, {}
        yield "fedpersona_devices", known - revoked, {"state": "enrolled"}
        yield "fedpersona_devices", revoked, {"state": "revoked"}
        yield "fedpersona_model_version", version, {}

    def _budget(self) -> tuple[float, float, float]:
        """Return what is spent, the limit, and how many sums were paid for."""
        try:
            balance = None if self._config.privacy is None else seen_balance(self._config, self._database)
        except FedpersonaError:  # damaged, or not to be read
            return math.nan, math.nan, math.nan
        return (0.0, 0.0, 0.0) if balance is None else (balance.epsilon, balance.limit, balance.releases)


def journal_metrics(database: Database, config: ServerConfig) -> CollectorRegistry:
    """Return a registry whose metrics are read from a database."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(JournalCollector(database, config))
    return registry


def _families() -> dict[str, Metric]:
    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
    return {name: kinds[form.kind](name, form.words, labels=form.labels) for name, form in METRICS.items()}


def _add(found: dict[str, Metric], counter: Counter) -> None:
    if counter.name in _COUNTED:
        name, labels = _COUNTED[counter.name]
        _sample(found, name, {**counter.labels, **labels}, counter.value)


def _sample(found: dict[str, Metric], name: str, labels: Mapping[str, str], value: float) -> None:
    found[name].add_sample(name, {label: labels.get(label, "") for label in METRICS[name].labels}, float(value))

"""What a run leaves behind: its whole configuration and every figure, as typed data that ``run.json`` holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedpersona.errors import ConfigError, DataError, DataNotFound
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD

__all__ = [
    "DELTA",
    "NOISY",
    "NO_NOISE",
    "DataFacts",
    "Privacy",
    "PrivacyPoint",
    "Result",
    "RoundFigures",
    "RunConfig",
    "RunRecord",
    "ServingChoice",
    "read_record",
]

DELTA = 1e-5
"""The δ of a promise that names none."""
NOISY = "noisy popularity"
"""The name of popularity under the promise of a run: what is left of the floor when it is protected too."""
NO_NOISE = ", no noise"
"""What is added to the name of a private model that was trained without noise, to compare with."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RunConfig(_Frozen):
    """All that decides the numbers of a run."""

    dataset: str
    """A known dataset's name, or the path of an ``.npz`` split."""
    data: str | None = None
    """Folder with the original files of real datasets."""
    people: int | None = Field(None, ge=1)
    """Size of a synthetic population."""
    items: int | None = Field(None, ge=1)
    """Size of a synthetic catalogue."""
    model: str = "subspace"
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model that differ from its defaults."""
    seed: int = Field(0, ge=0, lt=2**63)
    cohort: int | None = Field(None, ge=1)
    """Most devices a round asks; None asks everyone."""
    min_count: int | None = Field(None, ge=1)
    """Fewest devices whose sum may be released; None asks for a tenth of the cohort, and never fewer than two."""
    ring_bits: Literal[32, 64] | None = None
    behaviour: Behaviour = Behaviour()
    engine: str = "cohort"
    cluster: str | None = None
    """Address of the Ray cluster of the engine ``ray``; None starts one on this machine."""
    shards: int | None = Field(None, ge=1)
    """Into how many parts the engine ``ray`` cuts the population; modules of torch apart, it changes no bit."""
    secure: bool = False
    """Whether devices run secure aggregation, where a round has few enough of them; it changes no bit of the model."""
    neighbours: int = NEIGHBOURS
    """With how many others a device masks, under secure aggregation."""
    threshold: int = THRESHOLD
    """How many of that number recover what a device shared."""
    recency: Literal["auto", "off"] | Annotated[float, Field(ge=1e-3)] = "auto"
    """Half-life of plays in the device's query, in items; ``auto`` chooses on validation items."""
    discount: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    """Popularity discount on the device; ``auto`` chooses on validation items."""
    evaluate_people: int = Field(20_000, ge=1)
    """Most people that figures are taken over: a seeded sample where there are more."""
    evaluate_every: int | None = Field(None, ge=1)
    """Also measure on validation items after every so many rounds, while training; nothing is chosen by it."""
    ceiling: bool = True
    """Whether central twins, which see the whole matrix, are fitted to compare with."""
    workers: int = Field(2, ge=1, le=256)
    """Threads; they change the time a run takes and not one bit of its result."""
    replicate: int = Field(1, ge=1, le=100_000)
    """For how many devices each person of the training data stands; figures are taken over the people, once each."""
    epsilon: float | None = Field(None, gt=0)
    """What the whole training may cost whoever takes part; None trains without noise."""
    epsilons: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Others, for each of which the model is trained as well: accuracy is drawn against them."""
    delta: float | None = Field(None, gt=0, lt=1)
    """The δ that belongs to ``epsilon``; 1e-5 where it is not given."""
    noise: Literal["central", "distributed"] = "central"
    """Who adds the noise: the server to the sum, or every device its share."""

    @property
    def model_shown(self) -> str:
        """The model's name without the folder of a file: what reports and folders are named for."""
        kind, colon, place = self.model.partition(":")
        file = re.split(r"[/\\]", place)[-1].replace(".py", "")
        return f"{kind}:{file}" if colon else kind

    @model_validator(mode="before")
    @classmethod
    def _fixed_beforehand(cls, given: Any) -> Any:
        """Fill in what is not chosen under noise: choosing it from data would be one release more."""
        if isinstance(given, dict) and given.get("epsilon") is not None:
            given = {"recency": "off", "discount": 0.0, **given}
            if given.get("delta") is None:
                given["delta"] = DELTA
        return given

    @model_validator(mode="after")
    def _private_or_not(self) -> Self:
        if self.epsilon is None:
            for name in ("epsilons", "delta"):
                if getattr(self, name):
                    raise ConfigError(f"{name} says nothing without an epsilon")
            if self.noise != "central":
                raise ConfigError("noise is drawn for an epsilon: give one, or leave out who adds it")
            return self
        for name in ("recency", "discount"):
            if getattr(self, name) == "auto":
                raise ConfigError(
                    f"with an epsilon the {name} cannot be 'auto': a choice by people's validation items would be a "
                    "release that no noise covers. Give a number that was fixed before the data was seen"
                )
        return self


class DataFacts(_Frozen):
    """What was learned from, in numbers."""

    name: str
    hash: str
    """Over all of the population: catalogue, histories, weights, times."""
    question: str
    """Over who played which item and what is held out: runs with the same one can be compared person by person."""
    kind: str
    people: int
    items: int
    interactions: int
    timed: bool
    statistics: list[tuple[str, str, str]] = Field(default_factory=list)
    """Rows of (name, this population, lastfm-2k) for synthetic populations."""


class RoundFigures(_Frozen):
    """One round."""

    round_number: int
    answered: int
    bytes_up: int
    bytes_down: int
    ring_bits: int
    seconds_collecting: float
    seconds_applying: float
    metrics: dict[str, float] = Field(default_factory=dict)
    """What devices counted of the model that the round started from; empty where they were not asked."""
    val_ndcg: float | None = None
    """NDCG@10 on validation items with the serving that was chosen in the end; None where it was left out."""
    test_ndcg: float | None = None
    val_ndcg_meanwhile: float | None = None
    """NDCG@10 on validation items as it was measured after the round, before recency and discount were chosen."""


class ServingChoice(_Frozen):
    """One candidate of the choice on validation items."""

    recency: float | None
    discount: float
    val_ndcg: float


class Result(_Frozen):
    """Figures of one model: the floor, the federated model, or a central twin."""

    name: str
    role: Literal["floor", "federated", "ceiling"]
    serving: ServingChoice
    val: dict[str, float]
    test: dict[str, float]
    """``ndcg@10``, ``recall@20``, ``mrr``, ``hr@10``: full ranking."""
    intervals: dict[str, tuple[float, float]]
    """Bootstrap 95 % intervals of the test figures, over people."""
    sampled: dict[str, float] | None
    """``hr@10`` and ``ndcg@10`` among 99 negatives, only to compare with papers that use them."""
    discovery: dict[str, float]
    """``coverage``, ``gini``, ``novelty_bits``, ``intra_list_diversity`` of lists of thirty."""
    tertiles: dict[str, dict[str, float]]
    """Figures for mainstream, middle and niche listeners."""
    rounds: int | None = None
    bytes_up: int | None = None
    """Bytes a device sent in all rounds; None for a model that no device contributes to."""
    bytes_down: int | None = None
    """Bytes a device received: the model of every round, and the one in the end that it makes lists with."""
    seconds: float
    """Fitting; without evaluation."""


class PrivacyPoint(_Frozen):
    """One training under one promise: a point of the curve."""

    epsilon: float
    deviation: float
    """Of the noise, in the units of the layout."""
    ndcg: float
    """NDCG@10 on test items."""
    interval: tuple[float, float]
    """Its bootstrap 95 % interval, over people."""
    popularity: float | None = None
    """The same of a popularity under the same promise; None where that is the model itself."""


class Privacy(_Frozen):
    """What a run promises to everyone who took part, and how that was counted."""

    epsilon: float
    """As promised: what taking part in all rounds costs at most."""
    delta: float
    unit: Literal["user"] = "user"
    """What is protected: all of one person, never a single play."""
    neighbours: str = "one person's whole history replaced by an empty one"
    """Which two populations can hardly be told apart."""
    noise: Literal["central", "distributed"]
    noise_multipliers: list[float]
    """Deviation of the noise over the longest update, round by round."""
    deviation: float
    """Deviation of the noise in the units of the layout, the same in all rounds."""
    rounds: int
    """All of them are composed; each person is taken to be in every one."""
    people: int
    """How many devices a round sums at most."""
    shares: int | None
    """Under distributed noise: of how many devices the shares make the whole noise; None otherwise."""
    epsilon_pld: float
    """ε by privacy loss distributions, rounded up."""
    epsilon_rdp: float
    """ε by Rényi differential privacy: looser, a cross-check."""
    epsilon_exact: float
    """ε by the analytic Gaussian."""
    mu: float
    """μ of Gaussian differential privacy: the whole trade-off, of which ε and δ are one point."""
    hyperparameters: str = "fixed before the data was seen"
    """Recency and discount as given, the rest from public numbers; nothing was chosen on validation items."""
    not_covered: str = "the figures of this report, which are measured on held-out items of the simulated people"
    sentence: str
    """For the person who is asked to take part."""
    curve: list[PrivacyPoint]
    """By rising ε; the run's own is among them."""


class RunRecord(_Frozen):
    """A run, whole."""

    format: Literal["fedpersona run 1"] = "fedpersona run 1"
    config: RunConfig
    settings: dict[str, Any]
    """All settings of the model, chosen serving included."""
    versions: dict[str, str]
    git_revision: str | None
    started: str
    """ISO 8601, universal time."""
    data: DataFacts
    rounds: list[RoundFigures]
    tuning: list[ServingChoice]
    """What was tried on validation items for the federated model."""
    results: list[Result]
    model_hash: str
    seconds: dict[str, float]
    """Wall time by stage."""
    privacy: Privacy | None = None
    """None where no noise was added."""
    collected: str = ""
    """What brought in the sums, in words: which engine, in which form."""
    resumed: list[int] = Field(default_factory=list)
    """After which rounds the training was stopped and gone on with."""

    @property
    def devices(self) -> int:
        """How many devices there were: each person of the data stands for one or more."""
        return self.data.people * self.config.replicate

    @property
    def federated(self) -> Result:
        """The result of the federated model itself."""
        return next(result for result in self.results if result.role == "federated")


def read_record(path: Path | str) -> RunRecord:
    """Read ``run.json``, or the folder that holds it.

    Raises:
        DataNotFound: there is none.
        DataError: the file is not a whole record of a run.
    """
    path = Path(path)
    file = path / "run.json" if path.is_dir() else path
    try:
        return RunRecord.model_validate_json(file.read_bytes())
    except OSError as error:
        raise DataNotFound(f"cannot read a run here ({error.strerror}): give a folder under runs/", path=file) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or None
        raise DataError(f"not the record of a run: {first['msg'].lower()}", path=file, place=place) from None

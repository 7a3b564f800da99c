"""What a run leaves behind: its whole configuration and every figure, as typed data that ``run.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedpersona.errors import DataError, DataNotFound
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD

__all__ = ["DataFacts", "Result", "RoundFigures", "RunConfig", "RunRecord", "ServingChoice", "read_record"]


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
    ceiling: bool = True
    """Whether central twins, which see the whole matrix, are fitted to compare with."""
    workers: int = Field(2, ge=1, le=256)
    """Threads; they change the time a run takes and not one bit of its result."""


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

"""Several runs next to each other, and whether they differ by more than chance."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedpersona.errors import ConfigError, DataError, DataNotFound
from fedpersona.simulation.evaluation import PairedTest, paired_test
from fedpersona.simulation.record import Result, RunRecord, read_record
from fedpersona.simulation.report.wording import interval, size

__all__ = ["Style", "compare"]

Style: TypeAlias = Literal["markdown", "latex"]

_METRICS = ("ndcg@10", "recall@20", "mrr", "hr@10")
_TESTED = "ndcg@10"
_COLUMNS = (
    "run",
    "model",
    "data",
    "NDCG@10 [95 %]",
    "Recall@20 [95 %]",
    "MRR",
    "HR@10",
    "rounds",
    "sent",
    "difference to the first [95 %]",
    "p",
)
_TEXT_COLUMNS = 3
_NOTE = (
    "Difference and p are of NDCG@10, person by person, over the people that both runs measured: a two-sided paired "
    "randomisation test. p is not corrected for the number of runs compared."
)


@dataclass(frozen=True, eq=False)
class _Run:
    name: str
    folder: Path
    record: RunRecord
    people: NDArray[np.int64]
    """Positions of the people measured, strictly increasing."""
    values: NDArray[np.float64]
    """NDCG@10 of each."""


def compare(folders: Sequence[Path], *, style: Style = "markdown") -> str:
    """Return a table of the federated results of runs, each tested against the first one.

    A pair of runs on different data is not tested: a sentence says so where the figures would be.

    Args:
        folders: what ``simulate`` left, each with ``run.json`` and ``per_person.npz``.
        style: ``markdown``, or ``latex`` with the booktabs package.

    Raises:
        DataNotFound: a folder, or a file in it, is not there.
        DataError: a file is not whole, or two runs on the same data measured nobody in common.
        ConfigError: no folders, or an unknown style.
    """
    if style not in ("markdown", "latex"):
        raise ConfigError(f"a comparison is written as 'markdown' or as 'latex', not as '{style}'")
    if not folders:
        raise ConfigError("there is nothing to compare: name the folder of at least one run")
    runs = [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    rows, notes = [], []
    for place, run in enumerate(runs):
        difference, p_value = "–", "–"
        if place and run.record.data.question != runs[0].record.data.question:
            p_value = "not tested: other data"
            notes.append(_refusal(run, runs[0]))
        elif place:
            test = _test(run, runs[0])
            difference = f"{test.difference:+.3f} [{test.low:+.3f}, {test.high:+.3f}]"
            p_value = _p(test.p_value)
        rows.append((*_figures(run), difference, p_value))
    if any(run.record.data.question == runs[0].record.data.question for run in runs[1:]):
        notes.insert(0, _NOTE)
    return _latex(rows, notes) if style == "latex" else _markdown(rows, notes)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return each folder's own name; where two have the same, with the name of the folder around it."""
    names = [folder.resolve().name for folder in folders]
    return [
        f"{folder.resolve().parent.name}/{name}" if names.count(name) > 1 else name
        for folder, name in zip(folders, names, strict=True)
    ]


def _read(folder: Path, name: str) -> _Run:
    if not folder.is_dir():
        raise DataNotFound("is not the folder of a run: give a folder under runs/", path=folder)
    record = read_record(folder)
    federated = [result for result in record.results if result.role == "federated"]
    if not federated or any(m not in federated[0].test or m not in federated[0].intervals for m in _METRICS):
        raise DataError("the record lacks figures of the federated model: run it again", path=folder / "run.json")
    people, values = _per_person(folder / "per_person.npz")
    return _Run(name, folder, record, people, values)


def _per_person(file: Path) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            people, values = arrays["person_ids"], arrays[_TESTED]
    except FileNotFoundError:
        raise DataNotFound("the figures person by person are not there: run it again", path=file) from None
    except KeyError as error:
        raise DataError(f"{error.args[0]}; run it again", path=file) from None
    except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
        raise DataError("is not a whole .npz file: run it again", path=file) from None
    if people.ndim != 1 or people.dtype.kind not in "iu":
        raise DataError("positions of people must be whole numbers in one row", path=file, place="person_ids")
    if values.shape != people.shape or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise DataError("there must be one finite number a person", path=file, place=_TESTED)
    order = np.argsort(people, kind="stable")
    people = people[order].astype(np.int64)
    if (np.diff(people) == 0).any():
        raise DataError("a person appears twice", path=file, place="person_ids")
    return people, values[order].astype(np.float64)


def _test(run: _Run, first: _Run) -> PairedTest:
    common, ours, theirs = np.intersect1d(run.people, first.people, assume_unique=True, return_indices=True)
    if not len(common):
        raise DataError(
            f"measured nobody that {first.folder} measured too, so the two cannot be tested as a pair: "
            "run both with the same seed and evaluate_people",
            path=run.folder,
        )
    return paired_test(run.values[ours], first.values[theirs], first.record.config.seed)


def _refusal(run: _Run, first: _Run) -> str:
    return (
        f"{run.name} was not tested against {first.name}: their data differ ({run.record.data.name} "
        f"{run.record.data.question[:12]}, {first.record.data.name} {first.record.data.question[:12]}), so no person "
        "of one can be found in the other."
    )


def _figures(run: _Run) -> tuple[str, ...]:
    result: Result = run.record.federated
    return (
        run.name,
        result.name if run.record.privacy is None else f"{result.name}, ε = {run.record.privacy.epsilon:g}",
        run.record.data.name,
        interval(result, "ndcg@10"),
        interval(result, "recall@20"),
        f"{result.test['mrr']:.3f}",
        f"{result.test['hr@10']:.3f}",
        f"{len(run.record.rounds):,}",
        "–" if result.bytes_up is None else size(result.bytes_up),
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _markdown(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    align = ["---"] * _TEXT_COLUMNS + ["---:"] * (len(_COLUMNS) - _TEXT_COLUMNS)
    lines = [f"| {' | '.join(cells)} |" for cells in (_COLUMNS, align, *(map(_escaped_markdown, row) for row in rows))]
    return "\n".join([*lines, *(line for note in notes for line in ("", _escaped_markdown(note)))]) + "\n"


def _latex(rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    columns = "l" * _TEXT_COLUMNS + "r" * (len(_COLUMNS) - _TEXT_COLUMNS)
    lines = [rf"{' & '.join(map(_escaped_latex, cells))} \\" for cells in (_COLUMNS, *rows)]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            r"\begin{table}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            *([rf"\caption{{{_escaped_latex(' '.join(notes))}}}"] if notes else []),
            r"\end{table}",
            "",
        ]
    )


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _escaped_markdown(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\`*_<|" else sign for sign in _one_line(text))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "ε": r"$\varepsilon$",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def _escaped_latex(text: str) -> str:
    # A row that began with a bracket would be read as an argument of the \\ before it.
    text = "".join(_LATEX.get(sign, sign) for sign in _one_line(text))
    return f"{{}}{text}" if text.startswith("[") else text

"""What was measured, as a table that people read, and its place in a README."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


@dataclass(frozen=True)
class Learned:
    """Figures after so many rounds, beside fedpersona's after as many."""

    rounds: int
    figures: Mapping[str, float]
    ours: Mapping[str, tuple[float, float]]
    """Mean and standard deviation over seeds."""


@dataclass
class Row:
    """One engine on one workload."""

    workload: str
    epochs: int
    engine: str
    variant: str
    learned: Learned | None = None
    """None for fedpersona itself."""
    speeds: list[float] = field(default_factory=list)
    """Devices a second, one figure a process: the median of its rounds."""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def speed(self) -> float:
        return median(self.speeds)


def processor() -> str:
    """Return what the machine's processor calls itself."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def markdown(rows: Sequence[Row], checked: Mapping[tuple[str, int], Learned], where: str) -> str:
    """Return the table, and below it where and with what it was measured.

    Args:
        rows: fedpersona's before those of others, for each workload and number of epochs.
        checked: what fedpersona learned by itself, by workload and epochs.
        where: machine, date, repeats.
    """
    lines = [
        "| workload | simulator | devices a second, one core | fedpersona is faster by | learned in as many rounds "
        "(fedpersona's, over seeds) |",
        "|---|---|---:|---:|---|",
    ]
    ours: dict[tuple[str, int], float] = {}
    for row in rows:
        case = (row.workload, row.epochs)
        if row.learned is None:
            ours[case] = row.speed
            ratio, learned = "", _own(checked[case])
        else:
            ratio, learned = f"{ours[case] / row.speed:,.0f} times", _beside(row.learned)
        lines.append(f"| {_case(*case)} | {_name(row)} | {_speed(row)} | {ratio} | {learned} |")
    found: dict[str, str] = {}
    for row in rows:
        found |= row.versions
    packages = ", ".join(f"{name} {found[name]}" for name in sorted(found))
    return "\n".join([*lines, "", f"{where} {packages}.", ""])


def _case(workload: str, epochs: int) -> str:
    return f"{workload}, {epochs} epoch{'s' if epochs > 1 else ''}"


def _name(row: Row) -> str:
    return f"{row.engine} ({row.variant})" if row.variant else row.engine


def _speed(row: Row) -> str:
    low, high = min(row.speeds), max(row.speeds)
    spread = f" ({_short(low)} to {_short(high)})" if len(row.speeds) > 1 else ""
    return _short(row.speed) + spread


def _short(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 100 else f"{speed:.1f}"


def _own(learned: Learned) -> str:
    parts = [f"{name} {mean:.3f} ± {deviation:.3f}" for name, (mean, deviation) in _shown(learned.ours)]
    return f"{learned.rounds} rounds: " + ", ".join(parts)


def _beside(learned: Learned) -> str:
    parts = [
        f"{name} {learned.figures[name]:.3f} ({mean:.3f} ± {deviation:.3f})"
        for name, (mean, deviation) in _shown(learned.ours)
    ]
    return f"{learned.rounds} rounds: " + ", ".join(parts)


_TITLES = {"hr@10": "HR@10", "ndcg@10": "NDCG@10", "loss": "loss"}


def _shown(figures: Mapping[str, tuple[float, float]]) -> list[tuple[str, tuple[float, float]]]:
    return [(name, figures[name]) for name in _TITLES if name in figures]


def put_between_markers(path: Path, text: str) -> None:
    """Replace what is between the two markers of a file.

    Raises:
        ValueError: the file has no such place, or more than one.
    """
    whole = path.read_text(encoding="utf-8")
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise ValueError(f"{path.name} needs one line '{BEGIN}' and below it one '{END}': the table goes between them")
    before, after = whole.split(BEGIN)[0], whole.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text.strip()}\n{END}{after}", encoding="utf-8")

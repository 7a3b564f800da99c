"""What came of reading: how many records were kept, how many not and why, and where to look first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Summary"]


@dataclass(slots=True)
class Summary:
    """Counts only, and names of files: nothing of what was played. It fills while the reading goes on."""

    kept: int = 0
    """Records that became a listen."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Records that did not, by reason."""
    files: dict[str, int] = field(default_factory=dict)
    """Files that were read, by the name of their format."""
    others: dict[str, int] = field(default_factory=dict)
    """Files that were not read, by reason."""
    first: dict[str, str] = field(default_factory=dict)
    """Where each reason was met first: ``file: record 12``, or a file."""

    @property
    def read(self) -> int:
        """Records that were looked at, kept or not."""
        return self.kept + sum(self.skipped.values())

    def skip(self, reason: str, place: str) -> None:
        """Count a record that was not kept."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
        self.first.setdefault(reason, place)

    def leave_out(self, reason: str, name: str) -> None:
        """Count a file that was not read."""
        self.others[reason] = self.others.get(reason, 0) + 1
        self.first.setdefault(reason, name)

    def to_dict(self) -> dict[str, Any]:
        """Give the same facts as JSON has them."""
        return {
            "read": self.read,
            "kept": self.kept,
            "skipped": {reason: {"count": n, "first": self.first[reason]} for reason, n in self.skipped.items()},
            "files": dict(self.files),
            "other_files": {reason: {"count": n, "first": self.first[reason]} for reason, n in self.others.items()},
        }

    def __str__(self) -> str:
        lines = [f"{self.kept:,} of {_counted(self.read, 'record')} kept"]
        if self.files:
            of = ", ".join(f"{name} ({_counted(n, 'file')})" for name, n in self.files.items())
            lines[0] += f", from {of}"
        for counts, what in ((self.skipped, "record"), (self.others, "file")):
            for reason, n in sorted(counts.items(), key=lambda pair: -pair[1]):
                lines.append(f"  {_counted(n, what)} left out: {reason} (first: {self.first[reason]})")
        return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"

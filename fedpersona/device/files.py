"""The table of files in a device's store: small things kept by name, each whole or not there."""

from __future__ import annotations

from fedpersona.device.store import Cursor

__all__ = ["delete_files", "files_named", "keep_file", "read_file"]


def read_file(cursor: Cursor, name: str) -> bytes | None:
    """Return a file, None where there is none."""
    row = cursor.execute("SELECT body FROM file WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def keep_file(cursor: Cursor, name: str, body: bytes) -> None:
    """Keep a file in place of the one that has its name."""
    cursor.execute("INSERT OR REPLACE INTO file (name, body) VALUES (?, ?)", (name, body))


def delete_files(cursor: Cursor, *names: str) -> bool:
    """Delete files; tell whether any was there."""
    cursor.executemany("DELETE FROM file WHERE name = ?", [(name,) for name in names])
    return bool(cursor.rowcount)


def files_named(cursor: Cursor, beginning: str) -> list[tuple[str, bytes]]:
    """Return the files whose names begin so, by name."""
    rows = cursor.execute(
        "SELECT name, body FROM file WHERE substr(name, 1, ?) = ? ORDER BY name", (len(beginning), beginning)
    )
    return [(name, bytes(body)) for name, body in rows]

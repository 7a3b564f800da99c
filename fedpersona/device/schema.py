"""The tables of a device's encrypted store, as steps from each version to the next."""

from __future__ import annotations

__all__ = ["STEPS"]

STEPS: tuple[str, ...] = (
    """
    CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;

    -- A number is never given twice: what is remembered of a track must not come to mean another.
    CREATE TABLE tracks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name BLOB NOT NULL UNIQUE,
        artist TEXT NOT NULL,
        title TEXT NOT NULL,
        ids TEXT NOT NULL
    );
    CREATE TABLE listens (
        track INTEGER NOT NULL REFERENCES tracks (id),
        played_at INTEGER NOT NULL,
        seconds INTEGER,
        PRIMARY KEY (track, played_at)
    ) WITHOUT ROWID;
    CREATE INDEX listens_by_time ON listens (played_at);
    CREATE TRIGGER listens_are_append_only BEFORE UPDATE ON listens
    BEGIN SELECT RAISE (ABORT, 'listens are append-only'); END;

    CREATE TABLE chain (
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        at INTEGER NOT NULL,
        body TEXT NOT NULL,
        hash BLOB NOT NULL,
        signature BLOB NOT NULL,
        PRIMARY KEY (name, number)
    ) WITHOUT ROWID;
    CREATE TABLE chain_head (
        name TEXT PRIMARY KEY,
        number INTEGER NOT NULL,
        hash BLOB NOT NULL,
        signature BLOB NOT NULL
    ) WITHOUT ROWID;

    CREATE TABLE weekly_list (
        year INTEGER NOT NULL,
        week INTEGER NOT NULL,
        level INTEGER NOT NULL,
        catalogue TEXT NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (year, week)
    ) WITHOUT ROWID;
    CREATE TABLE file (name TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    """,
)
"""Step ``n`` turns a store of version ``n`` into one of version ``n + 1``. A step that was released never changes."""

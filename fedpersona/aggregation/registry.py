"""The registry: models by version, which one is promoted, and the signed file of it that devices fetch.

A version's model is a file on the shelf, named by its hash; what is promoted is a row, the last of ``releases``. A
roll-back is a release as well, with a later ``issued``: devices take none that is older than the one they have.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Row, func, select

from fedpersona.aggregation.database import Database, checkpoints, releases, trainings, versions
from fedpersona.aggregation.shelf import Shelf, write_staged
from fedpersona.aggregation.trainings import Training
from fedpersona.errors import ServerError, StateDamaged
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import pack
from fedpersona.wire.signed_release import ReleaseNote, seal_release

__all__ = ["Registry", "Version"]


@dataclass(frozen=True)
class Version:
    """A model that was registered."""

    number: int
    hash: str
    model: str
    """Name of the taste model."""
    settings: Mapping[str, Any]
    catalogue: str
    """Version of the catalogue."""
    round_number: int
    """Rounds that it learned from."""
    devices: int
    """From how many devices it learned, at most, in a round."""
    metrics: Mapping[str, Any]
    training: int
    registered_at: int
    """Unix seconds."""
    pruned_at: int | None
    """When its file was deleted; None while it is there."""


class Registry:
    """The models of a server.

    Args:
        database: where versions and releases are listed.
        folder: where models are kept: the same as :class:`fedpersona.aggregation.trainings.Trainings` has.
        clock: gives Unix seconds.
    """

    def __init__(self, database: Database, folder: Path | str, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._shelf = Shelf(folder)
        self._clock = clock

    def register(
        self, shared: Shared, settings: Mapping[str, Any], metrics: Mapping[str, Any], training: Training | int
    ) -> int:
        """Keep a model as a new version; the same model of the same training again gives the same version.

        Args:
            shared: the model.
            settings: of the taste model.
            metrics: what is known of it, as JSON holds it: rounds, answered per round, bytes.
            training: where it is from; how many devices it learned from is read from its checkpoints.

        Raises:
            DiskFull: there is no room; nothing was registered.
        """
        number = training if isinstance(training, int) else training.id
        found = shared.hash()
        staged = self._shelf.stage(shared, dict(settings))
        try:
            with self._database.writing() as connection:
                same = (versions.c.hash == found) & (versions.c.training == number) & versions.c.pruned_at.is_(None)
                known = connection.scalar(select(versions.c.number).where(same))
                staged.place()
                if known is not None:
                    return int(known)
                row = {
                    "hash": found,
                    "model": shared.model,
                    "settings": dict(settings),
                    "catalogue": shared.catalogue,
                    "round_number": shared.round_number,
                    "devices": _most_devices(connection, number),
                    "metrics": dict(metrics),
                    "training": number,
                    "registered_at": int(self._clock()),
                }
                return int(connection.scalars(versions.insert().values(row).returning(versions.c.number)).one())
        finally:
            staged.path.unlink(missing_ok=True)

    def promote(self, version: int, key: Ed25519PrivateKey, federation: str) -> None:
        """Make a version the one that devices fetch, under the operator's signature.

        Args:
            version: its number.
            key: the operator's signing key.
            federation: the federation's name, which is signed too.

        Raises:
            ServerError: there is no such version, or it was pruned.
            StateDamaged: its file is not what was written.
            DiskFull: there is no room; what was promoted before still is.
        """
        self._release(version, key, federation, back=False)

    def roll_back(self, key: Ed25519PrivateKey, federation: str) -> int:
        """Make the version that was promoted before this one the promoted one again; return its number.

        Twice goes back two.

        Raises:
            ServerError: there is none to go back to.
        """
        with self._database.reading() as connection:
            stack = _promoted(connection)
        if len(stack) < 2:
            raise ServerError("no version was promoted before this one, or it was pruned: promote another instead")
        self._release(stack[-2], key, federation, back=True)
        return stack[-2]

    def _release(self, number: int, key: Ed25519PrivateKey, federation: str, *, back: bool) -> None:
        version = self.version(number)
        if version is None or version.pruned_at is not None:
            what = "was pruned" if version else "was never registered"
            raise ServerError(f"version {number} {what}: look at the list of models")
        packed = pack(self._shelf.read(version.hash), dict(version.settings))
        body = hashlib.sha256(packed).hexdigest()
        with self._database.writing() as connection:
            if connection.scalar(select(versions.c.pruned_at).where(versions.c.number == number)) is not None:
                raise ServerError(f"version {number} was pruned meanwhile: look at the list of models")
            last = connection.scalar(select(func.max(releases.c.issued)))
            issued = int(self._clock()) if last is None else max(int(self._clock()), last + 1)
            note = ReleaseNote(federation, number, issued, version.devices, version.round_number, body)
            sealed = seal_release(note, packed, key)
            staged = write_staged(self._path(issued), sealed)
            try:
                staged.place()
            finally:
                staged.path.unlink(missing_ok=True)
            digest = hashlib.sha256(sealed).hexdigest()
            connection.execute(releases.insert().values(version=number, issued=issued, back=back, digest=digest))
        self._drop_old_releases()

    def versions(self) -> list[Version]:
        """Return all versions, the newest first, with those that were pruned."""
        with self._database.reading() as connection:
            return [_version(row) for row in connection.execute(select(versions).order_by(versions.c.number.desc()))]

    def version(self, number: int) -> Version | None:
        """Return a version by its number."""
        with self._database.reading() as connection:
            row = connection.execute(select(versions).where(versions.c.number == number)).one_or_none()
        return None if row is None else _version(row)

    def promoted(self) -> Version | None:
        """Return the version that devices fetch."""
        last = select(releases.c.version).order_by(releases.c.id.desc()).limit(1).scalar_subquery()
        with self._database.reading() as connection:
            row = connection.execute(select(versions).where(versions.c.number == last)).one_or_none()
        return None if row is None else _version(row)

    def release(self) -> bytes | None:
        """Return the signed file of the promoted version; None where none was promoted.

        Raises:
            StateDamaged: it is missing or not what was written.
        """
        row = self._last_release()
        if row is None:
            return None
        path = self._path(row.issued)
        try:
            sealed = path.read_bytes()
        except OSError:
            newer = self._last_release()
            if newer is not None and newer.issued != row.issued:  # another was promoted meanwhile
                return self.release()
            sealed = b""
        if hashlib.sha256(sealed).hexdigest() != row.digest:
            raise StateDamaged(f"{path}: is missing or not what was signed; promote version {row.version} again")
        return sealed

    def release_tag(self) -> str | None:
        """Return the SHA-256 of what :meth:`release` returns, without reading it: for an ETag."""
        row = self._last_release()
        return None if row is None else str(row.digest)

    def packed(self, hash: str) -> Path | None:  # noqa: A002
        """Return the file of a model by its hash, if it is a version or a checkpoint of the running training."""
        with self._database.reading() as connection:
            known = hash in _wanted(connection)
        return self._shelf.path(hash) if known else None

    def prune(self, keep: int) -> list[int]:
        """Delete the files of old versions and of ended trainings; return the numbers of the versions that went.

        What stays: the ``keep`` newest versions, the promoted one, the one that a roll-back would return to, and the
        running training's two last checkpoints.

        Raises:
            ValueError: ``keep`` is negative.
        """
        if keep < 0:
            raise ValueError(f"a number of versions to keep is not negative, as {keep} is")
        with self._database.writing() as connection:
            there = versions.c.pruned_at.is_(None)
            kept = set(connection.scalars(select(versions.c.number).where(there).order_by(versions.c.number.desc()))
                       .all()[:keep])  # fmt: skip
            kept |= set(_promoted(connection)[-2:])
            chosen = there & versions.c.number.not_in(kept)
            gone = connection.scalars(select(versions.c.number).where(chosen).order_by(versions.c.number)).all()
            connection.execute(versions.update().where(chosen).values(pruned_at=int(self._clock())))
        with self._database.writing() as connection:  # files go after the rows: no row ever names a missing file
            self._shelf.sweep(_wanted(connection))
        return [int(number) for number in gone]

    def _path(self, issued: int) -> Path:
        return self._shelf.folder / f"{issued}.release"

    def _last_release(self) -> Row[Any] | None:
        with self._database.reading() as connection:
            return connection.execute(select(releases).order_by(releases.c.id.desc()).limit(1)).one_or_none()

    def _drop_old_releases(self) -> None:
        """Delete signed files but the two last: someone may be reading the one before."""
        with self._database.writing() as connection:
            last = connection.scalars(select(releases.c.issued).order_by(releases.c.id.desc()).limit(2)).all()
            stay = {self._path(issued) for issued in last}
            for path in self._shelf.folder.glob("*.release"):
                if path not in stay:
                    path.unlink(missing_ok=True)


def _version(row: Row[Any]) -> Version:
    return Version(**row._asdict())


def _promoted(connection: Connection) -> list[int]:
    """Return the versions that were promoted, the present one last, as roll-backs go; without those pruned."""
    stack: list[int] = []
    for row in connection.execute(select(releases.c.version, releases.c.back).order_by(releases.c.id)):
        if row.back:
            while stack and stack[-1] != row.version:
                stack.pop()
        if not stack or stack[-1] != row.version:
            stack.append(row.version)
    there = set(connection.scalars(select(versions.c.number).where(versions.c.pruned_at.is_(None))))
    return [number for number in stack if number in there]


def _wanted(connection: Connection) -> set[str]:
    """Return the hashes of the models that someone may still ask for."""
    kept = connection.scalars(select(versions.c.hash).where(versions.c.pruned_at.is_(None)))
    running = select(trainings.c.id).where(trainings.c.ended_at.is_(None))
    last = select(checkpoints.c.hash).where(checkpoints.c.training.in_(running))
    two = connection.scalars(last.order_by(checkpoints.c.round_number.desc()).limit(2))
    return {*kept, *two}


def _most_devices(connection: Connection, training: int) -> int:
    return int(
        connection.scalar(select(func.max(checkpoints.c.answered)).where(checkpoints.c.training == training)) or 0
    )

"""What came from servers and is public: the signed catalogue and the shared model, kept so that lists work offline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpersona.catalogue import Catalogue
from fedpersona.device import starter
from fedpersona.device.files import delete_files, keep_file, read_file
from fedpersona.device.store import Store
from fedpersona.errors import ConfigError, DataError, LayoutMismatch, PlanRefused, SignatureInvalid, VaultDamaged
from fedpersona.wire.signed_catalogue import signer, unseal

if TYPE_CHECKING:
    from fedpersona.device.link import Release
    from fedpersona.taste import Shared, TasteModel

__all__ = ["Shelf", "Trained"]


@dataclass(frozen=True)
class Trained:
    """A shared model with the settings it was trained with."""

    model: TasteModel
    shared: Shared


class Shelf:
    """Keeps one server's catalogue and model; before any came, the starter catalogue stands in.

    The first key that a server's catalogue is signed with is pinned: a later one by another key is refused.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._catalogue: Catalogue | None = None
        self._trained: Trained | None = None
        self._mark = b""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue in use; another process may have put another one in use."""
        with self._store.reading() as cursor:
            version = read_file(cursor, "catalogue version")
            if version is None:
                return starter.catalogue()
            if self._catalogue is None or self._catalogue.version.encode() != version:
                sealed, key = read_file(cursor, "catalogue"), read_file(cursor, "catalogue key")
                self._catalogue = unseal(sealed or b"", [key or b""]).catalogue
            return self._catalogue

    @property
    def trained(self) -> Trained | None:
        """The shared model in use, None where none has come for the catalogue in use."""
        with self._store.reading() as cursor:
            mark = read_file(cursor, "model mark")
            if mark is None:
                return None
            if self._trained is None or self._mark != mark:
                self._trained, self._mark = _unpacked(read_file(cursor, "model") or b""), mark
        return self._trained if self._trained.shared.catalogue == self.catalogue.version else None

    def pinned_key(self, server: str) -> bytes | None:
        """Return the key that this server's catalogues must be signed with, None before the first."""
        with self._store.reading() as cursor:
            return read_file(cursor, f"key of {server}")

    def accept_catalogue(self, server: str, sealed: bytes, key: bytes | None = None) -> bool:
        """Check a server's catalogue and put it in use; tell whether it is another than before.

        Args:
            server: the normalised address.
            sealed: the signed file.
            key: the operator's Ed25519 public key, 32 bytes, where the owner knows it.

        Raises:
            SignatureInvalid: another key than the pinned one signed it, or it was changed.
            DataError: it cannot be read, or is older than the one in use.
        """
        pinned = self.pinned_key(server)
        if key is not None and pinned is not None and key != pinned:
            raise SignatureInvalid(f"{server}: the key given is not the one this device has pinned for it")
        trusted = key or pinned or signer(sealed)
        found = unseal(sealed, [trusted])
        with self._store.writing() as cursor:
            before, issued = read_file(cursor, "catalogue"), read_file(cursor, f"issued by {server}")
            if issued is not None and found.issued < int(issued):
                raise DataError("is older than the one this device has: refused", place=f"catalogue of {server}")
            keep_file(cursor, f"key of {server}", trusted)
            keep_file(cursor, f"issued by {server}", str(found.issued).encode())
            version = read_file(cursor, "catalogue version")
            if before is not None and version == found.catalogue.version.encode():
                return False
            keep_file(cursor, "catalogue", sealed)
            keep_file(cursor, "catalogue key", trusted)
            keep_file(cursor, "catalogue version", found.catalogue.version.encode())
            delete_files(cursor, "model", "model mark")
        self._catalogue = found.catalogue
        return True

    def accept_release(self, release: Release) -> bool:
        """Check a finished model against the catalogue in use and keep it; tell whether it is another than before.

        Raises:
            PlanRefused: it is not what it should be.
        """
        from fedpersona.device.demand import check_demand
        from fedpersona.taste import create  # the taste models: a device that only opens does not wait for them
        from fedpersona.taste.model_file import pack

        try:
            model = create(release.model, release.settings)
            model.check(release.shared, self.catalogue)
            check_demand(model, len(self.catalogue))
        except (ConfigError, LayoutMismatch) as error:
            raise PlanRefused(f"the server's model: {error}") from None
        trained, mark = Trained(model, release.shared), release.shared.hash().encode()
        with self._store.writing() as cursor:
            if (
                read_file(cursor, "catalogue version") or self.catalogue.version.encode()
            ) != trained.shared.catalogue.encode():
                raise PlanRefused("the server's model: another catalogue was put in use meanwhile")
            if read_file(cursor, "model mark") == mark:
                return False
            keep_file(cursor, "model", pack(trained.shared, model.model_dump()))
            keep_file(cursor, "model mark", mark)
        self._trained, self._mark = trained, mark
        return True


def _unpacked(data: bytes) -> Trained:
    from fedpersona.taste import create
    from fedpersona.taste.model_file import unpack

    try:
        shared, settings = unpack(data)
        return Trained(create(shared.model, settings), shared)
    except (LayoutMismatch, ConfigError) as error:
        raise VaultDamaged(f"the kept shared model cannot be read ({error}): join its server again") from None

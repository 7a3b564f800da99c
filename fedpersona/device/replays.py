"""What a server may say once: the serials of plans that were answered, and the age of the model that was taken.

They are kept with the operator's key they belong to, and survive leaving the server: enrolling again does not make an
old plan new, and another operator counts from the beginning.
"""

from __future__ import annotations

from fedpersona.device.address import normalised
from fedpersona.device.files import keep_file, read_file
from fedpersona.device.store import Cursor, Store
from fedpersona.errors import PlanReplayed

__all__ = ["Replays"]

_LARGEST_NUMBER = 2**63 - 1
_SERIAL = "highest serial of "
_ISSUED = "newest release of "


class Replays:
    """Notices what comes a second time.

    Args:
        store: of the device.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def last_serial(self, server: str) -> int:
        """Return the highest serial that was accepted from a server, 0 before the first."""
        return self._highest(_SERIAL, server)

    def accept_serial(self, server: str, serial: int) -> None:
        """Take note, on disk, that a plan of this serial is taken up. Inside another transaction it is a part of it.

        Raises:
            PlanReplayed: it is not above all that came before.
        """
        self._raise_to(_SERIAL, server, serial, 1, "the server's plan is one of a round that is over: not answered")

    def last_issue(self, server: str) -> int:
        """Return when the newest accepted model of a server was promoted (Unix seconds), 0 before the first."""
        return self._highest(_ISSUED, server)

    def accept_issue(self, server: str, issued: int) -> None:
        """Take note that a model promoted then (Unix seconds) is taken; the same one may come again.

        Raises:
            PlanReplayed: a newer one was taken before.
        """
        self._raise_to(_ISSUED, server, issued, 0, "the server's model is older than the one this device has: not used")

    def _highest(self, what: str, server: str) -> int:
        with self._store.reading() as cursor:
            return int(read_file(cursor, _name(cursor, what, normalised(server))) or 0)

    def _raise_to(self, what: str, server: str, number: int, step: int, words: str) -> None:
        if type(number) is not int or not 0 <= number <= _LARGEST_NUMBER:
            raise PlanReplayed(f"{words} (its number is none)")
        with self._store.writing() as cursor:
            name = _name(cursor, what, normalised(server))
            before = read_file(cursor, name)
            if before is not None and number < int(before) + step:
                raise PlanReplayed(words)
            keep_file(cursor, name, str(number).encode())


def _name(cursor: Cursor, what: str, server: str) -> str:
    operator = read_file(cursor, f"key of {server}")
    return f"{what}{'' if operator is None else operator.hex()} at {server}"

"""Serial numbers of signed plans: each is used once, whatever is killed, restarted or put back from a backup.

The highest one is kept twice: in the database, and in a file named ``serial`` beside it. The larger counts. So a
database that is put back from an older backup does not make devices see old numbers again, as long as the file stays:
leave it in place when you restore. (Where both are older, devices refuse the plans as replayed until the numbers have
passed those they saw.)
"""

from __future__ import annotations

import re

from sqlalchemy import select

from fedpersona.aggregation import database as tables
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.shelf import write_staged
from fedpersona.errors import OutputError, StateDamaged

__all__ = ["Serials"]

_NUMBER = re.compile(r"[0-9]{1,16}\n")


class Serials:
    """Gives serial numbers, to any number of processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.path.with_name("serial")

    def next(self) -> int:
        """Return a number higher than all before. It is on disk, as used, before this returns.

        A kill in between may leave a number out; it never gives one twice.

        Raises:
            StateDamaged: the file ``serial`` does not hold a number.
            DiskFull: there is no room, so that no plan may be signed.
        """
        with self._database.writing() as connection:
            last = connection.scalar(select(tables.serials.c.last)) or 0
            number = max(last, self._last_in_file()) + 1
            write_staged(self.path, f"{number}\n".encode()).place()
            connection.execute(tables.serials.update().values(last=number))
        return number

    def last(self) -> int:
        """Return the highest number that was used; 0 where none was."""
        with self._database.reading() as connection:
            last = connection.scalar(select(tables.serials.c.last)) or 0
        return max(last, self._last_in_file())

    def _last_in_file(self) -> int:
        try:
            found = self.path.read_bytes().decode("ascii", "replace")
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be read ({error.strerror}); look at its rights") from None
        if not _NUMBER.fullmatch(found):
            raise StateDamaged(
                f"{self.path}: does not hold the last serial number; put it back from your backup, or delete it if "
                "the database beside it is not older than the last round"
            )
        return int(found)

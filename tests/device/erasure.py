"""What devices of this process drew for their rounds, and whether any of it is still there."""

from __future__ import annotations

import gc

from fedpersona.privacy.secagg import device as secagg
from fedpersona.privacy.secagg.keys import PrivateKey


class Drawn:
    """Watches every round that begins. Keeps numbers only, so that it keeps nothing alive itself."""

    def __init__(self, monkeypatch) -> None:
        self.rounds: list[secagg.DeviceRound] = []
        self.numbers: set[int] = set()
        """Private keys, and seeds of own masks."""
        drawn = self

        class Watched(secagg.DeviceRound):
            def __init__(self, *arguments, **named) -> None:
                super().__init__(*arguments, **named)
                drawn.rounds.append(self)

            def advertise(self) -> bytes:
                answer = super().advertise()
                drawn.numbers |= {self._secrets.c.scalar, self._secrets.s.scalar}
                return answer

            def share(self, head: bytes, view: bytes) -> bytes:
                answer = super().share(head, view)
                drawn.numbers.add(self._secrets.b)
                return answer

        monkeypatch.setattr("fedpersona.device.secure_round.DeviceRound", Watched)

    def alive(self) -> int:
        """Return how many objects of this process still hold one of the numbers, or a round its secrets."""
        gc.collect()
        found = sum(not one.finished or one._secrets != secagg._Secrets() for one in self.rounds)
        for one in gc.get_objects():
            if type(one) is PrivateKey:
                found += one.scalar in self.numbers
            elif type(one) is secagg._Secrets:
                found += one.b in self.numbers
        return found

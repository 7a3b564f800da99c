"""A process that takes part in a round, tells what it has drawn for it, and waits to be killed. Run by a test.

python -m tests.device.round_killed FOLDER STEP
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from fedpersona import Device, Policy
from fedpersona.device import secure_round, starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.privacy.secagg import DeviceRound
from tests.device.invented import listens
from tests.device.servers import SERVER, Scripted, offer


def main(folder: Path, step: str) -> None:
    """Tell, before the question of a step is answered, what must be nowhere on the disk."""
    rounds: list[DeviceRound] = []
    told: dict[str, str] = {}

    class Watched(DeviceRound):
        def advertise(self) -> bytes:
            rounds.append(self)
            answer = super().advertise()
            told["c"], told["s"] = (_hex(key.scalar) for key in (self._secrets.c, self._secrets.s))
            return answer

        def share(self, head: bytes, view: bytes) -> bytes:
            answer = super().share(head, view)
            told["b"] = _hex(self._secrets.b)
            return answer

    secure_round.DeviceRound = Watched

    def before(kind: str) -> bool:
        if kind == step:
            secrets = rounds[0]._secrets
            named = {"sealing": secrets.sealing, "masking": secrets.masking, "held": secrets.held}
            for name, found in named.items():
                told.update({f"{name} {place}": value.hex() for place, value in found.items()})
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()
            time.sleep(60)
        return True

    with Device.open(folder) as device:
        device.vault.add(listens())
        device.consent.grant("share_update", server=SERVER)
        device.policy = Policy(least_cohort=8)
        gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
        link = Scripted(before=before)
        gate.contribute(SERVER, link, link.opening(offer()), starter.catalogue(), Stop())


def _hex(number: int) -> str:
    return number.to_bytes(32, "little").hex()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""The demo's side of its devices: processes that are told what to do, and what they tell."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from fedpersona.errors import RoundFailed

__all__ = ["DeviceProcess", "Fleet", "Told"]

_END = 5.0  # seconds that a process has to end by itself


@dataclass(frozen=True)
class Told:
    """What a device told."""

    device: int
    """Its number in the demo, from 0."""
    stage: str
    facts: Mapping[str, Any]


class DeviceProcess:
    """A process with one device in it.

    Args:
        number: of the device, from 0.
        orders: how it is set up.
        heard: where what it tells is put.
        log: what it writes beside that, mostly nothing.
    """

    def __init__(self, number: int, orders: Mapping[str, Any], heard: queue.Queue[Told], log: Path) -> None:
        self.number = number
        self._ending = False
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FEDPERSONA_")}
        environment |= {"PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring", "OMP_NUM_THREADS": "1"}
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "fedpersona.simulation.demo.device_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment | {"OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,
            )
        self._listener = Thread(target=self._listen, args=(heard,), name=f"device {number}", daemon=True)
        self._listener.start()
        self.order(orders)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def order(self, order: Mapping[str, Any]) -> None:
        """Tell it what to do; one that has ended hears nothing."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self._ending = True
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait()

    def ask_to_end(self) -> None:
        """Tell it that there are no further orders: it closes its vault and ends."""
        self._ending = True
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Wait until it has ended; kill it where it does not."""
        self.ask_to_end()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(_END)
        if self._process.stdout is not None and not self._listener.is_alive():
            self._process.stdout.close()

    def _listen(self, heard: queue.Queue[Told]) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._process.stdout:
            facts = json.loads(line)
            heard.put(Told(self.number, facts.pop("stage"), facts))
        if not self._ending:
            heard.put(Told(self.number, "ended", {}))


class Fleet:
    """All devices of a demo. Use it in a ``with`` block: no process is left after it."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._heard: queue.Queue[Told] = queue.Queue()
        self.devices: dict[int, DeviceProcess] = {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def start(self, number: int, orders: Mapping[str, Any]) -> None:
        """Start a device."""
        log = self._logs / f"device-{number + 1}.log"
        self.devices[number] = DeviceProcess(number, orders, self._heard, log)

    def order(self, do: str, devices: list[int] | None = None, **facts: Any) -> list[int]:
        """Tell devices, by default all that run, what to do; return which."""
        told = [number for number in devices or list(self.devices) if self.devices[number].alive]
        for number in told:
            self.devices[number].order({"do": do, **facts})
        return told

    def hear(self, seconds: float) -> Told | None:
        """Return what a device tells next, None after so long.

        Raises:
            RoundFailed: a device has ended that should not have, or could not do what it was told.
        """
        try:
            told = self._heard.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if told.stage in ("ended", "failed"):
            about = told.facts.get("words", f"its process ended, see {self._logs / f'device-{told.device + 1}.log'}")
            raise RoundFailed(f"device {told.device + 1} of the demo: {about}")
        return told

    def end(self) -> None:
        """End all devices."""
        for device in self.devices.values():
            device.ask_to_end()
        for device in self.devices.values():
            device.end()

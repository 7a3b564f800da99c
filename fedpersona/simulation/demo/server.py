"""The demo's server: a real one, made and run by its own command line, as an operator would."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fedpersona.aggregation import tether
from fedpersona.aggregation.front.recording import VARIABLE
from fedpersona.errors import ServerError

__all__ = ["FEDERATION", "DemoServer", "Rounds"]

FEDERATION = "Demo federation"
_START, _END = 90.0, 30.0  # seconds
_LINES: Mapping[str, str] = {
    "operator": r'^operator = ".*"$',
    "wait_for": r"^# wait_for = \d+$",
    "min_count": r"^min_count = \d+$",
    "cohort": r"^cohort = \d+$",
    "over_sampling": r"^over_sampling = .*$",
    "gather_seconds": r"^gather_seconds = \d+$",
    "deadline_seconds": r"^deadline_seconds = \d+$",
    "linger_seconds": r"^linger_seconds = \d+$",
    "attempts": r"^attempts = \d+$",
}
"""Lines of a new ``server.toml`` that a demo sets."""

Rounds = list[dict[str, Any]]
"""The attempts at rounds, the newest first, as the operator's pages tell them."""


class DemoServer:
    """A server in a folder. Use it in a ``with`` block: it is ended after it.

    Args:
        folder: where it is made.
        recording: the file that all traffic of its front is recorded in.
    """

    def __init__(self, folder: Path, recording: Path) -> None:
        self.folder = folder
        self.config = folder / "server.toml"
        self.recording = recording
        self.ops = ""
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> DemoServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def make(self, settings: Mapping[str, object], model: Mapping[str, object]) -> None:
        """Make it: keys, certificates, the signed catalogue, and a configuration with these settings.

        Args:
            settings: of the server, by the names of its ``server.toml``.
            model: of the model.

        Raises:
            ServerError: it cannot be made.
        """
        front, ops, superlink = _free_ports(3)
        self.address, self.ops = f"https://127.0.0.1:{front}", f"127.0.0.1:{ops}"
        places = ["--address", self.address, "--superlink-port", str(superlink), "--ops", self.ops]
        self._command("serve", "init", str(self.folder), "--name", FEDERATION, *places, "--json")
        text = self.config.read_text(encoding="utf-8")
        for name, value in settings.items():
            line = f"{name} = {json.dumps(value)}"
            text, found = re.subn(_LINES[name], line, text, count=1, flags=re.MULTILINE)
            if not found:
                raise ServerError(f"the demo does not know this version's server.toml: '{name}' is not in it")
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in model.items())
        text = text.replace("\n[rounds]\n", f"\n[model.settings]\n{lines}\n[rounds]\n", 1)
        self.config.write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Run ``fedpersona serve`` and wait until it is ready.

        Raises:
            ServerError: it does not start.
        """
        command = [sys.executable, "-m", "fedpersona.cli", "serve", "--config", str(self.config)]
        tied = [sys.executable, "-I", str(Path(tether.__file__)), str(os.getpid()), *command]
        with (self.folder / "serve.log").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own program, a list, no shell
                tied,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment() | {VARIABLE: str(self.recording)},
                start_new_session=True,
            )
        until = time.monotonic() + _START
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > until:
                raise ServerError(f"the demo's server does not start: {self._last_words()}")
            time.sleep(0.1)

    def invite(self, count: int) -> list[str]:
        """Run ``fedpersona server enrol``: return so many invitations."""
        made = self._operator("enrol", "--count", str(count), "--hours", "1")
        return list(made["invitations"])

    def revoke(self, number: int) -> None:
        """Run ``fedpersona server revoke``."""
        self._operator("revoke", str(number))

    def served(self) -> Mapping[str, Any] | None:
        """Run ``fedpersona server models``: return the version that is served, None while there is none."""
        return next((dict(one) for one in self._operator("models") if one["promoted"]), None)

    def rounds(self) -> Rounds:
        """Ask the operator's page for the attempts at rounds; the last known ones where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.ops}/v1/rounds", timeout=5.0) as answer:
                return list(json.load(answer)["rounds"])
        except (OSError, ValueError):
            self._check_alive()
            return []

    def stop(self) -> None:
        """End it, as Ctrl-C would, and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_END)
        except subprocess.TimeoutExpired:
            process.kill()  # what it started is tied to it
            process.wait()

    def _check_alive(self) -> None:
        if self._process is None or self._process.poll() is not None:
            raise ServerError(f"the demo's server has ended: {self._last_words()}")

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.ops}/readyz", timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (OSError, ValueError):
            return False

    def _operator(self, *command: str) -> Any:
        return json.loads(self._command("server", *command, "--config", str(self.config), "--json"))

    def _command(self, *command: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own program, a list, no shell
            [sys.executable, "-m", "fedpersona.cli", *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=_environment(),
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"'fedpersona {' '.join(command[:2])}' did not work: {done.stderr.strip()[-300:]}")
        return done.stdout

    def _last_words(self) -> str:
        output = self.folder / "serve.log"
        lines = output.read_text(encoding="utf-8", errors="replace").splitlines() if output.is_file() else []
        return lines[-1][:300] if lines else "it said nothing"


def _environment() -> dict[str, str]:
    """Return the environment without settings of other servers and devices."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FEDPERSONA_")}


def _free_ports(count: int) -> list[int]:
    """Return different ports of loopback that nobody listens on."""
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in bound:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in bound]

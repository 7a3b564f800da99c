"""A whole server as its operator has it: ``fedpersona serve`` as a process of its own, over TLS, on free ports."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from fedpersona.aggregation.certificates import authority_der, operator_public
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.database import Database
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.setup import NewServer, initialise
from fedpersona.catalogue import Catalogue
from fedpersona.device import starter
from fedpersona.wire.invitation import Invitation

START, END = 60.0, 30.0
"""Seconds that a server has to begin, and to end."""


@dataclass
class Served:
    """A server that runs."""

    config: ServerConfig
    process: subprocess.Popen[bytes] = field(repr=False)
    output: Path = field(repr=False)

    @property
    def address(self) -> str:
        """What devices use."""
        return self.config.server.address

    @property
    def ops(self) -> str:
        """Where the operator's pages are."""
        return f"http://{self.config.server.ops}"

    def invite(self, count: int) -> list[Invitation]:
        """Make invitations, as ``fedpersona server enrol`` does."""
        server = self.config.server
        assert server.authority is not None
        operator, authority = operator_public(server.signing_key), authority_der(server.authority)
        name = self.config.federation.name
        with Database.open(self.config.database) as database:
            tokens = [Roster(database).issue_token(1.0) for _ in range(count)]
        return [Invitation(server.address, name, operator, token, authority) for token in tokens]

    def ask(self, path: str) -> httpx.Response:
        """Ask the front."""
        tls = ssl.create_default_context(cafile=self.config.server.authority)
        with httpx.Client(verify=tls, trust_env=False, timeout=30.0) as client:
            return client.get(self.address + path)

    def logs(self) -> str:
        """Return the ends of all that the server wrote."""
        files = [self.output, *sorted(self.config.logs.glob("*"))]
        return "\n".join(f"== {file.name}\n{_end_of(file)}" for file in files if file.is_file())

    def until(self, condition, seconds: float, what: str = "it") -> None:
        """Wait until something is so; fail with the server's logs where it does not come to pass."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, f"the server ended\n{self.logs()}"
            assert time.monotonic() < deadline, f"{what} did not come to pass in {seconds:g} s\n{self.logs()}"
            time.sleep(0.1)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return as many ports that nothing listens on, no two the same."""
    with contextlib.ExitStack() as open_ones:
        found = [open_ones.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in found]


def new_server(
    folder: Path, *, catalogue: Catalogue | None = None, settings: dict[str, object] | None = None, **changes: object
) -> ServerConfig:
    """Make the folder of a new server on free ports.

    Args:
        folder: made.
        catalogue: by default the one that comes with every device.
        settings: of the model.
        changes: of ``server.toml``, as ``section__name``: ``rounds__masked=False``, ``rounds__min_count=8``.
    """
    front, ops, superlink = free_ports(3)
    asked = NewServer(
        name="Test people",
        address=f"https://127.0.0.1:{front}",
        ops=f"127.0.0.1:{ops}",
        superlink_port=superlink,
    )
    file = initialise(folder, asked, starter.catalogue() if catalogue is None else catalogue).file
    file.write_text(_changed(file.read_text(), changes, settings or {}))
    return ServerConfig.load(file)


@contextlib.contextmanager
def serving(
    tmp_path: Path, *, catalogue: Catalogue | None = None, settings: dict[str, object] | None = None, **changes: object
) -> Iterator[Served]:
    """Run a new server as long as the context lasts; see :func:`new_server` for what can be said about it."""
    config = new_server(tmp_path / "server", catalogue=catalogue, settings=settings, **changes)
    with running(config) as served:
        yield served


@contextlib.contextmanager
def running(config: ServerConfig) -> Iterator[Served]:
    """Run a server whose folder is there, as long as the context lasts; end all that it started."""
    output = config.file.parent / "output.txt"
    with output.open("ab") as written:
        begins = written.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "fedpersona", "serve", "--config", str(config.file)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    served = Served(config, process, output)
    try:
        served.until(lambda: b"Running." in output.read_bytes()[begins:], START, "a running server")
        yield served
    except BaseException:
        print(served.logs())  # pytest shows it beside what failed
        raise
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server in order; where it does not end, kill it: what it started is tied to it and goes as well."""
    process.terminate()
    try:
        process.wait(END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def _changed(text: str, changes: dict[str, object], settings: dict[str, object]) -> str:
    """Return a configuration with some values changed; one that is not there is an error of the test."""
    waiting = {tuple(name.split("__")): json.dumps(value) for name, value in changes.items()}
    lines, section = [], ""
    for line in text.splitlines():
        if line.removeprefix("# ").startswith("["):
            section = line.removeprefix("# ").strip("[]")
            line = f"[{section}]" if any(place == section for place, _ in waiting) else line
        name = line.removeprefix("# ").partition(" = ")[0]
        value = waiting.pop((section, name), None)
        lines.append(line if value is None else f"{name} = {value}")
    assert not waiting, f"server.toml has no {sorted(waiting)}"
    if settings:
        lines += ["", "[model.settings]", *(f"{name} = {json.dumps(value)}" for name, value in settings.items())]
    return "\n".join(lines) + "\n"


def _end_of(file: Path, most: int = 4000) -> str:
    return file.read_bytes()[-most:].decode(errors="replace")

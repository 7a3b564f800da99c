"""A real SuperLink for tests: started on a free port of loopback with certificates of its own, and ended for sure."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from fedpersona.aggregation.certificates import Authority
from fedpersona.aggregation.superlink import Control, SuperLink
from fedpersona.errors import ServerError


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def superlink_at(folder: Path) -> SuperLink:
    authority = Authority.create("test")
    issued = authority.issue("superlink", ["127.0.0.1", "localhost"])
    (folder / "authority.pem").write_bytes(authority.pem.certificate)
    (folder / "certificate.pem").write_bytes(issued.certificate)
    (folder / "key.pem").write_bytes(issued.key)
    return SuperLink(
        port=free_port(),
        certificate=folder / "certificate.pem",
        key=folder / "key.pem",
        authority=folder / "authority.pem",
        database=folder / "superlink.db",
        home=folder / "flower",
    )


@contextmanager
def running(superlink: SuperLink, seconds: float = 40.0) -> Iterator[Control]:
    """Run it until the context ends; nothing of it stays behind."""
    superlink.home.mkdir(exist_ok=True)
    log = superlink.database.with_suffix(".log")
    with log.open("ab") as output:
        process = subprocess.Popen(
            superlink.command(), env=superlink.environment(), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        with Control(superlink) as control:
            _wait(control, process, log, seconds)
            yield control
    finally:
        end(process.pid)
        process.wait()


def end(pid: int) -> None:
    """End a process and all it started, at once."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=5)


def _wait(control: Control, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            control.runs()
        except ServerError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the SuperLink did not start:\n{log.read_text()[-3000:]}") from None
            time.sleep(0.1)
        else:
            return

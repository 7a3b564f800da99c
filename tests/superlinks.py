"""A real SuperLink for tests: started on a free port of loopback with certificates of its own, and ended for sure."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from flwr.proto.message_pb2 import ObjectTree
from flwr.server.superlink.linkstate.sql_linkstate import SqlLinkState
from flwr.supercore.object_store.sql_object_store import SqlObjectStore
from flwr.superlink.federation.noop_federation_manager import NoOpFederationManager

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
def store_at(file: Path) -> Iterator[SqlObjectStore]:
    """Make the database that a SuperLink has, by Flower's own means, and keep it open for writing as there."""
    store = SqlObjectStore(str(file), verify=False)
    state = SqlLinkState(store.database_url, NoOpFederationManager(), store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Flower's migrations
        state.initialize()
        store.initialize()
    with store.session() as session:
        session.connection().exec_driver_sql("PRAGMA secure_delete = OFF")  # as most builds of SQLite have it
    try:
        yield store
    finally:
        for one in (store, state):
            one._engine.dispose()


def put(store: SqlObjectStore, content: bytes) -> str:
    """Store what a message carries; return its name."""
    name = hashlib.sha256(content).hexdigest()
    store.preregister(7, ObjectTree(object_id=name))
    store.put(name, content)
    return name


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

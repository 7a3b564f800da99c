"""No way out but the gate: by the imports, and by watching a whole contribution from below."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import fedpersona
from tests.device.invented import NO_KEYRING

PACKAGE = Path(fedpersona.__file__).parent
NETWORK = {
    "socket", "ssl", "http", "urllib", "asyncio", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "websockets",
    "xmlrpc", "socketserver", "subprocess", "multiprocessing", "webbrowser", "telnetlib", "poplib", "imaplib",
}  # fmt: skip
ALLOWED = {
    "device/address.py": {"urllib"},  # urllib.parse: no request is made with it
    "device/https.py": {"ssl"},  # the one way onto the network, to servers that the owner took an invitation of
    "device/https_lane.py": {"ssl", "socket", "httpx"},
    "device/https_errors.py": {"ssl", "httpx"},
}
SPEAKS_HTTPS = {"device/enrolment.py", "device/enrolment_request.py", "device/network_link.py", "device/node.py"}
SENDS = {"device/gate.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


@pytest.mark.parametrize("room", ["device", "sources", "playlists", "taste", "privacy", "wire"])
def test_nothing_on_the_device_but_https_can_open_a_connection_and_nothing_starts_a_program(room):
    for path in sorted((PACKAGE / room).rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        reached = {module.partition(".")[0] for module in imports(path)} & NETWORK
        assert reached <= ALLOWED.get(name, set()), f"{name} imports {sorted(reached)}"
    assert imports(PACKAGE / "device/address.py") & {"urllib.parse", "urllib.request"} == {"urllib.parse"}


def test_only_enrolment_and_the_link_speak_https():
    for path in sorted((PACKAGE / "device").rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("device/https"):
            reached = {module for module in imports(path) if module.startswith("fedpersona.device.https")}
            assert not reached or name in SPEAKS_HTTPS, f"{name} imports {sorted(reached)}"


def test_only_the_gate_calls_send():
    callers = set()
    for path in sorted((PACKAGE / "device").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "send":
                callers.add(path.relative_to(PACKAGE).as_posix())
    assert callers == SENDS


def test_only_the_device_opens_the_store():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("device/"):
            opened = imports(path) & {"fedpersona.device.store", "sqlcipher3", "sqlite3"}
            if name.startswith("aggregation/"):
                opened -= {"sqlite3"}  # a server's own state; a vault is encrypted, and nothing but sqlcipher3 opens it
            assert not opened, f"{name} imports {sorted(opened)}"


WATCHED = """
import os, sys
from pathlib import Path
from fedpersona import Device, Conditions
from fedpersona.device import conditions
from tests.device.invented import listens
from tests.device.servers import SERVER, federation

folder = Path(sys.argv[1]).resolve()
conditions.use_probe(type("Plugged", (), {"look": lambda self: conditions.Surroundings(True, True, True)})())
device = Device.open(folder)
device.vault.add(listens())
device.consent.grant("share_update", server=SERVER)
here = [str(folder)]
harmless = [os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, os.getcwd(), f"/proc/{os.getpid()}")]
events = []

def watch(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"):
        events.append(event)
    elif event == "open" and isinstance(arguments[0], (str, bytes)):
        name, mode, flags = arguments
        path = os.path.realpath(os.fsdecode(name))
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if isinstance(flags, int) else "r" != (mode or "r")[0]
        inside = any(path == place or path.startswith(place + os.sep) for place in here)
        known = any(path.startswith(place + os.sep) for place in harmless)
        if not inside and (writes or not known):
            events.append(f"open {path} {mode}")

with federation().at(SERVER):
    sys.addaudithook(watch)
    membership = device.join(SERVER, when=Conditions(charging=True, unmetered=True, idle=True), wait=60)
    made = device.playlist()
    print(membership.state, len(made))
    watching, events[:] = list(events), []
    open(os.devnull, "w").close()
    assert events, "the hook sees what is opened"
    device.close()
print(watching)
"""


def test_a_whole_contribution_opens_no_socket_and_no_file_outside_the_devices_folder(tmp_path):
    root = PACKAGE.parent
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WATCHED), str(tmp_path / "device")],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "FEDPERSONA_PASSPHRASE": "watched", **NO_KEYRING},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    state, events = done.stdout.splitlines()
    assert state == "contributed to 2 rounds 30"
    assert events == "[]"

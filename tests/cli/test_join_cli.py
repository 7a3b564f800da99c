"""``fedpersona device join``: one visit that says what it waits for, or a stay that tells what happens until Ctrl-C."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

from fedpersona.wire.invitation import Invitation
from tests.cli.test_device_cli import Shell
from tests.device.https_servers import Authority, reply, serving


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    made.begin()
    return made


class Staying:
    """A ``join --stay`` that runs, and what it has told so far."""

    def __init__(self, shell, server):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fedpersona", "device", "join", server, "--stay"],
            cwd=shell.folder,
            env=shell.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.told = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def until(self, words, seconds=150.0):
        end = time.monotonic() + seconds
        while words not in self.told:
            assert time.monotonic() < end, f"'{words}' was not told: {self.told}"
            if select.select([self.process.stdout], [], [], 0.2)[0]:
                came = os.read(self.process.stdout.fileno(), 65536)
                assert came, (self.told, self.process.stderr.read())
                self.told += came.decode()

    def end(self, number):
        """Send a signal; return the seconds that it took to end."""
        started = time.monotonic()
        self.process.send_signal(number)
        rest, errors = self.process.communicate(timeout=20)
        self.told += rest.decode()
        assert self.process.returncode == 0, errors
        assert b"Traceback" not in errors
        return time.monotonic() - started


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stay_tells_what_happens_and_ends_at_a_signal(shell, number):
    shell("consent", "grant", "share_update", "--server", "practice", "--yes")
    with Staying(shell, "practice") as staying:
        staying.until("contributed to 4 rounds")
        assert staying.process.poll() is None
        staying.end(number)
        told = staying.told
    assert "staying until Ctrl-C" in told
    assert told.count("  sent to") == 4
    assert told.index("  visiting") < told.index("  sent to") < told.index("  contributed to 4 rounds")
    assert "  left https://practice" in told


@pytest.fixture
def busy(tmp_path):
    """A server that says it is busy and then holds every question as long as it is asked to."""
    authority, asked = Authority(), threading.Event()

    def talk(request, connection, over):
        if request.path == "/v1/enrol":
            return reply(b'{"federation": "Folk", "device": 7, "node_id": 12345}')
        asked.set()
        over.wait(30)
        return reply(json.dumps({"bell": 1, "busy": True}).encode())

    with serving(talk, authority.context(tmp_path)) as server:
        server.asked = asked
        server.invitation = Invitation(server.address, "Folk", bytes(range(32)), "a" * 32, authority.der)
        yield server


def test_a_stay_in_the_middle_of_a_visit_leaves_in_under_a_second(shell, busy):
    shell("enrol", busy.invitation)
    with Staying(shell, busy.address) as staying:
        staying.until("visiting")
        assert busy.asked.wait(20)
        assert staying.end(signal.SIGTERM) < 3  # a second, and the end of a Python on a busy machine
    assert f"left {busy.address}" in staying.told
    assert "cut off" not in staying.told


def test_a_visit_that_lasts_says_so_and_is_ended_after_the_wait(shell, busy):
    shell("enrol", busy.invitation)
    done = shell("join", busy.address, "--wait", "6")
    assert "as long as rounds are open" in done.stderr
    assert "was ended" in done.stderr
    assert f"{busy.address}: stopped" in done.stdout


@pytest.mark.parametrize("stay", [(), ("--stay",)])
def test_a_server_that_is_not_known_is_one_sentence_that_names_enrol(shell, stay):
    assert "fedpersona device enrol" in shell("join", "https://taste.example", *stay, code=2).stderr
    assert shell("join", "nowhere at all", *stay, code=2).stderr


def test_the_help_speaks_of_networks_and_of_staying(shell):
    told = " ".join(shell("join", "--help").stdout.split())
    assert "over the network" in told
    assert "as long as rounds are open" in told
    assert "--stay" in told

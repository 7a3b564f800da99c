"""The front as a process: its addresses, its end, its certificate, its recording."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

import httpx
import pytest

from fedpersona.aggregation.certificates import Authority
from fedpersona.aggregation.front.recording import VARIABLE, frames, recorder
from fedpersona.errors import DataError, OutputError
from tests.aggregation.front.fronts import Device, fronting, new_server, until


@contextlib.contextmanager
def process(config, **environment):
    """Run a front as a process of its own."""
    command = [sys.executable, "-m", "fedpersona.aggregation.front", str(config.file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.fixture
def config(tmp_path):
    return new_server(tmp_path)


def client(config) -> httpx.Client:
    tls = ssl.create_default_context(cafile=config.server.authority)
    return httpx.Client(verify=tls, base_url=config.server.address, trust_env=False, timeout=10)


def test_it_says_when_it_is_ready_and_ends_in_order_although_bells_are_held(config):
    with process(config) as running, contextlib.ExitStack() as stack:
        assert running.stdout.readline() == f"ready {config.server.listen} {config.server.ops}\n"
        endpoint, held = config.server.listen_at, []
        tls = ssl.create_default_context(cafile=config.server.authority)
        for _ in range(20):
            plain = stack.enter_context(socket.create_connection((endpoint.host, endpoint.port), timeout=10))
            held.append(stack.enter_context(tls.wrap_socket(plain, server_hostname="127.0.0.1")))
            held[-1].sendall(b"GET /v1/bell?after=0 HTTP/1.1\r\nhost: a\r\n\r\n")
        time.sleep(0.3)
        begun = time.monotonic()
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
        assert time.monotonic() - begun < 3.0
        assert all(connection.recv(15).startswith(b"HTTP/1.1 200") for connection in held)
        log = (config.logs / "front.jsonl").read_text()
        assert '"front.ready"' in log
        assert '"front.ended"' in log
        assert "Traceback" not in log + running.stderr.read()


@pytest.mark.parametrize("which", ["listen_at", "ops_at"])
def test_a_port_that_is_taken_is_named_and_the_exit_code_is_2(config, which):
    endpoint = getattr(config.server, which)
    with socket.socket() as taken:
        taken.bind((endpoint.host, endpoint.port))
        taken.listen()
        with process(config) as running:
            _, problem = running.communicate(timeout=20)
        assert running.returncode == 2
        assert problem.count("\n") == 1
        assert f"{endpoint}: another program listens there" in problem


def test_a_missing_configuration_is_named(tmp_path):
    command = [sys.executable, "-m", "fedpersona.aggregation.front"]
    for arguments in ([], [str(tmp_path / "none.toml")]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, timeout=20)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_a_certificate_is_read_again_and_one_that_does_not_fit_is_not_taken(config):
    def served() -> bytes:
        endpoint, tls = config.server.listen_at, ssl.create_default_context()
        tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=5) as plain,
            tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            return connection.getpeercert(binary_form=True)

    with process(config) as running:
        running.stdout.readline()
        first = served()
        issued = Authority.create("another").issue("front", ("127.0.0.1",))
        config.server.certificate.write_bytes(issued.certificate)
        running.send_signal(signal.SIGHUP)
        until(lambda: "certificate.refused" in (config.logs / "front.jsonl").read_text())
        assert served() == first
        config.server.key.write_bytes(issued.key)
        running.send_signal(signal.SIGHUP)
        until(lambda: served() != first)


def test_tls_1_1_is_refused(config):
    tls = ssl.create_default_context(cafile=config.server.authority)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
    with fronting(config):
        endpoint = config.server.listen_at
        with socket.create_connection((endpoint.host, endpoint.port), timeout=5) as plain, pytest.raises(OSError):
            tls.wrap_socket(plain, server_hostname="127.0.0.1")


def test_behind_a_proxy_it_speaks_plain_http_on_loopback(config):
    server = config.server.model_copy(update={"behind_proxy": True, "certificate": None, "key": None})
    behind = config.model_copy(update={"server": server})
    with fronting(behind), httpx.Client(base_url=f"http://{server.listen}", trust_env=False) as http:
        assert http.get("/v1/status").status_code == 200


def test_nothing_is_recorded_unless_it_is_asked_for(config, monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with fronting(config) as front:
        front.http.get("/v1/status")
        log = (config.logs / "front.jsonl").read_text()
    assert "wire.recorded" not in log


def test_what_is_asked_to_be_recorded_is_all_that_passes_and_the_log_warns(config, tmp_path, monkeypatch):
    path = tmp_path / "wire"
    monkeypatch.setenv(VARIABLE, str(path))
    with fronting(config) as front:
        device, token = Device(), front.roster.issue_token(1)
        front.ask_in(device, token)
        front.http.get("/v1/bell?after=77", headers={"x-canary": "in a header"})
        front.http.get("/v1/../%2e")
        front.pull(device, gzip.compress(b"body"))
        log = (config.logs / "front.jsonl").read_text()
    recorded = list(frames(path))
    names = [name for name, _ in recorded]
    assert names[:4] == ["> POST /v1/enrol", "< POST /v1/enrol", "> GET /v1/bell", "< GET /v1/bell"]
    assert len(names) == 8
    assert token.encode() in recorded[0][1]
    assert b"node_id" in recorded[1][1]
    assert b"after=77" in recorded[2][1]
    assert b"in a header" in recorded[2][1]
    assert path.stat().st_mode & 0o777 == 0o600
    assert "ALL TRAFFIC IS RECORDED" in log
    assert token not in log


def test_a_recording_in_code_gets_the_same(config):
    recorded: list[tuple[str, bytes]] = []
    with fronting(config, record=lambda name, data: recorded.append((name, data))) as front:
        front.http.get("/v1/status")
    assert [name for name, _ in recorded] == ["> GET /v1/status", "< GET /v1/status"]


def test_a_recording_that_is_cut_off_or_none_is_named(tmp_path):
    path = tmp_path / "wire"
    recorder(path)("> GET /", b"some bytes")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="cut off"):
        list(frames(path))
    path.write_bytes(b"no recording at all")
    with pytest.raises(DataError, match="cut off"):
        list(frames(path))


def test_a_recording_that_cannot_be_written_is_named_before_anything_passes(tmp_path):
    with pytest.raises(OutputError, match="cannot be recorded"):
        recorder(tmp_path / "none" / "wire")


def test_the_front_and_its_numbers_are_two_addresses(config):
    with fronting(config) as front:
        front.http.get("/v1/status")
        assert front.counted("fedpersona_front_requests_total", path="/v1/status", status="200") >= 1
        assert front.counted("fedpersona_front_bytes_total", direction="out", path="/v1/status") > 50
        assert front.http.get("/metrics").status_code == 404

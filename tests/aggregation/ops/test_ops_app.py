from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import threading
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedpersona.aggregation.certificates import Authority
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.ops import health
from tests.aggregation.ops.invented import configured

FOREIGN = (
    "evil.example",
    "evil.example:9100",
    "127.0.0.1.evil.example",
    "127.0.0.1:",
    "",
    "::1",
    "localhost:90x",
    "localhost@evil.example",
    "192.168.0.2:9100",
    "0.0.0.0:9100",
)


@contextmanager
def superlink(folder, status: int = 200) -> Iterator[int]:
    """Answer to /health over TLS as a SuperLink does; give the port."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    authority = Authority.create("test")
    issued = authority.issue("superlink", ["127.0.0.1"])
    (folder / "authority.pem").write_bytes(authority.pem.certificate)
    (folder / "link.pem").write_bytes(issued.certificate + issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "link.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def at(watched, port: int) -> None:
    watched.config = configured(watched.config.server.state, server={"superlink_port": port})


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", "/readyz", "/v1/rounds", "/nothing"])
def test_another_name_for_this_machine_reads_nothing(new, host, path):
    answer = new.client().get(path, headers={"Host": host})
    assert answer.status_code == 421
    assert "Harbour" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1:9100", "localhost:9100", "[::1]:9100", "LOCALHOST", "127.0.0.1"])
def test_loopback_by_each_of_its_names_is_let_in(new, host):
    assert new.client().get("/healthz", headers={"Host": host}).status_code == 200


def test_two_hosts_in_one_request_are_refused(new):
    hosts = [("Host", "127.0.0.1:9100"), ("Host", "evil.example")]
    assert new.client().get("/", headers=hosts).status_code == 421


def test_only_reading_is_possible(watched):
    for path in ("/", "/metrics", "/v1/rounds"):
        assert watched.client().ask("POST", path).status_code == 405


def test_ready_when_state_superlink_and_disk_are_well(new, tmp_path):
    with superlink(tmp_path) as port:
        at(new, port)
        answer = new.client().get("/readyz")
    assert answer.json()["ready"] is True, answer.text
    assert answer.status_code == 200


def test_not_ready_without_a_superlink_but_alive(new, tmp_path):
    with superlink(tmp_path):
        pass
    at(new, free_port())
    client = new.client()
    answer = client.get("/readyz")
    assert answer.status_code == 503
    bad = [one for one in answer.json()["findings"] if not one["well"]]
    assert [one["name"] for one in bad] == ["superlink"]
    assert "does not answer" in bad[0]["words"]
    assert client.get("/healthz").status_code == 200


def test_not_ready_when_the_superlink_is_stopped_and_only_its_port_answers(new, tmp_path, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE", 0.1)
    with superlink(tmp_path):
        pass
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at(new, silent.getsockname()[1])
        assert new.client().get("/readyz").status_code == 503


def test_not_ready_when_another_program_has_the_port(new, tmp_path):
    with superlink(tmp_path, status=404) as port:
        at(new, port)
        answer = new.client().get("/readyz")
    assert answer.status_code == 503
    assert "Another program" in answer.text


def test_not_ready_when_the_certificate_is_of_another_authority(new, tmp_path):
    with superlink(tmp_path) as port:
        (tmp_path / "authority.pem").write_bytes(Authority.create("another").pem.certificate)
        at(new, port)
        assert new.client().get("/readyz").status_code == 503


def test_not_ready_when_the_disk_is_nearly_full(new, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - 10**6, 10**6))
    found = {one["name"]: one for one in new.client().get("/readyz").json()["findings"]}
    assert not found["disk"]["well"]
    assert "make room" in found["disk"]["words"]


def test_not_ready_when_the_state_cannot_be_read_and_the_page_says_so(watched):
    client = watched.client()
    watched.database.close()
    found = {one["name"]: one for one in client.get("/readyz").json()["findings"]}
    assert not found["state"]["well"]
    page = client.get("/")
    assert page.status_code == 503
    assert "The state cannot be read" in page.text
    assert client.get("/v1/rounds").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_rounds_as_json_newest_first(watched):
    found = watched.client().get("/v1/rounds").json()["rounds"]
    assert len(found) == 10
    assert [one["id"] for one in found] == sorted((one["id"] for one in found), reverse=True)
    assert found[0]["outcome"] == "completed"
    assert found[0]["seconds"]["updating"] == pytest.approx(22.7)
    opened = Journal(watched.database).begin(3, 1, 1, 999, 80)
    newest = watched.client().get("/v1/rounds").json()["rounds"][0]
    assert (newest["id"], newest["outcome"], newest["invited"]) == (opened, None, 80)

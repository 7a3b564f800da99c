"""HTTPS as a device speaks it: whatever a server does, one named error in bounded time and memory."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import threading
import time

import pytest
from cryptography import x509

from fedpersona import __version__
from fedpersona.device.background import Stop
from fedpersona.device.https import Https
from fedpersona.errors import ConfigError, ServerUnreachable, ServerUntrusted, Stopped
from tests.device.https_servers import Authority, reply, serving


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def served(authority, tmp_path):
    """Give a function that serves ``talk`` and returns the server and a way to it."""
    ending = []

    def serve(talk, **options):
        context = serving(talk, authority.context(tmp_path))
        server = context.__enter__()
        https = Https(server.address, authority.der, **options)
        ending.extend([lambda: context.__exit__(None, None, None), https.close])
        return server, https

    yield serve
    for end in reversed(ending):
        end()
    wait_for(lambda: not threads(), "threads are left")


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "fedpersona https"]


def wait_for(condition, words, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.01)


def hang(request, connection, over):
    over.wait(20)


# -- what is sent, and what comes back --


def test_an_answer_comes_back_whole_and_the_connection_is_used_again(served):
    server, https = served(lambda request, *_: reply(request.body or b"catalogue", ETag='"7"'))
    first = https.get("/v1/catalogue?after=1", most=9)
    second = https.post("/v1/enrol", b"{}", media="application/json", most=9, headers={"flwr-timestamp": "now"})
    assert (first.ok, first.status, first.body, first.headers["etag"]) == (True, 200, b"catalogue", '"7"')
    assert second.body == b"{}"
    assert server.connections == 1
    assert server.requests[0].path == "/v1/catalogue?after=1"
    assert server.requests[1].headers["flwr-timestamp"] == "now"
    assert server.requests[1].headers["content-type"] == "application/json"


def test_a_device_tells_its_version_and_nothing_else_of_itself(served):
    server, https = served(lambda *_: reply())
    https.get("/", most=0, headers={"Accept-Encoding": "gzip"})
    assert server.requests[0].headers == {
        "host": f"localhost:{server.port}",
        "user-agent": f"fedpersona/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
    }


def test_cookies_are_not_kept(served):
    server, https = served(lambda *_: reply(Set_Cookie="who=you"))
    for _ in range(2):
        https.get("/", most=0)
    assert "cookie" not in server.requests[1].headers


def test_a_proxy_of_the_environment_is_not_used(served, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert served(lambda *_: reply(b"ok"))[1].get("/", most=2).body == b"ok"


def test_an_error_of_the_server_is_an_answer(served):
    answer = served(lambda *_: reply(b"no", "403 Forbidden"))[1].get("/", most=10)
    assert (answer.ok, answer.status, answer.body) == (False, 403, b"no")


def test_what_has_not_changed_is_not_sent_again(served):
    server, https = served(lambda *_: reply(status="304 Not Modified"))
    assert https.get("/v1/release", most=0, etag='"3"').status == 304
    assert server.requests[0].headers["if-none-match"] == '"3"'
    with pytest.raises(ServerUntrusted):
        https.get("/v1/release", most=0)


def test_several_threads_may_ask_at_once(served):
    barrier = threading.Barrier(4)

    def talk(request, *_):
        barrier.wait(5)
        return reply(request.path.encode())

    _, https = served(talk)
    found = {}
    asking = [
        threading.Thread(target=lambda path=path: found.update({path: https.get(path, most=5).body}))
        for path in ("/a", "/b", "/c", "/d")
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert found == {path: path.encode() for path in ("/a", "/b", "/c", "/d")}


def test_an_answer_as_large_as_agreed_is_taken_and_one_byte_more_is_not(served):
    _, https = served(lambda *_: reply(b"x" * 1000))
    assert len(https.get("/", most=1000).body) == 1000
    with pytest.raises(ServerUnreachable, match="999 bytes"):
        https.get("/", most=999)


# -- who answers --


def test_a_certificate_of_another_authority_is_refused_before_anything_is_sent(authority, tmp_path):
    with (
        serving(lambda *_: reply(), authority.context(tmp_path)) as server,
        Https(server.address, Authority().der) as other,
        Https(server.address) as of_the_system,
    ):
        for https in (other, of_the_system):
            with pytest.raises(ServerUntrusted, match="authority that was agreed"):
                https.post("/v1/enrol", b"secret", most=10)
        assert not server.requests


def test_a_certificate_of_another_host_is_refused(authority, tmp_path):
    context = authority.context(tmp_path, [x509.DNSName("other.example")])
    with serving(lambda *_: reply(), context) as server:
        for address in (server.address, f"https://127.0.0.1:{server.port}"):
            with Https(address, authority.der) as https, pytest.raises(ServerUntrusted, match="another host"):
                https.get("/", most=10)
        assert not server.requests


@pytest.mark.parametrize(("days", "words"), [((-9, -1), "run out"), ((1, 9), "not valid yet")])
def test_a_certificate_out_of_its_time_is_refused(authority, tmp_path, days, words):
    with (
        serving(lambda *_: reply(), authority.context(tmp_path, days=days)) as server,
        Https(server.address, authority.der) as https,
        pytest.raises(ServerUntrusted, match=words),
    ):
        https.get("/", most=10)


def test_a_server_without_tls_is_refused(authority):
    with (
        serving(lambda *_: reply(), None) as server,
        Https(server.address, authority.der) as https,
        pytest.raises(ServerUntrusted, match="does not speak TLS"),
    ):
        https.get("/", most=10, seconds=5)


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("http://taste.example", ServerUntrusted),
        ("ftp://taste.example", ConfigError),
        ("taste.example", ConfigError),
        ("https://user@taste.example", ConfigError),
    ],
)
def test_only_https_is_spoken(address, error):
    with pytest.raises(error):
        Https(address)


@pytest.mark.parametrize("bad", [b"", b"not one", b"-----BEGIN CERTIFICATE-----"])
def test_an_authority_that_is_no_certificate_is_refused(bad):
    with pytest.raises(ServerUntrusted, match="no certificate"):
        Https("https://taste.example", bad)


def test_two_certificates_are_no_authority(authority):
    with pytest.raises(ServerUntrusted, match="no certificate"):
        Https("https://taste.example", authority.der + Authority().der)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent", "300 Many"])
def test_a_redirect_is_not_followed(served, status):
    server, https = served(lambda request, *_: reply(status=status, Location="/elsewhere"))
    with pytest.raises(ServerUntrusted, match="does not follow"):
        https.get("/", most=10)
    assert len(server.requests) == 1


# -- what it answers --


def test_an_answer_without_end_is_cut_off(served):
    def talk(request, connection, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")

    with pytest.raises(ServerUnreachable, match="100,000 bytes"):
        served(talk)[1].get("/", most=100_000)


def test_a_declared_length_is_refused_before_it_comes(served):
    def talk(request, connection, over):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
        over.wait(20)

    with pytest.raises(ServerUnreachable, match="more than the 100 bytes"):
        served(talk)[1].get("/", most=100, seconds=5)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_a_compressed_answer_is_not_unpacked(served, coding):
    bomb = gzip.compress(bytes(10**6))
    with pytest.raises(ServerUnreachable, match="compressed"):
        served(lambda *_: reply(bomb, Content_Encoding=coding))[1].get("/", most=10**7)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"",
        b"\x00\xff garbage \r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 999999 No\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_whole_answer_is_a_named_error(served, answer):
    def talk(request, connection, over):
        connection.sendall(answer)
        return

    with pytest.raises(ServerUnreachable) as caught:
        served(talk)[1].get("/", most=100, seconds=5)
    assert type(caught.value) is ServerUnreachable
    assert "\n" not in str(caught.value)


def test_nobody_listens(authority):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with Https(f"https://127.0.0.1:{port}", authority.der) as https, pytest.raises(ServerUnreachable, match="refused"):
        https.get("/", most=10)


def test_a_name_that_is_none(authority):
    with Https("https://nowhere.invalid", authority.der) as https, pytest.raises(ServerUnreachable):
        https.get("/", most=10, seconds=5)


def test_a_failed_call_does_not_spoil_the_next(served):
    answers = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", None])

    def talk(request, connection, over):
        broken = next(answers)
        if broken is None:
            return reply(b"whole")
        connection.sendall(broken)
        return None

    _, https = served(talk)
    with pytest.raises(ServerUnreachable):
        https.get("/", most=100)
    assert https.get("/", most=100).body == b"whole"


# -- how long it takes --


def drip(request, connection, over):
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not over.wait(0.05):
        connection.sendall(b".")


def drip_head(request, connection, over):
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not over.wait(0.05):
        connection.sendall(b".")


@pytest.mark.parametrize("talk", [drip, drip_head, hang])
def test_the_deadline_is_that_of_the_whole_answer(served, talk):
    _, https = served(talk)
    started = time.monotonic()
    with pytest.raises(ServerUnreachable, match=r"0\.4 seconds"):
        https.get("/", most=1000, seconds=0.4)
    assert time.monotonic() - started < 1.5  # a busy machine's time included


@pytest.mark.parametrize("talk", [drip, drip_head, hang])
def test_a_call_is_given_up_when_the_app_stops_and_its_connection_is_closed(served, talk):
    stop = Stop()
    _, https = served(talk, stop=stop)
    wished = []
    threading.Timer(0.2, lambda: (wished.append(time.monotonic()), stop.set())).start()
    with pytest.raises(Stopped):
        https.get("/", most=1000)
    assert time.monotonic() - wished[0] < 0.3 + 0.5  # a busy machine's time included
    wait_for(lambda: not threads(), "the abandoned thread lives on", 1.0)


def test_a_body_that_nobody_reads_is_given_up(served):
    stop = Stop()
    _, https = served(hang, stop=stop)
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        https.post("/", bytes(1 << 25), most=1000)
    wait_for(lambda: not threads(), "the abandoned thread lives on", 1.0)


def test_a_handshake_that_never_ends_is_given_up():
    stop = Stop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with Https(f"https://127.0.0.1:{silent.getsockname()[1]}", stop=stop) as https:
            threading.Timer(0.2, stop.set).start()
            with pytest.raises(Stopped):
                https.get("/", most=1000)
        wait_for(lambda: not threads(), "the abandoned thread lives on", 1.0)


def test_after_the_wish_nothing_is_asked(served):
    stop = Stop()
    server, https = served(lambda *_: reply(), stop=stop)
    stop.set()
    with pytest.raises(Stopped):
        https.get("/", most=10)
    assert server.connections == 0


def test_closing_ends_what_is_under_way_and_what_comes_later(served):
    _, https = served(hang)
    threading.Timer(0.2, https.close).start()
    started = time.monotonic()
    with pytest.raises(ServerUnreachable):
        https.get("/", most=10)
    assert time.monotonic() - started < 1
    with pytest.raises(ServerUnreachable):
        https.get("/", most=10)
    https.close()


def test_an_idle_connection_is_closed_with_the_object(served):
    server, https = served(lambda *_: reply())
    https.get("/", most=0)
    https.close()
    wait_for(lambda: server.ended == 1, "the connection is still open")


@pytest.mark.parametrize("path", ["", "v1", "/a b", "/a\r\nX: y", "/é"])
def test_a_path_is_one(path):
    with Https("https://taste.example") as https, pytest.raises(ValueError, match="path"):
        https.get(path, most=1)


def test_a_program_ends_while_a_call_hangs_and_opening_does_not_wait_for_httpx():
    program = """
import socket, sys, threading, time
import fedpersona.device.https as https, fedpersona.device.device
assert "httpx" not in sys.modules
silent = socket.create_server(("127.0.0.1", 0))
way = https.Https(f"https://127.0.0.1:{silent.getsockname()[1]}")
def hang():
    try:
        way.get("/", most=1)
    except Exception:
        pass  # on a busy machine the other side closes first
threading.Thread(target=hang, daemon=True).start()
time.sleep(0.3)
print("done", flush=True)
silent.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")

"""Small real HTTPS servers on loopback, as well-behaved or as nasty as a test wants them."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def _name(words: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, words)])


class Authority:
    """Issues certificates."""

    def __init__(self, name: str = "an authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), None)
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)

    def _signed(self, subject, key, constraints, hosts, days=(-1, 30)):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + datetime.timedelta(days=days[0]))
            .not_valid_after(now + datetime.timedelta(days=days[1]))
            .add_extension(constraints, critical=True)
        )
        if hosts is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def context(self, folder, hosts=None, days=(-1, 30)) -> ssl.SSLContext:
        """Return what a server speaks TLS with; its files are left in a folder of the test."""
        hosts = hosts or [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._signed(_name("a server"), key, x509.BasicConstraints(ca=False, path_length=None), hosts, days)
        path = folder / f"{leaf.serial_number}.pem"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + leaf.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@dataclass
class Request:
    """What a device asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Talk = Callable[[Request, socket.socket, threading.Event], bytes | None]
"""Answers a request: with the bytes to send, or by itself on the socket; the event says that the test has ended."""


def reply(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return an HTTP answer as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Server:
    """One server; :attr:`requests` are those it read whole. Without a context it knows no TLS and says so."""

    def __init__(self, talk: Talk, context: ssl.SSLContext | None) -> None:
        self._talk = talk
        self._context = context
        self.over = threading.Event()
        self.requests: list[Request] = []
        self.connections = 0
        self.ended = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self.address = f"https://localhost:{self.port}"
        self._start(self._accept)

    def _start(self, target, *args) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with self._listener:
            while not self.over.is_set():
                with suppress(TimeoutError):
                    connection, _ = self._listener.accept()
                    self.connections += 1
                    self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            else:
                connection.recv(65536)
                connection.sendall(reply(status="400 Bad Request"))
                return
            self._open.add(connection)
            while not self.over.is_set() and (request := _read(connection)) is not None:
                self.requests.append(request)
                answer = self._talk(request, connection, self.over)
                if answer is None:
                    return
                connection.sendall(answer)
        except (OSError, ValueError):
            pass
        finally:
            self.ended += 1
            self._open.discard(connection)
            connection.close()

    def close(self) -> None:
        self.over.set()
        for connection in tuple(self._open):
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(6)


def _read(connection: socket.socket) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    method, path, _ = first.split(" ")
    return Request(method, path, headers, body)


@contextmanager
def serving(talk: Talk, context: ssl.SSLContext | None) -> Iterator[Server]:
    """Serve as long as the context lasts."""
    server = Server(talk, context)
    try:
        yield server
    finally:
        server.close()

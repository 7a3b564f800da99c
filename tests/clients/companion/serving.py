"""A Companion that serves one invented person's device in a thread, and a browser made of plain requests."""

from __future__ import annotations

import http.client
import re
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import uvicorn

from clients.companion.__main__ import _listening
from clients.companion.app import build
from clients.companion.owner import Owner
from clients.companion.security import HOST, Door
from fedpersona.device.device import Device


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Plain:
    """A browser that follows no redirect and keeps one cookie."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cookie = ""

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str | None) -> Answer:
        """Send a request with the headers that a browser sends from our own page; None leaves one out."""
        sent: dict[str, str | None] = {
            "Host": f"{HOST}:{self.port}",
            "Cookie": self.cookie or None,
            "Sec-Fetch-Site": "same-origin",
            "Origin": "null" if method == "POST" else None,
            "Content-Length": str(len(body)) if method == "POST" else None,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection = http.client.HTTPConnection(HOST, self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str | None) -> Answer:
        return self.ask("GET", path, **headers)

    def enter(self, address: str) -> Answer:
        """Open a one-time address and keep the cookie."""
        answer = self.get(address.removeprefix(f"http://{HOST}:{self.port}"), Sec_Fetch_Site="none")
        for name, value in SimpleCookie(answer.headers.get("Set-Cookie", "")).items():
            self.cookie = f"{name}={value.value}"
        return answer

    def secret(self, path: str = "/yours") -> str:
        """Return the secret that the forms of a page carry."""
        found = re.search(r'name="form_secret" value="([^"]+)"', self.get(path).text)
        assert found is not None
        return found[1]

    def post(self, path: str, fields: dict[str, str] | None = None, *, secret: bool = True, **headers: str) -> Answer:
        """Send a form."""
        whole = {**({"form_secret": self.secret()} if secret else {}), **(fields or {})}
        kind = {"Content_Type": "application/x-www-form-urlencoded", **headers}
        return self.ask("POST", path, urlencode(whole).encode(), **kind)

    def upload(self, content: bytes, name: str = "history.zip", *, secret: str | None = None) -> Answer:
        """Send a file to the import."""
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="form_secret"\r\n\r\n'
            f"{self.secret() if secret is None else secret}\r\n"
            f'--{boundary}\r\nContent-Disposition: form-data; name="history"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body = head + content + f"\r\n--{boundary}--\r\n".encode()
        return self.ask("POST", "/yours/import", body, Content_Type=f"multipart/form-data; boundary={boundary}")


@dataclass
class Served:
    """A running Companion."""

    device: Device
    owner: Owner
    door: Door
    addresses: list[str]
    port: int
    thread: threading.Thread

    def browser(self) -> Plain:
        """Return a browser that was let in."""
        found = Plain(self.port)
        assert found.enter(self.door.show_address()).status == 303
        return found

    def stranger(self) -> Plain:
        """Return one that was not."""
        return Plain(self.port)


@contextmanager
def serving(device: Device) -> Iterator[Served]:
    """Serve a device until the context ends."""
    listening = _listening(0)
    port = listening.getsockname()[1]
    addresses: list[str] = []
    door = Door(port, addresses.append)
    owner = Owner(device)
    server = uvicorn.Server(
        uvicorn.Config(
            build(owner, door, lambda: setattr(server, "should_exit", True)),
            ws="none",
            access_log=False,
            log_level="critical",
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + 10
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        yield Served(device, owner, door, addresses, port, thread)
    finally:
        server.should_exit = True
        thread.join(10)
        owner.close()
        listening.close()

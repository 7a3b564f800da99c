"""A real front over TLS on loopback, before a small stand-in for the SuperLink."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

import httpx
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.front.serving import serve_until
from fedpersona.aggregation.journal import Journal
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.roster import Roster
from fedpersona.aggregation.setup import NewServer, initialise
from fedpersona.catalogue import Catalogue
from fedpersona.errors import ServerError
from fedpersona.wire.enrolment import enrolment_words

PULL = "/v1/fleet/pull-messages"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Control:
    """Registers nodes as Flower's Control API would."""

    def __init__(self):
        self.nodes: dict[bytes, int] = {}
        self.calls = 0
        self.down = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def register_node(self, public_key: bytes) -> int:
        self.calls += 1
        if self.down:
            raise ServerError("the SuperLink does not answer")
        return self.nodes.setdefault(public_key, 2**63 + 7 + len(self.nodes))

    def unregister_node(self, node_id: int) -> None:
        return None


class Device:
    """The keys of one device."""

    def __init__(self):
        public = ec.generate_private_key(ec.SECP384R1()).public_key()
        self.flower_key = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.signing = Ed25519PrivateKey.generate()

    @property
    def headers(self) -> dict[str, str]:
        key = base64.b64encode(self.flower_key).decode()
        return {"flwr-public-key": key, "flwr-signature": "c2ln", "content-type": "application/x-protobuf"}

    @property
    def signing_key(self) -> bytes:
        return self.signing.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def request(self, federation: str, token: str) -> dict[str, str]:
        proof = self.signing.sign(enrolment_words(federation, token, self.flower_key))
        return {
            "token": token,
            "flower_key": self.flower_key.decode(),
            "signing_key": self.signing_key.hex(),
            "proof": proof.hex(),
        }


@dataclass
class StandIn:
    """What the stand-in for the SuperLink received, and what it is to do."""

    seen: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answer: str = "echo"
    most: int = 0
    """Requests at one time."""
    _now: int = 0

    async def __call__(self, request: Request) -> Response:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._answered(request)
        finally:
            self._now -= 1

    async def _answered(self, request: Request) -> Response:
        body = await request.body()
        self.seen.append((request.url.path, dict(request.headers), body))
        if self.answer == "fails":
            return Response("database is locked", status_code=500)
        if self.answer == "slow":
            await asyncio.sleep(0.05)
        if self.answer == "elsewhere":
            return RedirectResponse("https://example.org/")
        if self.answer == "pieces":
            return StreamingResponse(iter([b"a" * 70_000, b"b" * 70_000]), headers={"x-secret": "1"})
        headers = {"set-cookie": "a=b", "flwr-version-incompatibility-message": "old"}
        return Response(body[::-1], media_type="application/x-protobuf", headers=headers)


class _StandInServer(uvicorn.Server):
    async def shutdown(self, sockets=None):
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # what the front keeps for later would never say goodbye
        await super().shutdown(sockets)


@contextlib.contextmanager
def stand_in(config):
    """Serve the stand-in where the configuration has the SuperLink."""
    answers = StandIn()

    async def answer(request: Request) -> Response:
        return await answers(request)

    server = _StandInServer(
        uvicorn.Config(
            Starlette(routes=[Route("/{rest:path}", answer, methods=["GET", "POST"])]),
            host="127.0.0.1",
            port=config.server.superlink_port,
            ssl_certfile=config.server.superlink_certificate,
            ssl_keyfile=config.server.superlink_key,
            log_config=None,
            loop="asyncio",
            http="h11",
            ws="none",
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until(lambda: server.started)
        yield answers
    finally:
        server.should_exit = True
        thread.join()


def until(condition, seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)


class Front:
    """A front that runs, and the same state as another process would see it."""

    def __init__(self, config, control):
        self.config, self.control = config, control
        self.database = Database.open(config.database)
        self.roster, self.journal = Roster(self.database), Journal(self.database)
        self.registry = Registry(self.database, config.models)
        self.tls = ssl.create_default_context(cafile=config.server.authority)
        self.http = httpx.Client(verify=self.tls, base_url=config.server.address, trust_env=False, timeout=10.0)
        self.ops = httpx.Client(base_url=f"http://{config.server.ops}", trust_env=False)

    def enrol(self) -> Device:
        """Enrol a device the way a device does."""
        device = Device()
        answer = self.ask_in(device, self.roster.issue_token(1))
        assert answer.status_code == 200, answer.text
        return device

    def ask_in(self, device: Device, token: str, /, **changed) -> httpx.Response:
        return self.http.post("/v1/enrol", json=device.request(self.config.federation.name, token) | changed)

    def pull(self, device: Device, body: bytes = b"abc", path: str = PULL) -> httpx.Response:
        return self.http.post(path, content=body, headers=device.headers)

    def raw(self, data: bytes = b"") -> ssl.SSLSocket:
        """Open a connection of one's own and send these bytes."""
        endpoint = self.config.server.listen_at
        plain = socket.create_connection((endpoint.host, endpoint.port), timeout=10)
        wrapped = self.tls.wrap_socket(plain, server_hostname="127.0.0.1")
        wrapped.sendall(data)
        return wrapped

    def say(self, data: bytes) -> bytes:
        """Send bytes and return all that comes until the server closes."""
        with self.raw(data) as connection:
            return b"".join(iter(lambda: _received(connection), b""))

    def counted(self, name: str, **labels: str) -> float:
        text = self.ops.get("/metrics").text
        said = ",".join(f'{key}="{value}"' for key, value in labels.items())
        wanted = f"{name}{{{said}}} " if labels else f"{name} "
        return sum(float(line.removeprefix(wanted)) for line in text.splitlines() if line.startswith(wanted))

    def close(self) -> None:
        self.http.close()
        self.ops.close()
        self.database.close()


def _received(connection: ssl.SSLSocket) -> bytes:
    try:
        return connection.recv(65_536)
    except (ConnectionResetError, ssl.SSLError):
        return b""


def new_server(folder, **limits):
    """Return the configuration of a new server on free ports."""
    catalogue = Catalogue.create(["i1", "i2"], titles=["A", "B"], artists=["C", "D"], kind="track")
    asked = NewServer(
        name="Test people",
        address=f"https://127.0.0.1:{free_port()}",
        ops=f"127.0.0.1:{free_port()}",
        superlink_port=free_port(),
    )
    config = initialise(folder / "server", asked, catalogue)
    return config.model_copy(update={"limits": config.limits.model_copy(update=limits)})


@contextlib.contextmanager
def fronting(config, *, record=None):
    """Run a front in a thread."""
    control = Control()
    started, failed = threading.Event(), []
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def main() -> None:
        stop = asyncio.Event()
        loops.append((asyncio.get_running_loop(), stop))
        await serve_until(stop, config, control=lambda: control, record=record, ready=started.set)

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:  # the test must not wait for ever
            failed.append(error)
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    if failed:
        raise failed[0]
    front = Front(config, control)
    try:
        yield front
    finally:
        front.close()
        loop, stop = loops[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        assert not failed, failed

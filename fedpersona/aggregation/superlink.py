"""The SuperLink: Flower's server process, how it is started, and what we ask of its Control API on loopback.

One port of a SuperLink serves devices (Fleet), operators (Control) and apps (Runtime), and Control asks nobody who
they are. So the port is bound to loopback, and devices reach it through the front only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fedpersona.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["QUIET", "Control", "RunState", "SuperLink"]

QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}
"""No telemetry, no look for newer versions, nothing installed at run time."""

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class SuperLink:
    """Where one SuperLink listens and keeps its state."""

    port: int
    certificate: Path
    key: Path
    authority: Path
    """PEM files: its certificate for loopback, the key, and the authority that both sides of loopback trust."""
    database: Path
    home: Path
    """Flower's own folder, where it unpacks bundles; never the operator's home."""

    @property
    def address(self) -> str:
        """Host and port, as Flower's tools take it."""
        return f"{_HOST}:{self.port}"

    def command(self) -> list[str]:
        """Return the command line of the process."""
        return [
            str(Path(sys.executable).with_name("flower-superlink")),
            *("--host", _HOST, "--port", str(self.port)),
            *("--ssl-certfile", str(self.certificate), "--ssl-keyfile", str(self.key)),
            *("--ssl-ca-certfile", str(self.authority)),
            *("--database", str(self.database)),
            "--enable-supernode-auth",
            "--disable-runtime-dependency-installation",
        ]

    def environment(self) -> dict[str, str]:
        """Return the environment of the process: ours, Flower kept quiet, and its tools on the path."""
        tools = str(Path(sys.executable).parent)
        path = os.pathsep.join((tools, os.environ.get("PATH", os.defpath)))
        return {**os.environ, **QUIET, "FLWR_HOME": str(self.home), "PATH": path}


@dataclass(frozen=True)
class RunState:
    """How a run of a ServerApp is doing, in Flower's words."""

    status: str
    """``pending``, ``starting``, ``running`` or ``finished``."""
    outcome: str
    """``completed``, ``failed`` or ``stopped``, empty while it is not finished."""
    details: str

    @property
    def over(self) -> bool:
        """Whether it is finished, well or not."""
        return self.status == "finished"


class Control:
    """The Control API of a SuperLink, over loopback.

    Raises:
        ServerError: (from every method) it does not answer, or says no.
    """

    def __init__(self, superlink: SuperLink) -> None:
        from flwr.supercore.control.control_http_client import ControlHttpClient

        self._client = ControlHttpClient.from_server_address(
            superlink.address,
            insecure=False,
            root_certificates=superlink.authority.read_bytes(),
            interceptors=[],
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def register_node(self, public_key: bytes) -> int:
        """Let the device with this key (PEM) take part; return its node id. Known already: the id it has."""
        from flwr.proto.control_pb2 import RegisterNodeRequest

        try:
            answer = self._ask(self._client.RegisterNode, RegisterNodeRequest(public_key=public_key))
        except ServerError:
            for node in self._nodes():
                if node.public_key == public_key:
                    return int(node.node_id)
            raise
        return int(answer.node_id)

    def unregister_node(self, node_id: int) -> None:
        """Take a device off the list. One that is not on it is no error."""
        from flwr.proto.control_pb2 import UnregisterNodeRequest

        if any(node.node_id == node_id for node in self._nodes()):
            self._ask(self._client.UnregisterNode, UnregisterNodeRequest(node_id=node_id))

    def nodes(self) -> dict[bytes, int]:
        """Return the node ids of all devices that Flower knows, by public key (PEM)."""
        return {bytes(node.public_key): int(node.node_id) for node in self._nodes() if node.status != "unregistered"}

    def start_run(self, bundle: bytes, config: Mapping[str, str]) -> int:
        """Start a ServerApp with this bundle and run configuration; return the run's id."""
        import hashlib

        from flwr.common.serde import fab_to_proto, user_config_to_proto
        from flwr.proto.control_pb2 import StartRunRequest
        from flwr.supercore.fab import Fab

        fab = Fab(hashlib.sha256(bundle).hexdigest(), bundle, {})
        request = StartRunRequest(fab=fab_to_proto(fab), override_config=user_config_to_proto(dict(config)))
        return int(self._ask(self._client.StartRun, request).run_id)

    def stop_run(self, run_id: int) -> None:
        """Stop a run."""
        from flwr.proto.control_pb2 import StopRunRequest

        self._ask(self._client.StopRun, StopRunRequest(run_id=run_id))

    def run_state(self, run_id: int) -> RunState | None:
        """Return how a run is doing, None where there is no such run."""
        return self.runs().get(run_id)

    def runs(self) -> dict[int, RunState]:
        """Return the newest runs by id."""
        from flwr.proto.control_pb2 import ListRunsRequest

        found = self._ask(self._client.ListRuns, ListRunsRequest(limit=50)).run_dict
        return {
            int(number): RunState(run.status.status, run.status.sub_status, run.status.details)
            for number, run in found.items()
        }

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _nodes(self) -> list[Any]:
        from flwr.proto.control_pb2 import ListNodesRequest

        return list(self._ask(self._client.ListNodes, ListNodesRequest()).nodes_info)

    def _ask(self, call: Callable[[Any], Any], request: Any) -> Any:
        import httpx

        try:
            return call(request)
        except httpx.HTTPStatusError as error:
            raise ServerError(
                f"the SuperLink said no ({error.response.status_code}: {error.response.text[:300]}); see its log"
            ) from None
        except (httpx.HTTPError, ValueError) as error:
            raise ServerError(f"the SuperLink does not answer ({type(error).__name__}); see its log") from None

"""``fedpersona serve``: make a server, and run it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedpersona.cli.opening import Json, note, say
from fedpersona.errors import ConfigError, DataError, DataNotFound

if TYPE_CHECKING:
    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.catalogue import Catalogue

__all__ = ["Config", "found_config", "serve_app"]

serve_app = typer.Typer(
    name="serve",
    help="Run the server of a federation, or make a new one with 'init'.",
    rich_markup_mode="rich",
    invoke_without_command=True,
)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The server's file; by default server.toml here, or in the folder server."),
]

_PLACES = (Path("server.toml"), Path("server") / "server.toml")
_LARGEST = 2 << 30  # bytes of a catalogue to read


def found_config(path: Path | None) -> ServerConfig:
    """Load the configuration that was named, or the one that lies here.

    Raises:
        DataNotFound: there is none.
        ConfigError: it is not what it should be.
        UnsafeServer: it would speak without TLS to other machines.
    """
    from fedpersona.aggregation.config import ServerConfig

    file = path or next((place for place in _PLACES if place.is_file()), None)
    if file is None:
        raise DataNotFound(
            "no server.toml is here or in the folder server: name it with --config, "
            "or make a server with 'fedpersona serve init server'"
        )
    return ServerConfig.load(file)


@serve_app.callback()
def serve(context: typer.Context, config: Config = None) -> None:
    """Run the server until Ctrl-C or SIGTERM: Flower's SuperLink, the front and the operator's pages."""
    if context.invoked_subcommand is not None:
        return
    from fedpersona.aggregation import supervisor

    found = found_config(config)
    server = found.server
    say(f"Starting '{found.federation.name}' …")

    def on_ready() -> None:
        scheme = "http" if server.behind_proxy else "https"
        say(f"  devices and the public page   {server.address}  (listening on {scheme}://{server.listen})")
        say(f"  for you alone                 http://{server.ops}  (dashboard, /healthz, /readyz, /metrics)")
        say(f"  learns                        {found.model.name}, {found.schedule.kind}")
        if found.privacy is not None:
            say(f"  privacy                       {found.privacy.noise} noise; see 'fedpersona server budget show'")
        say(f"  kept in                       {server.state}  (logs in {found.logs})")
        say(f"Running. Invite a device with: fedpersona server enrol --config {shlex.quote(str(found.file))}")
        say("Stop with Ctrl-C.")

    supervisor.serve(found, on_ready)
    say("Stopped: everything that was learned is kept.")


@serve_app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to make it; files of other names in it are left alone.")],
    name: Annotated[str, typer.Option("--name", help="What devices know the federation by.")] = "My federation",
    address: Annotated[str, typer.Option("--address", help="What devices use, https://…")] = "https://127.0.0.1:8443",
    listen: Annotated[
        str, typer.Option("--listen", help="host:port to listen on; by default the port of the address.")
    ] = "",
    operator: Annotated[str, typer.Option("--operator", help="Who runs it, for the public page.")] = "",
    host: Annotated[
        list[str] | None, typer.Option("--host", help="Further name or IP address for the certificate; repeat it.")
    ] = None,
    superlink_port: Annotated[
        int, typer.Option("--superlink-port", min=1, max=65_535, help="Port of the SuperLink, on loopback.")
    ] = 9092,
    ops: Annotated[str, typer.Option("--ops", help="host:port of the operator's pages, on loopback.")] = (
        "127.0.0.1:9100"
    ),
    catalogue: Annotated[
        Path | None,
        typer.Option(
            "--catalogue",
            help="A sealed catalogue (it is sealed again by the new key), or a file of JSON lines "
            r"[id, title, artist, \[tags], \[links]]; by default the starter catalogue.",
        ),
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option("--epsilon", help="Keep a privacy budget: what the federation may cost a person over its life."),
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="The delta that belongs to it; 1e-6 by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a new server: configuration, local authority, certificates, signing key and catalogue."""
    from fedpersona.aggregation.setup import NewServer, initialise

    if delta is not None and epsilon is None:
        raise ConfigError("--delta goes with --epsilon: without it no noise is added, and no budget kept")
    items = _catalogue(catalogue)
    said = NewServer(
        name=name,
        address=address,
        listen=listen,
        operator=operator,
        hosts=tuple(host or ()),
        superlink_port=superlink_port,
        ops=ops,
        epsilon=epsilon,
        delta=NewServer.delta if delta is None else delta,
    )
    made = initialise(folder, said, items)
    if as_json:
        typer.echo(json.dumps({"config": str(made.file), "address": made.server.address, "items": len(items)}))
        return
    file = shlex.quote(str(folder / made.file.name))
    say(f"{folder}: a new server for '{name}', with a catalogue of {len(items):,} items.")
    say("Next:")
    say(f"  fedpersona serve --config {file}")
    say(f"  fedpersona server enrol --config {file}")
    note(f"keep a copy of {folder / 'keys'} in a safe place: devices trust these keys and no others.")


def _catalogue(file: Path | None) -> Catalogue:
    """Return the starter catalogue, or the one in a file, sealed by anyone or JSON lines."""
    if file is None:
        from fedpersona.device.starter import catalogue

        return catalogue()
    from fedpersona.wire.signed_catalogue import signer, unseal

    if not file.is_file():
        raise DataNotFound("there is no such catalogue", path=file)
    if file.stat().st_size > _LARGEST:
        raise DataError(f"is over {_LARGEST >> 30} GiB: no catalogue is that large", path=file)
    data = file.read_bytes()
    if data.lstrip()[:1] == b"[":
        return _from_lines(file, data)
    try:
        return unseal(data, [signer(data)]).catalogue
    except DataError as error:
        raise DataError(str(error), path=file) from None


def _from_lines(file: Path, data: bytes) -> Catalogue:
    from fedpersona.catalogue import Catalogue

    rows = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not _fits(row):
            raise DataError("is no item: give [id, title, artist, [tags], [links]]", path=file, place=f"line {number}")
        rows.append(row)
    linked = any(row[4] for row in rows)
    return Catalogue(
        ids=tuple(row[0] for row in rows),
        titles=tuple(row[1] for row in rows),
        artists=tuple(row[2] for row in rows),
        tags=tuple(tuple(row[3]) for row in rows),
        kind="track",
        links=tuple(tuple(row[4]) for row in rows) if linked else (),
    )


def _fits(row: object) -> bool:
    if not isinstance(row, list) or len(row) != 5:
        return False
    texts, lists = row[:3], row[3:]
    return all(isinstance(text, str) for text in texts) and all(
        isinstance(few, list) and all(isinstance(one, str) for one in few) for few in lists
    )

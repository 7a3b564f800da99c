"""``python -m clients.companion``: show what one's own device keeps, in one's own browser."""

from __future__ import annotations

import argparse
import getpass
import logging
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from clients.companion.app import build
from clients.companion.owner import Owner
from clients.companion.security import HOST, Door
from fedpersona.device.device import Device
from fedpersona.errors import FedpersonaError, OutputError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the Companion until it is stopped, and return the exit code."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(format="companion: %(message)s", level=logging.WARNING, stream=sys.stderr)
    try:
        with _listening(chosen.port) as listening:
            return _serve(listening, chosen.folder, open_browser=chosen.open)
    except FedpersonaError as error:
        print(f"companion: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients.companion",
        description="Show what your device keeps and what left it, on a page that only you can open.",
    )
    parser.add_argument("--folder", type=Path, default=Path("~/.fedpersona"), help="where everything is kept")
    parser.add_argument("--port", type=_port, default=0, help="of 127.0.0.1; by default one that is free")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let another program take the port over
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise OutputError(f"port {port} of {HOST} cannot be used ({error.strerror}): choose another --port") from None
    return listening


def _serve(listening: socket.socket, folder: Path, *, open_browser: bool) -> int:
    door = Door(listening.getsockname()[1], _print)
    with Device.open(folder, passphrase=_ask if sys.stdin.isatty() else None) as device:
        owner = Owner(device)
        for words in device.notices:
            _print(f"Note: {words}")
        app = build(owner, door, lambda: setattr(server, "should_exit", True))
        server = uvicorn.Server(
            # No log of requests: the address that lets a browser in would be in it.
            uvicorn.Config(
                app,
                access_log=False,
                log_level="warning",
                lifespan="off",
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=2,
                limit_concurrency=64,
            )
        )
        _print("The Companion of your device. Open this address in your browser; Ctrl-C ends it.")
        address = door.show_address()
        if open_browser:
            webbrowser.open(address)
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            door.close()
            owner.close()
    return 0


def _print(words: str) -> None:
    print(words, flush=True)


def _ask() -> str:
    return getpass.getpass("Passphrase: ")


if __name__ == "__main__":
    sys.exit(main())

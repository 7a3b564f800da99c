"""Which writer a file's suffix asks for, and files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from fedpersona.errors import ConfigError, OutputError
from fedpersona.playlists.jspf import jspf
from fedpersona.playlists.m3u8 import m3u8
from fedpersona.playlists.playlist import Playlist
from fedpersona.playlists.xspf import xspf

__all__ = ["FORMATS", "render", "save"]

FORMATS: Mapping[str, Callable[[Playlist], str]] = MappingProxyType({"xspf": xspf, "jspf": jspf, "m3u8": m3u8})
"""Every writer, by the suffix of its files."""


def render(playlist: Playlist, format_name: str) -> bytes:
    """Return the playlist in a format by name, UTF-8.

    Raises:
        ConfigError: there is no such format.
    """
    if format_name not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise ConfigError(f"no playlist is written as '.{format_name}': end the file's name in one of {known}")
    return FORMATS[format_name](playlist).encode()


def save(playlist: Playlist, path: str | Path) -> Path:
    """Write the playlist in the format of the file's suffix; an existing file is replaced whole.

    A new file may be read by its owner only, since it tells what they listen to; one that is replaced keeps its
    permissions, and through a link the file it names is replaced.

    Args:
        playlist: what to write.
        path: where; ``~`` is the home folder, and the folder must be there.

    Returns:
        The file written.

    Raises:
        ConfigError: there is no format of this suffix.
        OutputError: the file cannot be written; what was there before is as it was.
    """
    body = render(playlist, Path(path).suffix.lower().removeprefix("."))
    try:
        target = Path(path).expanduser()
        _replace(Path(os.path.realpath(target)), body)
    except (OSError, RuntimeError, ValueError) as error:  # no such home folder; a zero byte in the name
        why = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"{path}: the playlist cannot be written ({why}); name another place") from None
    return target


def _replace(target: Path, body: bytes) -> None:
    handle, name = tempfile.mkstemp(prefix=".playlist-", suffix=".partial", dir=target.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            partial.chmod(target.stat().st_mode & 0o777)
        partial.replace(target)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise

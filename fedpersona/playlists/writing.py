"""Which writer a file's suffix asks for, and files that are whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from fedpersona.errors import ConfigError, OutputError
from fedpersona.playlists.jspf import jspf
from fedpersona.playlists.m3u8 import m3u8
from fedpersona.playlists.playlist import Playlist
from fedpersona.playlists.xspf import xspf

__all__ = ["FORMATS", "render", "save"]

FORMATS: Mapping[str, Callable[[Playlist], str]] = {"xspf": xspf, "jspf": jspf, "m3u8": m3u8}
"""Every writer, by the suffix of its files."""


def render(playlist: Playlist, format_name: str) -> bytes:
    """Return the playlist in a format by name, UTF-8.

    Raises:
        ConfigError: there is no such format.
    """
    if format_name not in FORMATS:
        raise ConfigError(f"playlists are written as {', '.join(FORMATS)}, not '{format_name}': change the suffix")
    return FORMATS[format_name](playlist).encode("utf-8", errors="replace")


def save(playlist: Playlist, path: str | Path) -> Path:
    """Write the playlist in the format of the file's suffix; an existing file is replaced whole.

    Raises:
        ConfigError: there is no format of this suffix.
        OutputError: the file cannot be written; what was there before is as it was.
    """
    target = Path(path).expanduser()
    body = render(playlist, target.suffix.lower().removeprefix("."))
    try:
        handle, partial = tempfile.mkstemp(prefix=f".{target.stem[:50]}-", suffix=".partial", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); name another place") from None
    return target

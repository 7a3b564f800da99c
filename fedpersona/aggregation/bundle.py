"""What Flower calls an app bundle (FAB): two files that name our ServerApp, and nothing of anyone's.

A SuperLink runs what a bundle names. Ours names code that is installed beside it, so the bundle carries no code of
its own; devices never ask for it.
"""

from __future__ import annotations

__all__ = ["server_bundle"]

_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "fedpersona-server"
version = "1.0.0"
description = "The coordinator of a fedpersona federation."
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "fedpersona"
fab-include = ["coordinator.py"]

[tool.flwr.app.components]
serverapp = "coordinator:app"
clientapp = "coordinator:nobody"

[tool.flwr.app.config]
server = ""
"""

_MODULE = """\
from fedpersona.aggregation.serverapp import app, nobody

__all__ = ["app", "nobody"]
"""


def server_bundle() -> bytes:
    """Return the bundle's bytes, the same each time."""
    import warnings

    from flwr.cli.build import build_fab_from_files

    files = {"pyproject.toml": _PROJECT.encode(), "coordinator.py": _MODULE.encode()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Flower's, about the names of path patterns
        return build_fab_from_files(files)[0]

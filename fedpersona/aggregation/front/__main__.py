"""``python -m fedpersona.aggregation.front CONFIG``: the front as a process, as the supervisor starts it."""

from __future__ import annotations

import sys

from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.front.serving import serve
from fedpersona.errors import InputError


def main(arguments: list[str]) -> int:
    """Serve; return 0 after an orderly end, 2 where a person can mend what is wrong."""
    if len(arguments) != 1:
        print("usage: python -m fedpersona.aggregation.front server.toml", file=sys.stderr)
        return 2
    try:
        config = ServerConfig.load(arguments[0])
        serve(config, ready=lambda: print(f"ready {config.server.listen} {config.server.ops}", flush=True))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

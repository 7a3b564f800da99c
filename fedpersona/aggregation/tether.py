"""Becomes another program that ends when the process which started it ends, even by ``kill -9``.

Run by its path, with the standard library alone::

    python -I tether.py PARENT PROGRAM ARGUMENT...

Linux only does the tying; elsewhere the program starts all the same.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _become(parent: int, command: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it ended before it was asked to tell
            raise SystemExit(1)
    os.execvp(command[0], command)  # noqa: S606 - a list, no shell


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])

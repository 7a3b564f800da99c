"""How a command ends: with its result, or with one sentence on stderr and an exit code.

0 done; 2 something a person can mend, or stopped by a person; 1 an error of our own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click
from rich.console import Console

from fedpersona.errors import FedpersonaError, InputError, Refusal, RoundFailed, SumOverflow

__all__ = ["one_sentence"]

_INTERRUPTED = 130


def _fail(sentence: str, code: int) -> NoReturn:
    from fedpersona.simulation.narration import printable

    console = Console(stderr=True, soft_wrap=True)
    console.print(f"fedpersona: {printable(sentence)}", markup=False, highlight=False, style="red")
    raise SystemExit(code)


def one_sentence(command: Callable[[], Any]) -> int:
    """Call ``command``; on an error print one sentence on stderr and leave with its exit code.

    Returns:
        The exit code that the command gave, 0 for none.
    """
    try:
        code = command()
        if code == _INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
    except (KeyboardInterrupt, click.Abort):
        _fail("stopped; what was begun is there whole, or not at all", 2)
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "fedpersona"
        _fail(f"{error.format_message()} See '{place} --help'.", 2)
    except InputError as error:
        _fail(str(error), 2)
    except FedpersonaError as error:
        _fail(str(error), 2 if _mendable(error) else 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has left
        raise SystemExit(1) from None
    except OSError as error:
        _fail(f"{error.filename or 'the file system'}: {error.strerror or error}", 2)
    except Exception as error:  # a bug of ours: one sentence, and how to see more
        if os.environ.get("FEDPERSONA_DEBUG", "") not in ("", "0"):
            raise
        _fail(f"internal error: {type(error).__name__}: {error}. Set FEDPERSONA_DEBUG=1 to see where.", 1)
    return code if isinstance(code, int) else 0


def _mendable(error: FedpersonaError) -> bool:
    return isinstance(error, Refusal | RoundFailed | SumOverflow)

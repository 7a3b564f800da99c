"""``fedpersona demo``: a whole federation on one machine, or a fast look at a simulation."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fedpersona.cli.run_options import Json, Seed, group
from fedpersona.cli.running import run
from fedpersona.errors import ConfigError

__all__ = ["demo"]


def demo(
    seed: Seed = 0,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="FOLDER", help="Leave server, devices and the recorded traffic in a new folder."
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="No server and no network: 2,000 people in this process, and a report.")
    ] = False,
    people: Annotated[
        int | None, group("With --fast", min=100, max=1_000_000, help="Invented people; 2,000 by default.")
    ] = None,
    out: Annotated[
        Path | None, group("With --fast", help="Folder to leave the run in; by default a new one under runs/.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Watch a whole federation on this machine: a server over TLS, twenty devices, invented people, mishaps.

    Two owners never say yes, one device is killed in the middle of a round, one is revoked. In the end all traffic is
    searched for anything of anybody's history; the exit code is 1 where something is found. About two minutes.

    [dim]Examples:[/dim]
      fedpersona demo
      fedpersona demo --fast
    """
    if not fast:
        for name, value in (("people", people), ("out", out)):
            if value is not None:
                raise ConfigError(f"--{name} is for 'fedpersona demo --fast': the whole demo has twenty people")
        _whole_demo(seed, keep, as_json=as_json)
        return
    if keep is not None:
        raise ConfigError("--keep is for the whole demo: 'fedpersona demo --fast' leaves its run in --out")
    from fedpersona.simulation import RunConfig

    config = RunConfig(dataset="synthetic", people=people or 2000, model="subspace", seed=seed)
    run(config, out, as_json=as_json, listener=None, show_list=True)


def _whole_demo(seed: int, keep: Path | None, *, as_json: bool) -> None:
    from fedpersona.simulation.demo import DemoConfig, run_demo

    result = run_demo(DemoConfig(seed=seed, keep=keep), Console(stderr=as_json, highlight=False))
    if as_json:
        sys.stdout.write(json.dumps(result.summary()) + "\n")
    if not result.clean:
        raise typer.Exit(1)

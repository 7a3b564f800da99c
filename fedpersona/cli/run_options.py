"""Options of a run: their types, and how words of the command line become its configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click
import typer

from fedpersona.cli.privacy import check_delta, check_epsilon, check_noise
from fedpersona.errors import ConfigError

if TYPE_CHECKING:
    from fedpersona.simulation import RunConfig

__all__ = [
    "Json",
    "Listener",
    "Out",
    "Seed",
    "config_of",
    "group",
    "on_device",
    "only_how_it_is_run",
    "promised",
    "setting_of",
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, logs on stderr.")]
Out = Annotated[Path | None, typer.Option(help="Folder to leave the run in; by default a new one under runs/.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Another seed: another initial model, other cohorts and people.")
]
Listener = Annotated[
    int | None,
    typer.Option(help="Show the weekly list of the person with this id, as the dataset numbers people; kept nowhere."),
]


HOW_IT_IS_RUN = ("data", "out", "as_json", "listener", "workers", "cluster", "shards", "log", "checkpoint_seconds")
"""Options that decide no number: they may be given next to a configuration that is whole."""
_SPELT = {"setting": "set", "ceiling": "no-ceiling"}


def group(panel: str, *names: str, **options: Any) -> Any:
    """Return an option that the help shows in a panel of its own."""
    return typer.Option(*names, rich_help_panel=panel, **options)


def config_of(**values: Any) -> RunConfig:
    """Make a configuration.

    Raises:
        ConfigError: an option is out of its range.
    """
    from pydantic import ValidationError

    from fedpersona.simulation import RunConfig

    try:
        return RunConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        nested = first["loc"][0] == "behaviour" and len(first["loc"]) > 1
        option = str(first["loc"][1 if nested else 0])
        given = first["input"]
        raise ConfigError(
            f"--{option.replace('_', '-')} {given}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from None


def only_how_it_is_run(context: typer.Context, config: RunConfig, whole: str, *, but: str) -> RunConfig:
    """Return a configuration that was read, run as this command says.

    Args:
        context: of the command.
        config: as it was read.
        whole: what holds it.
        but: the option or argument that named it.

    Raises:
        ConfigError: an option was given that would change a number.
    """
    given = [
        name for name in context.params if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    ]
    for name in given:
        if name not in HOW_IT_IS_RUN and name != but:
            option = _SPELT.get(name, name.replace("_", "-"))
            raise ConfigError(f"{whole} holds a whole configuration: leave out --{option}")
    changes: dict[str, Any] = {"workers": context.params["workers"]}
    for name in ("data", "cluster", "shards"):
        if context.params[name] is not None:
            changes[name] = str(context.params[name]) if name == "data" else context.params[name]
    return config.model_copy(update=changes)


def setting_of(pair: str) -> tuple[str, Any]:
    """Return name and value of ``NAME=VALUE``; a value that is not JSON is a word.

    Raises:
        ConfigError: it is not of that form.
    """
    name, equals, value = pair.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {pair}: write a setting as NAME=VALUE, for example --set dim=64")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value
    except (ValueError, RecursionError):  # a number of thousands of digits, brackets a thousand deep
        raise ConfigError(f"--set {name}: the value cannot be read; give a number or a word") from None


def on_device(recency: str | None, discount: str | None, *, private: bool) -> dict[str, Any]:
    """Return what devices decide for themselves: chosen on validation items, but never under an epsilon."""
    for name, given in (("recency", recency), ("discount", discount)):
        if private and given == "auto":
            raise ConfigError(
                f"--{name} auto would choose by people's validation items, a release that no noise covers: "
                f"with --epsilon give a number that was fixed before the data was seen, or leave --{name} out"
            )
    if recency is None:
        recency = "off" if private else "auto"
    if discount is None:
        discount = "0" if private else "auto"
    return {
        "recency": _word_or_number("recency", recency, ("auto", "off"), math.inf),
        "discount": _word_or_number("discount", discount, ("auto",), 1.0),
    }


def promised(epsilon: str | None, delta: float | None, noise: str | None) -> dict[str, Any]:
    """Return the fields of a promise; none where there is no epsilon."""
    if epsilon is None:
        for name, given in (("delta", delta), ("noise", noise)):
            if given is not None:
                raise ConfigError(f"--{name} {given} says nothing by itself: give --epsilon too")
        return {}
    *others, largest = sorted({check_epsilon(part) for part in epsilon.split(",")})
    return {
        "epsilon": largest,
        "epsilons": tuple(others),
        "delta": None if delta is None else check_delta(delta),
        "noise": check_noise(noise),
    }


def _word_or_number(option: str, value: str, words: tuple[str, ...], most: float) -> str | float:
    if value in words:
        return value
    bounds = "above 0" if most == math.inf else f"from 0 to {most:g}"
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and 0 <= number <= most) or (most == math.inf and number == 0):
        raise ConfigError(f"--{option} {value}: give {' or '.join(words)}, or a number {bounds}")
    return number

"""``fedpersona privacy``: what a promise of differential privacy means, and what it will cost, before any training."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from fedpersona.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from fedpersona.simulation.privacy_plan import PrivacyPlan

__all__ = ["check_delta", "check_epsilon", "check_noise", "privacy"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, logs on stderr.")]
Epsilon = Annotated[str, typer.Option(help="What taking part may cost a person: 1 is good, 8 is common, more is weak.")]
Delta = Annotated[float, typer.Option(help="The delta that belongs to it: well below one in the people.")]

_ITEMS = 1_500
_MOST_USERS = 1_000_000_000

privacy = typer.Typer(
    name="privacy",
    help="See what differential privacy promises, and what it will cost, before any training.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)


def check_epsilon(words: str) -> float:
    """Return an epsilon.

    Raises:
        ConfigError: it is no number above 0.
    """
    try:
        epsilon = float(words)
    except ValueError:
        epsilon = math.nan
    if not 0 < epsilon < math.inf:
        raise ConfigError(f"--epsilon {words.strip()}: give a number above 0; the smaller, the more private")
    return epsilon


def check_delta(delta: float) -> float:
    """Return a delta.

    Raises:
        ConfigError: it is not between 0 and 1.
    """
    if not 0 < delta < 1:
        raise ConfigError(f"--delta {delta:g}: give a number between 0 and 1, well below one in the people")
    return delta


def check_noise(noise: str | None) -> Literal["central", "distributed"]:
    """Return who adds noise.

    Raises:
        UnknownName: nobody of that name.
    """
    if noise in (None, "central"):
        return "central"
    if noise == "distributed":
        return "distributed"
    raise UnknownName("noise", noise or "", ("central", "distributed"))


@privacy.command()
def explain(epsilon: Epsilon, delta: Delta = 1e-5, as_json: Json = False) -> None:
    """Say in words what a promise is worth to the person who is asked to take part.

    The words are those of Gaussian noise, which all training here uses.

    [dim]Example:[/dim] fedpersona privacy explain --epsilon 2
    """
    from fedpersona.privacy.gaussian import gaussian_mu
    from fedpersona.privacy.wording import best_guess, sentence

    promised = check_epsilon(epsilon)
    mu = gaussian_mu(promised, check_delta(delta))
    words = sentence(promised, delta, mu)
    if as_json:
        answer = {"epsilon": promised, "delta": delta, "mu": mu, "best_guess": best_guess(promised, delta, mu)}
        sys.stdout.write(json.dumps({**answer, "sentence": words}) + "\n")
    else:
        _console().print(words, markup=False, highlight=False)


@privacy.command()
def plan(
    users: Annotated[int, typer.Option(min=2, max=_MOST_USERS, help="People in the federation.")],
    epsilon: Epsilon,
    delta: Delta = 1e-5,
    model: Annotated[str, typer.Option(help="popularity, subspace, ease or ials.")] = "ease",
    items: Annotated[int, typer.Option(min=1, max=1_000_000, help="Items in the catalogue.")] = _ITEMS,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of training; the model has a default.")] = None,
    noise: Annotated[str, typer.Option(help="Who adds the noise: central (the server) or distributed.")] = "central",
    as_json: Json = False,
) -> None:
    """Answer before any training: which noise, how much to upload, and what accuracy to expect.

    Accuracy is simulated on invented people, for this population and for smaller and larger ones. Less than a minute.

    [dim]Example:[/dim] fedpersona privacy plan --users 10000 --epsilon 8 --model popularity
    """
    from fedpersona.simulation.expectation import Promise
    from fedpersona.simulation.narration import Terminal
    from fedpersona.simulation.privacy_plan import plan_privacy

    promise = Promise(
        users=users,
        model=model,
        epsilon=check_epsilon(epsilon),
        delta=check_delta(delta),
        noise=check_noise(noise),
        items=items,
        settings={} if rounds is None else {"rounds": rounds},
    )
    with Terminal(Console(stderr=True)) as narrator:
        found = plan_privacy(promise, narrator)
    if as_json:
        sys.stdout.write(json.dumps(found.as_json()) + "\n")
    else:
        _print(found)


def _print(found: PrivacyPlan) -> None:
    from fedpersona.simulation.expectation import GOOD, SIMULATED_ITEMS, SIMULATED_PEOPLE

    console, promise = _console(), found.promise
    console.print(f"\n{found.sentence}\n", markup=False, highlight=False)
    console.print(_facts(found))
    console.print(f"\nWhat to expect, NDCG@10 of {promise.model}:", markup=False)
    console.print(_expected(found))
    console.print(f"\n{_good(found)}", markup=False, highlight=False)
    seeds = min(e.seeds for e in found.expected)
    floor = "lists drawn by lot" if promise.model == "popularity" else "popularity"
    console.print(
        f"Simulated on up to {SIMULATED_PEOPLE:,} invented people and {min(promise.items, SIMULATED_ITEMS):,} items, "
        f"mean of {seeds} seed{'' if seeds == 1 else 's'}; in larger populations each stands for many. “Kept” is how "
        f"much of the way from the floor ({floor}) to the model without noise is left; good is {GOOD:.0%} of it.",
        style="dim",
        highlight=False,
    )


def _facts(found: PrivacyPlan) -> Table:
    from fedpersona.simulation.show import human_bytes

    promise, cost = found.promise, found.cost
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("promise", f"ε = {promise.epsilon:g} at δ = {promise.delta:g}, for each person")
    counted = f"{cost.epsilon:.4f} by PLD, {cost.epsilon_rdp:.4f} by RDP"
    if cost.epsilon_exact is not None:
        counted += f", {cost.epsilon_exact:.4f} exactly"
    table.add_row("counted", f"{counted}; μ = {cost.mu:.4f}")
    rounds = ", ".join(f"{multiplier:.3f}" for multiplier in found.multipliers[:6])
    more = ", …" if len(found.multipliers) > 6 else ""
    table.add_row("noise", f"deviates by {rounds}{more} times the longest update, in {_rounds(found)}")
    by = "the server adds it to the sum"
    if promise.noise == "distributed":
        by = f"every device adds its share; those of {found.min_count:,} make it whole"
    table.add_row("who adds it", by)
    table.add_row("cohort", f"all {promise.users:,} devices, {found.min_count:,} at least")
    table.add_row("upload", f"{human_bytes(found.bytes_up)} a device, in all rounds")
    settings = {k: v for k, v in found.model.model_dump().items() if k not in ("noise", "recency", "discount")}
    table.add_row(
        "settings",
        ", ".join(
            f"{name} {value:.4g}" if type(value) is float else f"{name} {value}" for name, value in settings.items()
        ),
    )
    return table


def _rounds(found: PrivacyPlan) -> str:
    count = len(found.multipliers)
    return "1 round" if count == 1 else f"{count} rounds"


def _expected(found: PrivacyPlan) -> Table:
    table = Table(box=box.HORIZONTALS, show_edge=False, pad_edge=False, collapse_padding=True)
    personal = found.promise.model != "popularity"
    headings = ["People", "Floor", *(["Noisy popularity"] if personal else []), f"ε = {found.promise.epsilon:g}"]
    for heading in (*headings, "No noise", "Kept"):
        table.add_column(heading, justify="right", no_wrap=True)
    for e in found.expected:
        kept = "–" if e.kept is None else _share(e.kept)
        if e.kept_between is not None and e.seeds > 1:
            kept += " ({} to {})".format(*map(_share, e.kept_between))
        figures: list[Any] = [e.floor, *([e.noisy_popularity] if personal else []), e.ndcg, e.ceiling]
        table.add_row(
            f"{e.users:,}",
            *(f"{figure:.3f}" for figure in figures),
            kept,
            style="bold" if e.users == found.promise.users else "",
        )
    return table


def _share(kept: float) -> str:
    """Return a percentage; what is all but nothing has no sign."""
    return f"{round(kept, 2) + 0.0:.0%}"


def _good(found: PrivacyPlan) -> str:
    from fedpersona.simulation.expectation import GOOD

    model, epsilon = found.promise.model, f"ε = {found.promise.epsilon:g}"
    if found.good_from is None:
        most = found.expected[-1].users
        return f"At {epsilon} {model} does not keep {GOOD:.0%} of what it learns, not even from {most:,} people."
    if found.good_from == found.expected[0].users:
        return f"At {epsilon} {model} is good already with {found.good_from:,} people."
    return f"At {epsilon} {model} becomes good at about {_round(found.good_from):,} people."


def _round(people: int) -> int:
    """Return a number with two figures: more would claim too much."""
    digits = max(0, len(str(people)) - 2)
    return round(people, -digits)


def _console() -> Console:
    return Console(width=100) if not sys.stdout.isatty() else Console()

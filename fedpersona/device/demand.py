"""How much work a server may ask of a device: a bound that no floor of the owner's lifts."""

from __future__ import annotations

from fedpersona.errors import PlanRefused
from fedpersona.taste import GradientModel, TasteModel

__all__ = ["check_demand"]

_PLAYS = 10_000
"""A long history. The owner's own plays no part: a refusal must not tell how long it is."""
_MOST_SECONDS = 60.0
"""Of a core of a server, for that history; a slow phone takes about a minute for one of a tenth."""
_MOST_BYTES = 5e8


def check_demand(model: TasteModel, items: int) -> None:
    """Hold a model's settings against what a device can bear, over a catalogue of so many rows.

    Raises:
        PlanRefused: they ask for more.
    """
    if not isinstance(model, GradientModel):
        return
    seconds, size = model.demand(min(_PLAYS, items), items)
    if seconds > _MOST_SECONDS or size > _MOST_BYTES:
        raise PlanRefused(
            f"{model.name}: with these settings a training takes about {seconds:,.0f} s and {size / 1e6:,.0f} MB on a "
            f"long history, a device gives at most {_MOST_SECONDS:.0f} s and {_MOST_BYTES / 1e6:.0f} MB"
        )

"""What a report says of a promise of privacy; all of it true of any record that has one."""

from __future__ import annotations

from fedpersona.simulation.record import Privacy

__all__ = ["in_short"]


def in_short(privacy: Privacy) -> str:
    """Return the promise as the command line tells it: what it is, how it was counted, what it means."""
    return (
        f"Private: ε = {privacy.epsilon:g} at δ = {privacy.delta:g} for each person, in all rounds together "
        f"({privacy.epsilon_pld:.3f} by PLD, {privacy.epsilon_rdp:.3f} by RDP). {privacy.sentence}"
    )

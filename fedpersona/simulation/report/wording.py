"""Figures in words: every sentence here is true of any record."""

from __future__ import annotations

from collections.abc import Sequence

from fedpersona.simulation.record import NO_NOISE, Result, RunRecord

__all__ = ["comparison", "counted", "headline", "interval", "label", "measured_people", "size", "span", "upload"]


def label(result: Result) -> str:
    """Return what a model is called next to the others."""
    return (
        f"{result.name}, floor"
        if result.role == "floor"
        else (f"{result.name}, federated" if result.role == "federated" else result.name)
    )


def counted(number: int, noun: str) -> str:
    """Return ``1 round``, ``2,000 rounds``; ``person`` becomes ``people``."""
    plural = "people" if noun == "person" else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def size(number: int) -> str:
    """Return a number of bytes in decimal units."""
    if number < 1000:
        return counted(number, "byte")
    value, unit = float(number) / 1000.0, "kB"
    for larger in ("MB", "GB", "TB"):
        if value >= 999.5:
            value, unit = value / 1000.0, larger
    decimals = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:,.{decimals}f} {unit}"


def span(seconds: float) -> str:
    """Return a time as a person says it."""
    if seconds < 0.95:
        return f"{seconds * 1000:,.0f} ms"
    if seconds < 119.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7170 else f"{seconds / 3600:,.1f} h"


def interval(result: Result, metric: str = "ndcg@10") -> str:
    """Return ``0.169 [0.156, 0.184]``."""
    low, high = result.intervals[metric]
    return f"{result.test[metric]:.3f} [{low:.3f}, {high:.3f}]"


def measured_people(record: RunRecord) -> int:
    """Return how many people the figures are taken over."""
    return min(record.data.people, record.config.evaluate_people)


def upload(record: RunRecord) -> str:
    """Return what a device sent in the whole run, with who sends that much."""
    result = record.federated
    if result.bytes_up is None:
        return "The record does not say how much a device sent."
    who = "A device" if len(record.rounds) == 1 else "A device that answers every round"
    return f"{who} sends {size(result.bytes_up)} and receives {size(result.bytes_down or 0)} in all."


def headline(record: RunRecord) -> str:
    """Return what was learned, from how many people, in how many rounds, and how good it is."""
    data, result = record.data, record.federated
    answered = [figures.answered for figures in record.rounds]
    rounds = counted(len(record.rounds), "round")
    if not answered or set(answered) == {record.devices}:
        learned = f"from the histories of {_whose(record)} in {rounds}"
    else:
        low, high = min(answered), max(answered)
        devices = counted(high, "device") if low == high else f"{low:,} to {high:,} devices"
        learned = f"in {rounds} of {devices}, out of {_whose(record)}"
    return (
        f"{_what(record)} over {counted(data.items, data.kind)}, learned {learned}{_under(record)}, reaches an "
        f"NDCG@10 of {interval(result)}. {upload(record)}"
    )


def _whose(record: RunRecord) -> str:
    times = record.config.replicate
    people = counted(record.data.people, "person")
    return people if times == 1 else f"{people} who stand for {times:,} each ({record.devices:,} devices)"


def _under(record: RunRecord) -> str:
    privacy = record.privacy
    if privacy is None:
        return ""
    return f" under differential privacy (ε\u00a0=\u00a0{privacy.epsilon:g}, δ\u00a0=\u00a0{privacy.delta:g})"


def _what(record: RunRecord) -> str:
    return {
        "popularity": "A count of listeners",
        "subspace": "A shared taste space",
        "ease": "A model of which items go together",
        "ials": "A matrix factorisation",
    }.get(record.federated.name, f"The model {record.federated.name}")


def comparison(record: RunRecord) -> str:
    """Return how the federated model stands between floor and ceiling, without claiming more than the figures do."""
    result = record.federated
    ours = result.test["ndcg@10"]
    floors = [r for r in record.results if r.role == "floor"]
    ceilings = sorted((r for r in record.results if r.role == "ceiling"), key=lambda r: -r.test["ndcg@10"])
    others = _against_ceilings(ours, floors, ceilings)
    if record.privacy is not None:
        others = _against_no_noise(ours, floors, ceilings)
    return " ".join(filter(None, (_against_floor(result, floors), others)))


def _against_floor(result: Result, floors: Sequence[Result]) -> str:
    if not floors:
        return "No floor was measured."
    floor, ours = floors[0].test["ndcg@10"], result.test["ndcg@10"]
    if result.name == floors[0].name:
        return f"This is the floor itself: the same ranking for everyone ({floor:.3f})."
    if floor > 0 and ours >= 1.05 * floor:
        return f"That is {ours / floor:.1f} times the floor ({floor:.3f}), which ranks alike for everyone."
    relation = "above" if ours > floor else "below" if ours < floor else "equal to"
    return f"That is {relation} the floor ({floor:.3f}), which ranks alike for everyone."


def _against_no_noise(ours: float, floors: Sequence[Result], ceilings: Sequence[Result]) -> str:
    plain = next((r for r in ceilings if r.name.endswith(NO_NOISE)), None)
    if plain is None:
        return "It was not trained without noise to compare with."
    top, floor = plain.test["ndcg@10"], floors[0].test["ndcg@10"] if floors else ours
    text = f"Without noise the same model reaches {top:.3f}"
    if ours >= top:
        return f"{text}, no more than with it."
    if floor < ours:
        return (
            f"{text}: the noise leaves {int(100 * (ours - floor) / (top - floor))} % of the way there from the floor."
        )
    return f"{text}; the noise leaves nothing of the way there from the floor."


def _against_ceilings(ours: float, floors: Sequence[Result], ceilings: Sequence[Result]) -> str:
    if not ceilings:
        return "No central model was fitted to compare with."
    best = ceilings[0]
    top = best.test["ndcg@10"]
    text = f"The best model with the whole matrix in one place ({best.name}) reaches {top:.3f}"
    if ours >= top:
        return f"{text}, no more than the federated one: a ceiling here is a comparison, not a bound."
    floor = floors[0].test["ndcg@10"] if floors else ours
    if floor < ours:
        covered = int(100 * (ours - floor) / (top - floor))
        return f"{text}; the federated one covers {covered} % of the way there from the floor."
    return f"{text}."

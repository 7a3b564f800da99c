"""What a report says of a promise of privacy: the words, the account, and accuracy against ε."""

from __future__ import annotations

from fedpersona.simulation.record import Privacy, RunRecord
from fedpersona.simulation.report.blocks import Block, Figure, Paragraph, Section, Table
from fedpersona.simulation.report.privacy_plot import draw_privacy

__all__ = ["in_short", "promise_at_a_glance", "what_is_promised"]


def in_short(privacy: Privacy) -> str:
    """Return the promise as the command line tells it: what it is, how it was counted, what it means, what it takes."""
    text = (
        f"Private: ε = {privacy.epsilon:g} at δ = {privacy.delta:g} for each person, in all rounds together "
        f"({privacy.epsilon_pld:.3f} by PLD, {privacy.epsilon_rdp:.3f} by RDP). {privacy.sentence}"
    )
    if len(privacy.curve) < 2:
        return text
    points = ", ".join(f"{point.ndcg:.3f} at ε = {point.epsilon:g}" for point in privacy.curve)
    return f"{text}\nNDCG@10 against ε, each a training of its own: {points}."


def promise_at_a_glance(privacy: Privacy | None) -> tuple[tuple[str, str, str], ...]:
    """Return the figure to see first; none without a promise."""
    if privacy is None:
        return ()
    return ((f"{privacy.epsilon:g}", "epsilon", f"of each person, at a delta of {privacy.delta:g}"),)


def what_is_promised(record: RunRecord, privacy: Privacy) -> Section:
    """Return the section on privacy."""
    blocks: list[Block] = [
        Paragraph(privacy.sentence, lead=True),
        Figure(draw_privacy(record, privacy), _caption(privacy)),
    ]
    if len(privacy.curve) > 1:
        blocks.append(_curve(privacy))
    blocks += [Table(("", ""), _account(privacy), words=True), Paragraph(_not_covered(privacy))]
    return Section("What is promised to each person", tuple(blocks))


def _caption(privacy: Privacy) -> str:
    text = (
        "NDCG@10 on test items against ε: further left is more private. The lines across are what needs no promise: "
        "popularity, and the model that no noise was added to. Bars and bands are 95 % intervals over people."
    )
    if len(privacy.curve) > 1:
        return f"{text} Each point is a training of its own; a federation would release one of them."
    return f"{text} Give several ε, as in --epsilon 8,4,2,1, to see how accuracy falls."


def _curve(privacy: Privacy) -> Table:
    popular = any(point.popularity is not None for point in privacy.curve)
    rows = tuple(
        (
            f"{point.epsilon:g}",
            f"{point.deviation:.3g}",
            f"{point.ndcg:.3f} [{point.interval[0]:.3f}, {point.interval[1]:.3f}]",
            *((("–" if point.popularity is None else f"{point.popularity:.3f}"),) if popular else ()),
        )
        for point in privacy.curve
    )
    columns = ("ε", "noise deviates by", "NDCG@10 [95 %]", *(("noisy popularity",) if popular else ()))
    own = next(row for row, point in enumerate(privacy.curve) if point.epsilon == privacy.epsilon)
    return Table(columns, rows, (own,))


def _account(privacy: Privacy) -> tuple[tuple[str, str], ...]:
    return (
        ("promised", f"ε = {privacy.epsilon:g} at δ = {privacy.delta:g}"),
        (
            "counted",
            f"ε = {privacy.epsilon_pld:.4f} by privacy loss distributions, {privacy.epsilon_rdp:.4f} by Rényi "
            f"differential privacy (looser, a cross-check), {privacy.epsilon_exact:.4f} by the exact formula for "
            f"Gaussian noise; μ = {privacy.mu:.4f}",
        ),
        ("of whom", "one person, with all of their history (user level)"),
        ("neighbours", f"two populations, one of them with {privacy.neighbours}"),
        ("who adds noise", _who(privacy)),
        ("how much", _how_much(privacy)),
        (
            "what is composed",
            ("the only round" if privacy.rounds == 1 else f"{privacy.rounds} rounds together")
            + ": each person is taken to be in every one, and nothing is claimed for who was asked by chance",
        ),
        ("settings", f"{privacy.hyperparameters}: recency and discount as given, the rest from public numbers"),
    )


def _who(privacy: Privacy) -> str:
    if privacy.shares is None:
        return (
            "the server, to the sum of all devices before anything is learned from it (central). It sees that sum "
            "without noise, and no single update where sums are secure"
        )
    return (
        f"every device its share, inside the sum (distributed): nobody sees it without noise. {privacy.shares:,} "
        f"devices make the noise whole; where all {privacy.people:,} answer there is more of it than is promised"
    )


def _how_much(privacy: Privacy) -> str:
    multipliers = [f"{multiplier:.4g}" for multiplier in privacy.noise_multipliers]
    if len(set(multipliers)) == 1:
        times = f"{multipliers[0]} times the longest update of a person" + (
            " in every round" if len(multipliers) > 1 else ""
        )
    else:
        shown = ", ".join(multipliers[:8]) + (", …" if len(multipliers) > 8 else "")
        times = f"{shown} times the longest update of a person, round by round"
    return f"Gaussian, a deviation of {times}"


def _not_covered(privacy: Privacy) -> str:
    return (
        f"Not covered are {privacy.not_covered}; who takes part in a round and how many they are, which is public; "
        "and what a device shows its own owner. Other trainings on the same people add to what is promised here."
    )

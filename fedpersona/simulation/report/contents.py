"""What a report says, section by section: the same words, tables and plots for Markdown and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from fedpersona.catalogue import Catalogue
from fedpersona.simulation.record import RoundFigures, RunRecord, ServingChoice
from fedpersona.simulation.report import wording
from fedpersona.simulation.report.blocks import Contents, Figure, Paragraph, Section, Table
from fedpersona.simulation.report.glossary import how_to_read
from fedpersona.simulation.report.plots import draw_accuracy, draw_discovery, draw_listeners
from fedpersona.simulation.report.promise import promise_at_a_glance, what_is_promised
from fedpersona.simulation.report.taste_map import TasteMap, draw_taste_map
from fedpersona.simulation.report.theme import plain
from fedpersona.taste import Shared

__all__ = ["contents"]

_MOST_ROUNDS = 24


def contents(record: RunRecord, shared: Shared, catalogue: Catalogue) -> Contents:
    """Put a report together."""
    sections = (
        _results(record),
        _promise(record),
        _accuracy(record),
        _map(draw_taste_map(shared, catalogue, counts="listener" if record.privacy is None else "vote"), record),
        _lists(record),
        _listeners(record),
        _choice(record),
        _papers(record),
        _cost(record),
        _population(record),
        how_to_read(private=record.privacy is not None),
        _ran(record),
    )
    return Contents(
        title=f"{plain(record.federated.name)} on {plain(record.data.name)}",
        headline=wording.headline(record),
        comparison=wording.comparison(record),
        glance=_glance(record),
        sections=tuple(section for section in sections if section is not None),
        footer=f"fedpersona {record.versions.get('fedpersona', '')}".strip()
        + f" · {record.started} · model {record.model_hash[:12]}",
    )


def _glance(record: RunRecord) -> tuple[tuple[str, str, str], ...]:
    result = record.federated
    low, high = result.intervals["ndcg@10"]
    sent = wording.size(result.bytes_up) if result.bytes_up is not None else "–"
    return (
        (f"{result.test['ndcg@10']:.3f}", "NDCG@10", f"95 % interval {low:.3f} to {high:.3f}"),
        *promise_at_a_glance(record.privacy),
        (f"{result.test['recall@20']:.3f}", "Recall@20", "held-out items among the first 20"),
        (f"{len(record.rounds)}", "round" if len(record.rounds) == 1 else "rounds", "sums over devices"),
        (sent, "sent by a device", "in all rounds together"),
    )


def _results(record: RunRecord) -> Section:
    metrics = ("ndcg@10", "recall@20", "mrr", "hr@10")
    rows, strong = [], []
    for row, result in enumerate(record.results):
        if result.role == "federated":
            strong.append(row)
        figures = [wording.interval(result, metrics[0]), *(f"{result.test[metric]:.3f}" for metric in metrics[1:])]
        rows.append((wording.label(result), *figures, _or_dash(result.rounds), _bytes(result.bytes_up)))
    people = wording.measured_people(record)
    taken = (
        "everyone"
        if people == record.data.people
        else f"a seeded sample of {people:,} of {record.data.people:,} people"
    )
    return Section(
        "Results",
        (
            Table(
                ("model", "NDCG@10 [95 %]", "Recall@20", "MRR", "HR@10", "rounds", "sent"), tuple(rows), tuple(strong)
            ),
            Paragraph(
                "One item of each person was held back as a test. Every model ranks it among all items the person has "
                f"not played; figures are means over {taken}. “Sent” is what one device uploads in all rounds."
            ),
        ),
    )


def _promise(record: RunRecord) -> Section | None:
    return None if record.privacy is None else what_is_promised(record, record.privacy)


def _accuracy(record: RunRecord) -> Section:
    return Section(
        "Accuracy by round",
        (
            Figure(
                draw_accuracy(record),
                "NDCG@10 on test items as rounds go on. Bands are 95 % intervals over people; the upright bar at the "
                "last round is the federated model's. No round was picked by its test figure: the last one counts."
                + _meanwhile(record),
            ),
        ),
    )


def _meanwhile(record: RunRecord) -> str:
    if all(r.val_ndcg_meanwhile is None for r in record.rounds):
        return ""
    return (
        " The dotted line is NDCG@10 on validation items, measured on the way: before recency and discount were "
        "chosen, and choosing nothing."
    )


def _map(drawn: TasteMap | None, record: RunRecord) -> Section:
    title = "The taste map"
    if drawn is None:
        reason = "it takes a space of items, and how many people play each"
        return Section(title, (Paragraph(f"Of {record.federated.name} no map is drawn: {reason}."),))
    coloured = "how many people played each"
    if drawn.by_tag:
        coloured = "the tag that says most about each"
    elif record.privacy is not None:
        coloured = "the votes for each (one person's are shared out among all they play, and noise is added)"
    return Section(
        title,
        (
            Figure(
                drawn.drawing,
                f"The {drawn.items:,} most played {record.data.kind}s where the learned space has them, coloured by "
                f"{coloured}; the model saw no tags. Items that the same people play lie close together. "
                "Neighbourhoods mean something; the axes, and distances across the page, do not (t-SNE by cosine).",
            ),
        ),
    )


def _lists(record: RunRecord) -> Section | None:
    drawn = draw_discovery(record)
    if drawn is None:
        return None
    return Section(
        "What the lists are like",
        (
            Figure(
                drawn,
                "Lists of thirty new items for each person. Wide coverage, high novelty and a low Gini mean lists "
                "that reach beyond the hits; none of them is good by itself without accuracy.",
            ),
        ),
    )


def _listeners(record: RunRecord) -> Section | None:
    drawn = draw_listeners(record)
    if drawn is None:
        return None
    return Section(
        "Mainstream and niche listeners",
        (
            Figure(
                drawn,
                "People in three groups of equal size, by how widely known the items are that they already play. "
                "A wide gap means that a model serves one group much better than another.",
            ),
        ),
    )


def _choice(record: RunRecord) -> Section:
    chosen = record.federated.serving
    free = [
        name
        for name, setting in (
            ("recency half-life", record.config.recency if record.data.timed else "off"),
            ("popularity discount", record.config.discount),
        )
        if setting == "auto"
    ]
    if free:
        text = (
            f"A device's {' and '.join(free)} cost no upload. Chosen by NDCG@10 on validation items, which are other "
            f"items than the test ones: {_serving(chosen)}."
        )
    elif record.privacy is None:
        text = f"Nothing: what a device decides for itself was set beforehand ({_serving(chosen)})."
    else:
        text = (
            f"Nothing: a choice by people's validation items would be a release that no noise covers. Set beforehand, "
            f"and the same for all models compared: {_serving(chosen)}."
        )
    rows = tuple((_half_life(t.recency), f"{t.discount:g}", f"{t.val_ndcg:.4f}") for t in record.tuning)
    strong = tuple(
        row for row, t in enumerate(record.tuning) if (t.recency, t.discount) == (chosen.recency, chosen.discount)
    )
    table = (Table(("recency half-life", "popularity discount", "validation NDCG@10"), rows, strong),) if rows else ()
    return Section("What was chosen on validation items", (Paragraph(text), *table))


def _papers(record: RunRecord) -> Section | None:
    rows = tuple(
        (wording.label(r), f"{r.sampled['hr@10']:.3f}", f"{r.sampled['ndcg@10']:.3f}")
        for r in record.results
        if r.sampled is not None
    )
    if not rows:
        return None
    return Section(
        "Only to compare with papers: 99 negatives",
        (
            Paragraph(
                "Many papers rank the held-out item among 99 sampled others. That is far easier than the whole "
                "catalogue and can put models in another order (Krichene and Rendle 2020). Do not read these figures "
                "next to the ones above."
            ),
            Table(("model, among 99 negatives", "HR@10", "NDCG@10"), rows),
        ),
    )


def _cost(record: RunRecord) -> Section:
    rows = tuple(
        (
            f"{r.round_number}",
            f"{r.answered:,}",
            wording.size(r.bytes_up),
            wording.size(r.bytes_down),
            f"{r.ring_bits}",
            wording.span(r.seconds_collecting),
            wording.span(r.seconds_applying),
            "–" if r.val_ndcg is None else f"{r.val_ndcg:.4f}",
            "–" if r.test_ndcg is None else f"{r.test_ndcg:.4f}",
        )
        for r in _shown(record.rounds)
    )
    columns = ("round", "devices", "up", "down", "bits", "devices' time", "server's time", "validation", "test")
    text = (
        "Bytes are those of one device; times are wall time of the simulation, not of a phone. “Validation” and “test” "
        "are NDCG@10 with the serving chosen above."
    )
    if len(rows) < len(record.rounds):
        text += f" {len(rows)} of {len(record.rounds):,} rounds are shown; run.json has them all."
    return Section("Rounds and their cost", (Paragraph(text), Table(columns, rows)))


def _shown(rounds: Sequence[RoundFigures]) -> list[RoundFigures]:
    every = max(1, -(-len(rounds) // _MOST_ROUNDS))
    return [r for place, r in enumerate(rounds, start=1) if place % every == 0 or place == len(rounds)]


def _population(record: RunRecord) -> Section | None:
    if not record.data.statistics:
        return None
    return Section(
        "How alike the invented people are to real ones",
        (
            Paragraph("These people and their music are invented. lastfm-2k is a real population, for comparison."),
            Table(("", "this population", "lastfm-2k"), tuple(record.data.statistics)),
        ),
    )


def _ran(record: RunRecord) -> Section:
    config = {"model": record.config.model_shown}
    config |= record.config.model_dump(exclude={"data", "settings", "behaviour", "dataset", "model", "cluster"})
    behaviour = record.config.behaviour.model_dump()
    rows = (
        ("dataset", plain(PurePath(record.config.dataset).name)),
        (
            "data",
            f"{record.data.people:,} people{_standing_for(record)}, {record.data.items:,} {record.data.kind}s, "
            f"{record.data.interactions:,} interactions, {'with' if record.data.timed else 'without'} times",
        ),
        ("sums", _sums(record)),
        ("data hash", record.data.hash),
        ("model hash", record.model_hash),
        ("model settings", _pairs(record.settings)),
        ("configuration", _pairs(config)),
        ("device behaviour", _pairs(behaviour)),
        ("versions", _pairs(record.versions, " ")),
        ("revision", record.git_revision or "not from a checkout"),
        ("started", record.started + _resumed(record)),
        ("wall time", ", ".join(f"{stage} {wording.span(s)}" for stage, s in record.seconds.items()) or "–"),
    )
    return Section(
        "How it was run",
        (
            Table(("", ""), rows, words=True),
            Paragraph(
                "run.json holds all of this; the same run.json run again gives the same numbers on one machine."
                if record.privacy is None
                else "run.json holds all of this. Run again it gives figures that differ a little: noise that could be "
                "drawn a second time would protect nobody, so it comes from no seed. The model's hash is this run's."
            ),
        ),
    )


def _sums(record: RunRecord) -> str:
    """Say what took the sums, and how fast."""
    seconds = sum(r.seconds_collecting + r.seconds_applying for r in record.rounds)
    devices = sum(r.answered for r in record.rounds)
    speed = f", {devices / seconds:,.0f} devices a second" if seconds > 0 else ""
    return f"{record.collected or record.config.engine}{speed}"


def _resumed(record: RunRecord) -> str:
    """Say where a training was stopped and gone on with."""
    after = [f"{number:,}" for number in record.resumed]
    return f", gone on with after round {' and '.join(after)}" if after else ""


def _standing_for(record: RunRecord) -> str:
    times = record.config.replicate
    return "" if times == 1 else f", each for {times:,} devices"


def _pairs(mapping: Mapping[str, Any], sign: str = " = ") -> str:
    return ", ".join(f"{name}{sign}{'none' if value is None else value}" for name, value in mapping.items())


def _serving(choice: ServingChoice) -> str:
    fading = (
        "all plays weigh alike" if choice.recency is None else f"a play's weight halves every {choice.recency:g} items"
    )
    fame = "no popularity discount" if choice.discount == 0 else f"a popularity discount of {choice.discount:g}"
    return f"{fading}, {fame}"


def _half_life(recency: float | None) -> str:
    return "none" if recency is None else f"{recency:g} items"


def _or_dash(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _bytes(value: int | None) -> str:
    return "–" if value is None else wording.size(value)

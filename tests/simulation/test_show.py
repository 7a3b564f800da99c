from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from fedpersona.catalogue import Catalogue
from fedpersona.device.playlist import Pick
from fedpersona.simulation.show import ResultRow, human_bytes, metrics_table, weekly_table

FIGURES = {"ndcg@10": 0.16521, "recall@20": 0.3551, "mrr": 0.1512, "hr@10": 0.2931, "coverage": 0.7212}


def shown(table: Table, *, width: int = 100, terminal: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None)
    console.print(table)
    return out.getvalue()


def pick(row: int, reason: str = "because you played Ana", kind: str = "taste") -> Pick:
    return Pick(row, 1.0, kind, (), reason)  # type: ignore[arg-type]


def test_an_empty_table_of_figures_shows_its_headings():
    assert "NDCG@10" in shown(metrics_table([]))


def test_each_figure_is_shown_with_its_unit():
    row = ResultRow("subspace", "federated", FIGURES, {"ndcg@10": (0.1501, 0.1803)}, 4, 9_437_184, 12.34)
    line = next(line for line in shown(metrics_table([row])).splitlines() if "subspace" in line)
    assert " ".join(line.split()) == ("subspace federated 0.165 ± 0.015 0.355 0.151 0.293 0.721 4 9.4 MB 12.3")


def test_what_is_missing_is_a_dash_and_what_is_not_a_number_says_so():
    row = ResultRow("popularity", "floor", {"ndcg@10": float("nan"), "mrr": 0.0})
    line = next(line for line in shown(metrics_table([row])).splitlines() if "popularity" in line)
    assert " ".join(line.split()) == "popularity floor nan – 0.000 – – – – –"


def test_the_table_of_figures_fits_in_100_columns_with_nothing_cut_off():
    interval = {"ndcg@10": (0.15, 0.18)}
    rows = [
        ResultRow("popularity", "floor", FIGURES, interval, 1, 999_949, 123.4),
        ResultRow("subspace, no 123", "federated", FIGURES, interval, 1000, 999_400_000, 86_400.0),
        ResultRow("central ials", "ceiling", FIGURES, interval, None, None, 1234.5),
    ]
    text = shown(metrics_table(rows, title="lastfm-2k: 1,869 people"))
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    for words in ("subspace, no 123", "0.165 ± 0.015", "1,000", "999 MB", "1.0 MB", "86,400", "1,234"):
        assert words in text


def test_a_rule_parts_the_floor_the_federation_and_the_ceiling():
    roles = ("floor", "federated", "federated", "ceiling")
    rows = [ResultRow(f"model {number}", role, FIGURES) for number, role in enumerate(roles)]
    lines = [line for line in shown(metrics_table(rows)).splitlines() if line.strip()]
    rules = [number for number, line in enumerate(lines) if set(line.strip()) == {"─"}]
    assert len(lines) == 2 + 4 + len(rules)
    assert rules == [2, 4, 7]


def test_away_from_a_terminal_the_tables_are_plain_text():
    row = ResultRow("subspace", "federated", FIGURES)
    catalogue = Catalogue.create("a", titles=["Ana"], kind="artist")
    listing = weekly_table([pick(0, kind="exploration")], catalogue, "person 2")
    for table in (metrics_table([row]), listing):
        assert "\x1b" not in shown(table)
        assert "\x1b" in shown(table, terminal=True)


def test_a_weekly_list_shows_place_label_and_reason_of_each_in_order():
    catalogue = Catalogue.create("ab", titles=["Song A", "Song B"], artists=["Ana", "Bo"], kind="track")
    text = shown(weekly_table([pick(1), pick(0, "many people like it", "popular")], catalogue, "person 2"))
    assert "A week for person 2: 2 tracks they never played" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    first = lines.index("1 Song B — Bo because you played Ana")
    assert lines[first + 1] == "2 Song A — Ana many people like it"


def test_an_empty_weekly_list_says_why():
    text = shown(weekly_table([], Catalogue.create("a"), "person 2"))
    assert "0 items" in text
    assert "Nothing is left that they have not played." in text


def test_a_list_of_one_is_in_the_singular():
    assert "1 artist they" in shown(weekly_table([pick(0)], Catalogue.create("a", kind="artist"), "Ana"))


@pytest.mark.parametrize("terminal", [False, True])
def test_titles_can_neither_style_nor_drive_the_terminal(terminal):
    titles = ["[bold red]not markup[/] [/nor this]", "esc\x1b]0;owned\x07 and\nnew line\x9b2J"]
    catalogue = Catalogue.create("ab", titles=titles, kind="artist")
    text = shown(weekly_table([pick(0), pick(1)], catalogue, "[red]Ana\x1b[2J"), terminal=terminal, width=160)
    assert "[bold red]not markup[/] [/nor this]" in text
    assert "esc ]0;owned  and new line 2J" in text
    assert "[red]Ana [2J" in text
    assert "\x07" not in text
    assert "\x9b" not in text
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text


def test_long_titles_wrap_inside_100_columns_and_lose_nothing():
    catalogue = Catalogue.create("a", titles=["x" * 150], artists=["y" * 150], kind="track")
    text = shown(weekly_table([pick(0, "because you played " + "z" * 150)], catalogue, "Ana"))
    assert max(map(len, text.splitlines())) <= 100
    body = text.split("Why", 1)[1]
    assert (body.count("x"), body.count("z")) == (150, 150)


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (7_400, "7.4 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (5_700_000, "5.7 MB"),
        (2_500_000_000, "2.5 GB"),
        (7_000_000_000_000_000, "7,000.0 TB"),
    ],
)
def test_bytes_are_shown_in_decimal_units(count, words):
    assert human_bytes(count) == words

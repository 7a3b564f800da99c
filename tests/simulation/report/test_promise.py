"""What a report says of a promise of privacy."""

from __future__ import annotations

import re

import pytest

from fedpersona.simulation.report import plots, privacy_plot, write_report
from fedpersona.simulation.report.privacy_plot import draw_privacy
from fedpersona.simulation.report.promise import in_short
from fedpersona.simulation.report.wording import comparison, headline


@pytest.fixture
def told(tmp_path, make_space, make_catalogue):
    """Write a report and return its Markdown, without the escapes."""

    def write(record):
        write_report(record, make_space(), make_catalogue(), tmp_path)
        return (tmp_path / "report.md").read_text(encoding="utf-8").replace("\\", "")

    return write


def section(text):
    return text.split("## What is promised to each person")[1].split("\n## ")[0]


def test_the_promise_is_told_first_in_words_then_in_numbers(told, make_private_record):
    text = section(told(make_private_record()))
    assert text.strip().startswith("**Whether or not you take part can be guessed from it.**")
    assert "ε = 8 at δ = 1e-05" in text
    assert "7.9999 by privacy loss distributions" in text
    assert "8.5994 by Rényi" in text
    assert "7.9998 by the exact formula" in text
    assert "(user level)" in text
    assert "one person's whole history replaced by an empty one" in text
    assert "2, 0.6 times the longest update" in text
    assert "2 rounds together" in text
    assert "fixed before the data was seen" in text
    assert "Not covered are the figures of this report" in text


def test_who_adds_the_noise_is_said_plainly(told, make_private_record, make_privacy):
    text = section(told(make_private_record()))
    assert "the server, to the sum" in text
    assert "It sees that sum without noise" in text
    text = section(told(make_private_record(make_privacy(noise="distributed", shares=270))))
    assert "every device its share" in text
    assert "270 devices make the noise whole" in text


def test_no_name_of_a_line_leaves_the_picture(make_private_record, monkeypatch):
    record, right = make_private_record(), []

    def look(figure, *_):
        names = figure.axes[0].texts
        right.extend(name.get_window_extent().x1 / figure.bbox.width for name in names)

    for module, draw in ((plots, plots.draw_accuracy), (privacy_plot, lambda r: draw_privacy(r, r.privacy))):
        monkeypatch.setattr(module, "drawing", look)
        draw(record)
    assert len(right) >= 8
    assert max(right) <= 1.0


def test_accuracy_is_drawn_against_epsilon_between_floor_and_ceiling(told, make_private_record, tmp_path):
    text = section(told(make_private_record()))
    assert "(privacy.svg)" in text
    drawn = (tmp_path / "privacy.svg").read_text(encoding="utf-8")
    for name in ("popularity, floor", "subspace, no noise", "subspace, ε = 8", "noisy popularity"):
        assert name in drawn
    assert "item kNN" not in drawn, "another model is no ceiling of this one's noise"
    assert "| 1 | 5 | 0.107 [0.097, 0.117] | 0.040 |" in text
    assert "| **8** | **0.625** | **0.156 [0.146, 0.166]** | **0.040** |" in text


def test_a_single_epsilon_is_a_point_and_how_to_get_a_curve_is_said(told, make_private_record, make_privacy, tmp_path):
    text = section(told(make_private_record(make_privacy(epsilons=(8.0,)))))
    assert "--epsilon 8,4,2,1" in text
    assert "| ε |" not in text
    assert (tmp_path / "privacy.svg").is_file()


def test_a_meagre_promise_is_drawn_too(make_private_record, make_privacy, make_result):
    privacy = make_privacy(epsilons=(8.0,))
    privacy = privacy.model_copy(update={"curve": [privacy.curve[0].model_copy(update={"popularity": None})]})
    record = make_private_record(privacy, results=[make_result("popularity", "federated", 0.0)])
    assert "0.156 at 8" in draw_privacy(record, privacy).alt


def test_a_run_without_a_promise_does_not_mention_any(told, make_record):
    text = told(make_record())
    assert "epsilon" not in text.split("## How it was run")[0]
    assert "ε" not in text
    assert "the same run.json run again gives the same numbers on one machine" in text


def test_a_private_run_does_not_claim_to_be_repeatable(told, make_private_record):
    text = told(make_private_record())
    assert "gives the same numbers" not in text
    assert "it comes from no seed" in text
    assert "b" * 64 in text, "the model's hash is recorded all the same"


def test_nothing_is_said_to_be_chosen_on_validation_items(told, make_private_record):
    text = told(make_private_record()).split("## What was chosen on validation items")[1].split("\n## ")[0]
    assert "Nothing: a choice by people's validation items would be a release that no noise covers" in text
    assert "halves every 20 items" in text


def test_the_page_shows_epsilon_at_a_glance_and_draws_in_its_own_colours(told, make_private_record, tmp_path):
    told(make_private_record())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert re.search(r'<dd class="value">8</dd><dt>epsilon</dt>', page)
    assert '<p class="lead">Whether or not' in page
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert not set(re.findall(r"#[0-9a-f]{6}\b", drawn))
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_terms_of_privacy_are_explained_where_they_are_used(told, make_record, make_private_record):
    assert "**PLD, RDP**" in told(make_private_record())
    assert "PLD" not in told(make_record())


def test_people_who_stand_for_many_are_counted_twice_over(make_private_record, make_round):
    text = headline(make_private_record(config={"replicate": 10}, rounds=[make_round(1, answered=3000)]))
    assert (
        "300 people who stand for 10 each (3,000 devices) in 1 round under differential privacy (ε\u00a0=\u00a08"
        in text
    )
    assert "out of" not in text
    text = headline(make_private_record(config={"replicate": 10}, rounds=[make_round(1, answered=2500)]))
    assert "in 1 round of 2,500 devices, out of 300 people who stand for 10 each (3,000 devices)" in text


@pytest.mark.parametrize(
    ("ours", "says"),
    [
        (0.169, "reaches 0.170: the noise leaves 99 % of the way there from the floor."),
        (0.17, "reaches 0.170, no more than with it."),
        (0.04, "reaches 0.170; the noise leaves nothing of the way there from the floor."),
    ],
)
def test_what_the_noise_costs_is_told_against_the_same_model_without(make_private_record, make_result, ours, says):
    results = [
        make_result("popularity", "floor", 0.05),
        make_result(ndcg=ours),
        make_result("subspace, no noise", "ceiling", 0.17),
        make_result("item kNN, central", "ceiling", 0.3),
    ]
    assert comparison(make_private_record(results=results)).endswith(says)
    assert "not trained without noise" in comparison(make_private_record(results=results[:2]))


def test_the_promise_in_short_says_what_it_is_and_means(make_privacy):
    words = in_short(make_privacy())
    assert words.startswith("Private: ε = 8 at δ = 1e-05 for each person, in all rounds together (8.000 by PLD")
    assert "Whether or not you take part can be guessed from it." in words
    assert re.search(r"NDCG@10 against ε, each a training of its own: 0\.\d{3} at ε = 1, .* at ε = 8\.$", words)
    alone = make_privacy().model_copy(update={"curve": make_privacy().curve[-1:]})
    assert in_short(alone).endswith("Whether or not you take part can be guessed from it.")

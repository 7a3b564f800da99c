"""What the pages show: what is there, whatever it is called, and in words where there is nothing."""

import json
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import pytest

from clients.companion.wording import Wording, keeping, paragraphs, percent
from fedpersona.device.consent import ConsentState
from fedpersona.device.floors import sentences
from fedpersona.device.notice import PURPOSES, notice
from fedpersona.device.policy import Policy
from fedpersona.sources.listen import Listen

HOSTILE = "<script>alert(1)</script>"
QUOTED = '"><img src=x onerror=alert(1)>'


def plain(text: str) -> str:
    """The page's words, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


# -- this week --


def test_this_week_has_every_track_with_a_reason_beside_it(served, browser):
    made = served.device.playlist()
    text = browser.get("/").text
    assert text.count('<p class="reason"') == len(made.items) == 30
    assert made.title in text
    assert made.note in plain(text)


def test_with_nothing_known_the_list_says_so_and_the_way_to_change_that(empty):
    text = empty.browser().get("/").text
    assert "Not personal yet" in text
    assert 'href="/yours#import"' in text
    assert text.count('<p class="reason"') == 30


@pytest.mark.parametrize(
    ("ending", "kind"), [("xspf", "application/xspf+xml"), ("jspf", "application/json"), ("m3u8", "mpegurl")]
)
def test_the_list_is_saved_from_memory_in_each_format(served, browser, ending, kind):
    before = sorted(served.device.folder.rglob("*"))
    answer = browser.get(f"/save/{ending}")
    assert answer.status == 200
    assert kind in answer.headers["Content-Type"]
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="week-')
    first = served.device.playlist().items[0].title
    if ending == "xspf":
        assert len(list(ElementTree.fromstring(answer.body).iter("{http://xspf.org/ns/0/}track"))) == 30
    elif ending == "jspf":
        assert json.loads(answer.body)["playlist"]["track"][0]["title"] == first
    else:
        assert answer.text.startswith("#EXTM3U")
    assert sorted(served.device.folder.rglob("*")) == before


@pytest.mark.parametrize("ending", ["exe", "XSPF%00", "..%2f..%2fetc%2fpasswd"])
def test_another_format_is_one_sentence(browser, ending):
    assert 400 <= browser.get(f"/save/{ending}").status < 500


# -- what is kept --


def test_what_is_kept_says_how_much_since_when_and_how_long(served, browser):
    text = plain(browser.get("/kept").text)
    assert "60 listens" in text
    assert "For two years" in text
    assert "100 % of your listens" in text


def test_every_picture_says_what_it_shows_and_has_a_table(browser):
    text = browser.get("/kept").text
    drawn = re.findall(r'<svg class="(?:bars|map)[^>]*>', text)
    assert len(drawn) == 4
    assert all('role="img"' in one and re.search(r'aria-label="[^"]+"', one) for one in drawn)
    assert text.count("<summary>As a table</summary>") == 2


def test_with_nothing_kept_there_are_words_and_no_empty_pictures(empty):
    text = empty.browser().get("/kept").text
    assert "Nothing yet" in text
    assert "<svg" not in text


def test_the_map_marks_what_is_played_and_names_some_of_it(served, browser):
    text = browser.get("/kept").text
    assert text.count('<circle class="mine"') > 40
    assert 'class="trackname"' in text
    assert 'class="region"' in text


def test_another_time_to_keep_listens_takes_effect_and_nonsense_is_refused(served, browser):
    assert browser.post("/kept/retention", {"days": "365"}).status == 303
    assert served.device.vault.retention_days == 365
    for days in ("0", "-1", "", "many", "1e3", "99999999999999999999"):
        assert browser.post("/kept/retention", {"days": days}).status == 400
    assert served.device.vault.retention_days == 365


# -- names --


@pytest.mark.parametrize("path", ["/", "/kept"])
def test_a_track_or_artist_by_any_name_is_shown_as_text(served, path):
    now = served.device.clock.now()
    served.device.vault.add(
        Listen(now - 1000 - 300 * number, name, f"{name} {number}", (), 200)
        for number in range(80)
        for name in (HOSTILE, QUOTED, "\u202egnorw", "日本語の名前" * 20)
    )
    text = served.browser().get(path).text
    assert HOSTILE not in text
    assert QUOTED not in text
    if path == "/kept":
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_hostile_title_on_the_list_itself_is_text(served, monkeypatch):
    from dataclasses import replace

    made = served.device.playlist()
    first = replace(made.items[0], title=HOSTILE, artist=QUOTED, reason=f"because you played {HOSTILE}")
    monkeypatch.setattr(type(served.device), "playlist", lambda self: replace(made, items=(first, *made.items[1:])))
    text = served.browser().get("/").text
    assert HOSTILE not in text
    assert QUOTED not in text
    assert text.count("&lt;script&gt;") == 2


def test_an_address_that_is_asked_for_is_shown_as_text(browser):
    text = browser.get("/%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script" not in text


# -- what left --


def test_with_an_empty_ledger_nothing_has_left(browser):
    assert "Nothing has left this device." in plain(browser.get("/left").text)


def test_the_ledger_is_told_newest_first_and_checked(served, browser):
    served.device.ledger.received(server="https://taste.example", what="catalogue of 12 tracks", size=100)
    served.device.ledger.refused(server="https://taste.example", purpose="share_update", reason="too small a cohort")
    text = plain(browser.get("/left").text)
    assert text.index("too small a cohort") < text.index("catalogue of 12 tracks")
    assert "2 records, each signed by this device and in its place" in text
    assert "Nothing has left this device." in text


def test_a_changed_ledger_is_said_on_the_page_and_the_other_pages_go_on(served, browser):
    served.device.ledger.received(server="https://taste.example", what="a catalogue", size=100)
    with served.device._store.writing() as cursor:
        cursor.execute("UPDATE chain SET body = '{}' WHERE name = 'ledger'")
    answer = browser.get("/left")
    assert answer.status == 200
    assert "entry 1 was changed" in plain(answer.text)
    assert browser.get("/").status == 200
    assert browser.get("/yours").status == 200


def test_a_changed_consent_chain_is_one_sentence_and_no_loop(served, browser):
    served.device.consent.refuse("share_update", server="https://taste.example")
    with served.device._store.writing() as cursor:
        cursor.execute("UPDATE chain_head SET number = 9 WHERE name = 'consent'")
    answer = browser.get("/consent")
    assert answer.status == 400
    assert "Consent: entry 9 is not what" in plain(answer.text)
    assert browser.get("/yours", Sec_GPC="1").status == 200, "one can still take everything along, or delete it"


# -- yes or no --


def test_every_purpose_has_a_card_with_its_whole_notice(browser):
    text = plain(browser.get("/consent").text).replace("&#39;", "'").replace("&#34;", '"')
    for purpose in PURPOSES:
        found = notice(purpose)
        assert found.sha256 in text
        for block in found.text.strip().split("\n\n"):
            lead, _, rest = " ".join(block.split()).partition(": ")
            assert lead in text
            assert rest in text


def test_no_yes_is_ticked_before_it_is_given(browser):
    text = browser.get("/consent").text
    assert text.count('<span class="answer">No</span>') == 3
    assert '<span class="answer">Yes</span>' not in text
    assert "checked" not in text


@pytest.mark.parametrize(("said", "shown"), [("refuse", False), ("withdraw", False), (None, True)])
def test_the_notice_lies_open_where_it_was_not_answered(served, browser, said, shown):
    if said is not None:
        getattr(served.device.consent, said)("share_update", server="https://practice.invalid")
    card = browser.get("/consent").text.partition('id="s0-share-update"')[2].partition("</article>")[0]
    assert ("<details open>" in card) is shown


def test_a_notice_that_changed_lies_open_again(served, browser, monkeypatch):
    from fedpersona.device import notice as notices

    served.device.consent.grant("share_update", server="https://practice.invalid")
    before = notices._NOTICES["share_update"]
    changed = notices.Notice(before.purpose, before.version + 1, before.summary, before.text + "\nMore: words.\n")
    monkeypatch.setitem(notices._NOTICES, "share_update", changed)
    card = browser.get("/consent").text.partition('id="s0-share-update"')[2].partition("</article>")[0]
    assert "<details open>" in card
    assert "has changed since" in card


def test_both_answers_look_the_same(browser):
    text = browser.get("/consent").text
    yes, no = (re.search(rf'<button name="answer" value="{one}"([^>]*)>', text) for one in ("grant", "refuse"))
    assert yes is not None
    assert no is not None
    assert yes[1] == no[1]


def test_a_browser_that_asks_for_privacy_control_is_heeded_and_told(served, browser):
    served.device.consent.grant("share_update", server="https://taste.example")
    text = plain(browser.get("/consent", Sec_GPC="1").text)
    assert not served.device.consent.granted("share_update", "https://taste.example")
    assert "Your browser asks for it" in text
    assert "Global Privacy Control is on." in plain(browser.get("/").text), "and it stays on"


@pytest.mark.parametrize("value", ["0", "", "true", "2"])
def test_another_value_of_the_signal_says_nothing(served, browser, value):
    browser.get("/", Sec_GPC=value)
    assert not served.device.consent.global_privacy_control


def test_the_floors_are_in_words(browser):
    text = plain(browser.get("/consent").text)
    assert "At least 50 devices" in text
    assert "always masked" in text


def test_weaker_floors_read_as_what_they_are():
    policy = Policy(
        largest_clip=None, largest_epsilon=8.0, allow_unmasked=True, least_hours_between=24.0, models=("ease",)
    )
    words = " ".join(words for _, words in sentences(policy))
    told = (
        "as much as it likes",
        "stays within ε 8",
        "rounds without noise are refused",
        "the server can read it",
        "24 hours",
        "trained: ease.",
    )
    for part in told:
        assert part in words


# -- every page --


@pytest.mark.parametrize(
    "path", ["/", "/kept", "/left", "/consent", "/yours", "/forget", "/invitation", "/floors", "/nothing"]
)
def test_a_page_can_be_found_ones_way_in_without_seeing_it(served, path):
    text = served.browser().get(path).text
    assert '<html lang="en">' in text
    assert text.count("<h1") == text.count("<main") == text.count("<nav") == text.count("<footer") == 1
    assert '<a class="skip" href="#main">' in text
    levels = [int(level) for level in re.findall(r"<h([1-6])", text)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = re.findall(r'\sid="([^"]+)"', text)
    assert len(names) == len(set(names))
    for field in re.findall(r'<input (?![^>]*type="hidden")[^>]*id="([^"]+)"', text):
        assert f'<label for="{field}">' in text
    for pointed in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', text):
        assert pointed in names


def test_the_menu_says_where_one_is(browser):
    assert '<a href="/left" aria-current="page">' in browser.get("/left").text


def test_there_is_no_such_page_in_words(browser):
    answer = browser.get("/nothing")
    assert answer.status == 404
    assert "No such page" in answer.text


# -- contrast --


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True])
def test_words_can_be_read_on_their_ground_in_light_and_dark(served, dark):
    css = served.stranger().get("/companion.css").text
    blocks = re.findall(r":root \{(.*?)\}", css, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", blocks[0] + (blocks[1] if dark else "")))
    for ground in ("paper", "raised", "wash"):
        for word in ("ink", "muted", "accent"):
            assert contrast(colours[word], colours[ground]) >= 4.5, (word, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


# -- words --


@pytest.mark.parametrize(
    ("part", "whole", "says"), [(0, 0, "0 %"), (0, 5, "0 %"), (1, 1000, "1 %"), (999, 1000, "99 %"), (5, 5, "100 %")]
)
def test_a_share_is_never_rounded_to_nothing_or_to_all(part, whole, says):
    assert percent(part, whole) == says


@pytest.mark.parametrize(
    ("days", "says"), [(1, "a day"), (365, "a year"), (730, "two years"), (100, "100 days"), (36500, "100 years")]
)
def test_how_long_listens_are_kept_in_words(days, says):
    assert keeping(days) == says


def test_every_standing_of_a_consent_is_a_sentence():
    from typing import get_args

    from fedpersona.device.consent import Status

    for status in get_args(Status):
        for since in (None, 1_790_000_000):
            words = Wording().standing(ConsentState("share_update", "https://a.example", status, since, since or 1))
            assert words.endswith(".")
            assert "None" not in words
            assert "  " not in words


def test_a_notice_loses_no_word_by_being_laid_out():
    for purpose in PURPOSES:
        text = notice(purpose).text
        laid = " ".join(f"{one.lead}: {one.text}" if one.lead else one.text for one in paragraphs(text))
        assert laid.split() == text.strip().split("\n\n", 1)[1].split()

"""The floors can be seen and changed; a lower one counts only after its owner has read what it means."""

from __future__ import annotations

import re

import pytest

from fedpersona.device.floors import written
from fedpersona.device.policy import Policy


def filled(browser, **changes):
    """Return what the form on the page would send, with some of it changed; None takes a tick away."""
    page = browser.get("/floors").text
    fields = dict(re.findall(r'<input id="\w+" name="(\w+)" value="([^"]*)"', page))
    fields |= dict.fromkeys(re.findall(r'name="([\w-]+)" value="1" checked', page), "1")
    fields |= {name.replace("model_", "model-"): value for name, value in changes.items()}
    return {name: value for name, value in fields.items() if value is not None}


def again(page):
    """Return what the page that asks once more would send."""
    return dict(re.findall(r'<input type="hidden" name="([\w-]+)" value="([^"]*)"', page)) | {"sure": "1"}


def test_the_form_as_it_comes_changes_nothing(served, browser):
    assert browser.post("/floors", filled(browser)).status == 303
    assert "Your floors are as they were." in browser.get("/consent").text
    assert served.device.policy == Policy()


def test_a_higher_floor_counts_at_once(served, browser):
    browser.post("/floors", filled(browser, least_cohort="80", largest_upload="2 MB", model_ease=None))
    policy = served.device.policy
    assert (policy.least_cohort, policy.largest_upload) == (80, 2_000_000)
    assert "ease" not in policy.models
    assert "At least 80 devices" in browser.get("/consent").text


def test_a_lower_floor_is_asked_about_and_counts_after_the_yes(served, browser):
    page = browser.post("/floors", filled(browser, least_cohort="20", allow_unmasked="1", most_rounds_a_day="3"))
    assert page.status == 200
    assert "Nothing was changed yet" in page.text
    assert "Sums over 20 devices may be released" in page.text
    assert "can then read it by itself" in page.text
    assert "Most rounds a day" not in page.text, "what is higher needs no yes"
    assert served.device.policy == Policy()
    assert browser.post("/floors", again(page.text)).status == 303
    assert served.device.policy == Policy(least_cohort=20, allow_unmasked=True, most_rounds_a_day=3)


def test_every_floor_has_a_field_with_a_name_and_what_it_may_be(browser):
    page = browser.get("/floors").text
    for name in written(Policy()):
        assert f'id="{name}"' in page or f'name="{name}"' in page or name == "models"
    assert "Fewest devices to mask with" in page
    assert "a share above 0.5, at most 1" in page


def test_fewer_devices_to_mask_with_is_asked_about_too(served, browser):
    page = browser.post("/floors", filled(browser, least_neighbours="10", least_threshold="0.55"))
    assert "masked with 10 other devices, where it took 40 before" in page.text
    assert "55 % of the devices that yours masks with suffice" in page.text
    assert served.device.policy == Policy()
    browser.post("/floors", again(page.text))
    assert served.device.policy == Policy(least_neighbours=10, least_threshold=0.55)


def test_a_yes_to_other_floors_than_those_of_now_is_asked_again(served, browser):
    page = browser.post("/floors", filled(browser, least_cohort="20"))
    served.device.policy = Policy(least_cohort=200)
    late = browser.post("/floors", again(page.text))
    assert "where it took 200 before" in late.text
    assert served.device.policy.least_cohort == 200


def test_all_back_to_the_usual_says_what_it_lowers(served, browser):
    assert "Put all back" not in browser.get("/floors").text
    served.device.policy = Policy(least_cohort=100)
    assert "Put all back" in browser.get("/floors").text
    page = browser.post("/floors", {"usual": "1"})
    assert "where it took 100 before" in page.text
    browser.post("/floors", again(page.text))
    assert served.device.policy == Policy()


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("least_cohort", "1", "at least 2"),
        ("least_cohort", "", "at least 2"),
        ("least_neighbours", "1", "from 2 to 1,024"),
        ("least_threshold", "0.5", "above 0.5"),
        ("largest_clip", "nan", "a length above 0"),
        ("largest_upload", '"><script>', "a number of bytes"),
        ("most_rounds_a_day", "9" * 9000, "10,000"),
    ],
)
def test_nonsense_is_said_beside_what_was_given_and_changes_nothing(served, browser, name, given, words):
    page = browser.post("/floors", filled(browser, **{name: given}))
    assert page.status == 400
    assert words in page.text
    assert "<script" not in page.text
    assert served.device.policy == Policy()


def test_a_form_without_fields_or_from_elsewhere_changes_nothing(served, browser):
    assert browser.post("/floors", {"sure": "1"}).status == 400
    assert browser.post("/floors", {}).status == 400
    lower = written(Policy(least_cohort=2)) | {"sure": "1", "form_secret": "guessed"}
    assert browser.post("/floors", lower, secret=False).status == 403
    assert served.device.policy == Policy()

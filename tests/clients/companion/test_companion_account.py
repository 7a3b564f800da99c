"""The page of what left says what it came to, and that an older copy of the vault was put back."""

from __future__ import annotations

import re

import pytest

from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.device import Device
from fedpersona.device.gate import Gate
from fedpersona.device.policy import Policy
from fedpersona.errors import BelowFloor
from tests.clients.companion.serving import serving
from tests.device.invented import listens
from tests.device.servers import SERVER, Scripted, noisy_offer, offer


def contribute(device, offered):
    device.policy = Policy(**{**device.policy.model_dump(), "least_cohort": 8, "allow_unmasked": True})
    device.consent.grant("share_update", server=SERVER)
    link = Scripted()
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    gate.contribute(SERVER, link, link.opening(offered), starter.catalogue(), Stop())


def plain(text):
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_a_round_with_noise_says_whose_promise_it_is_and_what_it_came_to(served, browser):
    contribute(served.device, noisy_offer(masked=False))
    text = plain(browser.get("/left").text)
    assert "Privacy noise of 4 times that from the server, if it keeps its promise" in text
    assert "The server says ε 8.00 for all of its training (δ 1e-05)" in text
    assert "This round, at worst ε 1.07 This server so far ε 1.07 In all so far ε 1.07" in text
    assert "All of it together, at worst: ε 1.07, by this device’s own account" in text
    assert "Whether or not you take part with your history can be guessed" in text


def test_a_round_without_noise_has_no_number(served, browser):
    contribute(served.device, offer(masked=False))
    text = plain(browser.get("/left").text)
    assert "no differential privacy" in text
    assert "In all so far unlimited (1 round without noise)" in text
    assert "ε" not in text


def test_a_round_over_the_owners_limit_is_listed_with_the_numbers(served, browser):
    served.device.policy = Policy(largest_epsilon=1.0)
    with pytest.raises(BelowFloor):
        contribute(served.device, noisy_offer(masked=False))
    text = plain(browser.get("/left").text)
    assert "it would be ε 1.07 at worst, from ε 0.00" in text
    assert "your device allows ε 1 over its life" in text
    assert "What all rounds of this device’s life tell stays within ε 1" in plain(browser.get("/consent").text)


def test_an_older_copy_is_told_and_acknowledged(tmp_path):
    folder = tmp_path / "device"
    with Device.open(folder) as device:
        device.vault.add(listens())
    older = (folder / "vault.db").read_bytes()
    with Device.open(folder) as device:
        contribute(device, noisy_offer(masked=False))
    (folder / "vault.db").write_bytes(older)
    with Device.open(folder) as device, serving(device) as found:
        browser = found.browser()
        text = plain(browser.get("/left").text)
        assert "Another copy of this vault, such as an older one, was put in its place (it has 0 of the 1" in text
        assert "All of it together, at worst: ε 1.07" in text
        assert browser.post("/left/acknowledge", secret=False).status == 403
        assert device.rolled_back is not None
        assert browser.post("/left/acknowledge").status == 303
        text = plain(browser.get("/left").text)
        assert "An older copy, as you know" in text
        assert "such as an older one" not in text.partition("An older copy, as you know")[0]
        assert device.rolled_back is None
        assert browser.post("/left/acknowledge").status == 400

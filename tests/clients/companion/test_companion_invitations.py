"""An invitation is shown for what it is before anything is sent, taken up once, and a place can be given up."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape

import pytest

from clients.companion.owner import Owner
from clients.companion.wording import in_fours
from fedpersona.device.device import Device
from fedpersona.wire.invitation import Invitation
from tests.clients.companion.serving import Served
from tests.device.https_servers import Authority, reply, serving

TOKEN = "a-token-of-32-letters-0123456789"
OPERATOR = bytes(range(32))


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def server(authority, tmp_path):
    """A server that enrols those with the token, and is busy with nothing."""

    def talk(request, *_):
        match request.path.partition("?")[0]:
            case "/v1/enrol" if json.loads(request.body)["token"] == TOKEN:
                return reply(b'{"federation": "Folk", "device": 7, "node_id": 12345}')
            case "/v1/enrol":
                return reply(b'{"error": "the invitation has expired: ask for <b>another</b>"}', "403 Forbidden")
            case _:
                return reply(b"{}", "503 Service Unavailable")

    with serving(talk, authority.context(tmp_path)) as started:
        yield started


@pytest.fixture
def invitation(server, authority):
    return Invitation(server.address, "Folk", OPERATOR, TOKEN, authority.der)


def look(browser, invitation):
    return browser.post("/invitation", {"invitation": str(invitation)})


def enrol(browser, invitation):
    return browser.post("/invitation/enrol", {"invitation": str(invitation)})


def test_an_invitation_is_shown_and_nothing_is_sent(served, browser, server, invitation):
    page = look(browser, invitation)
    assert page.status == 200
    assert "<h1>Folk</h1>" in page.text
    assert server.address in page.text
    assert in_fours(OPERATOR.hex()) in page.text
    assert "Nothing was sent yet" in page.text
    assert "Enrol this device" in page.text
    assert server.connections == 0
    assert served.device.identities == ()
    assert len(served.device.ledger.tail()) == 0


def test_an_invitation_may_come_with_broken_lines(browser, invitation):
    words = str(invitation)
    assert look(browser, f"  {words[:70]}\r\n{words[70:]}\n").status == 200


def test_enrolling_is_said_once_listed_and_in_the_ledger(served, browser, server, invitation):
    done = enrol(browser, invitation)
    assert (done.status, done.headers["Location"]) == (303, "/consent#s1")
    page = browser.get("/consent").text
    assert "Enrolled with Folk, as device 7" in page
    assert "This device is number 7 there" in page
    assert in_fours(OPERATOR.hex()) in page
    assert TOKEN not in page
    assert "Enrolled with Folk" not in browser.get("/consent").text
    assert "Asked for a place" in browser.get("/left").text
    assert "already, as device 7" in look(browser, invitation).text
    enrol(browser, invitation)
    assert len(server.requests) == 2, "the server may have lost its list: it is asked again, with the same keys"
    assert not served.device.consent.granted("share_update", server.address), "a place is no yes"


def test_one_without_a_token_sends_nothing(browser, server, invitation):
    public = replace(invitation, token="")
    assert "Make it known" in look(browser, public).text
    enrol(browser, public)
    page = browser.get("/consent").text
    assert "Nothing was sent" in page
    assert "it can fetch what is public" in page
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/invitation", "/invitation/enrol"])
@pytest.mark.parametrize(
    "given", ["", "hello", "fedpersona1.cut", "fedpersona1." + "A" * 20_000, '"><script>alert(1)</script>']
)
def test_what_is_no_invitation_is_said_beside_what_was_given(browser, path, given):
    page = browser.post(path, {"invitation": given})
    assert page.status == 400
    assert "no whole invitation" in page.text
    assert escape(given, quote=False)[:40] in page.text.replace("&#34;", '"')
    assert "<script" not in page.text


def test_an_address_that_is_none_is_one_sentence(browser, invitation):
    assert look(browser, replace(invitation, address="https://")).status == 400


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"token": "b" * 32}, "has expired"),
        ({"address": "https://localhost:9"}, "no server answers there"),
        ({"federation": "Other"}, "is a server of"),
    ],
)
def test_what_does_not_work_is_said_in_words(served, browser, invitation, change, words):
    page = enrol(browser, replace(invitation, **change))
    assert page.status == 400
    assert words in page.text
    assert "<b>another" not in page.text
    assert served.device.identities == ()


def test_a_server_of_another_authority_is_not_enrolled_with(browser, server, invitation):
    page = enrol(browser, replace(invitation, authority=Authority().der))
    assert "authority that was agreed" in page.text
    assert not server.requests


def test_another_operators_key_is_warned_of_and_refused_until_the_place_is_given_up(browser, server, invitation):
    enrol(browser, invitation)
    other = replace(invitation, operator=bytes(32))
    assert "keeps another operator’s key" in look(browser, other).text
    assert enrol(browser, other).status == 400
    browser.post("/consent/give-up", {"server": server.address})
    assert "keeps another" not in look(browser, other).text
    assert enrol(browser, other).status == 303


def test_a_place_that_is_given_up_is_gone_and_answers_stay(served, browser, server, invitation):
    enrol(browser, invitation)
    served.device.consent.refuse("share_update", server=server.address)
    browser.post("/consent/visit", {"server": server.address})
    browser.post("/consent/give-up", {"server": server.address})
    page = browser.get("/consent").text
    assert f"{server.address} is forgotten" in page
    assert "Known by its address only" in page
    assert served.device.identities == ()
    assert served.owner.membership(server.address) is None
    assert served.device.consent.state("share_update", server.address).status == "refused"
    assert browser.post("/consent/visit", {"server": server.address}).status == 400
    browser.post("/consent/give-up", {"server": server.address})
    assert "was not known" in browser.get("/consent").text


def test_a_visit_that_finds_nobody_says_so(browser, server, invitation):
    enrol(browser, invitation)
    assert browser.post("/consent/visit", {"server": server.address}).status == 303
    page = browser.get("/consent").text
    assert "Last visit: failed" in page
    browser.post("/consent/leave", {"server": server.address})


def test_a_place_that_cannot_be_read_does_not_hide_the_page(served, browser, server, invitation):
    enrol(browser, invitation)
    with served.device._store.writing() as cursor:
        cursor.execute("UPDATE file SET body = ? WHERE name = ?", (b"{}", f"enrolment of {server.address}"))
    page = browser.get("/consent")
    assert page.status == 200
    assert "cannot be read" in page.text


def test_a_form_from_elsewhere_enrols_nobody(served: Served, browser, server, invitation):
    fields = {"invitation": str(invitation), "form_secret": "guessed"}
    assert browser.post("/invitation/enrol", fields, secret=False).status == 403
    assert browser.post("/invitation", fields, secret=False).status == 403
    assert server.connections == 0


def test_servers_come_in_one_order(tmp_path, no_keyring, authority):
    with Device.open(tmp_path / "other") as device:
        owner = Owner(device)
        device.enrol(Invitation("https://b.example", "B", OPERATOR, "", authority.der))
        device.enrol(Invitation("https://a.example", "A", OPERATOR, "", authority.der))
        device.consent.refuse("share_update", server="https://a.example")
        assert owner.servers()[1:] == ["https://a.example", "https://b.example"]
        owner.close()

"""Nobody but the browser that opened the one-time address sees or changes anything."""

import http.client
import logging
import re

import pytest

from clients.companion import actions, pages
from clients.companion.security import HOST, Door
from fedpersona.device.device import Device
from tests.clients.companion.serving import serving
from tests.device.invented import listens


@pytest.fixture(scope="module")
def whole_module(tmp_path_factory):
    """One Companion for all of these: what they ask is refused, so nothing of it changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
        patch.setenv("FEDPERSONA_PASSPHRASE", "of an invented person")
        with Device.open(tmp_path_factory.mktemp("security") / "device") as device:
            device.vault.add(listens())
            with serving(device) as found:
                yield found


@pytest.fixture
def served(whole_module):
    """The Companion, with no address given out."""
    whole_module.addresses.clear()
    whole_module.door._token = None
    return whole_module


OTHERS_PAGES = ["cross-site", "same-site", "nonsense"]


def every_get():
    return [path.replace("{ending}", "xspf") for path in pages.PAGES]


# -- the one-time address --


def test_an_address_opens_once_and_leaves_no_token_in_the_browser(served):
    answer = served.stranger().enter(served.door.show_address())
    assert (answer.status, answer.headers["Location"]) == (303, "/")


def test_the_cookie_is_for_this_browser_session_and_no_script_or_other_site_gets_it(served):
    cookie = served.stranger().enter(served.door.show_address()).headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "max-age" not in cookie
    assert "expires" not in cookie
    assert "domain" not in cookie


def test_a_second_use_is_refused_in_words_and_a_new_address_is_in_the_terminal(served):
    address = served.door.show_address()
    served.stranger().enter(address)
    second = served.stranger()
    answer = second.enter(address)
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers
    assert "address was used" in answer.text
    assert second.get("/").status == 403
    assert len(set(served.addresses)) == 2
    assert served.stranger().enter(served.addresses[-1]).status == 303


def test_knocking_prints_no_flood_of_addresses(served):
    served.door.show_address()
    for _ in range(5):
        assert served.stranger().get("/").status == 403
    assert len(served.addresses) == 1


@pytest.mark.parametrize("token", ["", "x", "\u00e9", "a" * 10_000, "0" * 43])
def test_a_guessed_token_opens_nothing_and_does_not_use_the_address_up(served, token):
    address = served.door.show_address()
    assert served.stranger().ask("GET", f"/?token={token.encode().hex()}", Sec_Fetch_Site=None).status == 403
    assert served.stranger().enter(address).status == 303


def test_before_any_address_was_given_out_no_token_opens_anything():
    door = Door(1, lambda words: None)
    assert door.enter("") is None
    assert door.enter("None") is None


def test_old_sessions_give_way_so_that_their_number_is_bounded():
    door = Door(1, lambda words: None)
    cookies = [door.enter(door.show_address().partition("token=")[2]) for _ in range(20)]
    assert door.session(cookies[0]) is None
    assert door.session(cookies[-1]) is not None
    door.close()
    assert door.session(cookies[-1]) is None


# -- who gets in --


@pytest.mark.parametrize("path", every_get())
def test_no_page_without_a_session(served, path):
    answer = served.stranger().get(path)
    assert answer.status == 403
    assert "Opus" not in answer.text
    for artist, _ in served.device.vault.top_artists(5):
        assert artist not in answer.text


@pytest.mark.parametrize("path", list(actions.ACTIONS))
def test_no_action_without_a_session(served, path):
    assert served.stranger().post(path, {"word": "FORGET", "form_secret": "x"}, secret=False).status == 403
    assert served.device.vault.count() == 60


@pytest.mark.parametrize("cookie", ["", "companion_1=x", "x", "=;=", "companion_{port}=", "companion_{port}=AAAA"])
def test_another_cookie_is_no_session(served, cookie):
    browser = served.stranger()
    assert browser.get("/", Cookie=cookie.format(port=served.port)).status == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", "", "[::1]:{port}"],
)
def test_another_name_that_points_here_gets_nothing(served, host):
    browser = served.browser()
    served.door.show_address()
    for path in ("/", "/kept", "/companion.css", served.addresses[-1].partition(f":{served.port}")[2]):
        answer = browser.get(path, Host=host.format(port=served.port))
        assert answer.status in (400, 421)
        assert "Set-Cookie" not in answer.headers
    assert served.stranger().enter(served.addresses[-1]).status == 303, "and the address is not used up"


def test_two_host_headers_get_nothing(served):
    connection = http.client.HTTPConnection(HOST, served.port, timeout=10)
    connection.putrequest("GET", "/companion.css", skip_host=True)
    connection.putheader("Host", f"{HOST}:{served.port}")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status in (400, 421)
    connection.close()


def test_it_listens_on_loopback_only(served):
    import psutil

    mine = [one for one in psutil.Process().net_connections("tcp") if one.laddr and one.laddr.port == served.port]
    assert {one.laddr.ip for one in mine} == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/", "/kept", "/save/xspf"])
@pytest.mark.parametrize("site", OTHERS_PAGES)
def test_another_page_cannot_fetch_ours_even_with_the_cookie(browser, path, site):
    assert browser.get(path, Sec_Fetch_Site=site).status == 403


# -- who may change anything --


@pytest.mark.parametrize("path", list(actions.ACTIONS))
@pytest.mark.parametrize("secret", ["", "x", "A" * 43, "\u00e9"])
def test_no_action_without_the_forms_secret(served, browser, path, secret):
    answer = browser.post(path, {"form_secret": secret, "word": "FORGET"}, secret=False)
    assert answer.status == 403
    assert served.device.vault.count() == 60
    assert served.device.consent.records() == []
    assert served.device.ledger.export() == []


def test_a_secret_of_another_session_does_not_do(served, browser):
    other = served.browser().secret()
    assert browser.post("/forget", {"form_secret": other, "word": "FORGET"}, secret=False).status == 403


@pytest.mark.parametrize("path", list(actions.ACTIONS))
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"},
        {"Origin": "http://127.0.0.1:1", "Sec_Fetch_Site": "same-site"},
        {"Origin": "http://localhost:{port}", "Sec_Fetch_Site": None},
        {"Origin": "null", "Sec_Fetch_Site": "cross-site"},
        {"Origin": "null", "Sec_Fetch_Site": None},
        {"Origin": None, "Sec_Fetch_Site": None},
        {"Origin": None, "Sec_Fetch_Site": "none"},
    ],
)
def test_no_action_from_another_page_even_with_cookie_and_secret(served, browser, path, headers):
    named = {name: value and value.format(port=served.port) for name, value in headers.items()}
    assert browser.post(path, {"word": "FORGET"}, **named).status == 403
    assert served.device.vault.count() == 60


def test_our_own_origin_is_let_in_where_a_browser_sends_no_fetch_metadata(served, browser):
    answer = browser.post("/kept/retention", {"days": "730"}, Origin=served.door.origin, Sec_Fetch_Site=None)
    assert answer.status == 303


@pytest.mark.parametrize("path", list(actions.ACTIONS))
def test_nothing_is_done_by_following_a_link(served, browser, path):
    assert browser.get(path).status in (200, 405), "a page at most"
    assert served.device.vault.count() == 60
    assert served.device.consent.records() == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_other_methods_do_nothing(browser, method):
    assert browser.ask(method, "/forget").status >= 400


# -- what every answer carries --


@pytest.mark.parametrize("path", [*every_get(), "/companion.css", "/nothing-here"])
@pytest.mark.parametrize("inside", [True, False])
def test_every_answer_carries_the_headers(served, path, inside):
    headers = (served.browser() if inside else served.stranger()).get(path).headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize("path", [path for path in every_get() if not path.startswith("/save")])
def test_no_page_has_a_script_an_inline_style_or_anything_from_elsewhere(served, path):
    text = served.browser().get(path).text
    assert "<script" not in text
    assert not re.search(r"\s(?:style|on\w+)=", text)
    assert "<style" not in text
    assert "javascript:" not in text
    for address in re.findall(r'(?:href|src|action|srcset|data)="([^"]*)"', text):
        assert address.startswith(("/", "#", "data:image/svg+xml,")), address
        assert not address.startswith("//")


def test_the_style_sheet_fetches_nothing(served):
    text = served.stranger().get("/companion.css").text
    assert "url(" not in text
    assert "@import" not in text


def test_an_error_of_our_own_tells_the_browser_and_the_log_nothing_of_a_history(served, browser, monkeypatch, caplog):
    def broken(*_: object) -> None:
        raise RuntimeError("Zanzibar Quillfeather was played")

    monkeypatch.setattr(type(served.device), "playlist", broken)
    with caplog.at_level(logging.DEBUG):
        answer = browser.get("/")
    assert answer.status == 500
    assert "Internal error" in answer.text
    assert "Zanzibar" not in answer.text
    assert "Zanzibar" not in caplog.text
    assert "RuntimeError at test_companion_security.py:" in caplog.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_nothing_that_lets_in_is_logged_or_shown_by_a_repr(served, browser, caplog):
    with caplog.at_level(logging.DEBUG):
        served.stranger().enter(served.door.show_address())
        browser.get("/")
    for secret in (served.addresses[-1].partition("token=")[2], browser.cookie.partition("=")[2], browser.secret()):
        assert secret not in caplog.text
        assert secret not in repr(served.door)
        assert secret not in repr(served.door._sessions)

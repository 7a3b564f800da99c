"""What the owner does through the page is done, once, and said; what cannot be done is one sentence."""

import io
import json
import time
import zipfile

import pytest

from clients.companion import actions, forms
from fedpersona.device.export import write_export
from fedpersona.errors import DiskFull
from tests.clients.companion.serving import Plain, Served
from tests.device.invented import MARK, listens, write_spotify_zip
from tests.device.servers import SERVER, federation


@pytest.fixture
def history(tmp_path) -> bytes:
    return write_spotify_zip(tmp_path / "my_spotify_data.zip").read_bytes()


def answer(browser: Plain, what: str, purpose: str = "share_update", server: str = SERVER, **more: str):
    return browser.post("/consent/answer", {"answer": what, "purpose": purpose, "server": server, **more})


# -- import --


def test_an_import_says_what_came_of_it_once_and_is_in_the_ledger(empty, history):
    browser = empty.browser()
    answered = browser.upload(history, "my_spotify_data.zip")
    assert (answered.status, answered.headers["Location"]) == (303, "/yours")
    page = browser.get("/yours").text
    assert "What came of it" in page
    assert "Spotify" in page
    assert empty.device.vault.count() == 61
    assert "What came of it" not in browser.get("/yours").text
    (entry,) = empty.device.ledger.tail()
    assert (entry.kind, entry.what) == ("imported", "61 listens, by the owner")


def test_an_import_says_what_was_left_out_why_and_where_first(empty, tmp_path):
    bad = write_spotify_zip(tmp_path / "bad.zip", listens(3))
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr("notes.txt", "nothing")
    browser = empty.browser()
    browser.upload(bad.read_bytes(), "bad.zip")
    page = browser.get("/yours").text
    assert "Left out, and why" in page
    assert "not a listening history" in page
    assert "ReadMeFirst" in page


def test_the_same_history_again_adds_nothing(empty, history):
    browser = empty.browser()
    browser.upload(history)
    browser.upload(history)
    assert empty.device.vault.count() == 61
    assert "Imported: 0 new listens." in browser.get("/yours").text


def test_an_uploaded_history_never_touches_the_disk(empty, history, monkeypatch):
    """Python spools large uploads to temporary files; ours has nothing to spill with."""
    import tempfile

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    padded = io.BytesIO(history)
    with zipfile.ZipFile(padded, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("album.jpg", bytes(range(256)) * 20_000)
    assert empty.browser().upload(padded.getvalue()).status == 303
    assert empty.device.vault.count() == 61
    held = {file.name for file in empty.device.folder.rglob("*")}
    assert held <= {"vault.db", "vault.db-wal", "vault.db-shm", "key.json", "key.lock", "witness"}


@pytest.mark.parametrize("content", [b"", b"\x00" * 5000, b"PK\x03\x04" + b"\xff" * 300, b"<html>", b"[]", b"{}"])
def test_what_is_no_history_is_one_sentence_and_changes_nothing(empty, content):
    answered = empty.browser().upload(content, "photo.jpg")
    assert answered.status == 400
    assert "That did not work" in answered.text
    assert empty.device.vault.count() == 0


def test_no_file_chosen_is_one_sentence(empty):
    assert "no file was chosen" in empty.browser().upload(b"", "").text.lower()


def test_a_file_by_a_hostile_name_is_shown_as_text(empty):
    answered = empty.browser().upload(b"nothing", "<script>alert(1)</script>.zip")
    assert "<script" not in answered.text


def test_too_large_an_upload_is_refused_before_it_is_read(empty, monkeypatch):
    monkeypatch.setattr(forms, "LARGEST_UPLOAD", 1000)
    answered = empty.browser().upload(b"x" * 2000)
    assert answered.status == 400
    assert "larger than" in answered.text


def test_a_stream_that_tells_no_length_is_bounded_too(empty, monkeypatch):
    import http.client

    from clients.companion.security import HOST

    monkeypatch.setattr(forms, "LARGEST_UPLOAD", 100_000)
    browser = empty.browser()
    connection = http.client.HTTPConnection(HOST, empty.port, timeout=10)
    headers = {
        "Cookie": browser.cookie,
        "Origin": "null",
        "Sec-Fetch-Site": "same-origin",
        "Content-Type": "multipart/form-data; boundary=b",
    }
    part = b'--b\r\nContent-Disposition: form-data; name="history"; filename="x"\r\n\r\n' + b"x" * 300_000
    connection.request("POST", "/yours/import", iter([part]), headers, encode_chunked=True)
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b"--c--" * 100),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        ("application/x-www-form-urlencoded", b"a=" + b"x" * 100_000),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(100))),
        ("application/x-www-form-urlencoded; charset=nonsense", b"\xff\xfe=%ff%00"),
        ("application/json", b"{}"),
        ("text/plain", b"form_secret=x"),
        ("", b""),
    ],
)
def test_a_body_that_is_no_form_of_ours_is_a_page_not_a_crash(empty, kind, body):
    answered = empty.browser().ask("POST", "/yours/import", body, Content_Type=kind)
    assert 400 <= answered.status < 500
    assert "<h1>" in answered.text


def test_a_full_disk_is_one_sentence(served, browser, history, monkeypatch):
    def full(*_: object) -> None:
        raise DiskFull("vault.db: the disk is full: make room; nothing that was kept before is lost")

    monkeypatch.setattr(type(served.device.vault), "add", full)
    answered = browser.upload(history)
    assert answered.status == 400
    assert "make room" in answered.text


def test_pages_are_shown_while_a_history_comes_in(empty, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    history = write_spotify_zip(tmp_path / "long.zip", listens(3000)).read_bytes()
    browser = empty.browser()
    secret = browser.secret()
    with ThreadPoolExecutor(8) as at_once:
        coming = at_once.submit(browser.upload, history, "long.zip", secret=secret)
        shown = [at_once.submit(browser.get, path) for path in ("/", "/kept", "/left", "/consent", "/yours") * 3]
        assert coming.result().status == 303
        assert {one.result().status for one in shown} == {200}
    assert empty.device.vault.count() == 3001


# -- yes, no, and visits --


def test_yes_no_and_back_take_effect_at_once_and_are_said_once(served, browser):
    granted = answer(browser, "grant", card="s0-share-update")
    assert (granted.status, granted.headers["Location"]) == (303, "/consent#s0-share-update")
    assert served.device.consent.granted("share_update", SERVER)
    page = browser.get("/consent").text
    assert "taste model, https://taste.example: Yes. Since" in page
    assert '<p class="said"' not in browser.get("/consent").text
    answer(browser, "withdraw")
    assert not served.device.consent.granted("share_update", SERVER)
    answer(browser, "refuse", "share_metrics")
    assert served.device.consent.state("share_metrics", SERVER).status == "refused"


def test_a_yes_on_a_page_that_is_older_than_a_no_is_not_taken(served, browser):
    seen = str(served.device.consent.epoch)
    answer(browser, "refuse")
    late = answer(browser, "grant", seen=seen)
    assert late.status == 409
    assert "a no was recorded meanwhile" in late.text
    assert not served.device.consent.granted("share_update", SERVER)


@pytest.mark.parametrize(
    "fields",
    [
        {"answer": "grant", "purpose": "sell", "server": SERVER},
        {"answer": "grant", "purpose": "share_update", "server": "nowhere"},
        {"answer": "grant", "purpose": "share_update", "server": ""},
        {"answer": "maybe", "purpose": "share_update", "server": SERVER},
        {},
    ],
)
def test_an_answer_to_nothing_is_one_sentence(served, browser, fields):
    assert browser.post("/consent/answer", fields).status == 400
    assert served.device.consent.records() == []


@pytest.mark.parametrize("card", ["x y", "//evil.example", "\r\nSet-Cookie: a=b", '"><script>'])
def test_a_hostile_card_name_leads_nowhere_else(browser, card):
    answered = answer(browser, "refuse", card=card)
    assert answered.headers["Location"] == "/consent#"
    assert "Set-Cookie" not in answered.headers


def test_privacy_control_on_ends_every_yes_and_off_brings_none_back(served, browser):
    answer(browser, "grant")
    browser.post("/consent/privacy-control", {"on": "1"})
    assert not served.device.consent.granted("share_update", SERVER)
    assert answer(browser, "grant").status == 409
    browser.post("/consent/privacy-control", {"on": "0"})
    assert not served.device.consent.global_privacy_control
    assert not served.device.consent.granted("share_update", SERVER)


def test_privacy_control_that_the_browser_asks_for_is_not_turned_off_here(served, browser):
    browser.post("/consent/privacy-control", {"on": "0"}, Sec_GPC="1")
    assert served.device.consent.global_privacy_control


def test_a_server_that_is_named_gets_cards_and_is_told_nothing(served, browser):
    assert browser.post("/consent/server", {"server": "HTTPS://Taste.Example:443/"}).status == 303
    page = browser.get("/consent").text
    assert f'<h2 id="s1">{SERVER}</h2>' in page
    assert browser.post("/consent/server", {"server": "no address"}).status == 400
    assert browser.post("/consent/visit", {"server": SERVER}).status == 400, "nobody answers there"


def over(served: Served) -> None:
    """Wait until the visit is over; the page itself waits for a moment only."""
    deadline = time.monotonic() + 90
    while served.owner.membership(SERVER).state == "visiting" and time.monotonic() < deadline:
        time.sleep(0.1)


def test_a_visit_without_a_yes_takes_the_model_and_sends_nothing(served, browser):
    with federation().at(SERVER):
        assert browser.post("/consent/visit", {"server": SERVER}).status == 303
        over(served)
        assert "not contributed" in browser.get("/consent").text
        assert not served.device.ledger.contributions()
        browser.post("/consent/leave", {"server": SERVER})


def test_a_visit_with_a_yes_contributes_and_the_ledger_tells_it(served, browser):
    with federation().at(SERVER):
        answer(browser, "grant")
        browser.post("/consent/visit", {"server": SERVER})
        over(served)
        assert served.owner.membership(SERVER).state == "contributed to 2 rounds"
        assert "contributed to 2 rounds" in browser.get("/consent").text
        assert len(served.device.ledger.contributions()) == 2
        page = browser.get("/left").text
        assert page.count(">Sent ") == 2
        assert "2 contributions left this device" in page
        answer(browser, "withdraw")
        assert ">Stop<" not in browser.get("/consent").text.partition("s1-share-update")[0].partition('id="s1"')[2]
    assert "shared taste model" in browser.get("/").text
    assert "says the shared taste model" in browser.get("/kept").text


# -- export and forget --


def test_an_export_is_everything_as_a_zip_from_memory_and_is_in_the_ledger(served, browser):
    answered = browser.post("/yours/export")
    assert answered.headers["Content-Type"] == "application/zip"
    assert answered.headers["Content-Disposition"].startswith('attachment; filename="fedpersona-20')
    with zipfile.ZipFile(io.BytesIO(answered.body)) as archive:
        told = [json.loads(line) for line in archive.read("listens.jsonl").splitlines()]
        names = set(archive.namelist())
    assert len(told) == 60
    whole = write_export(served.device.folder.parent / "whole.zip", served.device)
    with zipfile.ZipFile(whole) as archive:
        assert names == set(archive.namelist())
    assert [entry.kind for entry in served.device.ledger.tail()] == ["exported"]


def test_forget_asks_for_the_word_and_without_it_does_nothing(served, browser):
    assert "type FORGET" in browser.get("/forget").text
    for word in ("", "forget", "FORGET IT", "yes"):
        answered = browser.post("/forget", {"word": word})
        assert answered.status == 400
        assert "Nothing was deleted" in answered.text
    assert served.device.vault.count() == 60


def test_forget_deletes_everything_says_so_and_ends_the_server(served: Served, browser: Plain, monkeypatch):
    monkeypatch.setattr(actions, "_FAREWELL", 0.7)
    secret = browser.secret()
    farewell = browser.post("/forget", {"form_secret": secret, "word": "FORGET"}, secret=False)
    assert farewell.status == 200
    assert "60 listens" in farewell.text
    assert "is gone" in farewell.text
    assert not served.device.folder.exists()
    assert browser.get("/companion.css").status == 200, "the farewell can still be dressed"
    for path in ("/", "/kept", "/yours"):
        assert "Forgotten" in browser.get(path).text, "and nothing else can be seen"
    again = browser.post("/kept/retention", {"form_secret": secret, "days": "9"}, secret=False)
    assert "Forgotten" in again.text
    served.thread.join(8)
    assert not served.thread.is_alive()


def test_nothing_of_a_forgotten_history_is_left_in_the_folder_above(empty, history, monkeypatch):
    monkeypatch.setattr(actions, "_FAREWELL", 0.2)
    browser = empty.browser()
    browser.upload(history)
    browser.get("/kept")
    browser.post("/forget", {"word": "FORGET"})
    time.sleep(0.1)
    for file in empty.device.folder.parent.rglob("*"):
        if file.is_file() and file.name != "my_spotify_data.zip":
            assert MARK.encode() not in file.read_bytes()

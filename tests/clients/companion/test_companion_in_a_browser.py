"""A whole life of a device, in a real browser: import, list, grant, visit, ledger, withdraw, export, forget."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.companion import actions
from clients.companion.wording import in_fours
from fedpersona.device import visit as visiting
from tests.browsers import chromium_in, needs_chromium
from tests.clients.companion.serving import Served
from tests.device.invented import write_spotify_zip
from tests.serving import serving

pytestmark = needs_chromium


@pytest.fixture
def chromium(tmp_path, monkeypatch) -> Iterator[Screen]:
    """A new Chromium with a profile of its own."""
    saved = tmp_path / "saved"
    saved.mkdir()
    with chromium_in(tmp_path, monkeypatch, saved) as driver:
        yield Screen(driver, tmp_path, saved)


class Screen:
    """What a person sees and does."""

    def __init__(self, driver, folder: Path, saved: Path) -> None:
        self.driver = driver
        self.folder = folder
        self.saved = saved
        self.taken = 0

    def find(self, css: str):
        return self.driver.find_element("css selector", css)

    def all(self, css: str):
        return self.driver.find_elements("css selector", css)

    @property
    def words(self) -> str:
        from selenium.common.exceptions import WebDriverException

        for _ in range(20):
            try:
                return self.find("body").text
            except WebDriverException:  # between two pages
                time.sleep(0.05)
        return self.find("body").text

    def go(self, name: str) -> None:
        self.press(self.driver.find_element("link text", name))
        self.picture(name)

    def press(self, element) -> None:
        """Click what leads to another page, and wait for that page."""
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.support import expected_conditions as expected
        from selenium.webdriver.support.ui import WebDriverWait

        element.click()
        # Chromium may answer with an error of its own for an element whose page is just leaving: it is asked again.
        leaving = WebDriverWait(self.driver, 30, 0.05, ignored_exceptions=[WebDriverException])
        leaving.until(expected.staleness_of(element))
        WebDriverWait(self.driver, 30, 0.05).until(expected.presence_of_element_located(("css selector", "main")))

    def picture(self, name: str) -> None:
        self.taken += 1
        self.driver.save_screenshot(str(self.folder / f"{self.taken:02} {name}.png"))

    def wait_for(self, what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while what not in self.words:
            assert time.monotonic() < end, f"'{what}' did not come: {self.words[:600]}"
            time.sleep(0.2)

    def saved_file(self, ending: str, seconds: float = 15.0) -> Path:
        end = time.monotonic() + seconds
        while not (found := list(self.saved.glob(f"*.{ending}"))):
            assert time.monotonic() < end, f"no .{ending} was saved"
            time.sleep(0.1)
        return found[0]


def test_a_whole_life_of_a_device(empty: Served, chromium: Screen, tmp_path, monkeypatch):
    monkeypatch.setattr(actions, "_FAREWELL", 1.5)
    history = write_spotify_zip(tmp_path / "my_spotify_data.zip")
    screen = chromium
    device = empty.device

    screen.driver.get(empty.door.show_address())
    assert "token" not in screen.driver.current_url
    screen.picture("first")
    assert "Not personal yet" in screen.words

    screen.press(screen.find("a[href='/yours#import']"))
    screen.find("#history").send_keys(str(history))
    screen.press(screen.find("form[action='/yours/import'] button"))
    screen.wait_for("What came of it")
    screen.picture("imported")
    assert device.vault.count() == 61

    screen.go("This week")
    reasons = [one.text for one in screen.all(".tracks .reason")]
    assert len(reasons) == 30
    assert all(reasons)
    assert any("you played" in one for one in reasons)
    screen.driver.find_element("link text", "XSPF").click()
    assert b"<track>" in screen.saved_file("xspf").read_bytes()

    screen.go("What is kept")
    assert "61 listens" in screen.words
    assert len(screen.all("svg.map.wide .mine")) > 40

    screen.go("What left")
    screen.wait_for("Imported")
    assert "Nothing has left this device." in screen.words

    screen.go("Yes or no")
    card = "#s0-share-update"
    assert screen.find(f"{card} .answer").text == "No"
    screen.press(screen.find(f"{card} button[value=grant]"))
    assert screen.find(f"{card} .answer").text == "Yes"
    screen.picture("granted")
    screen.press(screen.find("form[action='/consent/visit'] button"))
    screen.wait_for("Last visit: contributed to 4 rounds.")
    screen.picture("visited")

    screen.go("What left")
    assert len(screen.all(".ledger .gone")) == 4
    assert "to the practice server" in screen.words
    assert "numbers, masked" in screen.words
    assert "each signed by this device and in its place" in screen.words

    screen.go("This week")
    assert "shared taste model" in screen.words

    screen.go("Yes or no")
    screen.press(screen.find(f"{card} button[value=withdraw]"))
    assert screen.find(f"{card} .answer").text == "No"
    assert "Taken back on" in screen.find(f"{card} .standing").text
    screen.picture("withdrawn")

    screen.go("Yours")
    screen.find("form[action='/yours/export'] button").click()
    with zipfile.ZipFile(screen.saved_file("zip")) as archive:
        assert len(archive.read("listens.jsonl").splitlines()) == 61
        assert b"withdrawn" in archive.read("consents.json")

    screen.press(screen.driver.find_element("partial link text", "Delete everything"))
    screen.picture("asked once more")
    screen.find("#word").send_keys("FORGET")
    screen.press(screen.find("button.grave"))
    screen.wait_for("Forgotten")
    screen.picture("farewell")
    assert "61 listens" in screen.words
    assert screen.find("main").value_of_css_property("padding-top") != "0px", "the farewell came with its style"
    assert not device.folder.exists()
    empty.thread.join(10)
    assert not empty.thread.is_alive()
    complaints = [one["message"] for one in screen.driver.get_log("browser") if one["level"] in ("SEVERE", "WARNING")]
    assert complaints == [], "the policy for content blocked something, or a page is at fault"
    assert screen.taken >= 12


def test_an_invitation_to_a_real_server_is_taken_up_visited_and_forgotten(
    served: Served, chromium: Screen, tmp_path, monkeypatch
):
    monkeypatch.setattr(visiting, "_FIRST_MODEL", 0.5)
    screen = chromium
    with serving(tmp_path, rounds__masked=False, rounds__min_count=1, rounds__cohort=8) as server:
        (invitation,) = server.invite(1)
        screen.driver.get(served.door.show_address())
        screen.go("Yes or no")
        screen.press(screen.find("a[href='/invitation']"))
        screen.find("#invitation").send_keys(str(invitation))
        screen.press(screen.find("form[action='/invitation'] button"))
        screen.picture("invited")
        assert "Test people" in screen.find("h1").text
        assert in_fours(invitation.operator.hex()) in screen.words
        assert served.device.identities == ()
        screen.press(screen.find("form[action='/invitation/enrol'] button"))
        assert "Enrolled with Test people, as device 1" in screen.words
        screen.press(screen.find("#s1-share-update button[value=grant]"))
        server.until(lambda: server.ask("/v1/status").json()["busy"], 30, "a round")
        visit_until(screen, "not contributed: least_cohort")  # a round of one device is below the usual floors
        screen.picture("visited")
        screen.go("What left")
        assert "Nothing has left this device." in screen.words
        assert f"catalogue of {len(served.device.catalogue):,} tracks" in screen.words
        screen.go("Yes or no")
        screen.find(".giveup summary").click()
        screen.press(screen.find("form[action='/consent/give-up'] button"))
        assert f"{server.address} is forgotten" in screen.words
        assert served.device.identities == ()


def visit_until(screen: Screen, outcome: str, seconds: float = 60.0) -> None:
    """Press the second server's button as a person would: once more where no round was open yet."""
    end = time.monotonic() + seconds
    while f"Last visit: {outcome}" not in screen.words:
        assert time.monotonic() < end, f"'{outcome}' did not come: {screen.words[:600]}"
        screen.press(screen.all("form[action='/consent/visit'] button")[1])
        screen.wait_for("Last visit: ", max(1.0, end - time.monotonic()))


def test_the_floors_are_lowered_only_after_they_were_read(served: Served, chromium: Screen):
    screen = chromium
    screen.driver.get(served.door.show_address())
    screen.go("Yes or no")
    screen.press(screen.find("a[href='/floors']"))
    screen.find("#least_cohort").clear()
    screen.find("#least_cohort").send_keys("20")
    screen.press(screen.find("form[action='/floors'] button"))
    screen.picture("lower")
    assert "Nothing was changed yet" in screen.words
    assert served.device.policy.least_cohort == 50
    screen.press(screen.find("button.grave"))
    assert "At least 20 devices" in screen.words
    assert served.device.policy.least_cohort == 20


def test_by_keyboard_narrow_dark_and_without_scrolling_sideways(served: Served, chromium: Screen):
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    screen = chromium
    driver = screen.driver
    narrow = {"width": 340, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", narrow)
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})
    driver.get(served.door.show_address())
    assert screen.find("body").value_of_css_property("background-color") == "rgba(22, 21, 19, 1)"
    for path in ("/", "/kept", "/left", "/consent", "/yours", "/forget", "/invitation", "/floors", "/nothing"):
        driver.get(served.door.origin + path)
        screen.picture(f"narrow {path.strip('/') or 'week'}")
        wide = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["width"]
        assert wide <= 340, path
    driver.get(f"{served.door.origin}/consent")
    screen.find("body").send_keys(Keys.TAB)
    skip = driver.switch_to.active_element
    assert skip.text == "Skip to the page"
    assert skip.value_of_css_property("outline-style") == "solid"
    skip.send_keys(Keys.ENTER)
    assert driver.switch_to.active_element.get_attribute("id") == "main"
    for _ in range(40):
        driver.switch_to.active_element.send_keys(Keys.TAB)
        if driver.switch_to.active_element.get_attribute("value") == "refuse":
            break
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    said = WebDriverWait(driver, 30, 0.05, ignored_exceptions=[WebDriverException])
    said.until(lambda page: page.find_element(By.CSS_SELECTOR, ".said").get_attribute("role") == "status")
    assert [one.status for one in served.device.consent.states()] == ["refused"]

"""The dashboard and the transparency page as a browser shows them: narrow, dark, and with nothing blocked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route

from fedpersona.aggregation.front.transparency import transparency_page
from fedpersona.aggregation.ops import ops_app
from tests.aggregation.ops.asking import Watched
from tests.browsers import chromium_in, needs_chromium

pytestmark = needs_chromium


@pytest.fixture
def chromium(tmp_path, monkeypatch):
    with chromium_in(tmp_path, monkeypatch) as driver:
        yield driver


@contextmanager
def served(app: Starlette) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until = time.monotonic() + 10
        while not server.started and time.monotonic() < until:
            time.sleep(0.01)
        assert server.started
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def public(watched: Watched) -> Starlette:
    app = Starlette(routes=[Route("/", transparency_page)])
    app.state.server = SimpleNamespace(config=watched.config, database=watched.database)
    return app


def test_both_pages_narrow_wide_light_and_dark(watched, chromium):
    pages = {"How Harbour Radio learns": public(watched), "Nothing to do": ops_app(watched.config, watched.database)}
    for headline, app in pages.items():
        with served(app) as address:
            for width, scheme, paper in ((340, "dark", "22, 21, 19"), (1100, "light", "251, 250, 247")):
                size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
                chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                media = [{"name": "prefers-color-scheme", "value": scheme}]
                chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
                chromium.get(address)
                assert chromium.find_element("css selector", "h1").text == headline
                ground = chromium.find_element("css selector", "body").value_of_css_property("background-color")
                assert paper in ground, "the style was taken"
                assert chromium.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]["width"] <= width
                shown = [one for one in chromium.find_elements("css selector", "svg.picture, .picture svg")
                         if one.is_displayed()]  # fmt: skip
                assert len(shown) == 1, "one picture, made for this width"
    assert [one["message"] for one in chromium.get_log("browser")] == []

"""One server, one spelling: a no under one spelling ends the yes under another."""

import unicodedata

import pytest

from fedpersona.device.address import normalised
from fedpersona.errors import ConfigError


@pytest.mark.parametrize(
    ("spelling", "address"),
    [
        ("  HTTPS://Taste.Example:443/  ", "https://taste.example"),
        ("https://taste.example.", "https://taste.example"),
        ("https://taste.example.:8443/", "https://taste.example:8443"),
        ("https://TASTE.example:0443", "https://taste.example"),
        ("https://taste。example", "https://taste.example"),
        ("https://ｔａｓｔｅ.example", "https://taste.example"),
        ("https://MÜNCHEN.example", "https://xn--mnchen-3ya.example"),
        ("https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        ("https://XN--Mnchen-3ya.Example.", "https://xn--mnchen-3ya.example"),
        ("https://taste.example/A/b_1/", "https://taste.example/A/b_1"),
        ("https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"),
        ("https://[2001:db8::1]:9", "https://[2001:db8::1]:9"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://localhost:1234", "http://localhost:1234"),
    ],
)
def test_a_server_has_one_spelling(spelling, address):
    assert normalised(spelling) == address
    assert normalised(address) == address


def test_letters_put_together_or_apart_are_the_same():
    for form in ("NFC", "NFD", "NFKD"):
        assert normalised(unicodedata.normalize(form, "https://münchen.example")) == "https://xn--mnchen-3ya.example"


@pytest.mark.parametrize("different", ["http://taste.example", "https://taste.example:8443", "https://taste.example/b"])
def test_another_scheme_port_or_path_is_another_server(different):
    assert normalised(different) == different != normalised("https://taste.example")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://",
        "https://.",
        "https://taste..example",
        "https://taste.example..",
        "https://.taste.example",
        "https://-taste.example",
        "https://taste%2eexample",
        "https://taste,example",
        f"https://{'a' * 64}.example",
        f"https://{'ü' * 64}.example",
        f"https://{'a.' * 127}example",
        "https://a\u00adb c.example",
        "https://xn--ü.example",
        "https://127.1",
        "https://0x7f.0.0.1",
        "https://2130706433",
        "https://[::1%25eth0]",
        "https://[1.2.3.4]",
        "https://taste.example:99999",
        "https://you@taste.example",
        "https://taste.example/a/../b",
        "https://taste.example/.",
        "https://taste.example//a",
        "https://taste.example/%7Ea",
        "https://taste.example/ü",
        "https://taste.example\\a",
        "https://taste.example?a",
        "https://taste.example/\u202ea",
    ],
)
def test_what_is_no_address_or_could_be_two_is_refused(address):
    with pytest.raises(ConfigError):
        normalised(address)

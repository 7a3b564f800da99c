import base64
import json

import pytest

from fedpersona.errors import EnrolmentRefused
from fedpersona.wire.invitation import Invitation

WHOLE = Invitation("https://taste.example", "Taste", b"k" * 32, "t" * 32, b"certificate")


def spelt(**changes) -> str:
    body = str(WHOLE).removeprefix("fedpersona1.")
    found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | changes
    return "fedpersona1." + base64.urlsafe_b64encode(json.dumps(found).encode()).decode().rstrip("=")


@pytest.mark.parametrize("one", [WHOLE, Invitation("https://taste.example:8443", "Taste", bytes(32))])
def test_an_invitation_is_one_line_and_read_back_whole(one):
    assert Invitation.parse(f"  {str(one)[:40]}\n{str(one)[40:]} ") == one
    assert "\n" not in str(one)


def test_neither_token_nor_key_is_in_its_repr():
    assert repr(WHOLE) == "Invitation(https://taste.example)"


@pytest.mark.parametrize(
    "changes",
    [
        {"address": 5}, {"address": None}, {"address": ["https://a"]}, {"address": "http://taste.example"},
        {"federation": 1}, {"federation": ""}, {"federation": "x" * 81}, {"operator": ""}, {"operator": "0" * 62},
        {"operator": "00 " * 32}, {"operator": "K" * 64}, {"token": []}, {"token": 0}, {"token": "short"},
        {"authority": 3}, {"authority": "???"}, {"more": ""},
    ],
)  # fmt: skip
def test_what_is_no_invitation_is_one_sentence(changes):
    assert Invitation.parse(spelt()) == WHOLE
    with pytest.raises(EnrolmentRefused, match="no whole invitation"):
        Invitation.parse(spelt(**changes))


@pytest.mark.parametrize(
    "text", ["", "fedpersona1.", "fedpersona2.abc", str(WHOLE)[:-9], "x" * 10_000, "fedpersona1." + "[" * 4000]
)
def test_what_was_cut_off_or_is_noise_is_one_sentence(text):
    with pytest.raises(EnrolmentRefused):
        Invitation.parse(text)

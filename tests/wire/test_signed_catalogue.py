from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.catalogue import Catalogue
from fedpersona.errors import DataError, SignatureInvalid
from fedpersona.wire.signed_catalogue import LONGEST_NAME, MOST_ITEMS, seal, signer, unseal

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.from_private_bytes(bytes([1] * 32))
CATALOGUE = Catalogue.create(
    ["a", "b", "c"],
    titles=["Küste", 'The "Pier"', "夜の海\u2028"],
    artists=["Orla Finn", "", "Ana Vell"],
    tags=[["folk", "1990s"], [], ["日本語"]],
    links=[["spotify:track:0123456789abcdefghijkl"], [], []],
    kind="track",
)
SEALED = seal(CATALOGUE, issued=1_700_000_000, key=KEY)


def sealed_by_hand(lines: list[str], **changes) -> bytes:
    """What an operator's broken tool could publish: truly signed, whatever it holds."""
    body = "".join(line + "\n" for line in lines).encode()
    header = {**json.loads(SEALED.split(b"\n")[0]), "items": len(lines), "body": hashlib.sha256(body).hexdigest()}
    header = json.dumps({**header, **changes}).encode()
    return b"\n".join((header, KEY.sign(header).hex().encode(), body))


def test_what_was_sealed_is_what_comes_out():
    found = unseal(SEALED, [OTHER.public_key().public_bytes_raw(), PUBLIC])
    assert (found.issued, found.key) == (1_700_000_000, PUBLIC)
    assert found.catalogue.version == CATALOGUE.version
    for column in ("ids", "titles", "artists", "tags", "links", "kind"):
        assert getattr(found.catalogue, column) == getattr(CATALOGUE, column)


def test_sealing_twice_gives_the_same_bytes():
    assert seal(CATALOGUE, issued=1_700_000_000, key=KEY) == SEALED


def test_a_catalogue_without_links_or_with_a_thousand_items_comes_back():
    many = Catalogue.create([f"i{n}" for n in range(1234)], tags=[["t"]] * 1234, kind="artist")
    found = unseal(seal(many, issued=0, key=KEY), [PUBLIC]).catalogue
    assert (found.version, found.links, found.ids) == (many.version, (), many.ids)


def test_the_file_is_lines_of_text_that_need_no_fedpersona_to_read():
    header, signature, *items, end = SEALED.decode().split("\n")
    assert json.loads(header)["items"] == 3
    assert (len(signature), end) == (128, "")
    assert [json.loads(line)[0] for line in items] == ["a", "b", "c"]


def test_the_signer_is_told_before_anything_is_trusted():
    assert signer(SEALED) == PUBLIC


def test_another_key_is_refused_though_its_signature_holds():
    with pytest.raises(SignatureInvalid, match="does not trust"):
        unseal(SEALED, [OTHER.public_key().public_bytes_raw()])
    with pytest.raises(SignatureInvalid, match="does not trust"):
        unseal(SEALED, [])


def test_every_single_changed_byte_is_refused():
    for place in range(len(SEALED)):
        changed = bytearray(SEALED)
        changed[place] ^= 0x20  # another case, another digit, another space: what sloppy reading would let pass
        with pytest.raises(DataError):
            unseal(bytes(changed), [PUBLIC])


def test_a_changed_item_and_a_changed_signature_are_told_from_each_other():
    with pytest.raises(SignatureInvalid, match="items were changed"):
        unseal(SEALED.replace(b"Orla", b"Arlo"), [PUBLIC])
    header, signature, body = SEALED.split(b"\n", 2)
    for other in (bytes(64).hex().encode(), signature.upper(), signature[:-2], signature + b" ", b"", b"\xff"):
        with pytest.raises(SignatureInvalid, match="signature does not fit"):
            unseal(b"\n".join((header, other, body)), [PUBLIC])


@pytest.mark.parametrize("field", ["kind", "items", "version", "issued", "linked", "body"])
def test_a_header_that_says_something_else_is_refused(field):
    header, rest = SEALED.split(b"\n", 1)
    fields = json.loads(header)
    fields[field] = {"kind": "film", "items": 2, "linked": False, "issued": 1_800_000_000}.get(field, "ab" * 32)
    with pytest.raises(SignatureInvalid, match="signature does not fit"):
        unseal(json.dumps(fields).encode() + b"\n" + rest, [PUBLIC])


def test_a_file_cut_off_anywhere_is_refused_and_said_to_be_cut_off():
    start = SEALED.index(b"\n", SEALED.index(b"\n") + 1) + 1
    for end in range(len(SEALED)):
        with pytest.raises(DataError) as caught:
            unseal(SEALED[:end], [PUBLIC])
        if end >= start:
            assert "is cut off after" in str(caught.value)
            assert not isinstance(caught.value, SignatureInvalid)


def test_what_is_put_behind_the_last_item_is_refused():
    for more in (b"\n", b"x", b'["d","","",[],[]]\n'):
        with pytest.raises(DataError):
            unseal(SEALED + more, [PUBLIC])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"format": "fedpersona catalogue 2"}, "does not read.*update"),
        ({"format": None}, "does not read"),
        ({"items": 0}, "header"),
        ({"items": True}, "header"),
        ({"items": 2.0}, "header"),
        ({"items": MOST_ITEMS + 1}, "header"),
        ({"issued": -1}, "header"),
        ({"issued": "today"}, "header"),
        ({"issued": 2**60}, "header"),
        ({"kind": "two words"}, "header"),
        ({"kind": "\x1b[31m"}, "header"),
        ({"kind": 1}, "header"),
        ({"linked": 1}, "header"),
        ({"key": "ab"}, "header"),
        ({"key": 5}, "header"),
        ({"body": None}, "header"),
        ({"version": "new"}, "header"),
        ({"items": 4}, "3 items but its header says 4"),
        ({"version": "ab" * 32}, "version is not that of its items"),
        ({"linked": False}, "links but its header says none"),
    ],
)
def test_a_signed_header_that_does_not_fit_is_one_sentence(change, complaint):
    with pytest.raises(DataError, match=complaint) as caught:
        unseal(sealed_by_hand(SEALED.decode().split("\n")[2:-1], **change), [PUBLIC])
    assert not isinstance(caught.value, SignatureInvalid)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (['["a","","",[],[]]', '["a","","",[],[]]'], "twice"),
        (['["","","",[],[]]'], "empty id"),
        (['["a","","",[]]'], "five fields"),
        (['["a","","",[],[],[]]'], "five fields"),
        (['["a","","","rock",[]]'], "five fields"),
        (['["a","","",[],"x"]'], "five fields"),
        (['["a","","",[],null]'], "five fields"),
        (['{"id":"a"}'], "five fields"),
        (["null"], "five fields"),
        (["1e999"], "five fields"),
        ([""], "five fields"),
        (["["], "five fields"),
        (["[" * 100_000], "five fields"),
        (['["a","","",[],[]],["b","","",[],[]]'], "five fields"),
        (['["a","","",[],[]],["b","","",[],[]]', ""], "five fields"),
        (['["a",1,"",[],[]]'], "'title' is no text"),
        (['["a","",null,[],[]]'], "'artist' is no text"),
        (['[["a"],"","",[],[]]'], "'id' is no text"),
        (['["a","","",[["x"]],[]]'], "'tag' is no text"),
        (['["a","","",[],[{}]]'], "'link' is no text"),
        ([json.dumps(["a", "x" * (LONGEST_NAME + 1), "", [], []])], "over 1000 characters"),
        ([json.dumps(["a", "", "", ["x" * (LONGEST_NAME + 1)], []])], "over 1000 characters"),
        ([json.dumps(["a", "", "", ["x"] * 101, []])], "over 100 tags"),
        (['["a","\\u001b[31m","",[],[]]'], "control character"),
        (['["a","\\ud800","",[],[]]'], "control character"),
        (['["a","one\\u001ftwo","",[],[]]'], "control character"),
    ],
)
def test_signed_items_that_are_none_are_one_sentence(lines, complaint):
    with pytest.raises(DataError, match=complaint):
        unseal(sealed_by_hand(lines), [PUBLIC])


def test_items_that_are_not_utf_8_are_refused():
    body = b'["a","\xff","",[],[]]\n'
    header = json.dumps(
        {**json.loads(SEALED.split(b"\n")[0]), "items": 1, "body": hashlib.sha256(body).hexdigest()}
    ).encode()
    with pytest.raises(DataError, match="five fields"):
        unseal(b"\n".join((header, KEY.sign(header).hex().encode(), body)), [PUBLIC])


@pytest.mark.parametrize(
    "data", [b"", b"\n\n", b"{", b"[]\n", b"null\n", b"\xff\xfe\n", b"[" * 60_000, b"{}", b"x" * 9999]
)
def test_bytes_that_are_no_catalogue_are_refused_with_one_sentence(data):
    for read in (signer, lambda data: unseal(data, [PUBLIC])):
        with pytest.raises(DataError, match="is no fedpersona catalogue: give the file"):
            read(data)


@given(
    st.binary(max_size=300) | st.builds(lambda a, b: SEALED[:a] + b, st.integers(0, len(SEALED)), st.binary(max_size=9))
)
def test_no_bytes_raise_anything_else(data):
    if data != SEALED:
        with pytest.raises(DataError):
            unseal(data, [PUBLIC])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"titles": ["x" * 1001]}, "over 1000"),
        ({"titles": ["two\nlines"]}, "control character"),
        ({"artists": ["\ud800"]}, "control character"),
        ({"kind": "two words"}, "kind is 'two words'"),
        ({"tags": [["x"] * 101]}, "over 100"),
        ({"titles": [5]}, "no text"),
    ],
)
def test_nothing_is_sealed_that_no_device_would_accept(changes, complaint):
    with pytest.raises(DataError, match=complaint):
        seal(Catalogue.create(["a"], **changes), issued=0, key=KEY)


@pytest.mark.parametrize("issued", [-1, 1.5, True, 2**53])
def test_a_time_that_is_none_is_not_sealed(issued):
    with pytest.raises(DataError, match="Unix seconds"):
        seal(CATALOGUE, issued=issued, key=KEY)

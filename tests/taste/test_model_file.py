"""A shared model as bytes: the same again to the bit, in this format and the one before, and no bytes do harm."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from dataclasses import replace

import numpy as np
import pytest

from fedpersona.errors import LayoutMismatch
from fedpersona.taste import MODELS, Shared, create
from fedpersona.taste.model_file import MOST_BYTES, pack, unpack
from tests.taste.test_taste_models import QUICK, SMALL, VARIANTS, trained

SETTINGS = {"dim": 6, "recency": None, "clip": 16.0}


def some(rows=400, seed=0) -> Shared:
    noise = np.random.default_rng(seed).standard_normal((rows, 8)).astype(np.float32)
    return Shared("subspace", "c" * 64, 3, {"basis": noise, "listeners": np.arange(rows, dtype=np.float32)})


def taken_apart(data: bytes) -> tuple[dict, bytes]:
    end = 4 + int.from_bytes(data[:4], "big")
    return json.loads(data[4:end]), data[end:]


def put_together(header, body: bytes) -> bytes:
    head = json.dumps(header, separators=(",", ":")).encode()
    return len(head).to_bytes(4, "big") + head + body


def changed(**fields) -> bytes:
    header, body = taken_apart(pack(some(), SETTINGS))
    return put_together({**header, **fields}, body)


def before(shared: Shared, settings: dict, form: str | None = "fedpersona model 1") -> bytes:
    """Return a model as the format before wrote it, or without a format as devices kept it before that."""
    from safetensors.numpy import save

    header = {
        **({} if form is None else {"format": form}),
        "model": shared.model,
        "settings": settings,
        "catalogue": shared.catalogue,
        "round": shared.round_number,
    }
    return put_together(header, save({name: np.ascontiguousarray(array) for name, array in shared.arrays.items()}))


def bits(shared: Shared) -> tuple:
    arrays = {name: (array.dtype, array.shape, array.tobytes()) for name, array in shared.arrays.items()}
    return shared.model, shared.catalogue, shared.round_number, arrays


def alike(one: Shared, other: Shared) -> bool:
    return bits(one) == bits(other) and one.hash() == other.hash()


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_model_comes_back_to_the_bit_at_its_start_and_trained(name, settings, population):
    model, shared = trained(name, settings, population)
    for one in (model.init(population.catalogue, 0), shared):
        again, said = unpack(pack(one, model.model_dump(mode="json")))
        assert alike(one, again)
        assert create(again.model, said) == model
        model.check(again, population.catalogue)


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_gives_the_same_bytes_and_another_gives_others(name, population):
    _, shared = trained(name, {**SMALL, **QUICK}[name], population)
    turned = replace(shared, arrays={key: shared[key].copy() for key in reversed(shared.arrays)})
    assert pack(shared, SETTINGS) == pack(turned, dict(reversed(SETTINGS.items())))
    assert pack(shared, SETTINGS) != pack(replace(shared, round_number=9), SETTINGS)


def test_a_model_becomes_shorter():
    shared = some()
    assert len(pack(shared, {})) < 0.87 * shared.nbytes


def test_nan_comes_back_bit_for_bit_and_is_refused_by_the_models_check_and_not_hidden(population):
    model, shared = trained("subspace", SMALL["subspace"], population)
    basis = shared["basis"].copy()
    basis.view(np.uint32).flat[:2] = (0x7FC00001, 0xFFFFFFFF)
    spoilt = replace(shared, arrays={**shared.arrays, "basis": basis})
    again, _ = unpack(pack(spoilt, {}))
    assert alike(spoilt, again)
    with pytest.raises(LayoutMismatch, match="not finite"):
        model.check(again, population.catalogue)


@pytest.mark.parametrize("form", ["fedpersona model 1", None])
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_file_of_the_format_before_is_still_read(name, settings, form, population):
    model, shared = trained(name, settings, population)
    again, said = unpack(before(shared, model.model_dump(mode="json"), form))
    assert alike(shared, again)
    assert create(again.model, said) == model


def test_a_newer_format_says_what_to_do():
    with pytest.raises(LayoutMismatch, match="update fedpersona"):
        unpack(changed(format="fedpersona model 3"))


def test_what_no_device_would_read_is_not_packed():
    one = np.zeros(1, np.float32)
    with pytest.raises(LayoutMismatch, match="'basis' is float64"):
        pack(replace(some(), arrays={"basis": np.zeros(3)}), {})
    with pytest.raises(LayoutMismatch, match="arrays"):
        pack(replace(some(), arrays={f"a{number}": one for number in range(65)}), {})
    with pytest.raises(LayoutMismatch, match="MiB"):
        pack(replace(some(), arrays={"basis": np.broadcast_to(one, (MOST_BYTES // 4 + 1,))}), {})
    with pytest.raises(LayoutMismatch, match="settings"):
        pack(some(), {"text": "x" * 70_000})


def listed(*arrays, body: bytes = b"") -> bytes:
    """Return a file whose header lists these arrays."""
    return put_together({**taken_apart(pack(some(), {}))[0], "arrays": list(arrays)}, body)


WHOLE = pack(some(), SETTINGS)
HEADER, BODY = taken_apart(WHOLE)
ONE = bytes(4)

NO_MODEL = {
    "empty": b"",
    "three bytes": b"\0\0\0",
    "no header": bytes(100),
    "a header that is too long": (65_537).to_bytes(4, "big") + b" " * 70_000,
    "a header that is cut off": WHOLE[:40],
    "a list for a header": put_together([1, 2], BODY),
    "a number for a header": put_together(1, BODY),
    "a deep header": (60_000).to_bytes(4, "big") + b"[" * 60_000,
    "noise": b"\xff" * 500,
    "a pickle": b"\x80\x04.",
    "another format": changed(format="zip"),
    "a format that is no text": changed(format=[2]),
    "a model that is no text": changed(model=1),
    "a catalogue that is no text": changed(catalogue=None),
    "a round below 0": changed(round=-1),
    "a round that is true": changed(round=True),
    "settings that are none": changed(settings=[]),
    "no arrays": put_together({name: value for name, value in HEADER.items() if name != "arrays"}, BODY),
    "arrays by name": changed(arrays={"basis": [1]}),
    "too many arrays": listed(*([f"a{number}", [1], [4]] for number in range(65)), body=ONE * 65),
    "an array that is a text": listed("abc"),
    "an array that is a number": listed(3),
    "an array without pieces": listed(["a", [1]], body=ONE),
    "a name that is a number": listed([1, [1], [4]], body=ONE),
    "a shape that is a number": listed(["a", 1, [4]], body=ONE),
    "a shape of fractions": listed(["a", [1.0], [4]], body=ONE),
    "a shape of yes and no": listed(["a", [True], [4]], body=ONE),
    "a shape below 0": listed(["a", [-1, -1], [4]], body=ONE),
    "a shape of nine axes": listed(["a", [1] * 9, [4]], body=ONE),
    "a length below 0": listed(["a", [1], [8, -4]], body=ONE),
    "five pieces": listed(["a", [1], [4, 0, 0, 0, 0]], body=ONE),
    "the format before and no safetensors": put_together({**HEADER, "format": "fedpersona model 1"}, BODY),
    "the format before and nothing": put_together({**HEADER, "format": "fedpersona model 1"}, b""),
    "the format before, cut off": before(some(), SETTINGS)[:-1],
}


@pytest.mark.parametrize("name", NO_MODEL)
def test_bytes_that_are_no_model_are_refused_in_one_sentence(name):
    with pytest.raises(LayoutMismatch, match=r"^these bytes are not a shared model of fedpersona$"):
        unpack(NO_MODEL[name])


CUT = {
    "a byte short": WHOLE[:-1],
    "half": WHOLE[: len(WHOLE) // 2],
    "a byte after": WHOLE + b"x",
    "another model after": WHOLE + WHOLE,
    "the same name twice": listed(["a", [1], [4]], ["a", [1], [4]], body=ONE * 2),
    "a piece of bytes that are not there": listed(["a", [1], [10**30]], body=ONE),
}


@pytest.mark.parametrize("name", CUT)
def test_bytes_that_are_cut_off_or_more_than_was_said_are_refused_in_one_sentence(name):
    with pytest.raises(LayoutMismatch, match="cut off, or its header"):
        unpack(CUT[name])


def test_whatever_byte_is_changed_no_other_error_comes_and_no_other_model_has_the_hash():
    shared = some(40)
    whole = pack(shared, {})
    others = 0
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 0x10
        try:
            found, _ = unpack(bytes(spoilt))
        except LayoutMismatch:
            continue
        others += found.hash() != shared.hash()
        assert (bits(found) == bits(shared)) == (found.hash() == shared.hash())
    assert others > 900  # the lower planes are as they were: a changed byte there is another model


def refused(data: bytes) -> tuple[str, int]:
    """Return the sentence, and the bytes of memory that it took to come to it."""
    tracemalloc.start()
    try:
        with pytest.raises(LayoutMismatch) as caught:
            unpack(data)
        return str(caught.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


STREAM = zlib.compress(bytes(50_000_000), 9)
FOUR = [len(STREAM)] * 4

TOO_LARGE = {
    "one entry too many": listed(["a", [MOST_BYTES // 4 + 1], FOUR], body=STREAM * 4),
    "a number without end": listed(["a", [10**300], FOUR], body=STREAM * 4),
    "many axes": listed(["a", [100_000] * 8, FOUR], body=STREAM * 4),
    "much beside an axis of nothing": listed(["a", [0, 2**62, 2**62], [0]]),
    "a little, often": listed(*([f"a{n}", [MOST_BYTES // 4 // 50], FOUR] for n in range(64)), body=STREAM * 256),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_says_that_it_is_too_large_is_refused_before_anything_is_unpacked(name):
    told, memory = refused(TOO_LARGE[name])
    assert "1,024 MiB" in told
    assert memory < 1 << 20


def test_a_bomb_that_says_that_it_is_small_is_refused_with_little_memory():
    count = len(STREAM) * 2
    told, memory = refused(listed(["a", [count], FOUR], body=STREAM * 4))
    assert "does not unpack to what its header says" in told
    assert memory < 20 * count < 4_000_000


def test_a_size_that_lies_above_what_the_bytes_can_hold_is_refused_with_little_memory():
    told, memory = refused(listed(["a", [MOST_BYTES // 4], [100] * 4], body=bytes(400)))
    assert "does not fit the size" in told
    assert memory < 1 << 20

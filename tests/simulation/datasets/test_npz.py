import io
import random
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedpersona.errors import DataError, DataNotFound, InputError, SplitError
from fedpersona.simulation.datasets import npz, npz_arrays
from fedpersona.simulation.population import Split

PEOPLE, ITEMS = 3, 240


def valid():
    """Three invented people; person p played 10p .. 10p + 4 and holds out 10p + 5 and 10p + 6."""
    first = 10 * np.arange(PEOPLE)
    negatives = np.tile(np.arange(40, 238), (PEOPLE, 1))
    return {
        "n_users": np.array(PEOPLE),
        "n_items": np.array(ITEMS),
        "train_u": np.repeat(np.arange(PEOPLE), 5),
        "train_i": (first[:, None] + np.arange(5)).ravel(),
        "train_ts": np.arange(15) + 1_600_000_000,
        "val_i": first + 5,
        "test_i": first + 6,
        "val_neg": negatives[:, :99].copy(),
        "test_neg": negatives[:, 99:].copy(),
        "uid": np.array([7, 5, 9]),
        "mid": np.arange(ITEMS) + 1000,
    }


def save(folder, arrays):
    path = folder / "tiny.npz"
    np.savez_compressed(path, **arrays)
    return path


def packed():
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **valid())
    return buffer.getvalue()


def changed(name, index, value):
    arrays = valid()
    arrays[name][index] = value
    return arrays


def refusal(folder, arrays, kind=DataError):
    path = save(folder, arrays)
    with pytest.raises(kind) as caught:
        npz.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_a_sound_split_is_read_as_it_is(tmp_path):
    split = npz.read(save(tmp_path, valid()))
    assert (split.name, len(split.train), len(split.catalogue)) == ("tiny", PEOPLE, ITEMS)
    assert split.train.plays(2).items.tolist() == [20, 21, 22, 23, 24]
    assert split.train.plays(1).last_played.tolist() == [1_600_000_005 + k for k in range(5)]
    assert (split.val.tolist(), split.test.tolist()) == ([5, 15, 25], [6, 16, 26])
    assert split.val_negatives.shape == split.test_negatives.shape == (PEOPLE, 99)
    assert split.train.person_ids.tolist() == [7, 5, 9]
    assert split.catalogue.ids[:2] == ("1000", "1001")
    assert split.complete is None
    assert {a.dtype for a in (split.val, split.test, split.val_negatives)} == {np.dtype(np.int32)}


def test_only_the_pairs_and_the_held_out_items_are_needed(tmp_path):
    arrays = {name: valid()[name] for name in ("n_users", "n_items", "train_u", "train_i", "val_i", "test_i")}
    split = npz.read(save(tmp_path, arrays))
    assert split.train.times is None
    assert split.val_negatives is None
    assert split.train.person_ids.tolist() == [0, 1, 2]
    assert split.catalogue.ids[:2] == ("0", "1")


def test_the_order_of_the_pairs_does_not_matter(tmp_path):
    arrays = valid()
    order = np.random.default_rng(0).permutation(15)
    expected = npz.read(save(tmp_path, arrays)).train.data_hash
    for name in ("train_u", "train_i", "train_ts"):
        arrays[name] = arrays[name][order]
    assert npz.read(save(tmp_path, arrays)).train.data_hash == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i4", np.uint64])
def test_any_integer_type_will_do(tmp_path, dtype):
    arrays = {n: a if n in ("train_ts", "mid") else a.astype(dtype) for n, a in valid().items()}
    assert npz.read(save(tmp_path, arrays)).test.tolist() == [6, 16, 26]


def test_item_ids_may_be_text(tmp_path):
    arrays = valid() | {"mid": np.array([f"track-é-{k}" for k in range(ITEMS)])}
    assert npz.read(save(tmp_path, arrays)).catalogue.ids[3] == "track-é-3"


def test_arrays_that_no_split_has_are_not_even_unpacked(tmp_path):
    arrays = valid() | {"train_rating": np.array([{"not": "a number"}], dtype=object)}
    assert len(npz.read(save(tmp_path, arrays)).train) == PEOPLE


@pytest.mark.parametrize("name", ["n_users", "n_items", "train_u", "train_i", "val_i", "test_i"])
def test_a_missing_array_is_named(tmp_path, name):
    arrays = valid()
    del arrays[name]
    assert refusal(tmp_path, arrays).startswith(f"{name}: the array is missing")


@pytest.mark.parametrize("name", sorted(set(valid()) - {"n_users", "n_items"}))
def test_nan_is_named_with_its_place(tmp_path, name):
    array = valid()[name].astype(float)
    index = (2,) * array.ndim
    array[index] = np.nan
    message = refusal(tmp_path, valid() | {name: array})
    assert message.startswith(f"{name}[{', '.join(map(str, index))}]: is nan")


@pytest.mark.parametrize("name", sorted(set(valid()) - {"n_users", "n_items"}))
@pytest.mark.parametrize("dtype", [float, np.float32, bool, complex, "S3", "M8[s]"])
def test_a_wrong_type_is_named(tmp_path, name, dtype):
    message = refusal(tmp_path, valid() | {name: valid()[name].astype(np.int64).astype(dtype)})
    assert message.startswith(f"{name}: has type {np.dtype(dtype)}")


@pytest.mark.parametrize("name", sorted(valid()))
def test_pickled_objects_are_never_unpacked(tmp_path, name):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    message = refusal(tmp_path, valid() | {name: np.array([Trap()], dtype=object)})
    assert message.startswith(f"{name}: holds Python objects")


@pytest.mark.parametrize("name", ["n_users", "n_items"])
@pytest.mark.parametrize("size", [0, -1, 10**12, 2**63 - 1, -(2**63)])
def test_an_absurd_size_is_refused_before_memory_is_taken(tmp_path, name, size):
    assert refusal(tmp_path, valid() | {name: np.array(size)}).startswith(f"{name}: is {size}: a number from 1 to")


@pytest.mark.parametrize("name", ["n_users", "n_items"])
@pytest.mark.parametrize("value", [np.array(3.0), np.array([3, 3]), np.array([]), np.array("3"), np.array(True)])
def test_a_size_is_one_whole_number(tmp_path, name, value):
    assert refusal(tmp_path, valid() | {name: value}).startswith(f"{name}: one whole number belongs there")


@pytest.mark.parametrize("name", ["train_i", "train_ts", "val_i", "test_i", "val_neg", "test_neg", "uid", "mid"])
@pytest.mark.parametrize("cut", [lambda a: a[:-1], lambda a: a[:0], lambda a: a[None], lambda a: a.ravel()[0]])
def test_lengths_that_differ_are_named(tmp_path, name, cut):
    assert refusal(tmp_path, valid() | {name: cut(valid()[name])}).startswith(f"{name}: has shape ")


def test_negatives_are_99_a_person(tmp_path):
    message = refusal(tmp_path, valid() | {"val_neg": valid()["val_neg"][:, :50]})
    assert message == "val_neg: has shape (3, 50): 3 x 99 belongs there"


@pytest.mark.parametrize(
    ("name", "size"),
    [("train_u", PEOPLE), *((n, ITEMS) for n in ("train_i", "val_i", "test_i", "val_neg", "test_neg"))],
)
@pytest.mark.parametrize("value", [-1, None, 2**40, -(2**63)])
def test_an_id_out_of_range_is_named(tmp_path, name, size, value):
    index = (2,) * valid()[name].ndim
    value = size if value is None else value
    message = refusal(tmp_path, changed(name, index, value))
    assert message == f"{name}[{', '.join(map(str, index))}]: is {value}: rows go from 0 to {size - 1}"


def test_a_person_without_training_pairs_is_named(tmp_path):
    arrays = changed("train_u", slice(5, 10), 0)
    arrays["train_i"][5:10] += 90
    assert refusal(tmp_path, arrays, SplitError).startswith("train_u: person 1 has no training pair (1 such people)")


def test_an_empty_training_table_is_refused(tmp_path):
    arrays = valid() | {name: np.zeros(0, int) for name in ("train_u", "train_i", "train_ts")}
    assert "person 0 has no training pair (3 such people)" in refusal(tmp_path, arrays, SplitError)


def test_a_pair_that_comes_twice_is_named_where_it_comes_again(tmp_path):
    message = refusal(tmp_path, changed("train_i", 9, 12), SplitError)
    assert message == "train_i[9]: person 1 has item 12 a second time"


@pytest.mark.parametrize("name", ["val_i", "test_i"])
def test_a_training_pair_that_is_held_out_is_named_on_both_sides(tmp_path, name):
    message = refusal(tmp_path, changed("train_i", 7, valid()[name][1]), SplitError)
    assert message.startswith(
        f"{name}[1]: item {valid()[name][1]} of person 1 is held out, and trained on at train_i[7]"
    )


def test_another_person_may_train_on_what_one_holds_out(tmp_path):
    assert npz.read(save(tmp_path, changed("train_i", 7, 6))).test.tolist() == [6, 16, 26]


def test_one_item_cannot_validate_and_test(tmp_path):
    message = refusal(tmp_path, changed("val_i", 2, 26), SplitError)
    assert message == "test_i[2]: item 26 of person 2 is also their item in val_i"


@pytest.mark.parametrize("name", ["val_neg", "test_neg"])
@pytest.mark.parametrize("own", [14, 15, 16])
def test_a_negative_that_the_person_played_is_named(tmp_path, name, own):
    message = refusal(tmp_path, changed(name, (1, 4), own), SplitError)
    assert message.startswith(f"{name}[1, 4]: item {own} is one of the person's own")


def test_negatives_of_later_people_are_checked_too(tmp_path, monkeypatch):
    monkeypatch.setattr(npz, "_PEOPLE_AT_ONCE", 2)
    assert refusal(tmp_path, changed("test_neg", (2, 98), 26), SplitError).startswith("test_neg[2, 98]")
    assert refusal(tmp_path, changed("test_neg", (2, 98), 150), SplitError) == "test_neg[2]: the same item comes twice"


@pytest.mark.parametrize(("name", "value"), [("uid", 7), ("mid", 1000)])
def test_an_id_that_comes_twice_is_named(tmp_path, name, value):
    assert refusal(tmp_path, changed(name, 2, value)) == f"{name}[2]: the id {value} comes a second time"


def test_an_id_beyond_signed_integers_is_named(tmp_path):
    message = refusal(tmp_path, valid() | {"uid": np.array([1, 2**64 - 1, 3], np.uint64)})
    assert message.startswith(f"uid[1]: is {2**64 - 1}: too large")


@pytest.mark.parametrize("code", [0xD800, 0x110000])
def test_item_ids_that_are_not_unicode_are_refused(tmp_path, code):
    ids = np.arange(1, ITEMS + 1, dtype=np.uint32)
    ids[5] = code
    assert refusal(tmp_path, valid() | {"mid": ids.view("U1")}) == "mid: holds text that is not Unicode"


def test_nothing_there_is_not_found(tmp_path):
    with pytest.raises(DataNotFound, match=r"none\.npz: there is no such file"):
        npz.read(tmp_path / "none.npz")


def test_a_folder_is_not_a_split(tmp_path):
    with pytest.raises(DataError, match="is a folder"):
        npz.read(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"user,item\n1,2\n", packed()[:-30]])
def test_what_is_no_npz_file_is_refused(tmp_path, content):
    path = tmp_path / "tiny.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"tiny\.npz: is not an \.npz file, or is truncated"):
        npz.read(path)


def member(name, content):
    buffer = io.BytesIO(packed())
    with zipfile.ZipFile(buffer) as source:
        members = {m: source.read(m) for m in source.namelist()}
    members[f"{name}.npy"] = content(members[f"{name}.npy"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for m, data in members.items():
            target.writestr(m, data)
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:20],
        lambda data: b"",
        lambda data: b"\x93NUMPY\x09" + data[7:],
        lambda data: data.replace(b"'shape'", b"'shade'"),
        lambda data: data.replace(b"(15,)", b"(-15)"),
        lambda data: data.replace(b"(15,)", b"(99,)"),
        lambda data: data.replace(b"(15,), }             ", b"(4000000000000000,), }"),
        lambda data: data.replace(b"{", b"(", 1),
    ],
)
def test_a_damaged_array_is_named_and_no_memory_is_taken_on_its_word(tmp_path, content):
    path = tmp_path / "tiny.npz"
    path.write_bytes(member("train_i", content))
    with pytest.raises(DataError, match=r"tiny\.npz: train_i: "):
        npz.read(path)


def test_an_array_that_unpacks_to_more_than_its_header_says_is_refused_unread(tmp_path):
    path = tmp_path / "tiny.npz"
    path.write_bytes(member("train_i", lambda data: data + bytes(8 << 10)))
    with pytest.raises(DataError, match="train_i: is damaged or truncated: its header and its size disagree"):
        npz.read(path)


def test_an_array_too_large_to_be_meant_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(npz_arrays, "_LARGEST_BYTES", 1 << 10)
    assert "is not read" in refusal(tmp_path, valid())


def split_or_sentence(path):
    try:
        return npz.read(path)
    except InputError as error:
        return str(error)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.booleans())
def test_mutated_bytes_end_in_a_split_or_in_a_sentence(tmp_path_factory, seed, changes, truncate):
    chosen = random.Random(seed)
    content = bytearray(packed())
    for _ in range(changes):
        content[chosen.randrange(len(content))] = chosen.randrange(256)
    if truncate:
        del content[chosen.randrange(len(content)) :]
    path = tmp_path_factory.mktemp("fuzz") / "tiny.npz"
    path.write_bytes(bytes(content))
    result = split_or_sentence(path)
    assert isinstance(result, Split) or str(path) in result


@settings(deadline=None)
@given(st.sampled_from(sorted(valid())), st.integers(0, 2**32), st.integers(1, 6))
def test_mutated_arrays_end_in_a_split_or_in_a_sentence(tmp_path_factory, name, seed, changes):
    """As above, with checksums that hold, so that headers and numbers are what is wrong."""
    chosen = random.Random(seed)

    def mutate(data):
        content = bytearray(data)
        for _ in range(changes):
            content[chosen.randrange(len(content))] = chosen.randrange(256)
        return bytes(content)

    path = tmp_path_factory.mktemp("fuzz") / "tiny.npz"
    path.write_bytes(member(name, mutate))
    result = split_or_sentence(path)
    assert isinstance(result, Split) or str(path) in result

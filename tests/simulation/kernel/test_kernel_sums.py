"""Sums of the compiled kernel: the same bits whoever computes them in which order, bounded and rounded as agreed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fedpersona.errors import ConfigError, DataError
from fedpersona.privacy.fixed_point import FixedPoint
from fedpersona.privacy.rounding import offsets, rounding_key
from fedpersona.randomness import fingerprints
from fedpersona.simulation.kernel import Histories, Summing, Trainer
from fedpersona.taste.gradient.descent import Recipe
from fedpersona.wire.layout import ArraySpec, Layout
from fedpersona.wire.plan import Plan
from tests.simulation.kernel.conftest import devices

RECIPE = Recipe("bce", "together", 2, 64, 4, 5.0, 5.0)
THOSE = devices([1, 0, 2, 16, 50, 100, 449, 450, 451, 700, 900] * 3)
PLAN = Plan(model="fedmf", round_number=3, cohort=40, min_count=1, ring_bits=32, seed=9)


def summing(total, *, longest=16.0, clip=math.inf, bound=None, toward_zero=False, cohort=40):
    bits = 8 * total.itemsize
    layout = Layout((ArraySpec("items", total.shape, bound=bound or longest),))
    fixed_point = FixedPoint(layout, cohort, bits)
    return fixed_point, Summing(
        total=total,
        longest=longest,
        clip=clip,
        measure=bound or longest,
        bound=bound or longest,
        scale=fixed_point.scale("items"),
        rounding_key=rounding_key(PLAN, "items"),
        toward_zero=toward_zero,
    )


def sums(kernel, those, *, workers=1, variant=None, dtype=np.int32, recipe=RECIPE, **how):
    total = np.zeros(those.items.shape, dtype)
    trainer = Trainer(kernel, *those.items.shape, workers=workers, variant=variant)
    rows, _ = those.train(trainer, recipe, summing=summing(total, **how)[1])
    return total.tobytes(), rows.tobytes()


def some(those, part):
    """Return a shard of the devices, in the same table."""
    return replace(
        those,
        histories=replace(those.histories, people=np.arange(len(those))[part]),
        keys=those.keys[part],
        privates=those.privates[part],
    )


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_one_two_and_four_threads_give_the_same_bits(kernel, dtype):
    alone = sums(kernel, THOSE, dtype=dtype, clip=0.4)
    assert sums(kernel, THOSE, dtype=dtype, clip=0.4, workers=2) == alone
    assert sums(kernel, THOSE, dtype=dtype, clip=0.4, workers=4) == alone


@pytest.mark.parametrize("dim", [20, 32, 100])
@pytest.mark.parametrize("order", ["together", "alternate", "rebuild"])
@pytest.mark.parametrize("loss", ["bce", "bpr"])
def test_every_processor_gives_the_same_bits(kernel, dim, order, loss):
    those = devices([1, 0, 2, 16, 50, 100, 300, 400], items=500, dim=dim)
    recipe = replace(RECIPE, order=order, loss=loss, bias=True, prox=0.1, rebuild_epochs=2, support=0.5)
    of_each = {sums(kernel, those, variant=variant, recipe=recipe) for variant in range(1, kernel.best + 1)}
    assert len(of_each) == 1


@pytest.mark.parametrize("shards", [2, 3, 7])
def test_shards_add_up_to_the_same_bits(kernel, shards):
    total = np.zeros(THOSE.items.shape, np.int32)
    trainer = Trainer(kernel, *THOSE.items.shape)
    for part in np.array_split(np.arange(len(THOSE))[::-1], shards):  # in another order, too
        some(THOSE, part).train(trainer, RECIPE, summing=summing(total)[1])
    assert total.tobytes() == sums(kernel, THOSE)[0]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("toward_zero", [False, True], ids=["rounded at random", "cut toward zero"])
@pytest.mark.parametrize(("longest", "clip"), [(16.0, math.inf), (0.05, math.inf), (16.0, 0.002), (0.05, 0.3)])
def test_updates_are_bounded_and_rounded_as_those_of_devices(kernel, dtype, toward_zero, longest, clip):
    trainer = Trainer(kernel, *THOSE.items.shape)
    prints = fingerprints(THOSE.histories.items, THOSE.histories.indptr, len(THOSE.items))
    for device in (0, 1, 3, 5, 9):
        one, total = some(THOSE, np.array([device])), np.zeros(THOSE.items.shape, dtype)
        fixed_point, how = summing(total, longest=longest, clip=clip, toward_zero=toward_zero)
        fixed_point.toward_zero = toward_zero
        _, moved = one.train(trainer, RECIPE, summing=how, moved=True)
        touched, vectors = moved.of(0)
        change = np.zeros(THOSE.items.shape)
        change[touched] = vectors - THOSE.items[touched]
        length = np.linalg.norm(change)
        factor = min(1.0, longest / length) if length else 1.0
        factor *= min(1.0, clip * longest / (factor * length)) if length else 1.0
        offset = float(offsets(PLAN, "items", prints[[device]])[0])
        wanted = fixed_point.encode("items", change * factor, offset)
        assert np.abs(total - wanted).max() <= 1 + 2.0**-20 * np.abs(wanted).max()
        if factor == 1.0 and dtype is np.int32:  # the very same floats are rounded: to the very same steps
            np.testing.assert_array_equal(total, wanted)


def test_a_lone_entry_at_its_bound_stays_within_it(kernel):
    """An update of one dimension and one item, shortened, is its bound to the last step."""
    those = replace(devices([1], items=1, dim=1), privates=np.full((1, 2), 3.0, np.float32))
    total = np.zeros((1, 1), np.int32)
    fixed_point, how = summing(total, longest=0.3, cohort=1)
    those.train(Trainer(kernel, 1, 1), replace(RECIPE, lr=1e-3, item_lr=500.0), summing=how)
    assert abs(total[0, 0] / fixed_point.scale("items")) == pytest.approx(0.3, rel=1e-6)
    assert abs(total[0, 0]) <= 0.3 * fixed_point.scale("items") + 1


@pytest.mark.parametrize("variant", [1, 2, 3])
@pytest.mark.parametrize("clip", [math.inf, 0.3])
@pytest.mark.parametrize("dim", [32, 64, 1000, 1024])
def test_no_update_is_longer_than_its_bound_under_noise(kernel, dim, clip, variant):
    """Sixty-four plays with rows alike, whose squares a sum of floats would lose the ends of, one way or the other."""
    if variant > kernel.best:
        pytest.skip("another processor")
    plays, longest, longs = 64, 1.0, []
    vector = np.full(dim, 0.1, np.float32)
    how = summing(np.zeros((6400, dim), np.int64), longest=longest, clip=clip, toward_zero=True, cohort=100)[1]
    trainer = Trainer(kernel, 6400, dim, variant=variant)
    for logit in np.arange(6.0, 11.0, 0.25):
        table = np.full((6400, dim), -60.0 / dim / 0.1, np.float32)
        table[0], table[1:plays] = 0.0, logit / dim / 0.1
        how.total[:] = 0
        histories = Histories(np.array([0, plays]), np.arange(plays, dtype=np.int32))
        recipe = Recipe("bce", "together", 1, 10**6, 1, 1e4, 1e4)
        trainer.train(recipe, table, histories, np.array([1], np.uint64), vector[None].copy(), summing=how)
        sent = how.total[how.total.any(axis=1)].astype(np.longdouble) / how.scale
        longs.append(float(np.sqrt((sent * sent).sum()) / (longest * min(1.0, clip))))
    assert max(longs) <= 1.0
    assert min(longs) > 1.0 - 1e-6


def test_a_training_that_fails_leaves_the_sum_as_it_was(kernel):
    total = np.zeros(THOSE.items.shape, np.int32)
    wild = replace(RECIPE, lr=1e18, item_lr=1e18, epochs=3)
    THOSE.train(Trainer(kernel, *THOSE.items.shape, workers=2), wild, summing=summing(total)[1])
    assert not total.any()


def test_an_empty_cohort_adds_nothing(kernel):
    nobody = some(THOSE, np.arange(0))
    total = np.zeros(THOSE.items.shape, np.int32)
    heard = []
    trainer = Trainer(kernel, *THOSE.items.shape, workers=2)
    nobody.train(trainer, RECIPE, summing=summing(total)[1], progress=lambda *done: heard.append(done))
    assert not total.any()
    assert heard == [(0, 0)]


def test_whoever_played_everything_trains_on_what_was_played_alone(kernel):
    those = devices([40], items=40)
    _, moved = those.train(Trainer(kernel, *those.items.shape), RECIPE, moved=True)
    touched, vectors = moved.of(0)
    assert sorted(touched.tolist()) == list(range(40))
    assert (vectors != those.items[touched]).any()
    pairs, others = those.train(Trainer(kernel, *those.items.shape), replace(RECIPE, loss="bpr"), moved=True)
    np.testing.assert_array_equal(pairs, those.privates[:, :-1])  # no pair is left
    np.testing.assert_array_equal(others.of(0)[1], those.items[others.of(0)[0]])


def test_an_interruption_stops_all_threads_between_calls(kernel):
    many = some(THOSE, np.tile(np.arange(len(THOSE)), 40))

    def interrupt(done, total):
        raise KeyboardInterrupt

    trainer = Trainer(kernel, *THOSE.items.shape, workers=2)
    with pytest.raises(KeyboardInterrupt):
        many.train(trainer, RECIPE, progress=interrupt)
    rows, _ = THOSE.train(trainer, RECIPE)  # and the next call is as good as any
    assert rows.tobytes() == sums(kernel, THOSE)[1]


def changed_at(array, place, value):
    other = array.copy()
    other[place] = value
    return other


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda h: replace(h, items=h.items.astype(np.int64)), "histories: must be int32"),
        (lambda h: replace(h, indptr=h.indptr.astype(np.int32)), "indptr: must be int64"),
        (lambda h: replace(h, items=h.items[:-1]), "histories: must be int32 of shape"),
        (lambda h: replace(h, people=np.arange(len(THOSE), dtype=np.int32)), "people: must be int64"),
        (lambda h: replace(h, people=np.full(len(THOSE), len(THOSE))), "people"),
        (lambda h: replace(h, people=np.full(len(THOSE), -1)), "people"),
        (lambda h: replace(h, weights=np.ones(len(h.items))), "weights: must be float32"),
        (lambda h: replace(h, indptr=np.zeros(0, np.int64)), "indptr: must be int64"),
        (lambda h: replace(h, items=changed_at(h.items, 3, 2**30)), "histories: row 3 must lie within the table"),
        (
            lambda h: replace(h, items=changed_at(h.items, 1, -(2**30))),
            "histories: row 2 must .* from 0 to at most 899",
        ),
        (lambda h: replace(h, items=changed_at(h.items, -1, 900)), "histories: row 32 must"),
        (lambda h: replace(h, items=changed_at(h.items, 2, h.items[1])), "histories: row 2 must .* increase"),
        (lambda h: replace(h, indptr=changed_at(h.indptr, 2, 10**12)), "histories: row 1 must"),
        (lambda h: replace(h, indptr=changed_at(h.indptr, 4, 0)), "histories: row 3 must"),
        (lambda h: replace(h, indptr=changed_at(h.indptr, 0, -5)), "histories: row 0 must"),
    ],
)
def test_histories_of_another_type_or_shape_are_refused(kernel, changed, said):
    those = replace(THOSE, histories=changed(THOSE.histories))
    with pytest.raises(DataError, match=said):
        those.train(Trainer(kernel, *THOSE.items.shape), RECIPE)


def test_falling_rows_are_refused_before_room_is_made_for_what_moved(kernel):
    falling = replace(THOSE, histories=replace(THOSE.histories, indptr=changed_at(THOSE.histories.indptr, 4, 0)))
    with pytest.raises(DataError, match="indptr: must not fall"):
        falling.train(Trainer(kernel, *THOSE.items.shape), RECIPE, moved=True)


def test_items_of_people_who_do_not_train_are_not_looked_at(kernel):
    wrong = replace(THOSE, histories=replace(THOSE.histories, items=changed_at(THOSE.histories.items, 0, 2**30)))
    rows, _ = some(wrong, np.arange(1, len(THOSE))).train(Trainer(kernel, *THOSE.items.shape), RECIPE)
    right, _ = THOSE.train(Trainer(kernel, *THOSE.items.shape), RECIPE)
    np.testing.assert_array_equal(rows, right[1:])


def test_more_samples_than_31_bits_count_are_refused(kernel):
    one = some(THOSE, np.array([9]))
    with pytest.raises(ConfigError, match=r"person 9: 700 plays with 3,067,834 negatives .*: lower negatives"):
        one.train(Trainer(kernel, *THOSE.items.shape), replace(RECIPE, negatives=(2**31 - 1) // 700 + 1))


@pytest.mark.parametrize(("items", "dim"), [(2**31, 32), (0, 32), (10, 0), (10, 1025)])
def test_a_catalogue_or_vector_beyond_the_kernel_is_refused(kernel, items, dim):
    with pytest.raises(ConfigError, match="the compiled kernel takes"):
        Trainer(kernel, items, dim)


def test_histories_of_a_large_catalogue_need_little_memory(kernel):
    """Two million items: the threads' maps are all that grows with the catalogue, beside the tables."""
    those = devices([3, 5], items=50)
    items = np.zeros((2_000_000, 1), np.float32)
    far = Histories(those.histories.indptr, those.histories.items + np.int32(1_999_950))
    rows = np.ones((2, 1), np.float32)
    moved = Trainer(kernel, *items.shape, workers=2).train(RECIPE, items, far, those.keys, rows, moved=True)
    assert set(far.items[:3].tolist()) <= set(moved.of(0)[0].tolist())
    assert moved.count.max() <= 5 * (1 + 2 * 4)

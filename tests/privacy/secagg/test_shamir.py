from __future__ import annotations

from secrets import token_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpersona.privacy.secagg.shamir import (
    PRIME,
    decode_element,
    encode_element,
    recover,
    recover_robust,
    split,
)

elements = st.integers(0, PRIME - 1)


def product_of_terms(point: int, roots: list[int]) -> int:
    value = 1
    for root in roots:
        value = value * (point - root) % PRIME
    return value


@st.composite
def sharings(draw, most: int = 12):
    """A secret, how many shares recover it, and its shares by point."""
    points = draw(st.lists(st.integers(1, 4000), min_size=1, max_size=most, unique=True))
    needed = draw(st.integers(1, len(points)))
    secret = draw(elements)
    return secret, needed, dict(zip(points, split(secret, points, needed, token_bytes), strict=True))


@given(sharings(), st.randoms(use_true_random=False))
def test_any_t_shares_give_the_secret_back_and_so_do_more(sharing, random):
    secret, needed, shares = sharing
    for count in {needed, len(shares)}:
        chosen = random.sample(sorted(shares), count)
        assert recover({point: shares[point] for point in chosen}) == secret


@given(sharings())
def test_fewer_shares_give_something_else(sharing):
    secret, needed, shares = sharing
    if needed > 1:
        assert recover(dict(list(shares.items())[: needed - 1])) != secret


@given(elements, elements, st.integers(2, 6))
def test_fewer_shares_say_nothing_every_other_secret_has_a_draw_that_gives_the_same_ones(secret, other, needed):
    """Perfect secrecy by construction: Shamir 1979, section 2."""
    points = list(range(1, needed + 3))
    known = points[: needed - 1]
    coefficients = [int.from_bytes(token_bytes(48), "little") % PRIME for _ in range(needed - 1)]
    shares = split(secret, points, needed, iter_of(coefficients))
    # Add the polynomial of degree t - 1 that is 0 at the known points and other - secret at 0.
    factor = (other - secret) * pow(product_of_terms(0, known), -1, PRIME) % PRIME
    change = [factor]  # from the constant up
    for root in known:
        change = [
            (one - root * two) % PRIME for one, two in zip([0, *change], [*change, 0], strict=True)
        ]  # times (x - root)
    changed = [(old + new) % PRIME for old, new in zip(coefficients, change[:0:-1], strict=True)]
    again = split(other, points, needed, iter_of(changed))
    assert again[: needed - 1] == shares[: needed - 1]
    assert (again[needed - 1] == shares[needed - 1]) == (other == secret)


def iter_of(coefficients: list[int]):
    """Random bytes that are these coefficients, 48 bytes each."""
    left = iter(coefficients)
    return lambda size: next(left).to_bytes(size, "little")


def test_every_coefficient_but_the_secret_is_drawn_afresh_from_384_bits():
    drawn = []
    split(7, [1, 2, 3, 4, 5], 4, lambda size: drawn.append(size) or token_bytes(size))
    assert drawn == [48, 48, 48]


@pytest.mark.parametrize(
    ("points", "needed"),
    [([0, 1, 2], 2), ([1, PRIME, 2], 2), ([1, 1, 2], 2), ([1, PRIME + 1], 1), ([1, 2], 3), ([1, 2], 0), ([], 1)],
)
def test_points_that_would_give_the_secret_away_or_fewer_than_recover_it_are_an_error(points, needed):
    with pytest.raises(ValueError, match="distinct points"):
        split(5, points, needed, token_bytes)


@given(elements)
def test_an_element_has_one_spelling(number):
    assert decode_element(encode_element(number)) == number


@pytest.mark.parametrize(
    "data",
    [
        PRIME.to_bytes(32, "little"),
        (PRIME + 18).to_bytes(32, "little"),
        b"\xff" * 32,
        bytes(31),
        bytes(33),
        b"",
        bytes(31) + b"\x80",
    ],
)
def test_what_is_no_element_is_none(data):
    assert decode_element(data) is None


def test_a_secret_of_nothing_is_recovered_like_any_other():
    assert recover_robust({1: 5, 2: 0, 3: 0}, 1, lambda number: number == 0) == (0, frozenset({1}))


@given(sharings(), st.randoms(use_true_random=False))
def test_up_to_half_of_the_shares_beyond_t_may_be_wrong_and_are_found(sharing, random):
    secret, needed, shares = sharing
    correctable = (len(shares) - needed) // 2
    wrong = set(random.sample(sorted(shares), random.randint(0, correctable)))
    spoilt = {p: (share + random.randint(1, PRIME - 1)) % PRIME if p in wrong else share for p, share in shares.items()}
    found = recover_robust(spoilt, needed, lambda number: number == secret)
    assert found is not None
    assert found[0] == secret
    looked_at = wrong & set(list(spoilt)[:needed])  # where those that come first fit, nobody looks at the others
    assert found[1] == (wrong if looked_at else frozenset())


@pytest.mark.parametrize("count", range(1, 13))
def test_exactly_half_of_the_shares_beyond_t_may_be_wrong_and_not_one_more(count):
    points = range(1, count + 1)
    for needed in range(1, count + 1):
        shares = dict(zip(points, split(99, points, needed, token_bytes), strict=True))
        correctable = (count - needed) // 2
        for wrong in (correctable, correctable + 1):
            by = {p: int.from_bytes(token_bytes(31), "little") + 1 for p in range(1, wrong + 1)}
            spoilt = {p: (share + by.get(p, 0)) % PRIME for p, share in shares.items()}
            found = recover_robust(spoilt, needed, lambda number: number == 99)
            assert found == ((99, frozenset(range(1, wrong + 1))) if wrong == correctable else None)


@given(sharings(), st.randoms(use_true_random=False))
def test_with_fewer_than_t_right_shares_nothing_is_believed(sharing, random):
    secret, needed, shares = sharing
    right = set(random.sample(sorted(shares), needed - 1))
    spoilt = {p: share if p in right else (share + random.randint(1, PRIME - 1)) % PRIME for p, share in shares.items()}
    asked = []
    found = recover_robust(spoilt, needed, lambda number: asked.append(number) or number == secret)
    if needed > 1:
        assert found is None
    assert found is None or found[0] == secret
    assert len(asked) <= 2


@given(sharings())
def test_shares_on_a_polynomial_of_too_high_a_degree_are_no_sharing(sharing):
    secret, needed, shares = sharing
    if len(shares) > needed:
        points = sorted(shares)
        steep = dict(zip(points, split(secret, points, len(points), token_bytes), strict=True))
        assert recover_robust(steep, needed, lambda number: number == secret) is None


def test_a_secret_that_was_not_committed_to_is_not_believed_though_its_shares_fit():
    shares = dict(zip(range(1, 9), split(5, range(1, 9), 5, token_bytes), strict=True))
    assert recover_robust(shares, 5, lambda number: number == 6) is None


def test_too_few_shares_are_no_secret():
    shares = dict(zip(range(1, 5), split(5, range(1, 5), 4, token_bytes), strict=True))
    assert recover_robust(dict(list(shares.items())[:3]), 4, lambda number: True) is None
    assert recover_robust({}, 1, lambda number: True) is None


def test_shares_that_are_all_nothing_are_those_of_nothing_and_break_nothing():
    shares = dict.fromkeys(range(1, 9), 0)
    assert recover_robust(shares, 5, lambda number: number == 0) == (0, frozenset())
    assert recover_robust(shares, 5, lambda number: False) is None


def test_the_default_numbers_are_recovered_with_as_many_wrong_as_can_be():
    points = range(1, 81)
    shares = dict(zip(points, split(1234, points, 57, token_bytes), strict=True))
    for point in range(1, 12):
        shares[point] = (shares[point] + 1) % PRIME
    assert recover_robust(shares, 57, lambda number: number == 1234) == (1234, frozenset(range(1, 12)))

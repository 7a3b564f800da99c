import numpy as np
import pytest

from fedpersona.taste.packing import pack_outer, packed_positions, packed_size, unpack


@pytest.mark.parametrize("n", [1, 2, 7])
def test_packing_an_outer_product_and_unpacking_gives_it_back(n):
    vectors = np.random.default_rng(0).standard_normal((3, n))
    packed = pack_outer(vectors)
    assert packed.shape == (3, packed_size(n))
    assert np.allclose(unpack(packed, n), vectors[:, :, None] * vectors[:, None, :])


def test_positions_are_those_of_the_packed_pairs():
    rows = np.array([1, 4, 5])
    indicator = np.zeros(7)
    indicator[rows] = 1.0
    expected = np.flatnonzero(pack_outer(indicator))
    assert np.array_equal(np.sort(packed_positions(rows, 7)), expected)
    assert packed_positions(np.empty(0, np.int64), 7).size == 0
